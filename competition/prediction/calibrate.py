"""Calibration fitted on out-of-fold predictions: temperature, class prior, vector scaling, clip.

Temperature and vector scaling follow Guo et al., 2017 (arXiv:1706.04599). Everything here works on log-probabilities:
they are logits as good as the model's own, since softmax does not see a constant added to a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from competition.errors import UsageError, require_known
from competition.record.metrics import FLOOR, accuracy, log_softmax, per_photo_loss, reliability, softmax
from competition.record.temperature import apply_temperature as apply_temperature
from competition.record.temperature import fit_temperature as fit_temperature
from competition.record.temperature import require_rows

# Gaussian prior on per-breed scales and biases: with some 80 photos a breed, free ones would fit noise.
PRIOR_SPREAD = 0.3
METHODS = ("none", "temperature", "prior", "vector")
CLIPS = (0.0, 1e-7, 1e-6, 1e-5, 3e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3)


def apply_clip(probabilities: np.ndarray, floor: float) -> np.ndarray:
    """Raise probabilities below ``floor`` to it and divide rows by their sums; shape kept.

    Raises:
        UsageError: the floor is negative or leaves no room for the other classes.
    """
    if not 0 <= floor < 1 / probabilities.shape[1]:
        raise UsageError(f"clip={floor} is impossible with {probabilities.shape[1]} breeds: expected 0 to 1/breeds")
    raised = np.maximum(probabilities, floor)
    return raised / raised.sum(axis=1, keepdims=True)


def fit_clip(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The floor from ``CLIPS`` that gives the lowest log loss; the smallest one wins a tie."""
    floors = [floor for floor in CLIPS if floor < 1 / probabilities.shape[1]]
    losses = [per_photo_loss(apply_clip(probabilities, floor), labels).mean() for floor in floors]
    return floors[int(np.argmin(np.round(losses, 12)))]


@dataclass(frozen=True)
class Calibration:
    """``softmax(log p * scale + bias)``, then a floor under the probabilities.

    Attributes:
        method: one of ``METHODS``.
        scale: (c,) factors of the log-probabilities; all equal to 1/T for a temperature.
        bias: (c,) added per breed; zeros for a temperature.
        floor: probabilities below are raised to it; 0 for none.
    """

    method: str
    scale: np.ndarray
    bias: np.ndarray
    floor: float = 0.0

    @property
    def temperature(self) -> float:
        """Divisor of the log-probabilities; the mean over breeds for vector scaling."""
        return float(1 / self.scale.mean())

    def apply(self, log_probabilities: np.ndarray) -> np.ndarray:
        """Calibrated probabilities (n, c), float64, of log-probabilities (n, c)."""
        calibrated = softmax(log_probabilities * self.scale + self.bias)
        return apply_clip(calibrated, self.floor) if self.floor else calibrated


def fit_calibration(
    method: str, log_probabilities: np.ndarray, labels: np.ndarray, spread: float = PRIOR_SPREAD
) -> Calibration:
    """Fit a calibration on predictions of photos that the model did not train on.

    Args:
        method: ``none``; ``temperature``; ``prior`` (temperature and a bias per breed, which corrects the class
            prior); ``vector`` (a scale and a bias per breed).
        log_probabilities: (n, c).
        labels: (n,) class indices.
        spread: standard deviation of the Gaussian prior that holds biases at 0 and scales at the common one.

    Raises:
        UsageError: the method is unknown, or the shapes disagree.
    """
    require_known("calibration", method, METHODS)
    require_rows(log_probabilities, labels)
    classes = log_probabilities.shape[1]
    if method == "none":
        return Calibration(method, np.ones(classes), np.zeros(classes))
    start = 1 / fit_temperature(log_probabilities, labels)
    if method == "temperature":
        return Calibration(method, np.full(classes, start), np.zeros(classes))
    scale, bias = _fit_per_breed(log_probabilities, labels, start, spread, shared_scale=method == "prior")
    return Calibration(method, scale, bias)


