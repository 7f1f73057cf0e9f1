"""Classes joined and photos cropped as a configuration asks, before anything looks at the data."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from competition import environment
from competition.console import progress, say
from competition.data.photos.decode import read_photo
from competition.data.source import names, stanford
from competition.data.source.competition_data import CompetitionData, Photo
from competition.data.source.labels import read_csv, sample_columns
from competition.errors import DataError, PhotoError, nearest
from competition.files import digest_of, read_json, write_json
from competition.locks import only_one
from competition.system.workers import map_in_order
from competition.system_errors import explain_disk_errors

if TYPE_CHECKING:
    from competition.config import Config

MARGIN = 0.1  # of the box's sides, kept around it: a box drawn by hand cuts ears off
_QUALITY = 95
_DONE = "cropped.json"


def arranged(data: CompetitionData, config: Config) -> CompetitionData:
    """The data as a configuration wants them: ``merge_classes``, ``crop_to_boxes``.

    Raises:
        DataError: the mapping file is wrong, or there are no boxes.
    """
    return _arranged(data, config.merge_classes, config.crop_to_boxes)


def like_run(data: CompetitionData, run: Path) -> CompetitionData:
    """The data as a run had them, by its ``config.json``; a blend's as its first member had them."""
    wanted = _settings(run)
    return _arranged(data, str(wanted.get("merge_classes", "")), bool(wanted.get("crop_to_boxes", False)))


def _settings(run: Path, depth: int = 4) -> Mapping[str, Any]:
    stored: Mapping[str, Any] = read_json(run / "config.json") if (run / "config.json").is_file() else {}
    manifest = read_json(run / "manifest.json") if (run / "manifest.json").is_file() else {}
    members = manifest.get("member_paths", ())
    return _settings(run / members[0], depth - 1) if members and depth else stored


def _arranged(data: CompetitionData, merge: str, crop: bool) -> CompetitionData:
    joined = merged(data, merge) if merge else data
    return cropped(joined) if crop else joined


def merged(data: CompetitionData, how: str) -> CompetitionData:
    """Join classes.

    Args:
        data: the photos; data without labels stay as they are.
        how: ``true`` joins breeds that differ only in spelling, under the name that sample_submission.csv has or that
            most photos have; else the path of a CSV with the columns ``from`` and ``to``.

    Raises:
        DataError: the CSV is wrong, or fewer than two breeds are left.
    """
    if not data.train:
        return data
    counts = _counts(data)
    target = _by_spelling(data, counts) if how == "true" else _by_file(Path(how), counts)
    changed = {old: new for old, new in sorted(target.items()) if old != new}
    for old, new in changed.items():
        say(f"merge_classes: {names.quoted(old)} ({counts[old]:,} photos) is {names.quoted(new)}")
    train = tuple(dataclasses.replace(photo, breed=target.get(str(photo.breed), photo.breed)) for photo in data.train)
    classes = tuple(sorted({str(photo.breed) for photo in train}))
    if len(classes) < 2:
        raise DataError(f"merge_classes leaves photos of {len(classes)} breed(s): at least 2 are needed")
    known = {breed: target.get(breed, breed) for breed in counts}
    test = tuple(_renamed(photo, known, classes) for photo in data.test)
    return dataclasses.replace(data, train=train, test=test, classes=classes)


def _renamed(photo: Photo, target: Mapping[str, str], classes: tuple[str, ...]) -> Photo:
    """A test photo with the breed that its folder means now."""
    breed = target.get(photo.breed or photo.path.parent.name)
    return dataclasses.replace(photo, breed=breed if breed in classes else None)


def _counts(data: CompetitionData) -> Counter[str]:
    """Photos by breed in train, and by folder in test/ where that is called like a breed in any spelling."""
    counts = Counter(str(photo.breed) for photo in data.train)
    known = {names.spelling(breed) for breed in counts}
    inner = (photo.breed or photo.path.parent.name for photo in data.test)
    counts.update(name for name in inner if names.spelling(name) in known)
    return counts


def _by_spelling(data: CompetitionData, counts: Counter[str]) -> dict[str, str]:
    columns = sample_columns(data.sample_submission) if data.sample_submission is not None else ()
    of_sample = {names.spelling(column): column for column in columns}
    trained = Counter(str(photo.breed) for photo in data.train)
    target: dict[str, str] = {}
    for breed in counts:
        alike = [other for other in counts if names.spelling(other) == names.spelling(breed)]
        most = min(alike, key=lambda name: (-trained[name], name))
        target[breed] = of_sample.get(names.spelling(breed), most)
    return target


