"""The expected score: centred on out of fold, as wide as the test set demands, covering what it promises."""

from __future__ import annotations

import numpy as np
import pytest

from competition.errors import UsageError
from competition.prediction.expected.expectation import expect
from competition.record.metrics import accuracy, log_loss, log_softmax, softmax
from competition.record.temperature import fit_temperature


def drawn(n: int, seed: int, sharpness: float = 1.0, c: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, c)) * 3
    probabilities = softmax(logits / sharpness)
    return log_softmax(logits), (probabilities.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)


def test_centre_and_order() -> None:
    log_p, labels = drawn(2000, 0)
    expected = expect(log_p, labels, 500)
    assert expected.log_loss == pytest.approx(log_loss(np.exp(log_p), labels))
    assert expected.accuracy == pytest.approx(accuracy(log_p, labels))
    assert expected.low < expected.log_loss < expected.high
    assert expected.accuracy_low < expected.accuracy < expected.accuracy_high
    assert (expected.photos, expected.test_photos) == (2000, 500)


def test_the_width_is_that_of_two_samples() -> None:
    """Standard error of the difference of two means: s * sqrt(1/n + 1/m); 95 % is 3.92 of them."""
    log_p, labels = drawn(2000, 0)
    spread = -log_p[np.arange(2000), labels]
    for m in (100, 2000):
        expected = expect(log_p, labels, m, refit=False, draws=3000)
        assert expected.high - expected.low == pytest.approx(3.92 * spread.std() * np.sqrt(1 / 2000 + 1 / m), rel=0.08)
        assert expected.temperature_error == 0


def test_duplicates_widen_the_interval() -> None:
    """The same 200 photos ten times over say no more than once."""
    log_p, labels = drawn(200, 0)
    ten, groups = np.tile(log_p, (10, 1)), np.tile(np.arange(200), 10)
    grouped = expect(ten, np.tile(labels, 10), 100_000, groups, refit=False)
    free = expect(ten, np.tile(labels, 10), 100_000, refit=False)
    assert grouped.high - grouped.low > 2.5 * (free.high - free.low)


def test_the_temperature_error_is_that_of_a_bootstrap() -> None:
    log_p, labels = drawn(400, 1)
    log_p = log_softmax(log_p / fit_temperature(log_p, labels))
    rng = np.random.default_rng(0)
    refits = []
    for _ in range(200):
        rows = rng.integers(0, 400, 400)
        refits.append(fit_temperature(log_p[rows], labels[rows]))
    assert expect(log_p, labels, 400).temperature_error == pytest.approx(np.std(refits), rel=0.2)


def test_the_interval_covers_as_often_as_it_says() -> None:
    """120 fresh test sets: a 90 % interval holds 90 % of them, give or take three standard errors."""
    inside = 0
    for seed in range(120):
        log_p, labels = drawn(600, seed)
        temperature = fit_temperature(log_p, labels)
        expected = expect(log_softmax(log_p / temperature), labels, 150, draws=200, level=0.9, seed=seed)
        test_p, test_labels = drawn(150, 10_000 + seed)
        inside += expected.low <= log_loss(softmax(test_p / temperature), test_labels) <= expected.high
    assert abs(inside / 120 - 0.9) < 3 * np.sqrt(0.9 * 0.1 / 120)


def test_the_same_seed_gives_the_same_interval() -> None:
    log_p, labels = drawn(300, 0)
    assert expect(log_p, labels, 100, seed=3, draws=50) == expect(log_p, labels, 100, seed=3, draws=50)


@pytest.mark.parametrize(("n", "m", "level"), [(0, 10, 0.95), (10, 0, 0.95), (10, 10, 1.0)])
def test_impossible_requests(n: int, m: int, level: float) -> None:
    log_p, labels = drawn(10, 0)
    with pytest.raises(UsageError, match="cannot expect a score"):
        expect(log_p[:n], labels[:n], m, level=level)
