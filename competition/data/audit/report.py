"""What the audit found: unreadable photos, problems of the data, duplicate pairs; as CSV and JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from competition.errors import DataError
from competition.files import read_json, write_csv, write_json

if TYPE_CHECKING:
    from competition.data.source.competition_data import CompetitionData

_HEADER = ["kind", "a", "split_a", "breed_a", "b", "split_b", "breed_b", "conflict", "distance", "similarity", "detail"]


@dataclass(frozen=True)
class DuplicatePair:
    """Two photos of the same content.

    Attributes:
        a: id of one photo.
        b: id of the other.
        split_a: ``train`` or ``test``.
        split_b: the same for ``b``.
        breed_a: breed of ``a``; None where it is not known.
        breed_b: the same for ``b``.
        kind: ``exact`` (the files' bytes agree) or ``near`` (the same picture changed, or two shots of one moment).
        distance: Hamming distance of the two 64-bit perceptual hashes, 0 to 64.
        similarity: correlation of the two 32 x 32 colour thumbnails, at most 1; crops correlate less.
        mirrored: one picture is the other's mirror image.
        matches: local features of the two that agree under one affine map; 0 where they were not looked at.
        cosine: of the two embeddings; None where there are none.
    """

    a: str
    b: str
    split_a: str
    split_b: str
    breed_a: str | None
    breed_b: str | None
    kind: str
    distance: int
    similarity: float
    mirrored: bool = False
    matches: int = 0
    cosine: float | None = None

    @property
    def conflict(self) -> bool:
        """Both breeds are known and differ."""
        return self.breed_a is not None and self.breed_b is not None and self.breed_a != self.breed_b

    @property
    def crosses_split(self) -> bool:
        """One photo is in train, the other in test."""
        return self.split_a != self.split_b


@dataclass(frozen=True)
class AuditReport:
    """The audit of one competition's photos.

    Attributes:
        unreadable: (split, id, reason) of every photo that cannot be decoded.
        problems: sentences on anything else (photos without label, files that are no photos).
        pairs: duplicates, exact ones first, then by falling similarity.
        train_photos: labelled photos looked at.
        test_photos: test photos looked at.
        data_digest: digest of the data that were looked at.
        seconds: wall time it took.
        left_out: (name, reason) of every file that is not used.
    """

    unreadable: tuple[tuple[str, str, str], ...] = ()
    problems: tuple[str, ...] = ()
    pairs: tuple[DuplicatePair, ...] = ()
    train_photos: int = 0
    test_photos: int = 0
    data_digest: str = ""
    seconds: float = 0.0
    left_out: tuple[tuple[str, str], ...] = ()

    @property
    def quarantined(self) -> frozenset[str]:
        """Ids of the train photos that cannot be read: left out of training."""
        return frozenset(name for split, name, _ in self.unreadable if split == "train")

    @property
    def unreadable_test(self) -> frozenset[str]:
        """Ids of the test photos that cannot be read: they keep their row, with the class prior."""
        return frozenset(name for split, name, _ in self.unreadable if split == "test")

    @property
    def conflicts(self) -> tuple[DuplicatePair, ...]:
        """Pairs that carry two different breeds."""
        return tuple(pair for pair in self.pairs if pair.conflict)

    @property
    def leaks(self) -> tuple[DuplicatePair, ...]:
        """Pairs of a train and a test photo."""
        return tuple(pair for pair in self.pairs if pair.crosses_split)

    def groups(self) -> dict[str, int]:
        """Group of every train photo that has a duplicate; a chain of pairs, through test photos too, is one group."""
        parent: dict[str, str] = {}

        def top(name: str) -> str:
            while parent.setdefault(name, name) != name:
                parent[name] = parent[parent[name]]
                name = parent[name]
            return name

        for pair in self.pairs:
            parent[max(top(pair.a), top(pair.b))] = min(top(pair.a), top(pair.b))
        splits = {name: split for pair in self.pairs for name, split in self._ends(pair)}
        train = sorted(name for name, split in splits.items() if split == "train")
        numbers = {name: number for number, name in enumerate(dict.fromkeys(top(name) for name in train))}
        return {name: numbers[top(name)] for name in train}

    @staticmethod
    def _ends(pair: DuplicatePair) -> tuple[tuple[str, str], tuple[str, str]]:
        return (pair.a, pair.split_a), (pair.b, pair.split_b)

    def summary(self) -> str:
        """One line with the counts."""
        exact = sum(pair.kind == "exact" for pair in self.pairs)
        return (
            f"{self.train_photos:,} train and {self.test_photos:,} test photos: {len(self.unreadable):,} unreadable, "
            f"{exact:,} exact and {len(self.pairs) - exact:,} near duplicate pairs, {len(self.conflicts):,} of them "
            f"with two breeds, {len(self.leaks):,} across train and test, {len(self.problems):,} other problems"
        )

    def require(self, data: CompetitionData) -> None:
        """Make sure that this is the audit of these data.

        Raises:
            DataError: it is another's.
        """
        if self.data_digest != data.digest:
            raise DataError("the audit was made of other data: make it again with 'dogbreed data audit'")

    def save(self, folder: Path) -> None:
        """Write ``audit.csv`` (one finding per row) and ``audit.json`` (everything), atomically."""
        write_csv(folder / "audit.csv", _HEADER, self._rows())
        write_json(folder / "audit.json", dataclasses.asdict(self))

    def _rows(self) -> Iterator[list[Any]]:
        for split, name, reason in self.unreadable:
            yield ["unreadable", name, split, *[""] * 7, reason]
        for pair in self.pairs:
            ends = [pair.a, pair.split_a, pair.breed_a or "", pair.b, pair.split_b, pair.breed_b or ""]
            detail = f"{pair.matches} local features agree" if pair.matches else ""
            detail += ", mirrored" if pair.mirrored else ""
            yield [pair.kind, *ends, int(pair.conflict), pair.distance, round(pair.similarity, 4), detail]
        for problem in self.problems:
            yield ["problem", *[""] * 9, problem]
        for name, reason in self.left_out:
            yield ["left out", name, *[""] * 8, reason]

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read ``audit.json``.

        Raises:
            DataError: it is missing or is no audit.
        """
        path = folder / "audit.json"
        stored = read_json(path)
        try:
            stored["unreadable"] = tuple((split, name, reason) for split, name, reason in stored["unreadable"])
            stored["problems"] = tuple(stored["problems"])
            stored["left_out"] = tuple(map(tuple, stored.get("left_out", ())))
            stored["pairs"] = tuple(DuplicatePair(**pair) for pair in stored["pairs"])
            return cls(**stored)
        except (TypeError, KeyError, ValueError) as error:
            raise DataError(f"{path} is no audit of this version ({error}): delete it to have it made again") from error
