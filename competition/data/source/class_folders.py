"""The photos of a folder as ids and places, and class folders as data: ``train/<breed>/*.jpg`` or ``<breed>/*.jpg``."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

from competition.data.source import listing, locate, names, stanford
from competition.data.source.competition_data import CompetitionData, Photo
from competition.data.source.labels import sample_ids
from competition.errors import DataError

NO_TEST = "there is no test/: cross-validation only, no submission"


def photos_in(folder: Path, deep: bool = False) -> tuple[Photo, ...]:
    """Photos directly in a folder by id; with ``deep`` also one folder down."""
    photos = [Photo(names.photo_id(path.name), path) for path in listing.photo_files(folder)]
    for inner in listing.subfolders(folder) if deep else ():
        photos += [Photo(names.photo_id(path.name), path, inner.name) for path in listing.photo_files(inner)]
    return tuple(sorted(photos, key=lambda photo: photo.id))


def test_photos(places: locate.Places) -> tuple[Photo, ...]:
    """The photos of test/, called as sample_submission.csv calls them where it means them in another spelling."""
    assert places.test is not None
    photos = photos_in(places.test, deep=True)
    listed = sample_ids(places.sample_submission) if places.sample_submission is not None else ()
    if set(listed) <= {photo.id for photo in photos}:
        return photos
    files = names.files_of_ids(listed, [photo.path.name for photo in photos], places.test.name)
    called = {place: name for name, place in files.items()}
    renamed = (dataclasses.replace(photo, id=called.get(place, photo.id)) for place, photo in enumerate(photos))
    return tuple(sorted(renamed, key=lambda photo: photo.id))


def known(photo: Photo, classes: Sequence[str]) -> Photo:
    """A folder inside test/ tells the breed only where it is called like one (Keras users keep test/unknown/)."""
    return photo if photo.breed in classes else dataclasses.replace(photo, breed=None)


def breeds_of(photos: Iterable[Photo], source: Path) -> tuple[str, ...]:
    """The breeds of labelled photos, sorted.

    Raises:
        DataError: there are fewer than two.
    """
    classes = tuple(sorted({str(photo.breed) for photo in photos}))
    if len(classes) < 2:
        raise DataError(f"{names.shown(source)} has photos of {len(classes)} breed(s): at least 2 are needed")
    return classes


def read_class_folders(source: Path, places: locate.Places) -> CompetitionData:
    """Class folders in train/ (and valid/), or at the top; valid/ joins train, since folds are made here.

    Raises:
        DataError: there are no class folders with photos, or of one breed only.
    """
    found, notes = _in_classes(places)
    if not found:
        raise DataError(_nothing_found(source, places))
    in_test = [("test", photo) for photo in (photos_in(places.test, deep=True) if places.test is not None else ())]
    left: list[listing.LeftOut] = []
    if places.lists is not None:
        found, in_test, left = _as_listed(found, places.lists)
        notes.append(f"train_list and test_list: {len(found):,} photos train, {len(in_test):,} test")
    renamed = _unique_ids(found + in_test)
    classes = breeds_of(renamed[: len(found)], source)
    test = (known(photo, classes) for photo in renamed[len(found) :])
    return CompetitionData(
        root=places.root,
        source=source,
        layout="class folders",
        train=tuple(sorted(renamed[: len(found)], key=lambda photo: photo.id)),
        test=tuple(sorted(test, key=lambda photo: photo.id)),
        classes=classes,
        sample_submission=places.sample_submission,
        notes=(*(() if in_test else (NO_TEST,)), *notes, *_strange_folders(in_test, classes)),
        left_out=tuple(left),
        boxes=places.boxes,
    )


def _in_classes(places: locate.Places) -> tuple[list[tuple[str, Photo]], list[str]]:
    """The photos of class folders, each with its part, and what to say of them."""
    tops = [("train", places.train), ("valid", places.valid)] if places.train is not None else [("train", places.root)]
    found: list[tuple[str, Photo]] = []
    empty: list[str] = []
    for split, top in tops:
        for inner in listing.subfolders(top) if top is not None else []:
            photos = [(split, photo) for photo in _in_class(inner)]
            found += photos
            if not photos and inner != places.boxes:
                empty.append(f"the folder {names.shown(inner.name)}/ holds no photo: no such breed")
    joined = any(split == "valid" for split, _ in found)
    return found, [*["valid/ joins train/: folds are made from both"] * joined, *empty]


def _in_class(folder: Path) -> list[Photo]:
    return [Photo(names.photo_id(path.name), path, folder.name) for path in listing.photo_files(folder)]


def _strange_folders(in_test: Iterable[tuple[str, Photo]], classes: Sequence[str]) -> tuple[str, ...]:
    """Say which folders of test/ are called like no breed: their photos count for no score."""
    known = {names.spelling(name) for name in classes}  # those that differ in spelling are told apart from these
    strange = [photo.breed for _, photo in in_test if photo.breed and names.spelling(photo.breed) not in known]
    if not strange:
        return ()
    first = ", ".join(names.shown(name) for name in sorted(set(strange))[:3])
    return (f"{len(strange):,} photos in test/ lie in folders that are called like no breed of train/: {first}",)


def _as_listed(
    found: Sequence[tuple[str, Photo]], lists: Path
) -> tuple[list[tuple[str, Photo]], list[tuple[str, Photo]], list[listing.LeftOut]]:
    """Photos of train and of test as lists say, and those that are in neither.

    Raises:
        DataError: the lists name none of the photos that are here.
    """
    train, test = stanford.read_split(lists)
    at = [(f"{photo.path.parent.name}/{photo.path.name}", photo) for _, photo in found]
    chosen = [("train", photo) for key, photo in at if key in train]
    held = [("test", photo) for key, photo in at if key in test]
    if not chosen:
        raise DataError(f"{lists}: train_list names none of the photos here (it begins with {min(train)}): remove it")
    absent = (train | test) - {key for key, _ in at}
    left = [listing.LeftOut(names.shown(key), "in neither of the lists") for key, _ in at if key not in train | test]
    left += [listing.LeftOut(key, "in a list, without a photo") for key in sorted(absent)]
    return chosen, held, left


def _nothing_found(source: Path, places: locate.Places) -> str:
    """What to do about data without labels and without class folders; where photos lie is named."""
    top = places.train if places.train is not None else places.root
    loose = listing.photo_files(top)
    deeper = [names.shown(path.name) for path in locate.bearing_photos(listing.subfolders(top))]
    where = ""
    if loose:
        where = f"{len(loose):,} photos lie directly in {top.name}/, where nothing says their breed; "
    elif deeper:
        where = f"photos lie deeper, in {', '.join(deeper[:3])}: give the folder whose folders are the breeds; "
    return (
        f"{names.shown(source)} holds neither labels.csv with train/ nor class folders with photos: {where}"
        "give the archive as downloaded from Kaggle, its folder, or a folder with one folder per breed"
    )


def _unique_ids(found: list[tuple[str, Photo]]) -> list[Photo]:
    """File names where they are unique, else breed and name, else split, breed and name."""

    def named(*parts: str | None) -> str:
        return "_".join(part.replace(" ", "_") for part in parts if part)

    attempts = (
        [photo.id for _, photo in found],
        [named(photo.breed, photo.id) for _, photo in found],
        [named(split, photo.breed, photo.id) for split, photo in found],
    )
    ids = next((attempt for attempt in attempts if len(set(attempt)) == len(attempt)), attempts[-1])
    return [dataclasses.replace(photo, id=name) for name, (_, photo) in zip(ids, found, strict=True)]
