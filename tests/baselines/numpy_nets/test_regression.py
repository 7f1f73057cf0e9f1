"""A net without hidden layers against scikit-learn; the perceptron against its convergence theorem."""

from __future__ import annotations

import numpy as np

from baselines.numpy_nets.mlp import MLP
from baselines.numpy_nets.optimisers import create_optimiser
from baselines.numpy_nets.regression import Perceptron


def descend(net: MLP, x: np.ndarray, y: np.ndarray, steps: int, rate: float) -> MLP:
    optimiser = create_optimiser("nesterov", net.theta.size, np.float64)
    for _ in range(steps):
        net.loss_and_gradient(x, y)
        optimiser.update(net.theta, net.gradient, rate)
    return net


def test_softmax_regression_is_that_of_scikit_learn() -> None:
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    x, y = load_iris(return_X_y=True)
    x = (x - x.mean(0)) / x.std(0)
    theirs = LogisticRegression(C=1.0, tol=1e-10, max_iter=2000).fit(x, y)
    net = descend(MLP((4, 3), init="xavier", dtype=np.float64, l2=1 / (2 * 150)), x, y, 2000, 0.3)
    np.testing.assert_allclose(net.predict(x), theirs.predict_proba(x), atol=1e-5)


def test_the_perceptron_separates_what_can_be_separated(rng) -> None:
    x = rng.normal(size=(100, 2))
    margin = x @ [2.0, -1.0] + 0.3
    keep = np.abs(margin) > 0.3
    x, y = x[keep], (margin[keep] > 0).astype(int)
    perceptron = Perceptron(2)
    mistakes = perceptron.fit(x, y, epochs=200)
    assert mistakes[-1] == 0
    np.testing.assert_array_equal(perceptron.predict(x), y)


def test_the_perceptron_fails_at_xor_and_a_hidden_layer_does_not() -> None:
    x, y = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], float), np.array([0, 1, 1, 0])
    perceptron = Perceptron(2)
    mistakes = perceptron.fit(x, y, epochs=100)
    assert min(mistakes) >= 1  # Minsky and Papert 1969
    assert (perceptron.predict(x) != y).sum() == min(mistakes)
    net = descend(MLP((2, 8, 1), "tanh", "bce", "xavier", dtype=np.float64), x, y.astype(float), 500, 0.3)
    np.testing.assert_array_equal(net.predict(x)[:, 0] > 0.5, y == 1)
