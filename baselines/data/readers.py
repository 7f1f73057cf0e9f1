"""Readers of the file formats data sets come in: idx, CIFAR's binary records, npz without pickle.

Every reader gives :class:`Parts`: uint8 images (n, h, w, c) and labels, as they lie in the files.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from competition.errors import DataError
from competition.files import read_npz

Arrays = tuple[np.ndarray, np.ndarray]

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataclass(frozen=True)
class Parts:
    """What was read.

    Attributes:
        train: images uint8 (n, h, w, c) and labels int64 (n,).
        valid: the same; None where the files bring no validation part.
        test: the same; None where the files bring no test part.
        classes: class names, in the order of the labels.
    """

    train: Arrays
    valid: Arrays | None
    test: Arrays | None
    classes: tuple[str, ...]


def read_idx(path: Path) -> np.ndarray:
    """Read an idx file of bytes, plain or gzipped (MNIST's format).

    Raises:
        DataError: the file is missing, no idx file, or shorter or longer than its header says.
    """
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing") from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is truncated or damaged ({error}): download it again") from error
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise DataError(f"{path} is no idx file of bytes (it starts with {content[:4].hex() or 'nothing'})")
    dimensions = content[3]
    head = 4 + 4 * dimensions
    shape = tuple(int.from_bytes(content[at : at + 4], "big") for at in range(4, head, 4))
    promised = int(np.prod(shape, dtype=np.int64))
    if len(content) - head != promised:
        wants = " x ".join(f"{side:,}" for side in shape)
        raise DataError(
            f"{path} is truncated or damaged: its header promises {wants} bytes, {max(len(content) - head, 0):,} are "
            "there; download it again"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=head).reshape(shape)


def find_idx(folder: Path) -> dict[str, Path]:
    """The four files of an MNIST-like set by role (``train-images`` ...), as far as they are there."""
    found = {}
    for role, start in (
        ("train-images", "train-images"),
        ("train-labels", "train-labels"),
        ("test-images", "t10k-images"),
        ("test-labels", "t10k-labels"),
    ):
        named = sorted(path for path in folder.iterdir() if path.name.startswith(start) and path.is_file())
        if named:
            found[role] = named[0]
    return found


def read_idx_folder(folder: Path, classes: Sequence[str]) -> Parts:
    """Read an MNIST-like folder; without class names the labels' numbers serve.

    Raises:
        DataError: a file is missing or damaged, or images and labels differ in number.
    """
    files = find_idx(folder)
    missing = [role for role in ("train-images", "train-labels", "test-images", "test-labels") if role not in files]
    if missing:
        raise DataError(f"{folder} lacks the idx file of {', '.join(missing)}")

    def part(name: str) -> Arrays:
        images, labels = read_idx(files[f"{name}-images"]), read_idx(files[f"{name}-labels"])
        if images.ndim not in (3, 4) or labels.ndim != 1:
            raise DataError(f"{files[f'{name}-images']} and its labels have the shapes {images.shape}, {labels.shape}")
        return checked(images, labels, len(classes) or None, files[f"{name}-images"])

    train, test = part("train"), part("test")
    count = 1 + max(int(labels.max(initial=0)) for _, labels in (train, test))
    return Parts(train, None, test, tuple(classes) or tuple(map(str, range(count))))


def checked(images: np.ndarray, labels: np.ndarray, n_classes: int | None, source: Path) -> Arrays:
    """Bring images to uint8 (n, h, w, c) and labels to int64 (n,).

    Raises:
        DataError: not as many labels as images, no bytes, or a label beyond the classes.
    """
    if len(images) != len(labels):
        raise DataError(f"{source}: {len(images):,} images but {len(labels):,} labels")
    if images.dtype != np.uint8:
        raise DataError(f"{source}: images are {images.dtype}, expected uint8 (0 to 255)")
    images = images[..., None] if images.ndim == 3 else images
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise DataError(f"{source}: images have the shape {images.shape}, expected (n, h, w) or (n, h, w, 1 or 3)")
    labels = labels.astype(np.int64).reshape(-1)
    if len(labels) and (labels.min() < 0 or (n_classes is not None and labels.max() >= n_classes)):
        raise DataError(f"{source}: label {labels.max() if labels.min() >= 0 else labels.min()} is no class")
    return images, labels


def read_npz_set(path: Path) -> Parts:
    """Read ``x_train, y_train, x_test, y_test`` (Keras' names), optionally ``x_valid, y_valid`` and ``classes``.

    Raises:
        DataError: an array is missing or does not fit, or the file holds pickled objects.
    """
    stored = read_npz(path)
    missing = sorted({"x_train", "y_train"} - set(stored))
    if missing:
        raise DataError(f"{path} lacks {', '.join(missing)}; it holds {', '.join(sorted(stored)) or 'nothing'}")
    if not len(stored["y_train"]):
        raise DataError(f"{path} holds no training images")
    count = int(stored["y_train"].max()) + 1
    classes = tuple(map(str, stored["classes"])) if "classes" in stored else tuple(map(str, range(count)))

    def part(name: str) -> Arrays | None:
        if f"x_{name}" not in stored or f"y_{name}" not in stored:
            return None
        return checked(stored[f"x_{name}"], stored[f"y_{name}"], len(classes), path)

    train = part("train")
    assert train is not None
    return Parts(train, part("valid"), part("test"), classes)


def read_cifar_folder(folder: Path, coarse: bool) -> Parts:
    """Read CIFAR-10 or CIFAR-100 in their binary versions; which one it is shows by the files' names.

    Args:
        folder: holds ``data_batch_1.bin`` ... and ``test_batch.bin``, or ``train.bin`` and ``test.bin``.
        coarse: of CIFAR-100 take the 20 superclasses.

    Raises:
        DataError: a file is missing or is no whole number of records.
    """
    hundred = (folder / "train.bin").is_file()
    if hundred:
        train, test, heads, column = [folder / "train.bin"], folder / "test.bin", 2, 0 if coarse else 1
        classes = _names(folder / f"{'coarse' if coarse else 'fine'}_label_names.txt", 20 if coarse else 100)
    else:
        train, test, heads, column = sorted(folder.glob("data_batch_*.bin")), folder / "test_batch.bin", 1, 0
        classes = _names(folder / "batches.meta.txt", 10, CIFAR10_CLASSES)
    parts = [_cifar_records(path, heads, column, len(classes)) for path in [*train, test]]
    images = np.concatenate([images for images, _ in parts[:-1]])
    labels = np.concatenate([labels for _, labels in parts[:-1]])
    return Parts((images, labels), None, parts[-1], classes)


def _cifar_records(path: Path, heads: int, column: int, n_classes: int) -> Arrays:
    try:
        content = np.fromfile(path, dtype=np.uint8)
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing") from error
    size = heads + 3 * 32 * 32
    if not len(content) or len(content) % size:
        raise DataError(f"{path} is truncated or damaged: {len(content):,} bytes are no multiple of {size:,}")
    records = content.reshape(-1, size)
    images = records[:, heads:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return checked(np.ascontiguousarray(images), records[:, column], n_classes, path)


def _names(path: Path, count: int, default: Sequence[str] = ()) -> tuple[str, ...]:
    if path.is_file():
        names = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
        if len(names) == count:
            return names
    return tuple(default) or tuple(map(str, range(count)))
