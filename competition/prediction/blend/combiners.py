"""Ways to combine the predictions of several models; each is fitted on some photos and applied to others.

A combiner takes log-probabilities (m, n, c) of m members and gives probabilities (n, c). All end in a temperature
fitted with the rest: averaging makes calibrated members underconfident (Rahaman and Thiery, 2021,
arXiv:2007.08792), and the price is one number.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from competition.errors import UsageError, nearest
from competition.prediction.calibrate import safe_log
from competition.record.metrics import log_softmax
from competition.record.temperature import apply_temperature, fit_temperature

_EM_STEPS, _EM_TOLERANCE = 2000, 1e-10
_GREEDY_STEPS, _GREEDY_PATIENCE = 60, 12


class Combiner(ABC):
    """Combines members; ``fit`` first, then ``predict``.

    Attributes:
        name: how tables and the command line call it.
        weights: (m,) share of each member, for the reader; sums to 1.
        temperature: divisor of the combined logits.
    """

    name: str
    weights: np.ndarray

    def __init__(self) -> None:
        self.temperature = 1.0

    def fit(self, log_probabilities: np.ndarray, labels: np.ndarray, folds: np.ndarray) -> Combiner:
        """Fit on log-probabilities (m, n, c) and labels (n,); ``folds`` (n,) serve to choose strengths inside."""
        self._fit(log_probabilities, labels, folds)
        self.temperature = fit_temperature(self._combine(log_probabilities), labels)
        return self

    def predict(self, log_probabilities: np.ndarray) -> np.ndarray:
        """Probabilities (n, c), float64, of log-probabilities (m, n, c)."""
        return apply_temperature(self._combine(log_probabilities), self.temperature)

    def _fit(self, log_probabilities: np.ndarray, labels: np.ndarray, folds: np.ndarray) -> None:
        """Learn what there is to learn; equal weights otherwise."""
        self.weights = np.full(len(log_probabilities), 1 / len(log_probabilities))

    @abstractmethod
    def _combine(self, log_probabilities: np.ndarray) -> np.ndarray:
        """Combined logits (n, c)."""


class Single(Combiner):
    """The one member with the lowest log loss, each at its best temperature."""

    name = "single"

    def _fit(self, log_probabilities: np.ndarray, labels: np.ndarray, folds: np.ndarray) -> None:
        losses = [
            -_true(log_softmax(member / fit_temperature(member, labels)), labels).mean() for member in log_probabilities
        ]
        self.weights = np.eye(len(log_probabilities))[int(np.argmin(losses))]

    def _combine(self, log_probabilities: np.ndarray) -> np.ndarray:
        return log_probabilities[int(self.weights.argmax())]


class Equal(Combiner):
    """The mean of the probabilities."""

    name = "equal"

    def _combine(self, log_probabilities: np.ndarray) -> np.ndarray:
        return safe_log(np.tensordot(self.weights, np.exp(log_probabilities), axes=1))


class Geometric(Combiner):
    """The mean of the log-probabilities (not the product of raw probabilities)."""

    name = "geometric"

    def _combine(self, log_probabilities: np.ndarray) -> np.ndarray:
        return log_softmax(np.tensordot(self.weights, log_probabilities, axes=1))


class Rank(Combiner):
    """Mean over members of each breed's rank within the photo, read as ``p ~ rank ** -b``; the temperature fits b."""

    name = "rank"

    def _combine(self, log_probabilities: np.ndarray) -> np.ndarray:
        order = (-log_probabilities).argsort(axis=2, kind="stable")
        ranks = np.empty(log_probabilities.shape)
        np.put_along_axis(ranks, order, np.arange(1, order.shape[2] + 1, dtype=np.float64)[None, None], axis=2)
        return -np.log(np.tensordot(self.weights, ranks, axes=1))


