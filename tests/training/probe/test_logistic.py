"""The batched solver finds scikit-learn's minimum, every problem on its own photos only."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from competition.training.probe.logistic import Problems, solve

N, D, C, FOLDS = 300, 12, 4, 3


@pytest.fixture
def drawn(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (n, d), labels that depend on them, folds."""
    features = rng.normal(size=(N, D)).astype(np.float32)
    logits = features @ rng.normal(size=(D, C)) + rng.normal(size=(N, C))
    return features, logits.argmax(1), rng.integers(0, FOLDS, N)


def problems(
    features: np.ndarray, labels: np.ndarray, folds: np.ndarray, centre: torch.Tensor | None = None
) -> Problems:
    seen = (folds[:, None] != np.arange(FOLDS)[None]).astype(np.float32)
    with_ones = np.concatenate([features, np.ones((len(features), 1), np.float32)], axis=1)
    tensors = map(torch.from_numpy, (with_ones, labels, seen / seen.sum(0)))
    return Problems(*tensors, classes=C, centre=centre)  # type: ignore[misc]


@pytest.mark.parametrize("strength", [1.0, 0.1, 0.01])
def test_each_fold_equals_scikit_learns_solution(
    drawn: tuple[np.ndarray, np.ndarray, np.ndarray], strength: float
) -> None:
    features, labels, folds = drawn
    task = problems(features, labels, folds)
    found = solve(task, strength, task.start(), tolerance=1e-7)
    for fold in range(FOLDS):
        mine = folds != fold
        # scikit-learn sums the loss over photos and writes the penalty's inverse as C.
        model = LogisticRegression(C=1 / (strength * mine.sum()), max_iter=5000, tol=1e-8)
        model.fit(features[mine], labels[mine])
        expected = model.predict_log_proba(features[~mine])
        got = torch.log_softmax(found.logits[:, fold], dim=1).numpy()[~mine]
        np.testing.assert_allclose(got, expected, atol=0.02)


def test_a_fold_never_learns_from_its_own_photos(drawn: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    features, labels, folds = drawn
    changed = labels.copy()
    changed[folds == 0] = (changed[folds == 0] + 1) % C
    first, second = (problems(features, each, folds) for each in (labels, changed))
    a, b = (solve(task, 0.1, task.start()).logits for task in (first, second))
    np.testing.assert_allclose(a[:, 0].numpy(), b[:, 0].numpy(), atol=1e-4)
    assert np.abs(a[:, 1].numpy() - b[:, 1].numpy()).max() > 0.1


def test_a_huge_penalty_holds_the_solution_at_the_centre(drawn: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    features, labels, folds = drawn
    centre = torch.randn(D + 1, FOLDS * C, generator=torch.Generator().manual_seed(0))
    task = problems(features, labels, folds, centre)
    found = solve(task, 1e5, task.start())
    np.testing.assert_allclose(found.coefficients[:-1].numpy(), centre[:-1].numpy(), atol=1e-3)
    assert problems(features, labels, folds).start().abs().sum() == 0
