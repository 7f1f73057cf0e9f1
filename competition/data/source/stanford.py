"""What Stanford Dogs brings beside its photos: the lists that split them, and a box round every dog.

As published, the set unpacks to ``Images/n02085620-Chihuahua/*.jpg``, ``Annotation/n02085620-Chihuahua/*`` (XML of
PASCAL VOC, without ending), ``train_list.mat`` and ``test_list.mat``; copies of it wrap these in further folders.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from competition.data.source.listing import subfolders
from competition.errors import DataError

_LISTS = ("train_list", "test_list")
_MOST_BYTES = 64 * 1024**2
_MOST_ROWS = 1_000_000
_MOST_XML = 1024**2

Box = tuple[float, float, float, float]  # left, top, right, bottom as shares of the photo's sides


def around(top: Path, root: Path) -> Iterator[Path]:
    """The folders in which lists and boxes may lie: two levels from the top, none of the class folders."""
    for folder in (top, *subfolders(top)):
        yield folder
        if folder not in (top, root):
            yield from subfolders(folder)


def find_lists(top: Path, root: Path) -> Path | None:
    """The folder that holds ``train_list`` and ``test_list``, both as ``.mat`` or as ``.txt``."""
    for folder in around(top, root):
        if all(_list_file(folder, name) is not None for name in _LISTS):
            return folder
    return None


def find_boxes(top: Path, root: Path) -> Path | None:
    """The folder of annotations: called so, with a folder of the same name as a class folder in ``root``."""
    classes = {path.name for path in subfolders(root)}
    for folder in around(top, root):
        if folder.name.casefold().startswith("annotation") and classes & {path.name for path in subfolders(folder)}:
            return folder
    return None


def read_split(folder: Path) -> tuple[frozenset[str], frozenset[str]]:
    """The photos of train and of test, each as ``class folder/file name``.

    Raises:
        DataError: a list cannot be read, is empty, or both list the same photo.
    """
    train, test = (_read_list(path) for name in _LISTS if (path := _list_file(folder, name)) is not None)
    both = train & test
    if both:
        raise DataError(f"{folder}: {len(both):,} photos are in train_list and in test_list (first: {min(both)})")
    return train, test


def _list_file(folder: Path, name: str) -> Path | None:
    return next((path for ending in (".mat", ".txt") if (path := folder / f"{name}{ending}").is_file()), None)


def _read_list(path: Path) -> frozenset[str]:
    if path.stat().st_size > _MOST_BYTES:
        raise DataError(f"{path} has {path.stat().st_size / 1e6:,.0f} MB: too large for a list of photos")
    try:
        names = _rows_of_mat(path) if path.suffix == ".mat" else path.read_text(encoding="utf-8-sig").splitlines()
    except Exception as error:  # scipy raises a dozen kinds for damaged files
        raise DataError(f"{path} is no list of photos ({error}): take it from the set again, or remove it") from error
    found = frozenset("/".join(Path(name.strip()).parts[-2:]) for name in names if name.strip())
    if not found:
        raise DataError(f"{path} lists no photos: take it from the set again, or remove it")
    return found


def _rows_of_mat(path: Path) -> list[str]:
    """The cells of ``file_list``; of a MATLAB file no code is run and no other variable is read."""
    from scipy.io import loadmat, whosmat

    shapes = {name: shape for name, shape, _ in whosmat(str(path))}
    rows = 1
    for side in shapes.get("file_list", ()):
        rows *= side
    if "file_list" not in shapes or rows > _MOST_ROWS:
        raise ValueError("it has no variable file_list" if "file_list" not in shapes else f"{rows:,} rows")
    cells = loadmat(io.BytesIO(path.read_bytes()), variable_names=["file_list"])["file_list"].ravel()
    return [str(cell.item() if hasattr(cell, "item") else cell) for cell in cells]


def box_of(boxes: Path, photo: Path) -> Box | None:
    """The smallest box round all the dogs of a photo; None where nobody drew one.

    Args:
        boxes: the folder of annotations.
        photo: its class folder and name say which annotation is its own.

    Raises:
        DataError: the annotation is no such XML.
    """
    places = (boxes / photo.parent.name / name for name in (photo.stem, f"{photo.stem}.xml", f"{photo.name}.xml"))
    path = next((place for place in places if place.is_file()), None)
    return None if path is None else _read_box(path)


def _read_box(path: Path) -> Box | None:
    content = path.read_bytes()[: _MOST_XML + 1]
    # Entities are the way in which an XML file does harm; annotations have no use for them.
    if len(content) > _MOST_XML or b"\0" in content or re.search(rb"<!\s*(DOCTYPE|ENTITY)", content, re.IGNORECASE):
        raise DataError(f"{path} is refused: an annotation is small XML without a document type")
    try:
        tree = ElementTree.fromstring(content)
        width, height = (float(tree.findtext(f"size/{side}", "")) for side in ("width", "height"))
        corners = [
            [float(box.findtext(name, "")) for name in ("xmin", "ymin", "xmax", "ymax")]
            for box in tree.iterfind("object/bndbox")
        ]
        if not corners:
            return None
        lefts, tops, rights, bottoms = zip(*corners, strict=True)
        left, top, right, bottom = min(lefts), min(tops), max(rights), max(bottoms)
        box = (max(0.0, left / width), max(0.0, top / height), min(1.0, right / width), min(1.0, bottom / height))
    except (ElementTree.ParseError, ValueError, ZeroDivisionError) as error:
        raise DataError(f"{path} is no annotation in PASCAL VOC's form ({error})") from error
    if not (box[0] < box[2] and box[1] < box[3]):
        raise DataError(f"{path}: the box {left:g}, {top:g}, {right:g}, {bottom:g} is empty")
    return box
