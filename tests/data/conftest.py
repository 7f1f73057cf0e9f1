"""Tiny competitions to break."""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

BREEDS = ("akita", "boxer", "collie")


def picture(seed: int, side: int = 48) -> np.ndarray:
    """A textured picture, uint8 (side, side, 3), that no other seed resembles."""
    rng = np.random.default_rng(seed)
    grid = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(grid).resize((side, side), Image.Resampling.BICUBIC))


def save(path: Path, image: np.ndarray, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, **options)
    return path


def write_rows(path: Path, rows) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(rows)
    return path


def competition(folder: Path, per_breed: int = 4, test: int = 3, side: int = 48) -> Path:
    """Kaggle's layout with three breeds."""
    rows, seed = [], 0
    for _ in range(per_breed):
        for breed in BREEDS:
            save(folder / "train" / f"p{seed:03d}.jpg", picture(seed, side))
            rows.append([f"p{seed:03d}", breed])
            seed += 1
    for number in range(test):
        save(folder / "test" / f"t{number:03d}.jpg", picture(1000 + number, side))
    (folder / "test").mkdir(exist_ok=True)
    write_rows(folder / "labels.csv", [["id", "breed"], *rows])
    uniform = [[f"t{number:03d}", *[1 / 3] * 3] for number in range(test)]
    write_rows(folder / "sample_submission.csv", [["id", *BREEDS], *uniform])
    return folder


def zipped(folder: Path, target: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, prefix + path.relative_to(folder).as_posix())
    return target


@pytest.fixture
def kaggle(tmp_path: Path) -> Path:
    return competition(tmp_path / "data")
