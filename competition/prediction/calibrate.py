"""Calibration fitted on out-of-fold predictions: temperature, class prior, vector scaling, clip.

Temperature and vector scaling follow Guo et al., 2017 (arXiv:1706.04599). Everything here works on log-probabilities:
they are logits as good as the model's own, since softmax does not see a constant added to a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from competition.errors import UsageError, nearest
from competition.training.metrics import FLOOR, accuracy, log_softmax, per_photo_loss, reliability, softmax

# Beyond these the predictions are either all right (T -> 0) or no better than chance (T -> infinity).
COLDEST, HOTTEST = 0.02, 50.0
# Gaussian prior on per-breed scales and biases: with some 80 photos a breed, free ones would fit noise.
PRIOR_SPREAD = 0.3
METHODS = ("none", "temperature", "prior", "vector")
CLIPS = (0.0, 1e-7, 1e-6, 1e-5, 3e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3)


def fit_temperature(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Divisor of the logits that minimises log loss.

    The loss is convex in 1/T, so a Newton iteration safeguarded by bisection finds the one minimum.

    Args:
        logits: logits or log-probabilities, (n, c), of photos that the model did not train on. Log-probabilities give
            the same result as the logits they came from. Part of the folds is enough.
        labels: (n,) class indices.
        weights: (n,) weights of the photos, none means equal.

    Returns:
        The temperature; above 1 means the predictions were overconfident. Kept in [0.02, 50].

    Raises:
        UsageError: there is no row, or the shapes disagree.
    """
    _require_rows(logits, labels)
    share = np.full(len(labels), 1 / len(labels)) if weights is None else weights / weights.sum()
    z = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    true = z[np.arange(len(labels)), labels]
    low, high = 1 / HOTTEST, 1 / COLDEST
    beta = 1.0
    for _ in range(60):
        p = softmax(z * beta)
        mean = (p * z).sum(axis=1)
        slope = float(share @ (mean - true))
        curvature = float(share @ ((p * z * z).sum(axis=1) - mean**2))
        low, high = (beta, high) if slope < 0 else (low, beta)
        step = beta - slope / curvature if curvature > 0 else np.inf
        new = step if low < step < high else float(np.sqrt(low * high))
        if abs(new - beta) <= 1e-10 * beta:
            break
        beta = new
    return float(np.clip(1 / beta, COLDEST, HOTTEST))


def apply_temperature(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities (n, c), float64, of logits or log-probabilities divided by ``temperature``.

    Raises:
        UsageError: the temperature is not above 0.
    """
    if not temperature > 0:
        raise UsageError(f"temperature={temperature} is impossible: expected a number above 0")
    return softmax(logits, temperature)


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
    if method not in METHODS:
        raise UsageError(f"unknown calibration '{method}'{nearest(method, METHODS)} Known: {', '.join(METHODS)}")
    _require_rows(log_probabilities, labels)
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
    theta = minimize(objective, theta, jac=True, method="L-BFGS-B", options={"maxiter": 200}).x
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


def _require_rows(logits: np.ndarray, labels: np.ndarray) -> None:
    if logits.ndim != 2 or logits.shape[0] != len(labels) or not len(labels):
        raise UsageError(f"logits of shape {logits.shape} do not fit {len(labels)} labels")
