"""A data set that a tiny network learns in a second: four classes, each with another bright quarter, in noise."""

from __future__ import annotations

import numpy as np

from baselines.data.datasets import Dataset, Part

CLASSES = ("north-west", "north-east", "south-west", "south-east")
# What every framework writes into history.csv, in this order.
HISTORY_COLUMNS = [
    "epoch",
    "train_loss",
    "train_accuracy",
    "valid_loss",
    "valid_accuracy",
    "rate",
    "images_per_second",
    "seconds",
]


def quarters(train: int = 240, valid: int = 60, test: int = 60, side: int = 8, channels: int = 1) -> Dataset:
    """Images uint8 (n, side, side, channels), the same at every call."""
    rng = np.random.default_rng(7)

    def part(count: int) -> Part:
        labels = rng.integers(4, size=count).astype(np.int64)
        images = rng.integers(0, 150, size=(count, side, side, channels)).astype(np.uint8)
        half = side // 2
        for image, label in zip(images, labels, strict=True):
            row, column = divmod(int(label), 2)
            image[row * half : (row + 1) * half, column * half : (column + 1) * half] += np.uint8(80)
        return Part(images, labels)

    return Dataset("quarters", "drawn", CLASSES, part(train), part(valid), part(test))
