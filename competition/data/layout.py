"""Kaggle's layout, class folders or loose photos, as folder or archive, become one ``CompetitionData``."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

from competition import environment
from competition.console import say, warn
from competition.data import archive, arrange, listing, locate, names, stanford
from competition.data.competition_data import CompetitionData, Photo
from competition.data.kinds import kind_of_file, readable
from competition.data.labels import absent_photos, read_labels, sample_ids
from competition.errors import DataError

__all__ = ["CompetitionData", "Photo", "load_data", "load_photos", "load_to_predict"]

_NO_TEST = "there is no test/: cross-validation only, no submission"
_DATA_ADVICE = "join them with --set merge_classes=true (or =FILE.csv with the columns from,to)"


def load_data(
    where: str | Path | None = None, *, need_labels: bool = True, like: str | Path | None = None
) -> CompetitionData:
    """Find and read the competition's data; an archive is unpacked once, into the kit's cache.

    Args:
        where: folder or archive; None looks at ``DOGBREED_DATA``, Kaggle's input and ``./data``, in this order.
        need_labels: False reads only the photos to predict: ``test/``, or the photos at the top where there is no
            ``test/``; labels are not looked at.
        like: folder of a run: classes are joined and photos cropped as that run had it.

    Raises:
        DataError: nothing is found, or what is found is incomplete or contradicts itself.
        StorageError: an archive cannot be unpacked for lack of space.
    """
    reason, source = _chosen(where, need_labels)
    if source.is_file() and readable(kind_of_file(source)):
        if need_labels:
            raise DataError(
                f"{source} is a photo, not a data set: give a folder or archive, or predict it with "
                f"'dogbreed predict RUN --data {source}'"
            )
        return load_photos([source])
    cache = environment.cache_folder() / "extracted"
    top = archive.extract(source, cache) if source.is_file() else source
    root = locate.real_root(top, cache, loose=not need_labels)
    places = locate.places(root, cache, top)
    data = _read(source, places) if need_labels else _read_test_only(source, places)
    data = _with_leftovers(data, places, top)
    say(f"data: {names.shown(source)} ({reason}), {_summary(data)}")
    if need_labels:
        _require_text(data)
    arranged = data if like is None else arrange.like_run(data, Path(like))
    for note in [*arranged.notes, *arrange.spelling_notes(arranged, _DATA_ADVICE)]:
        warn(note)
    return arranged


def load_to_predict(places: Sequence[Path]) -> CompetitionData:
    """What ``predict`` is given: photos, or one folder or archive (none: the usual places).

    Raises:
        DataError: a place is missing, holds no photos, or several are given that are not all photos.
    """
    if len(places) > 1:
        return load_photos(places)
    return load_data(places[0] if places else None, need_labels=False)


def load_photos(paths: Sequence[Path]) -> CompetitionData:
    """Photos given one by one, to be predicted: their ids are their names, with folders where names repeat.

    Raises:
        DataError: a file is missing, or is no photo that can be read.
    """
    for path in paths:
        if not path.is_file():
            raise DataError(f"{names.shown(path)} {'is a folder' if path.is_dir() else 'does not exist'}: give photos")
        if not listing.is_photo(path):
            kind = kind_of_file(path) or "none"
            raise DataError(f"{names.shown(path)} is no photo that can be read (its format: {kind}): save it as JPEG")
    unique = list(dict.fromkeys(paths))
    stems = [names.photo_id(path.name) for path in unique]
    ids = stems if len(set(stems)) == len(stems) else [str(path) for path in unique]
    photos = tuple(Photo(name, path) for name, path in zip(ids, unique, strict=True))
    return CompetitionData(paths[0].parent, paths[0], "photos", (), photos, ())


def _chosen(where: str | Path | None, need_labels: bool) -> tuple[str, Path]:
    """The first candidate that holds data, with the reason it was looked at."""
    candidates = environment.data_candidates(where)
    for reason, path in candidates:
        path = path.expanduser()
        if reason in ("--data", "DOGBREED_DATA"):
            if not path.exists():
                raise DataError(f"{path} ({reason}) does not exist: give the competition's archive or its folder")
            return reason, path
        held = locate.data_in(path, need_labels)
        if held is not None:
            return reason, held
    looked = ", ".join(str(path) for _, path in candidates)
    raise DataError(
        f"no competition data found (looked at {looked}): download it with "
        f"'kaggle competitions download -c {environment.COMPETITION}' and give the zip by --data or DOGBREED_DATA"
    )


def _summary(data: CompetitionData) -> str:
    test = f"{len(data.test):,} test photos"
    if data.layout == "photos":
        return test
    return f"{data.layout}: {len(data.train):,} train photos of {len(data.classes):,} breeds, {test}"


def _require_text(data: CompetitionData) -> None:
    """Ids and breeds are written into tables and pages: those that are no UTF-8 are refused before anything runs."""
    names.require_text("class folders have names", data.classes)
    photos = (*data.train, *data.test)
    bad = [str(photo.path) for photo in photos if not names.is_text(photo.id)]
    names.require_text("photos have names", bad)


def _with_leftovers(data: CompetitionData, places: locate.Places, top: Path) -> CompetitionData:
    """Say of every file in the data's folders that is not used why it is not."""
    used = {photo.path for photo in (*data.train, *data.test, *data.unlabelled)}
    parts = [place for place in (places.train, places.valid, places.test) if place is not None]
    if data.layout == "photos":
        parts = [places.test if places.test is not None else places.root]
    elif data.layout == "Kaggle layout":
        parts = [place for place in (places.train, places.test) if place is not None]
    found = list(data.left_out)
    for part in parts:
        found += listing.left_out(part, used, places.root)
    if data.layout != "photos":
        found += _at_the_top(places, parts, used)
    found += [listing.LeftOut(name, listing.HIDDEN) for name in archive.left_packed(top)]
    return dataclasses.replace(data, left_out=tuple(found), notes=(*data.notes, *listing.told(found)))


