"""An offline grader: the checker's verdicts against known breeds, and scikit-learn's log loss.

Rows are scored as Kaggle scores them: clipped, then divided by their sum.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from competition.data.source.labels import read_labels
from competition.errors import SubmissionError, UsageError
from competition.prediction.submission.check import SubmissionReport
from competition.prediction.submission.judges import as_scored
from competition.prediction.submission.template import ID_COLUMN, Template, read_header, require_same_breeds
from competition.prediction.submission.write import read_checked, write_submission
from competition.types import Predictions


@dataclass(frozen=True)
class Graded:
    """Scores of repeated splits, each as an independent grader sees it.

    Attributes:
        scores: log loss per split, nats.
        share: of the photos held out in each split.
        photos: held out in each split.
    """

    scores: tuple[float, ...]
    share: float
    photos: int

    @property
    def mean(self) -> float:
        """Mean over the splits, nats."""
        return float(np.mean(self.scores))

    @property
    def spread(self) -> float:
        """Standard deviation over the splits (n - 1), nats."""
        return float(np.std(self.scores, ddof=1)) if len(self.scores) > 1 else 0.0


def grade(submission: Path | str, answers: Path | str | Mapping[str, str]) -> float:
    """Log loss of a submission against the true breeds.

    Args:
        submission: the CSV.
        answers: a CSV with the columns ``id`` and ``breed``, or breed by id.

    Raises:
        DataError: the answers cannot be read.
        SubmissionError: the submission is refused; the reason is named.
    """
    return grade_with_report(submission, answers)[0]


def grade_with_report(
    submission: Path | str, answers: Path | str | Mapping[str, str]
) -> tuple[float, SubmissionReport]:
    """As ``grade``, with what the checker said."""
    from sklearn.metrics import log_loss

    breed_of = answers if isinstance(answers, Mapping) else read_labels(Path(answers))
    breeds = _columns(Path(submission))
    require_same_breeds(breeds, sorted({*breeds, *breed_of.values()}), str(submission))
    report, given = read_checked(Path(submission), Template(tuple(breed_of), tuple(sorted(breeds))))
    values = np.stack([as_scored(row) for row in given.probabilities])
    return float(log_loss(list(breed_of.values()), values, labels=list(given.classes))), report


def _columns(submission: Path) -> tuple[str, ...]:
    """The breeds that a submission has columns for; the checker says what is wrong with the rest of it."""
    header = read_header(submission)
    if ID_COLUMN not in header:
        raise SubmissionError(f"{submission}: no column 'id'")
    return tuple(dict.fromkeys(name for name in header if name != ID_COLUMN))


def split_and_grade(
    oof: Predictions, breeds: Sequence[str], *, share: float = 0.1, splits: int = 5, seed: int = 0
) -> Graded:
    """Hold ``share`` of the training photos out, write their predictions as a submission, and grade the file.

    The predictions are out of fold, so no model is fitted again: each is by a model that did not train on the photo.

    Args:
        oof: out-of-fold predictions.
        breeds: true breed of every photo of ``oof``.
        share: of the photos to hold out, drawn per breed.
        splits: how many times, each with another draw.
        seed: of the draws.

    Raises:
        UsageError: the share or the number of splits is impossible.
    """
    if not 0 < share < 1 or splits < 1 or len(breeds) != len(oof):
        raise UsageError(f"cannot hold out {share:.0%} of {len(oof)} photos {splits} times")
    rng = np.random.default_rng(seed)
    scores: list[float] = []
    held: list[int] = []
    with tempfile.TemporaryDirectory() as scratch:
        submission = Path(scratch) / "submission.csv"
        for _ in range(splits):
            held = draw_held_out(rng, breeds, share)
            ids = tuple(oof.ids[row] for row in held)
            write_submission(oof, Template(ids, oof.classes), submission)
            scores.append(grade(submission, {oof.ids[row]: breeds[row] for row in held}))
    return Graded(tuple(scores), share, len(held))


def draw_held_out(rng: np.random.Generator, breeds: Sequence[str], share: float) -> list[int]:
    """Rows drawn per breed without replacement; each breed with about ``share`` of its photos, at least one in all."""
    by_breed: dict[str, list[int]] = {}
    for row, breed in enumerate(breeds):
        by_breed.setdefault(breed, []).append(row)
    held: list[int] = []
    for rows in by_breed.values():
        # The fraction beyond a whole number of photos is decided by a draw, so that small breeds are not always out.
        wanted = int(len(rows) * share + rng.random())
        held += rng.choice(rows, min(wanted, len(rows)), replace=False).tolist()
    return sorted(held) or [int(rng.integers(len(breeds)))]
