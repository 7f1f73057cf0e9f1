"""Members aligned by id and breed name before any arithmetic; what keeps them from being compared is named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from competition.errors import DataError, SubmissionError, UsageError
from competition.files import distinct_names
from competition.prediction.blend.members import Member, crossing, group_numbers, parts_of
from competition.prediction.submission.template import breed_differences, count, few

if TYPE_CHECKING:
    from competition.data.source.competition_data import CompetitionData


@dataclass(frozen=True)
class Stack:
    """Members aligned photo by photo and breed by breed.

    Attributes:
        members: in the order given, names unique.
        ids: n photo ids with out-of-fold predictions of every member.
        classes: c breeds, sorted.
        labels: int64 (n,).
        folds: int64 (n,).
        groups: int64 (n,); equal numbers mark duplicates of one another.
        strangers: positions of the members whose folds differ from ``folds``, part duplicates, or are not known.
        log_probabilities: float64 (m, n, c), out of fold.
        test_ids: t test ids; empty without test predictions.
        test_log_probabilities: float64 (m, t, c), or None.
    """

    members: tuple[Member, ...]
    ids: tuple[str, ...]
    classes: tuple[str, ...]
    labels: np.ndarray
    folds: np.ndarray
    groups: np.ndarray
    log_probabilities: np.ndarray
    test_ids: tuple[str, ...] = ()
    test_log_probabilities: np.ndarray | None = None
    strangers: tuple[int, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the members."""
        return tuple(member.name for member in self.members)


def align(members: Sequence[Member], labels: CompetitionData | Mapping[str, str], *, common: bool = False) -> Stack:
    """Bring members into one order of photos and breeds.

    Args:
        members: at least one.
        labels: the competition, or breed by photo id.
        common: keep the photos that every member predicts out of fold, where some ran fewer folds; of a single common
            fold, parts of it separate the fit of a blend from its score.

    Raises:
        SubmissionError: the members differ in breeds, photos or (two of the kit's runs) folds; the difference is named.
        DataError: a photo has no label.
        UsageError: no member, or one given twice.
    """
    if not members:
        raise UsageError("there is no run to blend")
    members = _with_unique_names(members)
    if common:
        members = _on_common_photos(members)
    first = members[0]
    for other in members[1:]:
        _require_same(first, other)
    guide = _guide(members)
    for other in members:
        if not (guide.foreign or other.foreign):
            _require_same_folds(guide, other)
    classes = tuple(sorted(first.oof.classes))
    breed_of = labels if isinstance(labels, Mapping) else {photo.id: str(photo.breed) for photo in labels.train}
    ids = first.oof.ids
    test_ids = first.test.ids if first.test is not None else ()
    # Of folds made elsewhere, duplicates may lie in several; those of one fold stay together.
    groups = group_numbers([(guide.groups[name], guide.folds[name]) for name in ids])
    folds = np.array([guide.folds[name] for name in ids], dtype=np.int64)
    if common and len(np.unique(folds)) == 1:
        folds = parts_of(groups)
    return Stack(
        tuple(members),
        ids,
        classes,
        label_indices(ids, classes, breed_of),
        folds,
        groups,
        np.stack([member.oof.aligned_to(ids, classes).log_probabilities for member in members]),
        test_ids,
        np.stack([member.test.aligned_to(test_ids, classes).log_probabilities for member in members if member.test])
        if test_ids
        else None,
        tuple(place for place, member in enumerate(members) if not _keeps_to(guide, member, ids)),
    )


def _guide(members: Sequence[Member]) -> Member:
    """Whose folds and groups separate the fit of a blend from its score: a run's before those of somebody else."""
    known = [member for member in members if member.folds_known]
    return next((member for member in known if not member.foreign), (*known, *members)[0])


def _keeps_to(guide: Member, member: Member, ids: Sequence[str]) -> bool:
    """Whether the guide's folds are the member's, and these keep duplicates together."""
    if not member.folds_known or _moved(guide, member):
        return False
    return (
        not member.foreign
        or not crossing(
            group_numbers([member.groups[name] for name in ids]), np.array([member.folds[name] for name in ids])
        ).any()
    )


def _on_common_photos(members: Sequence[Member]) -> tuple[Member, ...]:
    """The members with the photos that all of them predict; their order is the first one's."""
    shared = set(members[0].oof.ids).intersection(*(member.oof.ids for member in members))
    ids = tuple(name for name in members[0].oof.ids if name in shared)
    if not ids:
        names = ", ".join(member.name for member in members)
        raise SubmissionError(f"runs {names} have no out-of-fold photo in common: let them run the same folds")
    return tuple(replace(member, oof=member.oof.aligned_to(ids, member.oof.classes)) for member in members)


