"""One competition's photos, labels and breeds, whatever layout they came in."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from competition.data.source.listing import LeftOut
from competition.data.source.names import shown
from competition.errors import DataError
from competition.files import digest_of


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
        notes: what the audit should tell (files that are left out, photos without label).
        left_out: every file that is not used, and why.
        boxes: folder of the boxes that people drew round the dogs (Stanford Dogs' ``Annotation``), where there is one.
        absent_test: ids of the sample whose photos are not there, though others are; their rows get the class prior.
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
    left_out: tuple[LeftOut, ...] = ()
    boxes: Path | None = None
    absent_test: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if list(self.classes) != sorted(set(self.classes)):
            raise DataError("breeds must be unique and sorted")
        known = set(self.classes)
        for photo in self.train:
            if photo.breed not in known:
                raise DataError(f"photo '{photo.id}' has the breed {photo.breed!r}, which is not among the classes")
        require_unique_ids([*self.train, *self.test], self.source)

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
    def by_id(self) -> Mapping[str, Photo]:
        """Train and test photos by their ids."""
        return {photo.id: photo for photo in (*self.train, *self.test)}

    def photos_of(self, ids: Sequence[str]) -> list[Photo]:
        """Train and test photos by id, in the order given.

        Raises:
            DataError: some are not in these data; the first is named.
        """
        self._require("are not in these data", ids, [name for name in ids if name not in self.by_id])
        return [self.by_id[name] for name in ids]

    def labels_of(self, ids: Sequence[str], classes: Sequence[str] | None = None) -> np.ndarray:
        """int64 (n,): index of each photo's breed in ``classes`` (by default the data's own), in the order given.

        Raises:
            DataError: a photo is not in these data or its breed is not known, or the breed is not among ``classes``.
        """
        index = {name: i for i, name in enumerate(self.classes if classes is None else classes)}
        breeds = {name: self.by_id[name].breed for name in ids if name in self.by_id}
        self._require("have no breed in these data", ids, [name for name in ids if breeds.get(name) is None])
        strange = next((name for name in ids if breeds[name] not in index), None)
        if strange is not None:
            raise DataError(f"photo '{strange}' has the breed '{breeds[strange]}', which is not among the classes")
        return np.fromiter((index[str(breeds[name])] for name in ids), dtype=np.int64, count=len(ids))

    def _require(self, what: str, ids: Sequence[str], lacking: Sequence[str]) -> None:
        if lacking:
            raise DataError(
                f"{len(lacking):,} of {len(ids):,} photos {what}, {self.root} (first: {lacking[0]}): give the data "
                "of the run with --data"
            )

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


def require_unique_ids(photos: Iterable[Photo], source: Path) -> None:
    """Refuse two photos of one id.

    Raises:
        DataError: naming both files.
    """
    seen: dict[str, Path] = {}
    for photo in photos:
        if photo.id in seen:
            places = " and ".join(shown(f"{path.parent.name}/{path.name}") for path in (seen[photo.id], photo.path))
            raise DataError(f"{source}: two photos have the id '{shown(photo.id)}' ({places}): rename or remove one")
        seen[photo.id] = photo.path
