"""Kaggle's layout or class folders, as folder or archive, become one ``CompetitionData``."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from competition import environment
from competition.console import say, warn
from competition.data import archive, locate
from competition.data.labels import read_labels
from competition.errors import DataError
from competition.files import digest_of

_NO_TEST = "there is no test/: cross-validation only, no submission"


@dataclass(frozen=True)
class Photo:
    """One photo: its id (the file name without suffix), where it lies, its breed if known."""

    id: str
    path: Path
    breed: str | None = None


@dataclass(frozen=True)
class CompetitionData:
    """The competition's photos and labels.

    Attributes:
        root: folder that the photos lie in (after unpacking).
        source: what the user gave: folder or archive.
        layout: ``Kaggle layout``, ``class folders`` or ``photos`` (no labels).
        train: labelled photos, in the order of labels.csv (Kaggle) or by id.
        test: photos to predict, by id. With class folders their breed may be known.
        classes: breeds, sorted.
        sample_submission: Kaggle's sample, where there is one.
        unlabelled: photos in train/ without a row in labels.csv; never used for training.
        notes: what the audit should tell (files that are no photos, photos without label).
    """

    root: Path
    source: Path
    layout: str
    train: tuple[Photo, ...]
    test: tuple[Photo, ...]
    classes: tuple[str, ...]
    sample_submission: Path | None = None
    unlabelled: tuple[Photo, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if list(self.classes) != sorted(set(self.classes)):
            raise DataError("breeds must be unique and sorted")
        known = set(self.classes)
        for photo in self.train:
            if photo.breed not in known:
                raise DataError(f"photo '{photo.id}' has the breed {photo.breed!r}, which is not among the classes")
        _require_unique_ids([*self.train, *self.test], self.source)

    @property
    def train_ids(self) -> tuple[str, ...]:
        """Ids of the labelled photos, in order."""
        return tuple(photo.id for photo in self.train)

    @property
    def test_ids(self) -> tuple[str, ...]:
        """Ids of the photos to predict, in order."""
        return tuple(photo.id for photo in self.test)

    @cached_property
    def labels(self) -> np.ndarray:
        """int64 (n_train,): index of each train photo's breed in ``classes``."""
        index = {name: i for i, name in enumerate(self.classes)}
        return np.fromiter((index[str(photo.breed)] for photo in self.train), dtype=np.int64, count=len(self.train))

    @cached_property
    def digest(self) -> str:
        """Digest of photo ids, breeds and file sizes: the same data give the same digest wherever they lie."""

        def facts(photos: Iterable[Photo]) -> list[list[object]]:
            return [[photo.id, photo.breed, photo.path.stat().st_size] for photo in photos]

        try:
            return digest_of({"train": facts(self.train), "test": facts(self.test), "classes": self.classes})
        except FileNotFoundError as error:
            raise DataError(f"{error.filename} has vanished since the data were listed: put it back") from error

    def without(self, ids: Collection[str]) -> CompetitionData:
        """The same data without these train photos; test photos and classes always stay.

        Raises:
            DataError: a breed would be left without any photo.
        """
        dropped = frozenset(ids)
        kept = tuple(photo for photo in self.train if photo.id not in dropped)
        lost = sorted(set(self.classes) - {photo.breed for photo in kept if photo.breed is not None})
        if self.train and lost:
            raise DataError(
                f"no readable photo is left of {len(lost)} breeds ({', '.join(lost[:3])}): mend or replace their photos"
            )
        return dataclasses.replace(self, train=kept)


def _require_unique_ids(photos: Iterable[Photo], source: Path) -> None:
    seen: dict[str, Path] = {}
    for photo in photos:
        if photo.id in seen:
            places = " and ".join(f"{path.parent.name}/{path.name}" for path in (seen[photo.id], photo.path))
            raise DataError(f"{source}: two photos have the id '{photo.id}' ({places}): rename or remove one")
        seen[photo.id] = photo.path


def load_data(where: str | Path | None = None, *, need_labels: bool = True) -> CompetitionData:
    """Find and read the competition's data; an archive is unpacked once, into the kit's cache.

    Args:
        where: folder or archive; None looks at ``DOGBREED_DATA``, Kaggle's input and ``./data``, in this order.
        need_labels: False reads only the photos to predict: ``test/``, or the photos at the top where there is no
            ``test/``; labels are not looked at.

    Raises:
        DataError: nothing is found, or what is found is incomplete or contradicts itself.
        StorageError: an archive cannot be unpacked for lack of space.
    """
    reason, source = _chosen(where, need_labels)
    cache = environment.cache_folder() / "extracted"
    root = archive.extract(source, cache) if source.is_file() else source
    places = locate.places(locate.real_root(root, cache), cache)
    data = _read(source, places) if need_labels else _read_test_only(source, places)
    say(f"data: {source} ({reason}), {_summary(data)}")
    for note in data.notes:
        warn(note)
    return data


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


