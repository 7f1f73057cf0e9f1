"""An offline grader: the checker's verdicts against known breeds, and scikit-learn's log loss.

Rows are scored as Kaggle scores them: clipped, then divided by their sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from competition.data.source.labels import read_labels
from competition.errors import SubmissionError
from competition.prediction.submission.check import SubmissionReport
from competition.prediction.submission.judges import as_scored
from competition.prediction.submission.template import ID_COLUMN, Template, read_header, require_same_breeds
from competition.prediction.submission.write import read_checked


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