def _by_file(path: Path, counts: Counter[str]) -> dict[str, str]:
    if not path.is_file():
        raise DataError(f"merge_classes={path} is neither true, false nor a file: give a CSV with the columns from,to")
    header, rows = read_csv(path)
    if header[:2] != ["from", "to"]:
        raise DataError(f"{path} needs the columns 'from' and 'to' (found: {', '.join(header[:3])})")
    target: dict[str, str] = {}
    for number, (old, new, *_) in enumerate(rows, start=1):
        if old not in counts:
            raise DataError(f"{path}, row {number}: there is no breed '{old}'{nearest(old, counts)}")
        if not new or target.setdefault(old, new) != new:
            raise DataError(f"{path}, row {number}: '{old}' gets {'no name' if not new else 'two names'}: keep one row")
    chained = [new for new in target.values() if target.get(new, new) != new]
    if chained:
        raise DataError(f"{path}: '{chained[0]}' stands in 'to' and in 'from': write the last name in 'to'")
    return target


def spelling_notes(data: CompetitionData, advice: str) -> tuple[str, ...]:
    """Sentences on breeds that differ only in spelling, from one another or from sample_submission.csv's columns."""
    if not data.train:
        return ()
    notes = names.alike_notes(_counts(data), advice)
    columns = sample_columns(data.sample_submission) if data.sample_submission is not None else ()
    of_sample = {names.spelling(column): column for column in columns}
    for breed in sorted(set(data.classes) - set(columns)):
        column = of_sample.get(names.spelling(breed))
        if column is not None and column not in data.classes:
            notes.append(
                f"the breed {names.quoted(breed)} of the labels is spelt {names.quoted(column)} in "
                f"sample_submission.csv: {advice}"
            )
    return tuple(notes)


def cropped(data: CompetitionData) -> CompetitionData:
    """The same photos cut to the boxes that people drew round the dogs, kept as files in the cache.

    A tenth of the box's sides is kept around it, several dogs share one box, a photo without box stays whole. The boxes
    are part of the answer: a score on photos that were cropped by hand is not one on photos as they come.

    Raises:
        DataError: the data have no boxes, or one cannot be read.
    """
    store = environment.cache_folder() / "cropped"
    if data.boxes is None and any(store in photo.path.parents for photo in (*data.train, *data.test)):
        return data  # they are cut already
    if data.boxes is None:
        raise DataError(f"crop_to_boxes: {data.source} has no folder Annotation/ with a box for each photo")
    boxes = data.boxes
    photos = (*data.train, *data.test)
    found = {photo.path: stanford.box_of(boxes, photo.path) for photo in photos}
    facts = [[photo.id, photo.path.stat().st_size, found[photo.path]] for photo in photos]
    folder = store / digest_of([MARGIN, _QUALITY, facts])
    with explain_disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with only_one(folder / ".lock"):
            if not (folder / _DONE).is_file():
                _write_crops(found, folder)
    whole = sum(box is None for box in found.values())
    note = "photos are cut to boxes that people drew round the dogs: scores are not those of photos as they come"
    notes = (*data.notes, note, *((f"{whole:,} photos have no box and stay whole",) if whole else ()))
    return dataclasses.replace(
        data,
        train=tuple(_moved(photo, found, folder) for photo in data.train),
        test=tuple(_moved(photo, found, folder) for photo in data.test),
        notes=notes,
        boxes=None,
    )


def _moved(photo: Photo, found: Mapping[Path, stanford.Box | None], folder: Path) -> Photo:
    place = _place(photo.path, folder)
    return dataclasses.replace(photo, path=place) if found[photo.path] is not None and place.is_file() else photo


def _place(path: Path, folder: Path) -> Path:
    """Where the crop of a photo lies; its class folder stays its name."""
    return folder / path.parent.name / f"{path.name}.jpg"


def _write_crops(found: Mapping[Path, stanford.Box | None], folder: Path) -> None:
    jobs = [(path, box) for path, box in found.items() if box is not None]
    with progress("cropping to boxes", len(jobs)) as ticker:
        for _ in map_in_order(partial(_crop, folder=folder), jobs):
            ticker.advance()
    write_json(folder / _DONE, {"photos": len(jobs)})


def _crop(job: tuple[Path, stanford.Box], folder: Path) -> None:
    """Write one crop; a photo that cannot be read is left to the audit, which names it."""
    path, box = job
    try:
        image = read_photo(path)
    except PhotoError:
        return
    place = _place(path, folder)
    place.parent.mkdir(parents=True, exist_ok=True)
    # Not atomically: a flush for each of twenty thousand takes minutes, and without the mark all are written again.
    Image.fromarray(cut(image, box)).save(place, "JPEG", quality=_QUALITY, subsampling=0)


def cut(image: np.ndarray, box: stanford.Box, margin: float = MARGIN) -> np.ndarray:
    """The part of a photo (h, w, 3) inside a box in shares of its sides, and a margin in shares of the box's."""
    height, width = image.shape[:2]
    more_x, more_y = margin * (box[2] - box[0]), margin * (box[3] - box[1])
    left, right = max(0, int((box[0] - more_x) * width)), min(width, int(np.ceil((box[2] + more_x) * width)))
    top, bottom = max(0, int((box[1] - more_y) * height)), min(height, int(np.ceil((box[3] + more_y) * height)))
    return np.ascontiguousarray(image[top:bottom, left:right])
