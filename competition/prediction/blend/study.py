"""Blend runs: every way to combine them scored by nested cross-validation, the simplest that ties with the best taken.

Nested means: what scored a photo was fitted on the other folds only, weights and temperature included. The choice
*between* methods is made on those same scores; with eight methods and thousands of photos that costs far less than one
standard error.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from competition.console import progress
from competition.errors import UsageError
from competition.prediction.blend.align import Stack, align
from competition.prediction.blend.combiners import COMBINERS, Combiner, combiner
from competition.prediction.blend.members import Source, load_member
from competition.prediction.blend.optimism import Optimism, optimism
from competition.prediction.calibrate import require_folds
from competition.record.metrics import accuracy, per_photo_loss, reliability
from competition.types import EnsembleResult, Predictions

if TYPE_CHECKING:
    from competition.data.source.competition_data import CompetitionData

AUTO = "auto"


@dataclass(frozen=True)
class MethodScore:
    """What a way of combining is worth on photos that it was not fitted on.

    Attributes:
        method: name in ``COMBINERS``.
        log_loss: nested-CV log loss, nats.
        standard_error: of ``log_loss`` over photos, nats.
        gap: how much more than the best method, nats.
        gap_error: standard error of ``gap``, from the paired differences photo by photo.
        accuracy: in [0, 1].
        ece: expected calibration error, in [0, 1].
        weights: of the members, fitted on all photos.
        seconds: for the folds' fits and the last one.
    """

    method: str
    log_loss: float
    standard_error: float
    gap: float
    gap_error: float
    accuracy: float
    ece: float
    weights: tuple[float, ...]
    seconds: float

    @property
    def ties(self) -> bool:
        """Whether it is within one standard error of the best method."""
        return self.gap <= self.gap_error


@dataclass(frozen=True)
class CurvePoint:
    """Nested log loss with the best ``members`` members; ``added`` is the one that this step brings.

    ``gap`` is the distance to the best point of the curve and ``gap_error`` its standard error, nats.
    """

    members: int
    added: str
    log_loss: float
    gap: float
    gap_error: float


@dataclass(frozen=True)
class BlendStudy:
    """Everything that was found while blending.

    Attributes:
        stack: the aligned members.
        scores: one per method, from simple to complicated.
        chosen: the method taken.
        fitted: the chosen combiner, fitted on all out-of-fold photos.
        nested: float64 (n, c), the chosen method's nested probabilities.
        curve: score against number of members.
        loss_correlation: (m, m) Pearson correlation of the members' per-photo losses.
        disagreement: (m, m) share of photos that two members call differently.
        optimism: by how much the nested score may be too good; None where all members keep to the same folds.
    """

    stack: Stack
    scores: tuple[MethodScore, ...]
    chosen: str
    fitted: Combiner
    nested: np.ndarray
    curve: tuple[CurvePoint, ...]
    loss_correlation: np.ndarray
    disagreement: np.ndarray
    optimism: Optimism | None = None

    @property
    def score(self) -> MethodScore:
        """The chosen method's score."""
        return next(score for score in self.scores if score.method == self.chosen)

    @property
    def enough(self) -> CurvePoint:
        """The first point of the curve that ties with the best: adding more members gives nothing that shows."""
        return next(point for point in self.curve if point.gap <= point.gap_error)

    @property
    def result(self) -> EnsembleResult:
        """The blend as a named result."""
        stack, score, test = self.stack, self.score, None
        if stack.test_log_probabilities is not None:
            test = Predictions(stack.test_ids, stack.classes, self.fitted.predict(stack.test_log_probabilities))
        return EnsembleResult(
            self.chosen,
            stack.names,
            score.weights,
            Predictions(stack.ids, stack.classes, self.nested),
            test,
            score.log_loss,
            score.accuracy,
            tuple(_row(each) for each in self.scores),
        )


def blend(members: Sequence[Source], data: CompetitionData | Mapping[str, str], method: str = AUTO) -> EnsembleResult:
    """Blend runs with the method that nested cross-validation and the one-standard-error rule choose.

    Args:
        members: at least two: run folders, results of ``cross_validate`` (these with the same folds), or predictions
            made elsewhere (``Member.from_arrays``).
        data: the competition, or breed by photo id.
        method: ``auto``, or the name of a method in ``COMBINERS``.

    Raises:
        UsageError: fewer than two runs, one given twice, or an unknown method.
        SubmissionError: the runs differ in photos, folds or breeds; the difference is named.
        DataError: a run is unfinished, or a photo has no label.
    """
    return study(members, data, method).result


def study(
    members: Sequence[Source],
    data: CompetitionData | Mapping[str, str],
    method: str = AUTO,
    *,
    common: bool = False,
    least: int = 2,
) -> BlendStudy:
    """As ``blend``, with everything that was found on the way; ``common`` as in ``align``, ``least`` members."""
    if len(members) < least:
        raise UsageError(f"a blend needs at least two runs, got {len(members)}")
    if method != AUTO:
        combiner(method)
    stack = align([load_member(member) for member in members], data, common=common)
    require_folds(stack.folds)
    nested: dict[str, np.ndarray] = {}
    fitted: dict[str, Combiner] = {}
    seconds: dict[str, float] = {}
    with progress("blend", len(COMBINERS), "methods") as ticker:
        for name in COMBINERS:
            start = time.monotonic()
            nested[name] = nested_predictions(name, stack)
            fitted[name] = combiner(name).fit(stack.log_probabilities, stack.labels, stack.folds)
            seconds[name] = time.monotonic() - start
            ticker.advance()
    scores = _scores(nested, fitted, seconds, stack.labels)
    chosen = choose(scores) if method == AUTO else method
    curve = size_curve(stack, _curve_method(scores, chosen))
    doubt = optimism(stack, nested[chosen], fitted[chosen], partial(nested_predictions, chosen))
    return BlendStudy(stack, scores, chosen, fitted[chosen], nested[chosen], curve, *diversity(stack), doubt)


