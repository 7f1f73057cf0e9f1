"""What a submission file is relative to a run's test predictions: the same, sharpened or clipped, or something else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from competition.prediction.calibrate import apply_clip, safe_log
from competition.record.metrics import softmax

_SAME = 1e-7  # the file is printed with ten digits
_EXPLAINED = 2e-3  # mean total variation distance below which a transformation counts as found
_DIGITS = 1e-9  # equal cells below it may be rounding
_TRUSTED = 1e-7  # log-probabilities below are dominated by floors and rounding


@dataclass(frozen=True)
class Relation:
    """How the file came from the run's test predictions.

    Attributes:
        kind: ``same``, ``transformed`` (temperature and clip below) or ``other``.
        temperature: divisor of the run's log-probabilities.
        floor: probabilities below were raised to it.
        distance: mean total variation distance, in [0, 1], between the file and the run after the transformation.
        agreement: share of photos called alike.
    """

    kind: str
    temperature: float = 1.0
    floor: float = 0.0
    distance: float = 0.0
    agreement: float = 1.0

    def apply(self, log_probabilities: np.ndarray) -> np.ndarray:
        """Do to log-probabilities (n, c) what was done to the run's test predictions; probabilities (n, c)."""
        return apply_clip(softmax(log_probabilities, self.temperature), self.floor)

    def __str__(self) -> str:
        if self.kind == "same":
            return "the run's test predictions as they are"
        if self.kind == "other":
            apart = f"mean distance {self.distance:.3f}, {self.agreement:.1%} called alike"
            return f"other probabilities than the run's test predictions ({apart})"
        changes = [f"temperature {self.temperature:.3f}"] if abs(self.temperature - 1) > 1e-3 else []
        changes += [f"clip {self.floor:.2g}"] if self.floor else []
        return f"the run's test predictions after {' and '.join(changes) or 'rounding'}"


def relate(run: np.ndarray, file: np.ndarray) -> Relation:
    """Find how probabilities ``file`` (n, c) came from probabilities ``run`` (n, c)."""
    agreement = float((run.argmax(axis=1) == file.argmax(axis=1)).mean())
    if np.abs(run - file).max() <= _SAME:
        return Relation("same", agreement=agreement)
    log_run = safe_log(run)
    best = Relation("other", distance=_distance(run, file), agreement=agreement)
    for floor in (0.0, _floor_of(file)):
        for temperature in (1.0, _temperature_of(log_run, file, floor)):
            trial = Relation("transformed", temperature, floor)
            distance = _distance(trial.apply(log_run), file)
            if distance < min(best.distance, _EXPLAINED):
                best = Relation("transformed", temperature, floor, distance, agreement)
    return best


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(0.5 * np.abs(a - b).sum(axis=1).mean())


def _floor_of(file: np.ndarray) -> float:
    """The floor of a clip, from the pile of equal smallest cells that it leaves in each row; 0 without such piles.

    A row of which k cells were raised to f and that was then divided by its sum 1 + k f has the smallest value
    m = f / (1 + k f), up to what the raised cells had before; so f = m / (1 - k m).
    """
    smallest = file.min(axis=1, keepdims=True)
    piled = (file <= smallest * (1 + 1e-6)).sum(axis=1)
    # Two equal smallest cells do not happen by chance, unless the digits of the file ran out.
    rows = (piled >= 2) & (piled < file.shape[1]) & (smallest[:, 0] > _DIGITS)
    if rows.mean() < 0.01:
        return 0.0
    low, many = smallest[rows, 0], piled[rows]
    floor = float(np.median(low / (1 - many * low)))
    return floor if 0 < floor < 1 / file.shape[1] else 0.0


def _temperature_of(log_run: np.ndarray, file: np.ndarray, floor: float) -> float:
    """Least squares of the file's log-probabilities on the run's, on cells that neither rounding nor a clip touched."""
    trusted = file > max(_TRUSTED, 3 * floor)
    rows = trusted.sum(axis=1) >= 2
    if not rows.any():
        return 1.0
    kept, x, y = trusted[rows], log_run[rows], safe_log(file[rows])
    counts = kept.sum(axis=1, keepdims=True)
    x = np.where(kept, x - np.where(kept, x, 0).sum(axis=1, keepdims=True) / counts, 0)
    y = np.where(kept, y - np.where(kept, y, 0).sum(axis=1, keepdims=True) / counts, 0)
    slope = float((x * y).sum() / max(float((x * x).sum()), 1e-12))
    return 1 / slope if slope > 0.01 else 1.0
