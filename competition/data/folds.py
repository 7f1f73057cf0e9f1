"""Stratified folds that keep groups of duplicates together, and ``folds.csv``."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from competition.data.source.competition_data import CompetitionData
from competition.errors import DataError, UsageError
from competition.files import text_of_cell, write_csv
from competition.types import Fold

_HEADER = ["id", "fold", "group"]


@dataclass(frozen=True)
class FoldTable:
    """Which fold validates each train photo.

    Attributes:
        ids: photo ids.
        fold: int64 (n,), the fold in which the photo is validated, from 0.
        group: int64 (n,); photos of one group (duplicates of one another) share a fold.
        notes: breeds with fewer photos, or fewer groups of photos, than folds.

    Raises:
        DataError: an id is repeated, a fold is empty or a group lies in two folds.
    """

    ids: tuple[str, ...]
    fold: np.ndarray
    group: np.ndarray
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not (len(self.ids) == len(self.fold) == len(self.group)) or not self.ids:
            raise DataError(
                f"folds of {len(self.ids)} ids, {len(self.fold)} folds and {len(self.group)} groups disagree"
            )
        if len(set(self.ids)) != len(self.ids):
            raise DataError("the folds list an id twice")
        counts = np.bincount(self.fold)
        if len(counts) < 2 or not counts.all():
            raise DataError(
                "the folds are not numbered 0, 1, ... without a gap: delete the file to have them made again"
            )
        _, first, inverse = np.unique(self.group, return_index=True, return_inverse=True)
        crossing = self.fold != self.fold[first][inverse]
        if crossing.any():
            raise DataError(f"the group of duplicates around '{self.ids[int(crossing.argmax())]}' lies in two folds")

    @property
    def n_folds(self) -> int:
        """Number of folds."""
        return int(self.fold.max()) + 1

    def folds(self) -> tuple[Fold, ...]:
        """The splits, by index; ids keep their order."""
        ids = np.array(self.ids, dtype=object)
        return tuple(Fold(k, tuple(ids[self.fold != k]), tuple(ids[self.fold == k])) for k in range(self.n_folds))

    def save(self, path: Path) -> None:
        """Write ``folds.csv`` (id, fold, group) atomically."""
        write_csv(path, _HEADER, zip(self.ids, self.fold.tolist(), self.group.tolist(), strict=True))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read ``folds.csv``.

        Raises:
            DataError: the file is missing or is no fold table.
        """
        try:
            with path.open(newline="", encoding="utf-8-sig") as stream:
                rows = list(csv.reader(stream))
            if not rows or rows[0] != _HEADER:
                raise ValueError(f"expected the columns {', '.join(_HEADER)}")
            ids = tuple(text_of_cell(row[0]) for row in rows[1:])
            numbers = np.array([[int(row[1]), int(row[2])] for row in rows[1:]], dtype=np.int64).reshape(-1, 2)
            if (numbers < 0).any():
                raise ValueError("a number is negative")
            return cls(ids, numbers[:, 0], numbers[:, 1])
        except FileNotFoundError as error:
            raise DataError(f"{path} is missing") from error
        except (ValueError, IndexError, DataError) as error:
            raise DataError(f"{path} is no fold table ({error}): delete it to have it made again") from error

    def check(self, data: CompetitionData, groups: Mapping[str, int] | None = None, n_folds: int | None = None) -> None:
        """Refuse folds that do not fit the data.

        Args:
            data: the photos that are going to be used.
            groups: group of each photo that has duplicates, as the audit found them; None does not look.
            n_folds: the number of folds that is wanted; None takes any.

        Raises:
            DataError: naming the first differences.
        """
        have, want = set(self.ids), set(data.train_ids)
        parts = [f"{len(want - have):,} photos have no fold ({_few(want - have)})"] if want - have else []
        parts += [f"{len(have - want):,} ids are not in the data ({_few(have - want)})"] if have - want else []
        if n_folds is not None and n_folds != self.n_folds:
            parts.append(f"they are {self.n_folds} folds, {n_folds} are wanted")
        fold_of = dict(zip(self.ids, self.fold.tolist(), strict=True))
        folds_of_group: dict[int, set[int]] = {}
        for name in want & have & set(groups or {}):
            folds_of_group.setdefault((groups or {})[name], set()).add(fold_of[name])
        crossing = sum(len(folds) > 1 for folds in folds_of_group.values())
        parts += [f"{crossing:,} groups of duplicates cross folds"] if crossing else []
        if parts:
            raise DataError(
                f"the folds do not fit the data: {'; '.join(parts)}; delete folds.csv to have it made again"
            )

    def in_order_of(self, data: CompetitionData) -> FoldTable:
        """The same folds in the order of the train photos, with notes on rare breeds."""
        row_of = {name: row for row, name in enumerate(self.ids)}
        rows = np.fromiter((row_of[name] for name in data.train_ids), dtype=np.intp, count=len(data.train))
        ordered = FoldTable(data.train_ids, self.fold[rows], self.group[rows])
        return dataclasses.replace(ordered, notes=_rare_breeds(data, ordered))


