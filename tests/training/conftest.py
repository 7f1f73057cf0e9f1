"""A backbone with weights, small enough for tests: timm's own test network, saved in local-directory form."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file


def save_local_dir(folder: Path, architecture: str = "test_resnet", seed: int = 0, size: int = 64) -> Path:
    """Random weights of ``architecture`` as ``config.json`` + ``model.safetensors``."""
    torch.manual_seed(seed)
    model = timm.create_model(architecture, pretrained=False)
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, folder / "model.safetensors")
    stored = {
        "input_size": [3, size, size],
        "mean": [0.5, 0.4, 0.3],
        "std": [0.2, 0.2, 0.2],
        "interpolation": "bilinear",
        "crop_pct": 0.9,
        "classifier": "fc",
        "first_conv": "conv1.0",
        "num_classes": 1000,
    }
    config = {"architecture": architecture, "num_classes": 1000, "pretrained_cfg": stored}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one backbone, ``tiny``."""
    folder = tmp_path_factory.mktemp("weights")
    save_local_dir(folder / "tiny")
    return folder