def _at_the_top(places: locate.Places, parts: Sequence[Path], used: set[Path]) -> list[listing.LeftOut]:
    """Photos that lie loose in the data's folder, and the folders in it that are no part of the layout."""
    if places.train is None:
        return listing.left_out(places.root, used, places.root)
    loose = [path for path in listing.photo_files(places.root) if path not in used]
    found = [listing.LeftOut(names.shown(path.name), listing.MISPLACED) for path in loose]
    for folder in listing.subfolders(places.root):
        if folder not in (*parts, *(part.parent for part in parts)):
            found += listing.whole_folder(folder, places.root)
    return found


def _read(source: Path, places: locate.Places) -> CompetitionData:
    if places.labels is not None:
        return _read_kaggle(source, places)
    return _read_class_folders(source, places)


def _read_kaggle(source: Path, places: locate.Places) -> CompetitionData:
    assert places.labels is not None
    if places.train is None:
        inside = ", ".join(path.name for path in listing.subfolders(places.root)) or "none"
        raise DataError(
            f"{places.root} has {places.labels.name} but no train/ folder beside it (folders there: {inside}): put the "
            "photos into train/"
        )
    breeds = read_labels(places.labels)
    photos = _photos_in(places.train)
    files = names.files_of_ids(breeds, [photo.path.name for photo in photos], places.train.name)
    absent = [name for name in breeds if name not in files]
    if absent:
        others = listing.left_out(places.train, {photo.path for photo in photos}, places.root)
        raise DataError(absent_photos(places.labels, places.train, absent, photos, others))
    train = tuple(Photo(name, photos[files[name]].path, breed) for name, breed in breeds.items())
    taken = set(files.values())
    unlabelled = tuple(Photo(photo.id, photo.path) for place, photo in enumerate(photos) if place not in taken)
    notes: tuple[str, ...] = ()
    if unlabelled:
        first = ", ".join(names.shown(photo.id) for photo in unlabelled[:3])
        notes = (f"{len(unlabelled):,} photos in train/ have no row in {places.labels.name}, left out: {first}",)
    return _made(source, places, "Kaggle layout", train, unlabelled, notes)


