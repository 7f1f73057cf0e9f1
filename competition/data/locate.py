"""Where in a folder the competition's parts lie: directly, one folder deep, or in archives inside."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from competition.data import archive
from competition.data.decode import SUFFIXES
from competition.environment import folders_below

LABELS = frozenset(("labels.csv", "labels.csv.zip"))
_VALID_NAMES = ("valid", "val", "validation")


@dataclass(frozen=True)
class Places:
    """The parts of a data folder; None for what is not there."""

    root: Path
    labels: Path | None
    sample_submission: Path | None
    train: Path | None
    valid: Path | None
    test: Path | None


def photo_files(folder: Path) -> tuple[list[Path], list[str]]:
    """Photos directly in a folder, by name, and the names of other visible files; both sorted."""
    photos, others = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or not entry.is_file():
                continue
            if entry.name.casefold().endswith(SUFFIXES):
                photos.append(folder / entry.name)
            else:
                others.append(entry.name)
    return sorted(photos), sorted(others)


def subfolders(folder: Path) -> list[Path]:
    """Visible folders directly inside, sorted."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "__MACOSX")))


def _holds_parts(folder: Path) -> bool:
    names = {path.name.casefold() for path in folder.iterdir()}
    return bool(names & {"labels.csv", "labels.csv.zip", "train", "test", "train.zip", "test.zip"})


def real_root(folder: Path, cache: Path) -> Path:
    """The folder that holds the parts: itself, the only folder inside, or what its one archive unpacks to."""
    if _holds_parts(folder) or photo_files(folder)[0]:
        return folder
    inside = subfolders(folder)
    holding = [path for path in inside if _holds_parts(path)]
    if len(holding) == 1:
        return holding[0]
    if len(inside) == 1:
        return inside[0]
    packed = sorted(path for path in folder.iterdir() if archive.is_archive(path))
    if not inside and len(packed) == 1:
        return real_root(archive.extract(packed[0], cache), cache)
    return folder


def data_in(path: Path, need_labels: bool) -> Path | None:
    """A folder or archive at ``path`` that looks like the competition's data, else None (for places not asked for)."""
    if not path.is_dir():
        return path if archive.is_archive(path) else None
    for folder, found in folders_below(path, deepest=3):
        names = {name.casefold() for name in found}
        parts = "train" in names or ("test" in names and not need_labels)
        if names & LABELS or (parts and path in (folder, folder.parent)):
            return folder
    packed = [inner for inner in sorted(path.iterdir()) if archive.is_archive(inner) and "dog" in inner.name.casefold()]
    return packed[0] if packed else None


def places(root: Path, cache: Path) -> Places:
    """Find the parts in ``root``; parts that Kaggle packed once more (train.zip, labels.csv.zip) are unpacked."""
    valid = next((found for name in _VALID_NAMES if (found := _folder(root, name, cache)) is not None), None)
    return Places(
        root=root,
        labels=_file(root, "labels.csv", cache),
        sample_submission=_file(root, "sample_submission.csv", cache),
        train=_folder(root, "train", cache),
        valid=valid,
        test=_folder(root, "test", cache),
    )


def _file(root: Path, name: str, cache: Path) -> Path | None:
    if (root / name).is_file():
        return root / name
    packed = root / f"{name}.zip"
    if not packed.is_file():
        return None
    inner = archive.extract(packed, cache) / name
    return inner if inner.is_file() else None


def _folder(root: Path, name: str, cache: Path) -> Path | None:
    if (root / name).is_dir():
        folder = root / name
    elif (root / f"{name}.zip").is_file():
        folder = archive.extract(root / f"{name}.zip", cache)
    else:
        return None
    # An archive of a folder repeats its name inside: train.zip -> train/, or train/train/ as some tools unpack it.
    return folder / name if (folder / name).is_dir() and not photo_files(folder)[0] else folder
