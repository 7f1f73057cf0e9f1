"""Where in a folder the competition's parts lie: directly, some folders deep, or in archives inside."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from competition.data.photos.decode import SUFFIXES
from competition.data.source import archive, stanford
from competition.data.source.listing import is_hidden, is_photo, photo_files, subfolders
from competition.environment import folders_below

LABELS = frozenset(("labels.csv", "labels.csv.zip"))
_NAMES = {
    "train": ("train", "training"),
    "valid": ("valid", "val", "validation"),
    "test": ("test", "testing"),
}
_PARTS = LABELS | {*_NAMES["train"], *_NAMES["test"], "train.zip", "test.zip"}


@dataclass(frozen=True)
class Places:
    """The parts of a data folder; None for what is not there.

    ``lists`` and ``boxes`` are Stanford Dogs': the folder of its splits and that of its annotations.
    """

    root: Path
    labels: Path | None
    sample_submission: Path | None
    train: Path | None
    valid: Path | None
    test: Path | None
    lists: Path | None = None
    boxes: Path | None = None


def _holds_parts(folder: Path) -> bool:
    return not _PARTS.isdisjoint(path.name.casefold() for path in folder.iterdir())


def real_root(folder: Path, cache: Path, *, loose: bool = False) -> Path:
    """The folder that holds the parts: itself, the only subtree with photos, or what its archive unpacks to.

    Args:
        folder: where to look.
        cache: where archives inside are unpacked.
        loose: photos that lie directly in a folder are what is looked for; else they must lie in class folders.
    """
    if _holds_parts(folder) or (loose and photo_files(folder)):
        return folder
    inside = subfolders(folder)
    holding = [path for path in inside if _holds_parts(path)]
    if len(holding) == 1:
        return holding[0]
    bearing = bearing_photos(inside)
    if len(bearing) == 1:
        only = bearing[0]
        is_class = bool(photo_files(only)) and not bearing_photos(subfolders(only))
        return folder if is_class and not loose else real_root(only, cache, loose=loose)
    packed = sorted(path for path in folder.iterdir() if archive.is_archive(path))
    # Stanford Dogs comes as images.tar, annotation.tar and lists.tar.
    photos = packed if len(packed) == 1 else [path for path in packed if path.name.casefold().startswith("images.")]
    if not bearing and len(photos) == 1:
        return real_root(archive.extract(photos[0], cache), cache, loose=loose)
    return folder


def bearing_photos(folders: list[Path]) -> list[Path]:
    """Those of the folders with a photo at any depth; files without a photo's ending only where no other is found."""
    named = [folder for folder in folders if _bears(folder, lambda path: path.name.casefold().endswith(SUFFIXES))]
    return named or [folder for folder in folders if _bears(folder, is_photo)]


def _bears(folder: Path, wanted: Callable[[Path], bool]) -> bool:
    for where, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not is_hidden(name)]
        if any(not is_hidden(name) and wanted(Path(where, name)) for name in files):
            return True
    return False


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


def places(root: Path, cache: Path, top: Path | None = None) -> Places:
    """Find the parts in ``root``; parts that Kaggle packed once more (train.zip, labels.csv.zip) are unpacked.

    Args:
        root: the folder that holds the parts, see ``real_root``.
        cache: where archives inside are unpacked.
        top: the folder that was given, in which Stanford Dogs' lists and boxes are looked for.
    """
    parts = {part: _folder(root, part, cache) for part in _NAMES}
    found = Places(root, _file(root, "labels.csv", cache), _file(root, "sample_submission.csv", cache), **parts)
    if found.labels is not None or found.train is not None or top is None:
        return found
    tops = [top, *_unpacked_beside(top, cache)]
    lists = next((at for place in tops if (at := stanford.find_lists(place, root)) is not None), None)
    boxes = next((at for place in tops if (at := stanford.find_boxes(place, root)) is not None), None)
    return dataclasses.replace(found, lists=lists, boxes=boxes)


def _unpacked_beside(top: Path, cache: Path) -> list[Path]:
    wanted = ("annotation", "lists.")
    packed = sorted(path for path in top.iterdir() if archive.is_archive(path))
    return [archive.extract(path, cache) for path in packed if path.name.casefold().startswith(wanted)]


def _by_name(folder: Path) -> dict[str, Path]:
    """What lies in a folder, by name without capitals: ``Train`` is ``train``."""
    return {path.name.casefold(): path for path in folder.iterdir()}


def _file(root: Path, name: str, cache: Path) -> Path | None:
    inside = _by_name(root)
    if name in inside and inside[name].is_file():
        return inside[name]
    packed = inside.get(f"{name}.zip")
    if packed is None or not packed.is_file():
        return None
    inner = _by_name(archive.extract(packed, cache)).get(name)
    return inner if inner is not None and inner.is_file() else None


def _folder(root: Path, part: str, cache: Path) -> Path | None:
    by_name = _by_name(root)
    for name in _NAMES[part]:
        if name in by_name and by_name[name].is_dir():
            return _unwrapped(by_name[name])
        if f"{name}.zip" in by_name and by_name[f"{name}.zip"].is_file():
            return _unwrapped(archive.extract(by_name[f"{name}.zip"], cache), name)
    return None


def _unwrapped(folder: Path, name: str = "") -> Path:
    """An archive of a folder repeats its name inside: train.zip -> train/, or train/train/ as some tools unpack it."""
    inner = folder / (name or folder.name)
    return inner if inner.is_dir() and not photo_files(folder) else folder