def _fit_per_breed(
    z: np.ndarray, labels: np.ndarray, start: float, spread: float, shared_scale: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Scale and bias by L-BFGS on the penalised mean loss, which is convex in both."""
    from scipy.optimize import minimize

    n, classes = z.shape
    rows, penalty = np.arange(n), 1 / (spread**2 * n)
    n_scales = 1 if shared_scale else classes

    def objective(theta: np.ndarray) -> tuple[float, np.ndarray]:
        scale, bias = theta[:n_scales], theta[n_scales:]
        log_p = log_softmax(z * scale + bias)
        error = np.exp(log_p)
        loss = -log_p[rows, labels].mean() + 0.5 * penalty * (bias @ bias)
        error[rows, labels] -= 1
        slope = (error * z).sum(axis=0) / n
        slope = slope.sum(keepdims=True) if shared_scale else slope + penalty * (scale - start)
        if not shared_scale:
            loss += 0.5 * penalty * ((scale - start) ** 2).sum()
        return float(loss), np.concatenate([slope, error.sum(axis=0) / n + penalty * bias])

    theta = np.concatenate([np.full(n_scales, start), np.zeros(classes)])
    theta = minimize(objective, theta, jac=True, method="L-BFGS-B", options={"maxiter": 100, "ftol": 1e-8}).x
    return np.broadcast_to(theta[:n_scales], (classes,)).copy(), theta[n_scales:]


@dataclass(frozen=True)
class CalibrationScore:
    """What a calibration is worth on photos that it was not fitted on.

    Attributes:
        method: one of ``METHODS``.
        log_loss: nested-CV log loss, nats.
        standard_error: of ``log_loss`` over photos, nats.
        accuracy: in [0, 1].
        ece: expected calibration error, 15 bins, in [0, 1].
        fitted: the calibration fitted on all photos, to be applied to the test photos.
    """

    method: str
    log_loss: float
    standard_error: float
    accuracy: float
    ece: float
    fitted: Calibration


def compare_calibrations(
    log_probabilities: np.ndarray, labels: np.ndarray, folds: np.ndarray, methods: Sequence[str] = METHODS
) -> tuple[CalibrationScore, ...]:
    """Score calibrations by nested cross-validation: what scores a fold was fitted on the other folds.

    Args:
        log_probabilities: out-of-fold, (n, c).
        labels: (n,) class indices.
        folds: (n,) fold of each photo; at least two different ones.
        methods: which to try.

    Raises:
        UsageError: a method is unknown, there is one fold only, or the shapes disagree.
    """
    scores = []
    for method in methods:
        nested = nested_calibration(method, log_probabilities, labels, folds)
        loss = per_photo_loss(nested, labels)
        scores.append(
            CalibrationScore(
                method,
                float(loss.mean()),
                float(loss.std(ddof=1) / np.sqrt(len(loss))),
                accuracy(nested, labels),
                reliability(nested, labels).ece,
                fit_calibration(method, log_probabilities, labels),
            )
        )
    return tuple(scores)


def nested_calibration(method: str, log_probabilities: np.ndarray, labels: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Calibrated probabilities (n, c); each fold by a calibration fitted on the other folds.

    Raises:
        UsageError: the method is unknown or there is one fold only.
    """
    require_folds(folds)
    calibrated = np.empty(log_probabilities.shape)
    for fold in np.unique(folds):
        held = folds == fold
        fitted = fit_calibration(method, log_probabilities[~held], labels[~held])
        calibrated[held] = fitted.apply(log_probabilities[held])
    return calibrated


def require_folds(folds: np.ndarray) -> None:
    """Refuse nested cross-validation over a single fold.

    Raises:
        UsageError: fewer than two folds have predictions.
    """
    if len(np.unique(folds)) < 2:
        raise UsageError("nested cross-validation needs out-of-fold predictions of at least two folds")


def safe_log(probabilities: np.ndarray) -> np.ndarray:
    """Natural logarithm with the metric's floor of 1e-15, float64."""
    return np.log(np.maximum(probabilities, FLOOR))
