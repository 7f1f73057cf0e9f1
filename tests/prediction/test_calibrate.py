"""Calibration: identities of the temperature, known optima, nested scores."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from competition.errors import UsageError
from competition.prediction.calibrate import (
    METHODS,
    apply_clip,
    compare_calibrations,
    fit_calibration,
    fit_clip,
    nested_calibration,
)
from competition.record.metrics import log_loss, log_softmax, reliability, softmax
from competition.record.temperature import COLDEST, HOTTEST, apply_temperature, fit_temperature


def drawn(n: int = 4000, c: int = 6, sharpness: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn from softmax(logits / sharpness): the true temperature is ``sharpness``."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, c)) * 2
    probabilities = softmax(logits / sharpness)
    return logits, (probabilities.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 1.7, 3.0])
def test_the_temperature_that_made_the_labels_is_found(sharpness: float) -> None:
    logits, labels = drawn(n=20_000, sharpness=sharpness)
    assert fit_temperature(logits, labels) == pytest.approx(sharpness, rel=0.04)


def test_logits_and_log_probabilities_give_the_same_temperature(rng: np.random.Generator) -> None:
    logits, labels = drawn(sharpness=1.4)
    moved = logits + rng.normal(size=(len(logits), 1)) * 100
    assert fit_temperature(log_softmax(logits), labels) == pytest.approx(fit_temperature(moved, labels), rel=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.floats(0.2, 5), st.integers(0, 1000))
def test_scaling_the_logits_scales_the_temperature(factor: float, seed: int) -> None:
    logits, labels = drawn(n=400, seed=seed)
    assert fit_temperature(factor * logits, labels) == pytest.approx(factor * fit_temperature(logits, labels), rel=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.floats(0.3, 3))
def test_no_temperature_is_better_than_the_fitted_one(seed: int, other: float) -> None:
    logits, labels = drawn(n=300, seed=seed)
    fitted = log_loss(apply_temperature(logits, fit_temperature(logits, labels)), labels)
    assert fitted <= log_loss(apply_temperature(logits, other), labels) + 1e-12


def test_weights_count_like_repeated_photos() -> None:
    logits, labels = drawn(n=200)
    weights = np.arange(200) % 4
    repeated = np.repeat(np.arange(200), weights)
    assert fit_temperature(logits, labels, weights) == pytest.approx(
        fit_temperature(logits[repeated], labels[repeated])
    )


def test_extremes_stay_inside_the_bounds() -> None:
    right = np.eye(4) * 5
    cold = fit_temperature(right, np.arange(4))
    assert COLDEST <= cold < 0.1
    assert log_loss(apply_temperature(right, cold), np.arange(4)) < 1e-12
    assert fit_temperature(-right, np.arange(4)) == pytest.approx(HOTTEST)
    assert fit_temperature(np.zeros((3, 4)), np.zeros(3, dtype=int)) > 0


@pytest.mark.parametrize(("logits", "labels"), [(np.zeros((0, 3)), []), (np.zeros((2, 3)), [0]), (np.zeros(3), [0])])
def test_shapes_that_disagree_are_refused(logits: np.ndarray, labels: list[int]) -> None:
    with pytest.raises(UsageError, match="do not fit"):
        fit_temperature(logits, np.array(labels, dtype=int))


def test_impossible_values_are_refused() -> None:
    with pytest.raises(UsageError, match="temperature=0"):
        apply_temperature(np.zeros((1, 2)), 0)
    with pytest.raises(UsageError, match=r"clip=0\.5"):
        apply_clip(np.full((1, 2), 0.5), 0.5)
    with pytest.raises(UsageError, match="did you mean 'vector'"):
        fit_calibration("vektor", np.zeros((1, 2)), np.zeros(1, dtype=int))


def test_clip_keeps_distributions_and_order() -> None:
    p = softmax(np.random.default_rng(0).normal(size=(50, 8)) * 5)
    clipped = apply_clip(p, 0.01)
    np.testing.assert_allclose(clipped.sum(axis=1), 1)
    assert clipped.min() >= 0.01 / (1 + 8 * 0.01)
    assert (clipped.argmax(axis=1) == p.argmax(axis=1)).all()
    np.testing.assert_allclose(apply_clip(p, 0.0), p)


def test_the_clip_repairs_confident_mistakes_and_leaves_calibrated_predictions_alone() -> None:
    logits, labels = drawn()
    assert fit_clip(softmax(logits), labels) <= 1e-3
    certain = np.eye(6)[np.where(np.arange(len(labels)) % 20 == 0, (labels + 1) % 6, labels)]
    floor = fit_clip(certain, labels)
    assert floor == 5e-3
    assert log_loss(apply_clip(certain, floor), labels) < 0.2 * log_loss(certain, labels)


@pytest.mark.parametrize("method", METHODS)
def test_calibrations_give_distributions(method: str) -> None:
    logits, labels = drawn(n=500)
    p = fit_calibration(method, log_softmax(logits), labels).apply(log_softmax(logits))
    np.testing.assert_allclose(p.sum(axis=1), 1)


def test_none_changes_nothing_and_temperature_is_the_temperature() -> None:
    logits, labels = drawn(n=500, sharpness=2.0)
    log_p = log_softmax(logits)
    np.testing.assert_allclose(fit_calibration("none", log_p, labels).apply(log_p), softmax(logits))
    fitted = fit_calibration("temperature", log_p, labels)
    assert fitted.temperature == pytest.approx(fit_temperature(log_p, labels))
    np.testing.assert_allclose(fitted.apply(log_p), apply_temperature(log_p, fitted.temperature))


def test_the_prior_calibration_finds_a_bias_that_was_planted() -> None:
    logits, labels = drawn(n=20_000)
    planted = np.array([0.5, -0.5, 0, 0.25, 0, -0.25])
    fitted = fit_calibration("prior", log_softmax(logits + planted), labels, spread=10.0)
    found = fitted.bias - fitted.bias.mean()
    np.testing.assert_allclose(found, -planted, atol=0.08)


def test_vector_scaling_finds_scales_that_were_planted() -> None:
    logits, labels = drawn(n=20_000)
    planted = np.array([1.0, 1.5, 1.0, 0.75, 1.0, 1.0])
    fitted = fit_calibration("vector", logits * planted, labels, spread=10.0)
    np.testing.assert_allclose(fitted.scale * planted, 1, atol=0.1)


def test_each_richer_calibration_fits_its_own_photos_at_least_as_well() -> None:
    logits, labels = drawn(n=600, sharpness=1.5)
    log_p = log_softmax(logits + np.linspace(-1, 1, 6))
    fits = [fit_calibration(method, log_p, labels, spread=100.0) for method in METHODS]
    losses = [log_loss(fit.apply(log_p), labels) for fit in fits]
    assert all(later <= earlier + 1e-5 for earlier, later in pairwise(losses))


def test_nested_scores_use_other_folds_only() -> None:
    """Changing the labels of a fold changes the others' calibration, never its own probabilities."""
    logits, labels = drawn(n=500)
    log_p, folds = log_softmax(logits), np.arange(500) % 5
    before = nested_calibration("temperature", log_p, labels, folds)
    changed = np.where(folds == 2, (labels + 1) % 6, labels)
    after = nested_calibration("temperature", log_p, changed, folds)
    np.testing.assert_array_equal(before[folds == 2], after[folds == 2])
    assert not np.allclose(before[folds == 1], after[folds == 1])


def test_a_temperature_lowers_loss_and_calibration_error_of_overconfident_predictions() -> None:
    logits, labels = drawn(n=3000, sharpness=2.5)
    log_p, folds = log_softmax(logits), np.arange(3000) % 5
    none, temperature, *_ = compare_calibrations(log_p, labels, folds)
    assert none.ece == pytest.approx(reliability(np.exp(log_p), labels).ece)
    assert temperature.log_loss < none.log_loss - 0.1
    assert temperature.ece < 0.3 * none.ece
    assert temperature.accuracy == none.accuracy


def test_one_fold_is_not_enough() -> None:
    logits, labels = drawn(n=50)
    with pytest.raises(UsageError, match="at least two folds"):
        compare_calibrations(log_softmax(logits), labels, np.zeros(50, dtype=int))
