"""What is asked of predictions made elsewhere: every photo once, every breed, numbers that can be probabilities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import PurePath

import numpy as np

from competition.console import warn
from competition.errors import SubmissionError, UsageError, nearest
from competition.prediction.submission.judges import shown
from competition.prediction.submission.template import count, few
from competition.record.metrics import confusion_matrix, softmax
from competition.types import ROW_SUM_TOLERANCE

SCALES = ("probabilities", "logits", "percent")
_ROUNDED = 0.01  # 120 cells of float16, or of three or four digits, sum to 1 within this
_NEGATIVE = -1e-6
_PERCENT = (90.0, 110.0)
_LEAST_SWAPPED = 5  # photos


def to_probabilities(values: np.ndarray, ids: Sequence[str], scale: str, where: str, half: bool = False) -> np.ndarray:
    """Probabilities (n, c), float64, rows summing to 1, of numbers (n, c).

    Rows that were rounded on the way into a file are divided by their sum. Zeros of such a file stand for less than it
    could write: they become half its smallest number, since a zero costs 34.5 nats where it is wrong.

    Raises:
        SubmissionError: NaN, or numbers that are not what ``scale`` says; what they look like is said.
        UsageError: ``scale`` is none of ``SCALES``.
    """
    if scale not in SCALES:
        raise UsageError(f"unknown scale '{scale}'{nearest(scale, SCALES)} Known: {', '.join(SCALES)}")
    values = np.asarray(values, dtype=np.float64)
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        told = f"{count(int(bad.sum()), 'row')} with NaN, infinity or an empty cell"
        raise SubmissionError(f"{where}: {told}, first '{shown(ids[int(bad.argmax())])}': predict these photos again")
    if scale == "logits":
        if _are_distributions(values):
            raise SubmissionError(f"{where}: its rows are no logits, they sum to 1: say that they are probabilities")
        return softmax(values)
    return _divided(_require_distributions(values / 100 if scale == "percent" else values, ids, where), where, half)


def _are_distributions(values: np.ndarray) -> bool:
    return bool(len(values)) and bool((values >= 0).all() and (np.abs(values.sum(axis=1) - 1) <= _ROUNDED).all())


def _require_distributions(values: np.ndarray, ids: Sequence[str], where: str) -> np.ndarray:
    """Refuse rows that rounding cannot explain; a hair below 0 is 0."""
    sums = values.sum(axis=1)
    bad = (np.abs(sums - 1) > _ROUNDED) | (values < _NEGATIVE).any(axis=1)
    if bad.any():
        row = int(bad.argmax())
        told = f"{count(int(bad.sum()), 'row')} are no probabilities, first '{shown(ids[row])}', which sums to"
        raise SubmissionError(f"{where}: {told} {sums[row]:.4g}{_likely(values, sums)}")
    return np.clip(values, 0, None)


def _likely(values: np.ndarray, sums: np.ndarray) -> str:
    """What such numbers probably are, and what to do."""
    if (values < _NEGATIVE).any():
        return ": are they logits? Then say so (--scale logits)"
    if _PERCENT[0] < float(np.median(sums)) < _PERCENT[1]:
        return ": are they percent? Then say so (--scale percent)"
    if float(values.max()) > 1 + _ROUNDED:
        return ": are they logits (--scale logits) or percent (--scale percent)?"
    return ": one sigmoid a breed, or a breed left out? Divide each row by its sum before saving it"


def _divided(values: np.ndarray, where: str, half: bool) -> np.ndarray:
    """Rows divided by their sums; of a rounded file the zeros are raised before that, and it is said."""
    worst = float(np.abs(values.sum(axis=1) - 1).max(initial=0))
    zeros = int((values == 0).sum())
    if (half or worst > ROW_SUM_TOLERANCE) and len(values):
        floor = float(values[values > 0].min()) / 2
        kind = "float16" if half else "rounded numbers"
        raised = f", and {count(zeros, 'zero')} became {floor:.2g}" if zeros else ""
        warn(f"{where}: {kind}, its rows sum to 1 within {worst:.1g} only: they were divided by their sums{raised}")
        values = np.where(values == 0, floor, values)
    return values / values.sum(axis=1, keepdims=True)


def rows_of(ids: Sequence[str], wanted: Sequence[str], known: Collection[str], where: str, what: str) -> np.ndarray:
    """Rows (w,) of the wanted photos in a table; ids in any order.

    Args:
        ids: the table's.
        wanted: the photos that must have a row.
        known: every photo that may have one.
        where: the table, for messages.
        what: what kind of photo (``train photo``), for messages.

    Raises:
        SubmissionError: photos are lacking, there twice, or unknown.
    """
    known, times = set(known), Counter(ids)
    lacking = [name for name in wanted if name not in times]
    twice = [shown(name) for name, number in times.items() if number > 1]
    unknown = [name for name in times if name not in known]
    parts = [f"{count(len(lacking), what)} without a row: {few(lacking)}"] if lacking else []
    parts += [f"{count(len(twice), 'id')} with more than one row: {few(twice)}"] if twice else []
    if unknown:
        told = few([shown(name) for name in unknown])
        parts.append(f"{count(len(unknown), 'unknown id')}: {told}{_likely_id(unknown[0], known)}")
    if parts:
        raise SubmissionError(f"{where}: {'; '.join(parts)}")
    row_of = {name: row for row, name in enumerate(ids)}
    return np.fromiter((row_of[name] for name in wanted), dtype=np.intp, count=len(wanted))


def _likely_id(name: str, known: Collection[str]) -> str:
    stem = PurePath(name.strip().replace("\\", "/")).name
    tried = (stem, PurePath(stem).stem, PurePath(stem).stem.casefold())
    return next((f" - did you mean '{each}'?" for each in tried if each in known), "")


def require_breeds_in_place(probabilities: np.ndarray, labels: np.ndarray, classes: Sequence[str], where: str) -> None:
    """Refuse columns that answer to another breed than their name.

    No model calls most photos of one breed by another one's name and hardly anything else so: the columns were written
    in another order than their names. A table that is right about as often as chance is only pointed out.

    Args:
        probabilities: (n, c), out of fold.
        labels: (n,) class indices.
        classes: names of the columns.
        where: the table, for messages.

    Raises:
        SubmissionError: naming one of the columns and the breed it answers to.
    """
    called = probabilities.argmax(axis=1)
    matrix = confusion_matrix(called, labels, len(classes))  # by label, by call
    of_label = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    of_call = matrix / np.maximum(matrix.sum(axis=0, keepdims=True), 1)
    swapped = (of_label > 0.6) & (of_call > 0.6) & (matrix >= _LEAST_SWAPPED)
    np.fill_diagonal(swapped, False)
    if swapped.any():
        label, call = (int(place[0]) for place in np.nonzero(swapped))
        raise SubmissionError(
            f"{where}: {count(int(swapped.sum()), 'column')} answer to another breed than their name says, first "
            f"'{classes[call]}', which answers to '{classes[label]}': write each column under its own breed's name"
        )
    right, chance = float((called == labels).mean()), float(np.bincount(labels).max() / len(labels))
    if right < 1.2 * chance:
        warn(f"{where}: {right:.1%} of the photos are called right, chance gives {chance:.1%}: are ids and rows mixed?")


def fold_numbers(folds: Sequence[object], ids: Sequence[str], where: str) -> np.ndarray:
    """Folds numbered from 0 without a gap, int64 (n,), of whatever names or numbers they have.

    Raises:
        SubmissionError: another number of folds than ids, a photo without one, or one fold only.
    """
    texts = [str(fold).strip() for fold in folds]
    if len(texts) != len(ids):
        raise SubmissionError(f"{where}: {len(texts):,} folds for {len(ids):,} photos")
    lacking = [name for name, text in zip(ids, texts, strict=True) if text.casefold() in ("", "nan", "none", "-1")]
    if lacking:
        raise SubmissionError(f"{where}: {count(len(lacking), 'photo')} without a fold: {few(lacking)}")
    names, numbers = np.unique(np.array(texts), return_inverse=True)
    if len(names) < 2:
        raise SubmissionError(f"{where}: all photos are in one fold: give the folds, or say 'unknown'")
    return numbers.astype(np.int64)