def _few(ids: set[str]) -> str:
    return ", ".join(sorted(ids)[:3])


def make_folds(data: CompetitionData, n_folds: int, seed: int, groups: Mapping[str, int] | None = None) -> FoldTable:
    """Deal the train photos out to folds: breeds spread evenly, groups of duplicates whole.

    Groups of several photos go first, largest first, each to the fold that has the fewest of its breeds; single photos
    fill up, breed by breed. Per breed the folds then differ by one photo where groups allow it. scikit-learn's
    StratifiedGroupKFold spreads alike, but refuses where every breed has fewer photos than folds.

    Args:
        data: photos and labels.
        n_folds: number of folds, at least 2.
        seed: seeds the order in which photos are dealt.
        groups: group of each photo that has duplicates (``AuditReport.groups()``); other photos stand alone.

    Raises:
        UsageError: fewer than 2 folds.
        DataError: fewer groups of photos than folds.
    """
    if n_folds < 2:
        raise UsageError(f"n_folds={n_folds} is impossible: expected at least 2")
    group = _numbered(data, groups or {})
    n_groups = int(group.max(initial=-1)) + 1
    if n_groups < n_folds:
        raise DataError(f"{n_groups} photos (or groups of duplicates) cannot fill {n_folds} folds: use fewer folds")
    fold_of_group = _deal(data.labels, group, len(data.classes), n_folds, np.random.default_rng(seed))
    table = FoldTable(data.train_ids, fold_of_group[group], group)
    return dataclasses.replace(table, notes=_rare_breeds(data, table))


def _numbered(data: CompetitionData, groups: Mapping[str, int]) -> np.ndarray:
    """int64 (n,): groups numbered from 0 by first appearance; photos without a group get their own."""
    numbers: dict[tuple[bool, str | int], int] = {}
    keys = ((name in groups, groups.get(name, name)) for name in data.train_ids)
    return np.fromiter((numbers.setdefault(key, len(numbers)) for key in keys), np.int64, len(data.train))


def _deal(labels: np.ndarray, group: np.ndarray, n_classes: int, n_folds: int, rng: np.random.Generator) -> np.ndarray:
    """Fold of every group, int64 (n_groups,)."""
    n_groups = int(group.max()) + 1
    members: list[list[int]] = [[] for _ in range(n_groups)]
    for label, index in zip(labels.tolist(), group.tolist(), strict=True):
        members[index].append(label)
    # Singles last and breed by breed, in a random order within.
    order = sorted(rng.permutation(n_groups).tolist(), key=lambda g: (-len(members[g]), members[g]))
    counts = np.zeros((n_folds, n_classes))
    sizes = np.zeros(n_folds)
    folds = np.empty(n_groups, dtype=np.int64)
    for index in order:
        # Fewest of these breeds first, then fewest photos; ties by chance, or fold 0 would win them all.
        load = counts[:, members[index]].sum(axis=1)
        best = int(np.lexsort((rng.random(n_folds), sizes, load))[0])
        folds[index] = best
        np.add.at(counts[best], members[index], 1)
        sizes[best] += len(members[index])
    return folds


def _rare_breeds(data: CompetitionData, table: FoldTable) -> tuple[str, ...]:
    """Say which breeds some fold does not validate, or no other fold could train on."""
    notes = []
    for index, breed in enumerate(data.classes):
        of_breed = data.labels == index
        photos, groups = int(of_breed.sum()), len(np.unique(table.group[of_breed]))
        if photos < table.n_folds:
            notes.append(f"{breed}: {photos} photos for {table.n_folds} folds; some folds do not validate it")
        elif groups < table.n_folds:
            notes.append(f"{breed}: {photos} photos in {groups} groups of duplicates for {table.n_folds} folds")
        if len(np.unique(table.fold[of_breed])) == 1:
            notes.append(f"{breed}: all photos validate in one fold, whose model never saw the breed")
    return tuple(notes)


def folds_for(
    data: CompetitionData, path: Path, n_folds: int, seed: int, groups: Mapping[str, int] | None = None
) -> FoldTable:
    """Read the folds at ``path`` where they fit the data, or make and write them where there are none.

    Raises:
        DataError: the file is there and does not fit.
    """
    if path.is_file():
        table = FoldTable.load(path)
        table.check(data, groups, n_folds)
        return table.in_order_of(data)
    table = make_folds(data, n_folds, seed, groups)
    table.save(path)
    return table
