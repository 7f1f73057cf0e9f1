"""Kaggle's layout, class folders or loose photos, as folder or archive, become one ``CompetitionData``."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from competition import environment
from competition.console import say, warn
from competition.data.source import archive, arrange, listing, locate, names
from competition.data.source.class_folders import NO_TEST, breeds_of, known, photos_in, read_class_folders, test_photos
from competition.data.source.competition_data import CompetitionData, Photo
from competition.data.source.kinds import kind_of_file, readable
from competition.data.source.labels import absent_photos, read_labels, sample_ids
from competition.errors import DataError

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
    top, places = _places_in(source, need_labels)
    data = _read(source, places) if need_labels else _read_test_only(source, places)
    data = _with_absent(_with_leftovers(data, places, top))
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


def _with_absent(data: CompetitionData) -> CompetitionData:
    """Note the test photos that the sample names and that are not there (an incomplete download)."""
    if data.sample_submission is None or not data.test:
        return data
    present, wanted = set(data.test_ids), sample_ids(data.sample_submission)
    absent = tuple(dict.fromkeys(name for name in wanted if name not in present))
    if not absent or len(absent) == len(set(wanted)):  # with none of them it is another competition's sample
        return data
    note = (
        f"{len(absent):,} of the {len(wanted):,} test photos that {data.sample_submission.name} names are not there "
        f"(first: {', '.join(absent[:3])}); their rows get the class prior"
    )
    return dataclasses.replace(data, absent_test=absent, notes=(*data.notes, note))


def find_sample(where: str | Path | None) -> Path | None:
    """The data's ``sample_submission.csv``, where there is one; photos need not be.

    Raises:
        DataError: no data are found.
        StorageError: an archive cannot be unpacked for lack of space.
    """
    _, source = _chosen(where, False)
    return _places_in(source, False)[1].sample_submission


def _places_in(source: Path, need_labels: bool) -> tuple[Path, locate.Places]:
    """The folder, unpacked where it was an archive, and where its parts lie."""
    cache = environment.cache_folder() / "extracted"
    top = archive.extract(source, cache) if source.is_file() else source
    return top, locate.places(locate.real_root(top, cache, loose=not need_labels), cache, top)


def _chosen(where: str | Path | None, need_labels: bool) -> tuple[str, Path]:
    """The first candidate that holds data, with the reason it was looked at."""
    candidates = environment.data_candidates(where)
    for reason, path in candidates:
        path = path.expanduser()
        if reason in ("--data", "DOGBREED_DATA"):
            if not path.exists():
                raise DataError(f"{path} ({reason}) does not exist: give the competition's archive or its folder")
            return reason, path
    held = [(reason, found) for reason, path in candidates if (found := locate.data_in(path, need_labels)) is not None]
    if held:
        return _preferred(held)
    looked = ", ".join(str(path) for _, path in candidates)
    raise DataError(
        f"no competition data found (looked at {looked}): download it with "
        f"'kaggle competitions download -c {environment.COMPETITION}' and give the zip by --data or DOGBREED_DATA"
    )


def _preferred(held: list[tuple[str, Path]]) -> tuple[str, Path]:
    """The competition by its name, else what has labels, else the first place.

    Raises:
        DataError: several of Kaggle's inputs are as good as each other.
    """
    attached = [path for reason, path in held if reason == held[0][0]]
    itself = [path for path in attached if environment.is_competition(path)]
    labelled = [path for path in attached if path.is_dir() and any((path / name).is_file() for name in locate.LABELS)]
    best = itself[:1] or [path for path in attached if path.name == environment.COMPETITION] or labelled or attached
    if len({path.resolve() for path in best}) > 1:
        raise DataError(
            f"{best[0]} and {best[1]} both look like the competition: say which with --data or DOGBREED_DATA"
        )
    return held[0][0], best[0]


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
        used.add(places.root / archive.MARKER)
    elif data.layout == "Kaggle layout":
        parts = [place for place in (places.train, places.test) if place is not None]
    found = list(data.left_out)
    named = {file.name for file in found}
    for part in parts:
        found += [file for file in listing.left_out(part, used, places.root) if file.name not in named]
    if data.layout != "photos":
        found += [file for file in _at_the_top(places, parts, used) if file.name not in named]
    if data.layout == "class folders":
        found += _outside(places, top)
    found += [listing.LeftOut(name, listing.HIDDEN) for name in archive.left_packed(top)]
    return dataclasses.replace(data, left_out=tuple(found), notes=(*data.notes, *listing.told(found)))


def _outside(places: locate.Places, top: Path) -> list[listing.LeftOut]:
    """Pictures in the folder that was given, outside the subtree that holds the data."""
    if places.root == top:
        return []
    known = {places.root, *([places.boxes] if places.boxes is not None else [])}
    quiet = (listing.HIDDEN, listing.NO_PHOTO)
    return [file for file in listing.left_out(top, known, top) if file.reason not in quiet]


def _at_the_top(places: locate.Places, parts: Sequence[Path], used: set[Path]) -> list[listing.LeftOut]:
    """Photos that lie loose in the data's folder, and the folders in it that are no part of the layout."""
    if places.train is None:
        known = [places.root / archive.MARKER, *([places.boxes] if places.boxes is not None else [])]
        lists = places.root.glob("*_list.mat") if places.lists == places.root else ()
        return listing.left_out(places.root, {*used, *known, *lists}, places.root)
    loose = [path for path in listing.photo_files(places.root) if path not in used]
    found = [listing.LeftOut(names.shown(path.name), listing.MISPLACED) for path in loose]
    for folder in listing.subfolders(places.root):
        if folder not in (*parts, *(part.parent for part in parts)):
            found += listing.whole_folder(folder, places.root)
    return found


def _read(source: Path, places: locate.Places) -> CompetitionData:
    if places.labels is not None:
        return _read_kaggle(source, places)
    return read_class_folders(source, places)


def _read_kaggle(source: Path, places: locate.Places) -> CompetitionData:
    assert places.labels is not None
    if places.train is None:
        inside = ", ".join(path.name for path in listing.subfolders(places.root)) or "none"
        raise DataError(
            f"{places.root} has {places.labels.name} but no train/ folder beside it (folders there: {inside}): put the "
            "photos into train/"
        )
    breeds = read_labels(places.labels)
    photos = photos_in(places.train)
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
    classes = breeds_of(train, source)
    test = tuple(known(photo, classes) for photo in (test_photos(places) if places.test is not None else ()))
    notes = notes if places.test is not None else (*notes, NO_TEST)
    return CompetitionData(
        places.root, source, "Kaggle layout", train, test, classes, places.sample_submission, unlabelled, notes
    )


def _read_test_only(source: Path, places: locate.Places) -> CompetitionData:
    if places.test is not None:
        photos = test_photos(places)
    else:
        loose = photos_in(places.root)
        photos = loose or (photos_in(places.root, deep=True) if places.train is None else ())
    if not photos:
        raise DataError(f"{names.shown(source)} holds no photos to predict: put them in test/ or at the top")
    unknown = tuple(dataclasses.replace(photo, breed=None) for photo in photos)
    return CompetitionData(places.root, source, "photos", (), unknown, (), places.sample_submission)
