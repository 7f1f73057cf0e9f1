"""Data sets for the baselines: found locally, else downloaded with a checksum; `digits` needs neither.

    data = load_dataset("cifar10", where="data")
    data.train.images, data.train.labels        # uint8 (n, h, w, c), int64 (n,)
    data.normalised(data.train.images[:64])     # float32, by the training part's mean and standard deviation

The test part is there for one look at the end; nothing here learns from it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from baselines.data import folders as folders
from baselines.data import readers as readers
from baselines.data.readers import Arrays, Parts
from baselines.data.sources import DIGIT_NAMES, SOURCES, Source, find_or_download
from competition.console import say
from competition.data.source.archive import extract, is_archive
from competition.data.source.locate import real_root
from competition.environment import cache_folder
from competition.errors import DataError, UsageError
from competition.files import digest_of, digest_of_array, read_json, write_json


@dataclass(frozen=True)
class Part:
    """One part of a data set: images uint8 (n, h, w, c) and labels int64 (n,)."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Dataset:
    """Three parts that share no image, and what is needed to feed a network.

    Attributes:
        name: how it was asked for.
        source: where it came from, for people.
        classes: class names in the order of the labels.
        train: what a network learns from; mean and standard deviation come from here.
        valid: what decides when to stop.
        test: looked at once, at the end.
        options: arguments of ``load_dataset`` that make it again, where that made it.
    """

    name: str
    source: str
    classes: tuple[str, ...]
    train: Part
    valid: Part
    test: Part
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.classes)

    @property
    def in_channels(self) -> int:
        """1 for grey images, 3 for RGB."""
        return int(self.train.images.shape[3])

    @property
    def image_size(self) -> int:
        """Side of the images in pixels."""
        return int(self.train.images.shape[1])

    @cached_property
    def digest(self) -> str:
        """Digest of all images, labels and class names."""
        parts = (self.train, self.valid, self.test)
        return digest_of(
            [self.classes, *[[digest_of_array(part.images), digest_of_array(part.labels)] for part in parts]]
        )

    @cached_property
    def statistics(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the training part, each float32 (c,), in units of [0, 1].

        They are computed once and kept in the cache folder under the training part's digest.
        """
        path = cache_folder() / "statistics" / f"{digest_of_array(self.train.images)}.json"
        stored = read_json(path) if path.is_file() else None
        if not isinstance(stored, dict) or len(stored.get("mean", ())) != self.in_channels:
            stored = dict(zip(("mean", "std"), _statistics(self.train.images), strict=True))
            write_json(path, stored)
        return np.array(stored["mean"], dtype=np.float32), np.array(stored["std"], dtype=np.float32)

    @property
    def mean(self) -> np.ndarray:
        """Mean of the training part, float32 (c,), in [0, 1]."""
        return self.statistics[0]

    @property
    def std(self) -> np.ndarray:
        """Standard deviation of the training part, float32 (c,), in units of [0, 1]."""
        return self.statistics[1]

    def normalised(self, images: np.ndarray) -> np.ndarray:
        """Images uint8 (n, h, w, c) as float32 with the training part's mean 0 and standard deviation 1."""
        return (images.astype(np.float32) / 255 - self.mean) / self.std

    def __str__(self) -> str:
        sizes = f"{len(self.train):,} train, {len(self.valid):,} validation, {len(self.test):,} test"
        side = f"{self.image_size}x{self.image_size}x{self.in_channels}"
        return f"{self.name}: {sizes}, {self.num_classes} classes, {side}, from {self.source}"


def _statistics(images: np.ndarray) -> tuple[list[float], list[float]]:
    """Exact, from a count of each of the 256 values; a channel that never changes gets a standard deviation of 1."""
    values = np.arange(256) / 255
    means, spreads = [], []
    for channel in range(images.shape[3]):
        counts = np.bincount(images[..., channel].ravel(), minlength=256)
        mean = float((counts * values).sum() / counts.sum())
        variance = float((counts * (values - mean) ** 2).sum() / counts.sum())
        means.append(mean)
        spreads.append(variance**0.5 if variance > 0 else 1.0)
    return means, spreads


def list_datasets() -> dict[str, str]:
    """Names of the known data sets and what they are; any folder or archive of class folders works as well."""
    return {name: source.about for name, source in SOURCES.items()}


def load_dataset(
    name: str = "digits",
    where: str | Path | None = None,
    *,
    image_size: int | None = None,
    valid_fraction: float = 0.1,
    seed: int = 42,
    download: bool = True,
) -> Dataset:
    """Load a data set: a known name, or a path to class folders, an archive of them, an ``.npz`` or an idx folder.

    Args:
        name: see ``list_datasets``, or a path.
        where: folder that holds data sets (or the set itself); left out: ``DOGBREED_DATASETS``, the kit's cache, Kaggle
            inputs, ``./data``.
        image_size: side in pixels to resize to; None keeps the images' own.
        valid_fraction: share of the training part kept for validation, where the files bring no validation part.
        seed: of that split (and of the test split, for class folders that have none).
        download: fetch what is not found.

    Raises:
        UsageError: the name is unknown, or a value is impossible.
        DataError: the files are missing, damaged or contradict each other.
    """
    if not 0 < valid_fraction <= 0.5:
        raise UsageError(f"valid_fraction={valid_fraction} is impossible: expected more than 0, at most 0.5")
    if image_size is not None and image_size < 1:
        raise UsageError(f"image_size={image_size} is impossible: expected 1 or more")
    if name == "digits":
        parts, source = _digits(), "scikit-learn"
    else:
        path = find_or_download(name, where, download)
        parts, source = _read(path, SOURCES.get(name), image_size), str(path)
    data = _assemble(name, source, parts, image_size, valid_fraction, seed)
    place = None if where is None else str(where)
    options = {"where": place, "image_size": image_size, "valid_fraction": valid_fraction, "seed": seed}
    data = dataclasses.replace(data, options=options)
    say(str(data))
    return data


def _digits() -> Parts:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
    return Parts((images, bunch.target.astype(np.int64)), None, None, DIGIT_NAMES)


def _read(path: Path, source: Source | None, image_size: int | None) -> Parts:
    """Read whatever lies at a path."""
    if path.suffix == ".npz":
        return readers.read_npz_set(path)
    if is_archive(path):
        path = extract(path, cache_folder() / "extracted")
    if not path.is_dir():
        raise DataError(f"{path} is no folder, archive or .npz that holds a data set")
    folder = _inner(path)
    if readers.find_idx(folder):
        return readers.read_idx_folder(folder, source.classes if source else ())
    if list(folder.glob("*.bin")):
        return readers.read_cifar_folder(folder, coarse=bool(source and source.coarse))
    folder = real_root(folder, cache_folder() / "extracted")  # the only subtree with images, however deep
    return folders.read_class_folders(folder, image_size, cache_folder() / "datasets" / "decoded")


def _inner(path: Path) -> Path:
    """Step into folders that hold nothing but one folder (or an archive) of the set."""
    for _ in range(3):
        inside = folders.visible_folders(path)
        files = [item for item in path.iterdir() if item.is_file() and not item.name.startswith(".")]
        archives = [item for item in files if is_archive(item)]
        if not inside and len(archives) == 1 and len(files) == 1:
            path = extract(archives[0], cache_folder() / "extracted")
        elif len(inside) == 1 and not files and not folders.part_folders(path):
            path = inside[0]
        else:
            break
    return path


def _assemble(
    name: str, source: str, parts: Parts, image_size: int | None, valid_fraction: float, seed: int
) -> Dataset:
    """Resize, and split off what the files do not bring."""
    rng = np.random.default_rng(seed)
    train, valid, test = parts.train, parts.valid, parts.test
    if test is None:
        train, test = _split(train, 0.2, rng, name)
    if valid is None:
        train, valid = _split(train, valid_fraction, rng, name)
    sized = tuple(Part(_resized(images, image_size), labels) for images, labels in (train, valid, test))
    shapes = {part.images.shape[1:] for part in sized}
    if len(shapes) > 1:
        raise DataError(f"{name}: the parts' images differ in shape ({', '.join(map(str, sorted(shapes)))})")
    return Dataset(name, source, parts.classes, sized[0], sized[1], sized[2])


def _split(part: Arrays, fraction: float, rng: np.random.Generator, name: str) -> tuple[Arrays, Arrays]:
    """Keep a share of every class apart, at least one image of each."""
    images, labels = part
    apart = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        if len(members) < 2:
            raise DataError(f"{name}: class {label} has {len(members)} training image, too few to keep one apart")
        apart[rng.permutation(members)[: max(1, round(fraction * len(members)))]] = True
    return (images[~apart], labels[~apart]), (images[apart], labels[apart])


def _resized(images: np.ndarray, side: int | None) -> np.ndarray:
    if side is None or images.shape[1:3] == (side, side):
        return images
    return np.stack([folders.square(image, side) for image in images])
