"""What a submission will probably score, with an interval, from out-of-fold predictions alone.

Three things make the score on the test photos differ from the one out of fold, and the bootstrap repeats all three: the
training photos are a sample (resampled by groups of duplicates), the temperature was fitted on them (fitted again on
another resample), and the test photos are a sample too, often a small one (drawn from the resampled photos).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from competition.errors import UsageError
from competition.record.metrics import FLOOR, log_softmax

# The temperature is looked for on this grid around the fitted one and refined by a parabola.
_GRID = np.exp(np.linspace(-0.2, 0.2, 17))


@dataclass(frozen=True)
class Expectation:
    """The expected score on the test photos.

    Attributes:
        log_loss: out of fold, nats.
        low: lower end of the interval for the test score, nats.
        high: upper end.
        accuracy: out of fold, in [0, 1].
        accuracy_low: lower end of the interval for the test accuracy.
        accuracy_high: upper end.
        temperature_error: standard deviation of the refitted temperature over the draws; 0 when it was held.
        photos: out-of-fold photos used; 0 when another model's beliefs stood in for labels.
        test_photos: how many test photos the interval is for.
        level: probability of the interval, 0.95 by default.
    """

    log_loss: float
    low: float
    high: float
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    temperature_error: float
    photos: int
    test_photos: int
    level: float = 0.95


def expect(
    log_probabilities: np.ndarray,
    labels: np.ndarray,
    test_photos: int,
    groups: np.ndarray | None = None,
    *,
    refit: bool = True,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Expectation:
    """Expected log loss and accuracy on ``test_photos`` photos like these.

    Args:
        log_probabilities: out of fold, as calibrated as the submission is, (n, c).
        labels: (n,) class indices.
        test_photos: size of the set that will be scored.
        groups: (n,) group of duplicates of each photo, resampled together; none means every photo for itself.
        refit: the calibration was fitted on these photos, so its own uncertainty counts.
        draws: bootstrap repetitions.
        level: probability of the interval.
        seed: of the resampling.

    Raises:
        UsageError: no photo, no test photo, or an impossible level.
    """
    if not len(labels) or test_photos < 1 or not 0 < level < 1 or draws < 2:
        raise UsageError(f"cannot expect a score from {len(labels)} photos for {test_photos} at level {level}")
    rng = np.random.default_rng(seed)
    group = np.arange(len(labels)) if groups is None else np.unique(groups, return_inverse=True)[1]
    losses = _losses_on_grid(log_probabilities, labels)
    right = (log_probabilities.argmax(axis=1) == labels).astype(np.float64)
    scores, accuracies, temperatures = (np.empty(draws) for _ in range(3))
    for draw in range(draws):
        column = _refitted(_resample(rng, group) @ losses) if refit else (len(_GRID) - 1) / 2
        population = _resample(rng, group)
        test = rng.multinomial(test_photos, population / population.sum()) / test_photos
        scores[draw] = _between(test @ losses, column)
        accuracies[draw] = test @ right
        temperatures[draw] = _between(_GRID, column)
    tails = [50 * (1 - level), 50 * (1 + level)]
    (low, high), (worst, best) = np.percentile(scores, tails), np.percentile(accuracies, tails)
    middle = losses[:, len(_GRID) // 2]
    return Expectation(
        float(middle.mean()),
        float(low),
        float(high),
        float(right.mean()),
        float(worst),
        float(best),
        float(temperatures.std()) if refit else 0.0,
        len(labels),
        test_photos,
        level,
    )


def _losses_on_grid(log_probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Loss of every photo at every temperature of the grid, (n, g), nats."""
    rows = np.arange(len(labels))
    return np.stack([-log_softmax(log_probabilities / t)[rows, labels] for t in _GRID], axis=1)


def _resample(rng: np.random.Generator, group: np.ndarray) -> np.ndarray:
    """Bootstrap weights (n,): groups drawn with replacement, as many as there are."""
    groups = int(group.max()) + 1
    return np.bincount(rng.integers(0, groups, groups), minlength=groups)[group].astype(np.float64)


def _refitted(curve: np.ndarray) -> float:
    """Position of the lowest point of a curve over the grid, by a parabola through three points."""
    best = int(np.clip(curve.argmin(), 1, len(curve) - 2))
    before, here, after = curve[best - 1 : best + 2]
    bend = before - 2 * here + after
    step = 0.5 * (before - after) / bend if bend > 0 else 0.0
    return float(np.clip(best + step, 0, len(curve) - 1))


def _between(values: np.ndarray, position: float) -> float:
    """Linear interpolation of values at a fractional position."""
    left = min(int(position), len(values) - 2)
    part = position - left
    return float((1 - part) * values[left] + part * values[left + 1])


def expect_from_beliefs(
    beliefs: np.ndarray, probabilities: np.ndarray, *, draws: int = 1000, level: float = 0.95, seed: int = 0
) -> Expectation:
    """Expected score of probabilities (t, c) if the labels of these photos follow ``beliefs`` (t, c).

    Needs no labels, but holds only as far as the beliefs are calibrated. Their own uncertainty is not in the interval.

    Args:
        beliefs: calibrated probabilities from another model, for the same photos and classes.
        probabilities: what was submitted.
        draws: how often labels are drawn.
        level: probability of the interval.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    losses, calls = -np.log(np.maximum(probabilities, FLOOR)), probabilities.argmax(axis=1)
    rows, edges = np.arange(len(beliefs)), (beliefs / beliefs.sum(axis=1, keepdims=True)).cumsum(axis=1)
    scores, accuracies = np.empty(draws), np.empty(draws)
    for draw in range(draws):
        labels = np.minimum((edges < rng.random((len(rows), 1))).sum(axis=1), beliefs.shape[1] - 1)
        scores[draw], accuracies[draw] = losses[rows, labels].mean(), (calls == labels).mean()
    tails = [50 * (1 - level), 50 * (1 + level)]
    (low, high), (worst, best) = np.percentile(scores, tails), np.percentile(accuracies, tails)
    return Expectation(
        float((beliefs * losses).sum(axis=1).mean()),
        float(low),
        float(high),
        float(beliefs[rows, calls].mean()),
        float(worst),
        float(best),
        0.0,
        0,
        len(rows),
        level,
    )