def _made(
    source: Path,
    places: locate.Places,
    layout: str,
    train: tuple[Photo, ...],
    unlabelled: tuple[Photo, ...] = (),
    notes: tuple[str, ...] = (),
) -> CompetitionData:
    """Add the test photos and the classes."""
    test = _test_photos(places) if places.test is not None else ()
    notes = notes if places.test is not None else (*notes, _NO_TEST)
    classes = tuple(sorted({str(photo.breed) for photo in train}))
    if len(classes) < 2:
        raise DataError(f"{source} has photos of {len(classes)} breed(s): at least 2 are needed")
    test = tuple(_known(photo, classes) for photo in test)
    return CompetitionData(
        places.root, source, layout, train, test, classes, places.sample_submission, unlabelled, notes
    )


def _known(photo: Photo, classes: Sequence[str]) -> Photo:
    """A folder inside test/ tells the breed only where it is called like one (Keras users keep test/unknown/)."""
    return photo if photo.breed in classes else dataclasses.replace(photo, breed=None)


def _test_photos(places: locate.Places) -> tuple[Photo, ...]:
    """The photos of test/, called as sample_submission.csv calls them where it means them in another spelling."""
    assert places.test is not None
    photos = _photos_in(places.test, deep=True)
    listed = sample_ids(places.sample_submission) if places.sample_submission is not None else ()
    if set(listed) <= {photo.id for photo in photos}:
        return photos
    files = names.files_of_ids(listed, [photo.path.name for photo in photos], places.test.name)
    called = {place: name for name, place in files.items()}
    renamed = (dataclasses.replace(photo, id=called.get(place, photo.id)) for place, photo in enumerate(photos))
    return tuple(sorted(renamed, key=lambda photo: photo.id))


def _photos_in(folder: Path, deep: bool = False) -> tuple[Photo, ...]:
    """Photos directly in a folder by id; with ``deep`` also one folder down."""
    photos = [Photo(names.photo_id(path.name), path) for path in listing.photo_files(folder)]
    for inner in listing.subfolders(folder) if deep else ():
        photos += [Photo(names.photo_id(path.name), path, inner.name) for path in listing.photo_files(inner)]
    return tuple(sorted(photos, key=lambda photo: photo.id))


def _read_class_folders(source: Path, places: locate.Places) -> CompetitionData:
    """Class folders in train/ (and valid/), or at the top; valid/ joins train, since folds are made here."""
    tops = [("train", places.train), ("valid", places.valid)] if places.train is not None else [("train", places.root)]
    found: list[tuple[str, Photo]] = []
    notes: tuple[str, ...] = ()
    for split, top in tops:
        for inner in listing.subfolders(top) if top is not None else []:
            photos = [(split, photo) for photo in _in_class(inner)]
            found += photos
            notes += () if photos else (f"the folder {names.shown(inner.name)}/ holds no photo: no such breed",)
    if not found:
        raise DataError(_nothing_found(source, places))
    in_test = [("test", photo) for photo in (_photos_in(places.test, deep=True) if places.test is not None else ())]
    left: list[listing.LeftOut] = []
    if places.lists is not None:
        found, in_test, left = _as_listed(found, places.lists)
        notes += (f"train_list and test_list: {len(found):,} photos train, {len(in_test):,} test",)
    renamed = _unique_ids(found + in_test)
    data = _made(source, dataclasses.replace(places, test=None), "class folders", tuple(renamed[: len(found)]))
    train = tuple(sorted(data.train, key=lambda photo: photo.id))
    test = tuple(sorted((_known(photo, data.classes) for photo in renamed[len(found) :]), key=lambda photo: photo.id))
    if any(split == "valid" for split, _ in found):
        notes = ("valid/ joins train/: folds are made from both", *notes)
    notes = (*(() if in_test else (_NO_TEST,)), *notes, *_strange_folders(in_test, data.classes))
    return dataclasses.replace(data, train=train, test=test, notes=notes, left_out=tuple(left), boxes=places.boxes)


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


def _read_test_only(source: Path, places: locate.Places) -> CompetitionData:
    if places.test is not None:
        photos = _test_photos(places)
    else:
        loose = _photos_in(places.root)
        photos = loose or (_photos_in(places.root, deep=True) if places.train is None else ())
    if not photos:
        raise DataError(f"{names.shown(source)} holds no photos to predict: put them in test/ or at the top")
    unknown = tuple(dataclasses.replace(photo, breed=None) for photo in photos)
    return CompetitionData(places.root, source, "photos", (), unknown, (), places.sample_submission)
