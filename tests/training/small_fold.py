"""A tiny competition for the tests of training: coloured noise, three breeds, one fold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from competition.config import TrainConfig
from competition.data.source.competition_data import CompetitionData, Photo
from competition.types import Fold

CLASSES = ("afghan_hound", "beagle", "boxer")
SIDE = 32


def small_data(folder: Path, count: int = 48, test: int = 6, seed: int = 0) -> CompetitionData:
    """``count`` labelled photos of 40 x 36 pixels whose mean colour tells the breed, and ``test`` others."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    photos = []
    for number in range(count + test):
        breed = number % len(CLASSES)
        pixels = rng.integers(0, 140, (36, 40, 3))
        pixels[..., breed] += 100
        path = folder / f"p{number:03d}.png"
        Image.fromarray(pixels.astype(np.uint8)).save(path)
        photos.append(Photo(path.stem, path, CLASSES[breed] if number < count else None))
    return CompetitionData(folder, folder, "Kaggle layout", tuple(photos[:count]), tuple(photos[count:]), CLASSES)


def small_fold(data: CompetitionData) -> Fold:
    """Every fourth photo validates."""
    ids = data.train_ids
    return Fold(0, tuple(name for i, name in enumerate(ids) if i % 4), ids[::4])


def small_config(**changes: object) -> TrainConfig:
    """A from-scratch recipe that runs in about a second."""
    values: dict[str, object] = {
        "name": "small",
        "backbone": "test_resnet",
        "pretrained": False,
        "image_size": SIDE,
        "epochs": 2,
        "freeze_epochs": 0,
        "batch_size": 8,
        "lr": 3e-3,
        "head_lr": 3e-3,
        "augment": "light",
        "precision": "float32",
        "device": "cpu",
        "workers": 0,
        "cache": False,
        "drop_path_rate": 0.1,
        "drop_rate": 0.1,
        "ema_decay": 0.9,
    }
    return TrainConfig(**{**values, **changes})  # type: ignore[arg-type]