class Simplex(Equal):
    """The weighted mean of the probabilities; weights at least 0, sum 1, lowest log loss."""

    name = "weights"

    def _fit(self, log_probabilities: np.ndarray, labels: np.ndarray, folds: np.ndarray) -> None:
        self.weights = simplex_weights(np.exp(_true(log_probabilities, labels)))


class Greedy(Equal):
    """Forward selection with replacement (Caruana et al., 2004): add whichever member lowers log loss most."""

    name = "greedy"

    def _fit(self, log_probabilities: np.ndarray, labels: np.ndarray, folds: np.ndarray) -> None:
        self.weights = greedy_weights(np.exp(_true(log_probabilities, labels)))


class LogPool(Geometric):
    """Softmax of a weighted sum of log-probabilities, weights at least 0: a product of experts."""

    name = "log-pool"

    def _fit(self, log_probabilities: np.ndarray, labels: np.ndarray, folds: np.ndarray) -> None:
        pool = pool_weights(log_probabilities, labels)
        self.weights = pool / pool.sum() if pool.sum() > 0 else np.full(len(pool), 1 / len(pool))


class Stacking(Combiner):
    """Multinomial logistic regression on all members' log-probabilities, regularised towards the log pool.

    The coefficients are the pool's weights on the diagonal plus a matrix (m * c, c) and biases (c,) that a Gaussian
    prior holds at zero. Its spread is chosen by a split along the folds.
    """

    name = "stacking"
    SPREADS = (0.0003, 0.001, 0.005, 0.03)
    # A log-probability of -34 says as little as one of -12 but pulls three times as hard.
    LOWEST = -12.0

    def _fit(self, log_probabilities: np.ndarray, labels: np.ndarray, folds: np.ndarray) -> None:
        x = self._features(log_probabilities)
        self._pool = pool_weights(x, labels)
        total = self._pool.sum()
        self.weights = self._pool / total if total > 0 else np.full(len(x), 1 / len(x))
        self._matrix = _fit_matrix(x, labels, self._pool, self._choose_spread(x, labels, folds))

    def _choose_spread(self, x: np.ndarray, labels: np.ndarray, folds: np.ndarray) -> float:
        held = folds == folds.max()
        if held.all():
            return self.SPREADS[0]
        pool = pool_weights(x[:, ~held], labels[~held])
        losses: list[float] = []
        matrix: np.ndarray | None = None
        for spread in self.SPREADS:  # from tight to loose; the loss has one minimum along the way
            matrix = _fit_matrix(x[:, ~held], labels[~held], pool, spread, matrix)
            losses.append(float(-_true(log_softmax(_scores(x[:, held], pool, matrix)), labels[held]).mean()))
            if losses[-1] > min(losses):
                break
        return self.SPREADS[int(np.argmin(losses))]

    def _features(self, log_probabilities: np.ndarray) -> np.ndarray:
        return np.maximum(log_probabilities, self.LOWEST)

    def _combine(self, log_probabilities: np.ndarray) -> np.ndarray:
        return log_softmax(_scores(self._features(log_probabilities), self._pool, self._matrix))


# From simple to complicated; the one-standard-error rule takes the first that ties with the best.
COMBINERS: Mapping[str, type[Combiner]] = MappingProxyType(
    {kind.name: kind for kind in (Single, Equal, Geometric, Rank, Simplex, Greedy, LogPool, Stacking)}
)


def combiner(name: str) -> Combiner:
    """An unfitted combiner of that name.

    Raises:
        UsageError: there is none; the nearest name is offered.
    """
    if name not in COMBINERS:
        raise UsageError(f"unknown method '{name}'{nearest(name, COMBINERS)} Known: {', '.join(COMBINERS)}")
    return COMBINERS[name]()