def _read(source: Path, places: locate.Places) -> CompetitionData:
    if places.labels is not None:
        return _read_kaggle(source, places)
    return _read_class_folders(source, places)


def _read_kaggle(source: Path, places: locate.Places) -> CompetitionData:
    assert places.labels is not None
    if places.train is None:
        raise DataError(
            f"{places.root} has {places.labels.name} but no train/ folder beside it: unpack the archive whole"
        )
    breeds = read_labels(places.labels)
    photos, notes = _photos_in(places.train)
    by_id = _by_id(photos, source)
    absent = [name for name in breeds if name not in by_id]
    if absent:
        raise DataError(
            f"{places.labels}: {len(absent):,} ids have no photo in train/ (first: {', '.join(absent[:3])}): "
            "unpack the archive whole, or remove these rows"
        )
    train = tuple(Photo(name, by_id[name], breed) for name, breed in breeds.items())
    unlabelled = tuple(Photo(photo.id, photo.path) for photo in photos if photo.id not in breeds)
    if unlabelled:
        first = ", ".join(photo.id for photo in unlabelled[:3])
        notes = (*notes, f"{len(unlabelled):,} photos in train/ have no row in {places.labels.name}, left out: {first}")
    return _made(source, places, "Kaggle layout", train, unlabelled, notes)


def _by_id(photos: Iterable[Photo], source: Path) -> dict[str, Path]:
    photos = list(photos)
    _require_unique_ids(photos, source)
    return {photo.id: photo.path for photo in photos}


def _made(
    source: Path,
    places: locate.Places,
    layout: str,
    train: tuple[Photo, ...],
    unlabelled: tuple[Photo, ...] = (),
    notes: tuple[str, ...] = (),
) -> CompetitionData:
    """Add the test photos and the classes."""
    test, test_notes = _photos_in(places.test, deep=True) if places.test is not None else ((), (_NO_TEST,))
    classes = tuple(sorted({str(photo.breed) for photo in train}))
    if len(classes) < 2:
        raise DataError(f"{source} has photos of {len(classes)} breed(s): at least 2 are needed")
    # A folder inside test/ tells the breed only where it is called like one (Keras users keep test/unknown/).
    test = tuple(photo if photo.breed in classes else dataclasses.replace(photo, breed=None) for photo in test)
    return CompetitionData(
        places.root, source, layout, train, test, classes, places.sample_submission, unlabelled, (*notes, *test_notes)
    )


def _photos_in(folder: Path, deep: bool = False) -> tuple[tuple[Photo, ...], tuple[str, ...]]:
    """Photos directly in a folder by id; with ``deep`` also one folder down. Other files are noted."""
    paths, others = locate.photo_files(folder)
    photos = [Photo(path.stem, path) for path in paths]
    if deep:
        for inner in locate.subfolders(folder):
            photos += [Photo(path.stem, path, inner.name) for path in locate.photo_files(inner)[0]]
    notes = (f"{len(others):,} files in {folder.name}/ are no photos: {', '.join(others[:3])}",) if others else ()
    return tuple(sorted(photos, key=lambda photo: photo.id)), notes


def _read_class_folders(source: Path, places: locate.Places) -> CompetitionData:
    """Class folders in train/ (and valid/), or at the top; valid/ joins train, since folds are made here."""
    tops = [("train", places.train), ("valid", places.valid)] if places.train is not None else [("train", places.root)]
    found: list[tuple[str, Photo]] = []
    for split, top in tops:
        for inner in locate.subfolders(top) if top is not None else []:
            found += [(split, Photo(path.stem, path, inner.name)) for path in locate.photo_files(inner)[0]]
    if not found:
        raise DataError(
            f"{source} holds neither labels.csv with train/ nor class folders with photos: give the archive as "
            "downloaded from Kaggle, its folder, or a folder with one folder per breed"
        )
    in_test = [("test", photo) for photo in (_photos_in(places.test, deep=True)[0] if places.test is not None else ())]
    renamed = _unique_ids(found + in_test)
    data = _made(source, dataclasses.replace(places, test=None), "class folders", tuple(renamed[: len(found)]))
    train = tuple(sorted(data.train, key=lambda photo: photo.id))
    notes = () if in_test else (_NO_TEST,)
    if any(split == "valid" for split, _ in found):
        notes = (*notes, "valid/ joins train/: folds are made from both")
    known = (
        photo if photo.breed in data.classes else dataclasses.replace(photo, breed=None)
        for photo in renamed[len(found) :]
    )
    test = tuple(sorted(known, key=lambda photo: photo.id))
    return dataclasses.replace(data, train=train, test=test, notes=notes)


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
    folder = places.test if places.test is not None else places.root
    photos, notes = _photos_in(folder, deep=folder is places.test)
    if not photos:
        raise DataError(f"{source} holds no photos to predict: put them in test/ or at the top")
    unknown = tuple(dataclasses.replace(photo, breed=None) for photo in photos)
    return CompetitionData(places.root, source, "photos", (), unknown, (), places.sample_submission, (), notes)