def nested_predictions(name: str, stack: Stack) -> np.ndarray:
    """Probabilities (n, c) of a method; each fold combined by a fit on the other folds.

    Raises:
        UsageError: the method is unknown.
    """
    probabilities = np.empty(stack.log_probabilities.shape[1:])
    for fold in np.unique(stack.folds):
        held = stack.folds == fold
        fitted = combiner(name).fit(stack.log_probabilities[:, ~held], stack.labels[~held], stack.folds[~held])
        probabilities[held] = fitted.predict(stack.log_probabilities[:, held])
    return probabilities


def _scores(
    nested: Mapping[str, np.ndarray], fitted: Mapping[str, Combiner], seconds: Mapping[str, float], labels: np.ndarray
) -> tuple[MethodScore, ...]:
    losses = {name: per_photo_loss(probabilities, labels) for name, probabilities in nested.items()}
    best = min(losses.values(), key=lambda loss: float(loss.mean()))
    return tuple(
        MethodScore(
            name,
            float(losses[name].mean()),
            _standard_error(losses[name]),
            float((losses[name] - best).mean()),
            _standard_error(losses[name] - best),
            accuracy(probabilities, labels),
            reliability(probabilities, labels).ece,
            tuple(fitted[name].weights.tolist()),
            seconds[name],
        )
        for name, probabilities in nested.items()
    )


def choose(scores: Sequence[MethodScore]) -> str:
    """The one-standard-error rule: the first, simplest method whose paired gap to the best is within its error.

    The error is that of the *difference*: the plain standard error mostly says how hard the photos are, which all
    methods share, and would call everything a tie.
    """
    return next(score.method for score in scores if score.ties)


def size_curve(stack: Stack, method: str) -> tuple[CurvePoint, ...]:
    """Nested log loss of blends of 1, 2, ... m members by one method; the members are chosen on the other folds too."""
    m, n = stack.log_probabilities.shape[:2]
    true = np.exp(stack.log_probabilities[:, np.arange(n), stack.labels])
    losses = np.empty((m, n))
    for fold in np.unique(stack.folds):
        held = stack.folds == fold
        order = forward_order(true[:, ~held])
        for size in range(1, m + 1):
            chosen = stack.log_probabilities[order[:size]]
            fitted = combiner(method).fit(chosen[:, ~held], stack.labels[~held], stack.folds[~held])
            losses[size - 1, held] = per_photo_loss(fitted.predict(chosen[:, held]), stack.labels[held])
    best = losses[int(losses.mean(axis=1).argmin())]
    return tuple(
        CurvePoint(
            size + 1,
            stack.names[member],
            float(losses[size].mean()),
            float((losses[size] - best).mean()),
            _standard_error(losses[size] - best),
        )
        for size, member in enumerate(forward_order(true))
    )


def _curve_method(scores: Sequence[MethodScore], chosen: str) -> str:
    """The chosen method; for a single member (no blend) or stacking (slow) the best of the others."""
    if chosen not in ("single", "stacking"):
        return chosen
    rest = [score for score in scores if score.method not in ("single", "stacking")]
    return min(rest, key=lambda score: score.log_loss).method


def forward_order(true: np.ndarray) -> list[int]:
    """Members in the order in which each lowers the log loss of the plain mean most, from probabilities (m, n)."""
    floored = np.maximum(true, 1e-15)
    order: list[int] = []
    total = np.zeros(true.shape[1])
    while len(order) < len(true):
        left = [member for member in range(len(true)) if member not in order]
        pick = min(left, key=lambda member: -float(np.log(total + floored[member]).mean()))
        order.append(pick)
        total += floored[pick]
    return order


def diversity(stack: Stack) -> tuple[np.ndarray, np.ndarray]:
    """Correlation (m, m) of per-photo losses, and share (m, m) of photos that two members call differently."""
    n = len(stack.ids)
    losses = -stack.log_probabilities[:, np.arange(n), stack.labels]
    calls = stack.log_probabilities.argmax(axis=2)
    spread = losses.std(axis=1)
    # A member whose losses do not vary (all certain and right) correlates with nothing.
    correlation = np.eye(len(losses)) if (spread == 0).any() else np.corrcoef(losses)
    return np.atleast_2d(correlation), (calls[:, None] != calls[None]).mean(axis=2)


def _standard_error(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def _row(score: MethodScore) -> dict[str, float | str]:
    return {
        "method": score.method,
        "log_loss": score.log_loss,
        "standard_error": score.standard_error,
        "gap": score.gap,
        "gap_error": score.gap_error,
        "accuracy": score.accuracy,
        "ece": score.ece,
        "seconds": score.seconds,
    }
