"""One divisor of the logits, fitted on photos that the model did not train on (Guo et al., 2017, arXiv:1706.04599)."""

from __future__ import annotations

import numpy as np

from competition.errors import UsageError
from competition.record.metrics import softmax

# Beyond these the predictions are either all right (T -> 0) or no better than chance (T -> infinity).
COLDEST, HOTTEST = 0.02, 50.0


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
    require_rows(logits, labels)
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


def require_rows(logits: np.ndarray, labels: np.ndarray) -> None:
    """Refuse logits and labels of different lengths, and none at all.

    Raises:
        UsageError: the shapes disagree.
    """
    if logits.ndim != 2 or logits.shape[0] != len(labels) or not len(labels):
        raise UsageError(f"logits of shape {logits.shape} do not fit {len(labels)} labels")
