"""Class folders: ``train/<class>/*.jpg`` and the like, decoded once and kept as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from baselines.data.readers import Parts
from competition.console import progress, say, warn
from competition.data.photos.decode import read_photo
from competition.data.source import listing, names
from competition.errors import DataError
from competition.files import digest_of, read_npz, write_npz
from competition.locks import only_one_at

_PART_NAMES = {"train": ("train", "training"), "valid": ("valid", "val", "validation"), "test": ("test", "testing")}


def part_folders(root: Path) -> dict[str, Path]:
    """The folders of ``train``, ``valid`` and ``test`` by those names, as far as they are there."""
    by_name = {path.name.casefold(): path for path in visible_folders(root)}
    found = {}
    for part, called in _PART_NAMES.items():
        found[part] = next((by_name[name] for name in called if name in by_name), None)
    return {part: path for part, path in found.items() if path is not None}


def visible_folders(root: Path) -> list[Path]:
    """Folders directly inside, without hidden ones, sorted by name with numbers in their order."""
    return sorted(listing.subfolders(root), key=lambda path: (len(path.name) if path.name.isdigit() else 0, path.name))


def read_class_folders(root: Path, image_size: int | None, cache: Path) -> Parts:
    """Read ``train/<class>/*.jpg`` with optional ``valid`` and ``test``, or ``<class>/*.jpg`` alone.

    Images are kept as one array in ``cache``, so that the next start decodes nothing. Sets whose every image is grey
    come with one channel. Files that are no images are counted and named, and so are classes that differ only in
    spelling.

    Args:
        root: the folder.
        image_size: side in pixels to which the central square is resized; None keeps images that are all of one size.
        cache: folder for the decoded arrays.

    Raises:
        DataError: a class is empty, the parts' classes differ, or images are of several sizes and none is asked for.
        PhotoError: a file cannot be decoded.
    """
    parts = part_folders(root)
    if "train" not in parts:
        parts = {"train": root}
    classes = tuple(path.name for path in visible_folders(parts["train"]))
    if len(classes) < 2:
        raise DataError(f"{parts['train']} holds {len(classes)} class folders: expected at least two, each with images")
    names.require_text("class folders have names", classes)
    files = {part: _class_files(folder, classes) for part, folder in parts.items()}
    _tell(root, parts, files, classes)
    facts = [[str(path.relative_to(root)), path.stat().st_size] for paths, _ in files.values() for path in paths]
    stored = cache / f"{root.name}-{digest_of([image_size, facts])}.npz"
    images = _kept(stored)
    if images is None:
        with only_one_at(stored):
            images = _kept(stored)  # another process may have decoded them meanwhile
            if images is None:
                images = _decode_all({part: paths for part, (paths, _) in files.items()}, image_size, root)
                write_npz(stored, **images)
    read = {part: (images[part], labels) for part, (_, labels) in files.items()}
    return Parts(read["train"], read.get("valid"), read.get("test"), classes)


def _kept(stored: Path) -> dict[str, np.ndarray] | None:
    """The decoded arrays (a zip, which knows a checksum of each); None where there are none, or damaged ones."""
    try:
        return read_npz(stored) if stored.is_file() else None
    except DataError:
        say(f"{stored} is damaged: its images are decoded again")
        return None


def _tell(
    root: Path, parts: dict[str, Path], files: dict[str, tuple[list[Path], np.ndarray]], classes: Sequence[str]
) -> None:
    """Say what is left out, and which classes seem to be one."""
    used = {path for paths, _ in files.values() for path in paths}
    left = [file for folder in parts.values() for file in listing.left_out(folder, used, root)]
    labels = np.concatenate([labels for _, labels in files.values()])
    counts = dict(zip(classes, np.bincount(labels, minlength=len(classes)).tolist(), strict=True))
    alike = names.alike_notes(counts, "rename the folders where they are one class")
    for note in (*listing.told(file for file in left if not file.name.startswith(".dogbreed")), *alike):
        warn(note)


def _class_files(folder: Path, classes: Sequence[str]) -> tuple[list[Path], np.ndarray]:
    here = {path.name for path in visible_folders(folder)}
    if here != set(classes):
        lacking, extra = sorted(set(classes) - here), sorted(here - set(classes))
        told = [f"lacks '{lacking[0]}'"] if lacking else []
        told += [f"has '{extra[0]}', which the training part has not"] if extra else []
        alike = [group for group in names.spelt_alike([*lacking, *extra]) if len(group) > 1]
        told += [f"spells {names.quoted(alike[0][0])} and {names.quoted(alike[0][1])} for one class"] if alike else []
        raise DataError(f"{folder} {' and '.join(told)}: every part needs the same class folders")
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = listing.photo_files(folder / name)
        if not found:
            others = "; ".join(listing.told(listing.left_out(folder / name, (), folder)))
            because = f" ({others})" if others else ""
            raise DataError(f"class folder {folder / name} holds no image{because}: fill it or remove it")
        paths += found
        labels += [label] * len(found)
    return paths, np.array(labels, dtype=np.int64)


def _decode_all(files: dict[str, list[Path]], image_size: int | None, root: Path) -> dict[str, np.ndarray]:
    total = sum(map(len, files.values()))
    arrays: dict[str, np.ndarray] = {}
    with progress(f"reading {root.name}", total, "images") as ticker, ThreadPoolExecutor(8) as pool:

        def one(path: Path) -> np.ndarray:
            image = square(read_photo(path, image_size), image_size)
            ticker.advance()
            return image

        for part, paths in files.items():
            images = list(pool.map(one, paths))
            _require_one_size(images, paths)
            arrays[part] = np.stack(images)
    grey = all((array == array[..., :1]).all() for array in arrays.values())
    return {part: np.ascontiguousarray(array[..., :1]) if grey else array for part, array in arrays.items()}


def _require_one_size(images: Sequence[np.ndarray], paths: Sequence[Path]) -> None:
    for image, path in zip(images, paths, strict=True):
        if image.shape != images[0].shape or image.shape[0] != image.shape[1]:
            first, own = (f"{shape[1]}x{shape[0]}" for shape in (images[0].shape, image.shape))
            raise DataError(
                f"{path} is {own} px and {paths[0].name} {first} px, no common square: say which size to resize to "
                "(image_size=..., --image-size)"
            )


def square(image: np.ndarray, side: int | None) -> np.ndarray:
    """Resize the central square of an image (h, w, c) to ``side`` pixels; as it is when ``side`` is None or fits."""
    if side is None or image.shape[:2] == (side, side):
        return image
    from PIL import Image

    height, width = image.shape[:2]
    short = min(height, width)
    left, top = (width - short) / 2, (height - short) / 2
    flat = image[..., 0] if image.shape[-1] == 1 else image
    box = (left, top, left + short, top + short)
    resized = np.asarray(Image.fromarray(flat).resize((side, side), Image.Resampling.BILINEAR, box=box))
    return resized[..., None] if resized.ndim == 2 else resized
