"""An offline grader in the manner of an independent one (openai/mle-bench), on pandas and scikit-learn.

It shares no rule with the checker, so that each can catch the other's mistakes: it wants all columns, the same ids,
values in [0, 1] and rows that sum to 1 within 1e-6, sorts by id, and lets scikit-learn compute the log loss.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from competition.errors import SubmissionError, UsageError
from competition.prediction.submission import write_submission
from competition.prediction.template import Template
from competition.types import Predictions

if TYPE_CHECKING:
    import pandas as pd

_TOLERANCE = 1e-6


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


def grade(submission: Path | str, answers: Path | str) -> float:
    """Log loss of a submission against the true breeds.

    Args:
        submission: the CSV.
        answers: a CSV with the columns ``id`` and ``breed``.

    Raises:
        SubmissionError: the grader refuses the submission; the reason is named.
    """
    import pandas as pd
    from sklearn.metrics import log_loss

    truth = _read(Path(answers), {"id": str, "breed": str})
    if not {"id", "breed"} <= set(truth.columns):
        raise SubmissionError(f"{answers} has no columns 'id' and 'breed'")
    given = _read(Path(submission), {"id": str})
    if "id" not in given.columns:
        raise SubmissionError(f"{submission}: no column 'id'")
    breeds = sorted(column for column in given.columns if column != "id")
    lacking = sorted(set(truth["breed"]) - set(breeds))
    if lacking:
        rest = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
        raise SubmissionError(f"{submission}: no column for {', '.join(lacking[:3])}{rest}")
    truth, given = truth.sort_values("id", ignore_index=True), given.sort_values("id", ignore_index=True)
    if len(truth) != len(given) or not (truth["id"] == given["id"]).all():
        raise SubmissionError(f"{submission}: its {len(given)} ids are not the {len(truth)} ids of {answers}")
    values = given[breeds].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    if not ((values >= 0) & (values <= 1)).all():
        raise SubmissionError(f"{submission}: a value is no number in [0, 1]")
    if (np.abs(values.sum(axis=1) - 1) > _TOLERANCE).any():
        raise SubmissionError(f"{submission}: a row does not sum to 1 within {_TOLERANCE:g}")
    return float(log_loss(truth["breed"], values, labels=breeds))


def _read(path: Path, kinds: dict[str, type]) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_csv(path, dtype=kinds)  # type: ignore[arg-type]
    except FileNotFoundError as error:
        raise SubmissionError(f"{path} is missing") from error
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise SubmissionError(f"{path} is not a CSV: {error}") from error


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
        answers, submission = Path(scratch) / "answers.csv", Path(scratch) / "submission.csv"
        for _ in range(splits):
            held = draw_held_out(rng, breeds, share)
            ids = tuple(oof.ids[row] for row in held)
            rows = "\n".join(f'"{oof.ids[row]}","{breeds[row]}"' for row in held)
            answers.write_text(f"id,breed\n{rows}\n", encoding="utf-8")
            write_submission(oof, Template(ids, oof.classes), submission)
            scores.append(grade(submission, answers))
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