def label_indices(ids: Sequence[str], classes: Sequence[str], breed_of: Mapping[str, str]) -> np.ndarray:
    """Class index of every photo, int64 (n,).

    Raises:
        DataError: a photo has no label, or one that is not among the classes.
    """
    lacking = [name for name in ids if name not in breed_of]
    if lacking:
        raise DataError(
            f"{count(len(lacking), 'photo')} of the run without a label in the data: {few(lacking)}; "
            "give the data that the run was trained on (--data)"
        )
    index = {name: position for position, name in enumerate(classes)}
    unknown = [name for name in ids if breed_of[name] not in index]
    if unknown:
        raise DataError(f"the run does not know the breed '{breed_of[unknown[0]]}' of photo '{unknown[0]}'")
    return np.fromiter((index[breed_of[name]] for name in ids), dtype=np.int64, count=len(ids))


def _with_unique_names(members: Sequence[Member]) -> tuple[Member, ...]:
    """Refuse a run given twice; tell runs of the same folder name apart by the folders above."""
    paths = [member.path.resolve() for member in members if member.path is not None]
    name_of = dict(zip(paths, distinct_names(paths), strict=True))
    names = [name_of[member.path.resolve()] if member.path is not None else member.name for member in members]
    first: dict[str, int] = {}
    for position, member in enumerate(members):
        twin = first.setdefault(member.oof.digest, position)
        if twin != position and names[twin] == names[position]:
            raise UsageError(f"run '{names[twin]}' was given twice: give each run once")
        if twin != position:
            raise UsageError(
                f"runs '{names[twin]}' and '{names[position]}' hold the same predictions: give each run once"
            )
    return tuple(
        replace(member, name=name if names.count(name) == 1 else f"{name} #{position + 1}")
        for position, (name, member) in enumerate(zip(names, members, strict=True))
    )


def _require_same(first: Member, other: Member) -> None:
    """Refuse two runs that cannot be compared photo by photo.

    Raises:
        SubmissionError: other breeds, other photos or other data.
    """
    breeds = breed_differences(other.oof.classes, first.oof.classes)
    if breeds:
        raise SubmissionError(f"run '{other.name}' has other breeds than '{first.name}': {'; '.join(breeds)}")
    _require_same_ids(first, other, "out-of-fold prediction", first.oof.ids, other.oof.ids)
    if first.data_digest and other.data_digest and first.data_digest != other.data_digest:
        raise SubmissionError(
            f"run '{other.name}' was trained on other data than '{first.name}' (digest {other.data_digest} against "
            f"{first.data_digest}): photo files, labels or test photos differ"
        )
    if (first.test is None) != (other.test is None):
        without = first if first.test is None else other
        raise SubmissionError(f"run '{without.name}' has no test predictions while the others do: finish it first")
    if first.test is not None and other.test is not None:
        _require_same_ids(first, other, "test prediction", first.test.ids, other.test.ids)


def _require_same_ids(first: Member, other: Member, what: str, mine: Sequence[str], theirs: Sequence[str]) -> None:
    have, want = set(theirs), set(mine)
    parts = [
        f"'{lacks}' lacks {count(len(names), what)} that '{has}' has ({few(names)})"
        for lacks, has, names in ((other.name, first.name, want - have), (first.name, other.name, have - want))
        if names
    ]
    if parts:
        hint = " (--common blends on the photos that all have)" if what.startswith("out-of-fold") else ""
        raise SubmissionError(f"the runs cover different photos: {'; '.join(parts)}{hint}")


def _moved(first: Member, other: Member) -> list[str]:
    """Photos that sit in other company; the same split may number its folds in another order."""
    pairs = Counter((first.folds[name], other.folds[name]) for name in first.oof.ids)
    partner: dict[int, int] = {}
    for (a, b), _ in pairs.most_common():
        if a not in partner and b not in partner.values():
            partner[a] = b
    return [name for name in first.oof.ids if partner.get(first.folds[name]) != other.folds[name]]


def _require_same_folds(first: Member, other: Member) -> None:
    moved = _moved(first, other)
    if moved:
        name = moved[0]
        raise SubmissionError(
            f"runs '{first.name}' and '{other.name}' were made with different folds: {count(len(moved), 'photo')} sit "
            f"elsewhere, first '{name}' (fold {first.folds[name]} against {other.folds[name]}). Make both with the "
            "same seed, number of folds and data"
        )
