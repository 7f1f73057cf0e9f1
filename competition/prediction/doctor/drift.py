"""How the test photos differ from the training photos, as the model sees them: confidence, classes, embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_BINS = 25
_MOST = 2000  # photos per side for nearest neighbours: enough for a distribution, and quick
_SIGNIFICANT = 0.01


@dataclass(frozen=True)
class Comparison:
    """One figure per photo, training photos against test photos.

    Attributes:
        name: what is compared.
        train: histogram of the training photos, shares that sum to 1.
        test: histogram of the test photos.
        edges: of the bins, one more than shares.
        train_median: over the training photos.
        test_median: over the test photos.
        distance: Kolmogorov-Smirnov distance, in [0, 1].
        p_value: of that distance if both came from one distribution.
    """

    name: str
    train: tuple[float, ...]
    test: tuple[float, ...]
    edges: tuple[float, ...]
    train_median: float
    test_median: float
    distance: float
    p_value: float

    @property
    def drifts(self) -> bool:
        """Whether the difference is more than chance (p below 0.01)."""
        return self.p_value < _SIGNIFICANT


@dataclass(frozen=True)
class ClassShift:
    """A breed's expected share of the photos, in training and test, and the difference in standard errors."""

    breed: str
    train_share: float
    test_share: float
    z: float


@dataclass(frozen=True)
class Drift:
    """The three comparisons.

    Attributes:
        confidence: largest probability per photo, out of fold against test.
        shifts: every breed, the most different first.
        class_p_value: of the largest difference among all breeds, by permutation.
        embedding: distance to the nearest other training photo, or None where no features are cached.
    """

    confidence: Comparison
    shifts: tuple[ClassShift, ...]
    class_p_value: float
    embedding: Comparison | None = None


def find_drift(
    oof: np.ndarray, test: np.ndarray, classes: Sequence[str], features: tuple[np.ndarray, np.ndarray] | None = None
) -> Drift:
    """Compare out-of-fold with test predictions.

    Args:
        oof: probabilities of the training photos, (n, c).
        test: probabilities of the test photos, (t, c).
        classes: names of the c breeds.
        features: embeddings of train (n, d) and test (t, d) photos from one frozen backbone.
    """
    shifts, p_value = class_shifts(oof, test, classes)
    return Drift(
        compare("confidence", oof.max(axis=1), test.max(axis=1), (0.0, 1.0)),
        shifts,
        p_value,
        None if features is None else compare_embeddings(*features),
    )


def compare(name: str, train: np.ndarray, test: np.ndarray, limits: tuple[float, float] | None = None) -> Comparison:
    """Two samples of one figure as histograms with a Kolmogorov-Smirnov test."""
    from scipy.stats import ks_2samp

    low, high = limits or (float(min(train.min(), test.min())), float(max(train.max(), test.max())))
    edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)
    found = ks_2samp(train, test)
    return Comparison(
        name,
        tuple((np.histogram(train, edges)[0] / len(train)).tolist()),
        tuple((np.histogram(test, edges)[0] / len(test)).tolist()),
        tuple(edges.tolist()),
        float(np.median(train)),
        float(np.median(test)),
        float(found.statistic),
        float(found.pvalue),
    )


def class_shifts(
    oof: np.ndarray, test: np.ndarray, classes: Sequence[str], draws: int = 300, seed: int = 0
) -> tuple[tuple[ClassShift, ...], float]:
    """Expected share of each breed by its mean probability, which a calibrated model gets right on average.

    Whether the largest difference is chance is decided by permutation: as many photos as there are in test, drawn from
    both sets together, and their largest difference. With eight photos a breed, normal tails would cry wolf.

    Returns:
        Every breed, the most different first, and the p-value of the largest difference.
    """
    both = np.concatenate([oof, test])
    shares, test_shares = oof.mean(axis=0), test.mean(axis=0)
    error = np.sqrt(np.maximum(both.var(axis=0) * (1 / len(oof) + 1 / len(test)), 1e-18))
    z = (test_shares - shares) / error
    rng = np.random.default_rng(seed)
    total = both.sum(axis=0)
    exceeded = 0
    for _ in range(draws):
        drawn = both[rng.choice(len(both), len(test), replace=False)].sum(axis=0)
        gap = drawn / len(test) - (total - drawn) / len(oof)
        exceeded += bool(np.abs(gap / error).max() >= np.abs(z).max())
    order = np.argsort(-np.abs(z), kind="stable")
    shifts = tuple(ClassShift(classes[i], float(shares[i]), float(test_shares[i]), float(z[i])) for i in order)
    return shifts, (exceeded + 1) / (draws + 1)


def compare_embeddings(train: np.ndarray, test: np.ndarray, seed: int = 0) -> Comparison:
    """Cosine distance to the nearest *other* training photo, for training photos and for test photos.

    Where the test photos come from the same place, both have the same distribution; test photos unlike anything in
    training lie farther away, near duplicates of training photos closer.
    """
    rng = np.random.default_rng(seed)
    reference = _unit(_take(rng, train, 5 * _MOST))
    own = np.arange(min(_MOST, len(reference)))
    queries = _unit(_take(rng, test, _MOST))
    inside = reference[own] @ reference.T
    inside[own, own] = -1  # not its own neighbour
    # One photo fewer stands beside a training photo than beside a test photo: leave one out there as well.
    outside = queries @ reference[1:].T
    return compare("distance to the nearest training photo", 1 - inside.max(axis=1), 1 - outside.max(axis=1))


def _take(rng: np.random.Generator, values: np.ndarray, most: int) -> np.ndarray:
    chosen = values if len(values) <= most else values[np.sort(rng.choice(len(values), most, replace=False))]
    return np.asarray(chosen, dtype=np.float32)


def _unit(values: np.ndarray) -> np.ndarray:
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