def _true(log_probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Log-probability of the true class, (..., n) of (..., n, c)."""
    return log_probabilities[..., np.arange(len(labels)), labels]


def simplex_weights(true: np.ndarray) -> np.ndarray:
    """Weights (m,) of a mixture that maximise its mean log-likelihood, by expectation-maximisation.

    The problem is concave; each step keeps the weights on the simplex and never lowers the likelihood.

    Args:
        true: (m, n) probability that each member gave the true class.
    """
    weights = np.full(len(true), 1 / len(true))
    floored = np.maximum(true, 1e-15)
    before = -np.inf
    for _ in range(_EM_STEPS):
        mixture = weights @ floored
        now = float(np.log(mixture).mean())
        if now - before < _EM_TOLERANCE:
            break
        before = now
        weights = weights * (floored / mixture).mean(axis=1)
        weights /= weights.sum()
    return weights


def greedy_weights(true: np.ndarray) -> np.ndarray:
    """Weights (m,) from forward selection with replacement on the true class's probabilities (m, n)."""
    floored = np.maximum(true, 1e-15)
    chosen = np.zeros(len(true))
    total = np.zeros(true.shape[1])
    best, best_weights, since = np.inf, chosen, 0
    for step in range(1, _GREEDY_STEPS + 1):
        losses = [-np.log((total + member) / step).mean() for member in floored]
        pick = int(np.argmin(losses))
        total += floored[pick]
        chosen[pick] += 1
        if losses[pick] < best - 1e-7:
            best, best_weights, since = losses[pick], chosen / step, 0
        else:
            since += 1
            if since >= _GREEDY_PATIENCE:
                break
    return best_weights


def pool_weights(log_probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Factors (m,), at least 0, of the log-probabilities (m, n, c) whose sum gives the lowest log loss (convex)."""
    from scipy.optimize import minimize

    true = _true(log_probabilities, labels)

    def objective(factors: np.ndarray) -> tuple[float, np.ndarray]:
        log_p = log_softmax(np.tensordot(factors, log_probabilities, axes=1))
        expected = np.einsum("nc,mnc->m", np.exp(log_p), log_probabilities) / len(labels)
        return float(-_true(log_p, labels).mean()), expected - true.mean(axis=1)

    m = len(log_probabilities)
    return minimize(objective, np.full(m, 1 / m), jac=True, method="L-BFGS-B", bounds=[(0, None)] * m).x


def _scores(x: np.ndarray, pool: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Logits (n, c): the pooled log-probabilities plus what the matrix (m * c + 1, c) adds."""
    return np.tensordot(pool, x, axes=1) + _side_by_side(x) @ matrix


def _side_by_side(x: np.ndarray) -> np.ndarray:
    """(m, n, c) -> (n, m * c + 1), the last column ones."""
    n = x.shape[1]
    return np.concatenate([x.transpose(1, 0, 2).reshape(n, -1), np.ones((n, 1))], axis=1)


def _fit_matrix(
    x: np.ndarray, labels: np.ndarray, pool: np.ndarray, spread: float, start: np.ndarray | None = None
) -> np.ndarray:
    """The matrix (m * c + 1, c) that a Gaussian prior of this spread holds at zero, by L-BFGS (convex)."""
    from scipy.optimize import minimize

    features = _side_by_side(x).astype(np.float32)
    base = np.tensordot(pool, x, axes=1)
    n, classes = base.shape
    rows, penalty = np.arange(n), 1 / (spread**2 * n)

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        log_p = log_softmax(base + features @ flat.reshape(-1, classes).astype(np.float32))
        error = np.exp(log_p)
        error[rows, labels] -= 1
        slope = (features.T @ error.astype(np.float32)).astype(np.float64) / n
        return float(-_true(log_p, labels).mean() + 0.5 * penalty * flat @ flat), slope.ravel() + penalty * flat

    first = np.zeros(features.shape[1] * classes) if start is None else start.ravel()
    found = minimize(objective, first, jac=True, method="L-BFGS-B", options={"maxiter": 25, "ftol": 1e-6})
    return found.x.reshape(-1, classes)
