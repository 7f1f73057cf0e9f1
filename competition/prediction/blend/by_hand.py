"""Test predictions alone (a public submission) in a blend, with a weight that the user gives.

Without out-of-fold predictions neither their score nor that of the mixture can be known before Kaggle tells it.
``test.npz`` of the blend therefore stays what ``oof.npz`` scores; only ``submission.csv`` holds the mixture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from competition.errors import DataError, SubmissionError, UsageError
from competition.files import digest_of
from competition.prediction.submission.template import breed_differences, count, few
from competition.record.run_dir import RunDir
from competition.types import Predictions


@dataclass(frozen=True)
class ByHand:
    """Test predictions with a weight that nothing was fitted for.

    Attributes:
        name: the run folder's.
        weight: share of the submission, above 0 and below 1.
        test: predictions of the test photos.
        config_digest: digest of the folder's configuration.
    """

    name: str
    weight: float
    test: Predictions
    config_digest: str


def parse_weights(texts: Sequence[str]) -> dict[Path, float]:
    """``RUN=WEIGHT`` texts as weights by run folder.

    Raises:
        UsageError: a text has no weight between 0 and 1, a run is given twice, or the weights leave nothing.
    """
    weights: dict[Path, float] = {}
    for text in texts:
        run, _, number = text.rpartition("=")
        try:
            weight = float(number)
        except ValueError:
            weight = np.nan
        if not run or not 0 < weight < 1:
            raise UsageError(f"--by-hand {text}: write RUN=WEIGHT with a weight between 0 and 1, as runs/public=0.2")
        if Path(run) in weights:
            raise UsageError(f"--by-hand gives {run} twice: give each run one weight")
        weights[Path(run)] = weight
    if sum(weights.values()) >= 1:
        raise UsageError(f"the weights given by hand sum to {sum(weights.values()):g}: leave some for the other runs")
    return weights


def load_by_hand(weights: Mapping[Path, float]) -> tuple[ByHand, ...]:
    """Read the test predictions.

    Raises:
        ResumeError: a folder is no run.
        DataError: it has no test predictions.
    """
    found = []
    for path, weight in weights.items():
        run = RunDir(path)
        config = run.config
        if not (run / "test.npz").is_file():
            raise DataError(f"{path} has no test predictions (test.npz): there is nothing to give a weight to")
        found.append(ByHand(path.resolve().name, weight, Predictions.load(run / "test.npz"), digest_of(config)))
    return tuple(found)


def mixed(fitted: Predictions, others: Sequence[ByHand]) -> Predictions:
    """The weighted mean of the fitted blend, which has what the weights leave, and the others.

    Raises:
        SubmissionError: one of the others has other breeds or lacks photos.
    """
    total = (1 - sum(other.weight for other in others)) * fitted.probabilities
    for other in others:
        total = total + other.weight * _aligned(other, fitted).probabilities
    return fitted.with_probabilities(total / total.sum(axis=1, keepdims=True))


def _aligned(other: ByHand, fitted: Predictions) -> Predictions:
    problems = breed_differences(other.test.classes, fitted.classes)
    lacking = set(fitted.ids) - set(other.test.ids)
    problems += [f"{count(len(lacking), 'test photo')} without a prediction ({few(lacking)})"] if lacking else []
    if problems:
        raise SubmissionError(f"run '{other.name}' does not fit the others: {'; '.join(problems)}")
    return other.test.aligned_to(fitted.ids, fitted.classes)


def told_of(others: Sequence[ByHand], fitted: Predictions, log_loss: float) -> list[str]:
    """What is to be known of the mixture, and what cannot be; one sentence each."""
    told = []
    for other in others:
        alike = (_aligned(other, fitted).probabilities.argmax(axis=1) == fitted.probabilities.argmax(axis=1)).mean()
        told.append(
            f"by hand: '{other.name}' is {other.weight:.3f} of the submission; it calls {alike:.1%} of the test photos "
            "as the rest of the blend does"
        )
    if told:
        told.append(
            f"not known: the score of these and of the submission, since they have no out-of-fold predictions; "
            f"{log_loss:.4f} is the log loss of the rest alone"
        )
    return told
