"""Identities that merging views must keep, and the choice of views on cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from competition.errors import UsageError
from competition.prediction.views.merge import METHODS, choose_merge, merge_views
from competition.record.metrics import log_softmax, per_photo_loss, softmax

VIEWS = ("identity", "hflip", "large")


@pytest.fixture
def logits(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(3, 50, 7)) * 3


@pytest.mark.parametrize("method", METHODS)
def test_one_view_is_left_as_it_is(logits: np.ndarray, method: str) -> None:
    np.testing.assert_allclose(merge_views(logits, VIEWS, method, ["hflip"]), log_softmax(logits[1]), atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_the_same_view_twice_changes_nothing(logits: np.ndarray, method: str) -> None:
    twice = np.stack([logits[0], logits[0]])
    np.testing.assert_allclose(merge_views(twice, ("a", "b"), method), log_softmax(logits[0]), atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_rows_are_distributions_and_the_order_of_views_is_immaterial(logits: np.ndarray, method: str) -> None:
    merged = merge_views(logits, VIEWS, method)
    np.testing.assert_allclose(np.exp(merged).sum(axis=1), 1, atol=1e-12)
    swapped = merge_views(logits[::-1], VIEWS[::-1], method)
    np.testing.assert_allclose(swapped, merged, atol=1e-12)
    np.testing.assert_allclose(merge_views(logits, VIEWS, method, ["large", "identity", "hflip"]), merged, atol=1e-12)


def test_mean_probability_is_the_arithmetic_mean(logits: np.ndarray) -> None:
    expected = softmax(logits[[0, 2]]).mean(axis=0)
    np.testing.assert_allclose(np.exp(merge_views(logits, VIEWS, use=["identity", "large"])), expected, atol=1e-12)


def test_geometric_mean_is_the_normalised_root_of_the_product(logits: np.ndarray) -> None:
    root = np.prod(softmax(logits), axis=0) ** (1 / 3)
    expected = root / root.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.exp(merge_views(logits, VIEWS, "geometric_mean")), expected, atol=1e-12)


def test_geometric_mean_survives_where_a_raw_product_would_vanish() -> None:
    logits = np.zeros((11, 1, 2))
    logits[:, 0, 1] = -30.0  # the product of eleven e^-30 is far below the smallest float32
    merged = merge_views(logits, [str(i) for i in range(11)], "geometric_mean")
    np.testing.assert_allclose(merged[0, 1], -30.0, atol=1e-6)


def test_mean_of_logits_and_geometric_mean_agree(logits: np.ndarray) -> None:
    shifted = logits + np.array([5.0, -2.0, 0.0])[:, None, None]  # softmax does not see a constant
    one, other = (merge_views(shifted, VIEWS, method) for method in ("mean_logits", "geometric_mean"))
    np.testing.assert_allclose(one, other, atol=1e-12)


def test_probabilities_are_floored_as_the_metric_does() -> None:
    merged = merge_views(np.array([[[0.0, -100.0]]]), ("identity",))
    assert merged[0, 1] == pytest.approx(np.log(1e-15))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"use": ["hflop"]}, "did you mean 'hflip'"),
        ({"use": []}, "at least one view"),
        ({"use": ["hflip", "hflip"]}, "each once"),
        ({"method": "geometric"}, "did you mean 'geometric_mean'"),
    ],
)
def test_bad_requests_are_named(logits: np.ndarray, arguments: dict, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        merge_views(logits, VIEWS, **arguments)


def test_shapes_that_disagree_are_refused(logits: np.ndarray) -> None:
    with pytest.raises(UsageError, match="do not fit"):
        merge_views(logits, VIEWS[:2])
    with pytest.raises(UsageError, match="do not fit"):
        choose_merge(logits, np.zeros(3, int), VIEWS)


def _photos(rng: np.random.Generator, noises: list[float], n: int = 1500, c: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Views that see the same truth, each through noise of its own of the given strength."""
    labels = rng.integers(0, c, n)
    truth = np.zeros((n, c))
    truth[np.arange(n), labels] = 3.0
    return np.stack([truth + rng.normal(size=(n, c)) * noise for noise in noises]), labels


def test_views_with_independent_noise_are_all_kept(rng: np.random.Generator) -> None:
    logits, labels = _photos(rng, [1.5, 1.5, 1.5])
    choice = choose_merge(logits, labels, VIEWS)
    assert choice.views == VIEWS
    alone = min(row.log_loss for row in choice.table if len(row.views) == 1)
    assert choice.log_loss < alone - 0.05


def test_a_view_that_repeats_another_is_dropped(rng: np.random.Generator) -> None:
    logits, labels = _photos(rng, [1.5])
    repeated = np.concatenate([logits, logits + rng.normal(size=logits.shape) * 1e-3])
    choice = choose_merge(repeated, labels, ("identity", "hflip"))
    assert len(choice.views) == 1
    assert choice.log_loss - choice.best_log_loss < 1e-4


def test_a_useless_view_is_dropped(rng: np.random.Generator) -> None:
    logits, labels = _photos(rng, [1.0, 1.0])
    noise = rng.normal(size=(1, *logits.shape[1:])) * 4
    choice = choose_merge(np.concatenate([logits, noise]), labels, VIEWS)
    assert choice.views == ("identity", "hflip")


def test_the_choice_is_what_its_figures_say(rng: np.random.Generator) -> None:
    logits, labels = _photos(rng, [1.0, 2.0, 2.0])
    choice = choose_merge(logits, labels, VIEWS)
    merged = merge_views(logits, VIEWS, choice.method, choice.views)
    again = per_photo_loss(softmax(merged, choice.temperature), labels).mean()
    assert again == pytest.approx(choice.log_loss, abs=1e-12)
    assert len(choice.table) == 3 + 2 * 4  # singles once, then every larger subset by two methods
    assert [row.log_loss for row in choice.table] == sorted(row.log_loss for row in choice.table)
    assert choice == choose_merge(logits, labels, VIEWS)


def test_many_views_are_added_one_at_a_time(rng: np.random.Generator) -> None:
    logits, labels = _photos(rng, [1.5] * 7, n=400)
    names = tuple("abcdefg")
    choice = choose_merge(logits, labels, names, methods=("geometric_mean",))
    assert len(choice.table) == 7 + (6 + 5 + 4 + 3 + 2 + 1)
    assert len(choice.views) > 3
