"""Runs made by the pipeline itself, on the drawn sample with tiny untrained backbones: blend, doctor, ledger."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from competition import pipeline
from competition.config import ProbeConfig
from competition.data.sample.competition import draw_sample
from competition.data.source.competition_data import CompetitionData
from competition.data.source.layout import load_data
from competition.prediction.blend.run import blend_runs
from competition.prediction.doctor.examine import examine
from competition.record.run_dir import RunDir
from competition.training.probe.cached_features import cached_features


def untrained(folder: Path, architecture: str, seed: int) -> Path:
    """A tiny timm model with random weights in timm's local-directory form."""
    torch.manual_seed(seed)
    model = timm.create_model(architecture, num_classes=10)
    folder.mkdir(parents=True)
    save_file(model.state_dict(), str(folder / "model.safetensors"))
    config = {
        "architecture": architecture,
        "num_classes": 10,
        "num_features": model.num_features,
        "pretrained_cfg": {
            "input_size": [3, 64, 64],
            "mean": [0.5] * 3,
            "std": [0.5] * 3,
            "crop_pct": 1.0,
            "interpolation": "bilinear",
            "num_classes": 10,
            "classifier": "fc" if architecture == "test_resnet" else "classifier",
            "first_conv": "conv1" if architecture == "test_resnet" else "conv_stem",
        },
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[CompetitionData, Path, list[Path]]:
    """The sample, the folder of weights, and two finished probe runs."""
    root = tmp_path_factory.mktemp("real")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOGBREED_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        data = load_data(draw_sample(root / "sample", breeds=4, train_per_breed=12, test_per_breed=4))
        weights = root / "weights"
        runs = []
        for seed, architecture in enumerate(("test_resnet", "test_efficientnet")):
            untrained(weights / architecture, architecture, seed)
            config = ProbeConfig(
                name="probe", backbones=(architecture,), views=("identity",), n_folds=3, device="cpu", workers=0
            )
            runs.append(pipeline.run(data, config, root / "runs" / architecture, weights=weights).folder)
    return data, weights, runs


def test_two_runs_of_the_pipeline_blend_into_a_third(
    made: tuple[CompetitionData, Path, list[Path]], tmp_path: Path
) -> None:
    data, _, runs = made
    found, report = blend_runs(runs, data, tmp_path / "blend")
    assert report is not None
    assert report.ok
    assert len(found.stack.ids) == len(data.train) - 1  # the sample has one corrupt photo
    diagnosis = examine(tmp_path / "blend" / "submission.csv", tmp_path / "blend", data)
    assert diagnosis.relation.kind == "same"
    assert diagnosis.twins is not None  # the audit was taken over from a member


def test_the_doctor_finds_the_features_that_the_run_left(made: tuple[CompetitionData, Path, list[Path]]) -> None:
    data, weights, runs = made
    features = cached_features(RunDir(runs[0]), data, weights)
    assert features is not None
    train, test = features
    assert (len(train), len(test)) == (len(data.train) - 1, len(data.test))
    assert np.isfinite(train).all()
    found = examine(runs[0] / "submission.csv", runs[0], data, features=features)
    assert found.drift.embedding is not None


def test_a_blend_finds_the_features_of_its_members(
    made: tuple[CompetitionData, Path, list[Path]], tmp_path: Path
) -> None:
    data, weights, runs = made
    blend_runs(runs, data, tmp_path / "blend")
    features = cached_features(RunDir(tmp_path / "blend"), data, weights)
    expected = cached_features(RunDir(runs[0]), data, weights)
    assert features is not None
    assert expected is not None
    np.testing.assert_array_equal(features[0], expected[0])


def test_without_the_weights_there_are_no_features_and_no_error(
    made: tuple[CompetitionData, Path, list[Path]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, _, runs = made
    assert cached_features(RunDir(runs[0]), data, tmp_path / "nowhere") is None
    assert "no comparison of embeddings" in capsys.readouterr().err
