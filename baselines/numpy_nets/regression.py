"""Regression of three kinds, as networks without a hidden layer, and the perceptron from which all of it came."""

from __future__ import annotations

from typing import Any

import numpy as np

from baselines.numpy_nets.mlp import MLP


def linear_regression(inputs: int, outputs: int = 1, **options: Any) -> MLP:
    """Values as weighted sums, fitted by squared error; ``options`` are those of :class:`MLP` (``l2``: ridge)."""
    return MLP((inputs, outputs), loss="mse", init="xavier", **options)


def logistic_regression(inputs: int, **options: Any) -> MLP:
    """The probability of one of two classes, fitted by binary cross-entropy."""
    return MLP((inputs, 1), loss="bce", init="xavier", **options)


def softmax_regression(inputs: int, classes: int, **options: Any) -> MLP:
    """The probabilities of several classes, fitted by cross-entropy."""
    return MLP((inputs, classes), loss="cross_entropy", init="xavier", **options)


def least_squares(x: np.ndarray, y: np.ndarray, l2: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """The exact solution that gradient descent on :func:`linear_regression` approaches.

    Args:
        x: inputs (n, in).
        y: values (n, out).
        l2: the penalty of :class:`MLP`; its loss is the mean over all n * out values.

    Returns:
        Weights (in, out) and biases (out,).
    """
    centre_x, centre_y = x.mean(axis=0), y.mean(axis=0)
    # Gradient of mean (xw - y)^2 over n * out values plus l2 w^2, set to 0; the bias carries no penalty.
    ridge = l2 * y.size * np.eye(x.shape[1])
    centred = x - centre_x
    weights = np.linalg.lstsq(centred.T @ centred + ridge, centred.T @ (y - centre_y), rcond=None)[0]
    return weights, centre_y - centre_x @ weights


class Perceptron:
    """Rosenblatt's perceptron (1958) for two classes: only mistakes move the weights.

    It comes to rest when a plane separates the classes (Novikoff 1962) and never otherwise; the weights with the fewest
    mistakes so far are kept (the "pocket" of Gallant 1990).

    Args:
        inputs: number of inputs.
    """

    def __init__(self, inputs: int) -> None:
        self.weights = np.zeros(inputs)
        self.bias = 0.0

    def fit(self, x: np.ndarray, y: np.ndarray, epochs: int = 50, seed: int = 0) -> list[int]:
        """Learn from inputs (n, in) and classes 0 or 1 (n,).

        Returns:
            Mistakes on the training rows after each epoch, until there are none or the epochs are over.
        """
        rng, signs = np.random.default_rng(seed), np.where(y > 0, 1.0, -1.0)
        weights, bias, mistakes = self.weights.copy(), self.bias, []
        best = len(y) + 1
        for _ in range(epochs):
            for row in rng.permutation(len(y)):
                if signs[row] * (x[row] @ weights + bias) <= 0:
                    weights += signs[row] * x[row]
                    bias += signs[row]
            wrong = int(np.sum(signs * (x @ weights + bias) <= 0))
            mistakes.append(wrong)
            if wrong < best:
                best, self.weights, self.bias = wrong, weights.copy(), float(bias)
            if not wrong:
                break
        return mistakes

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Classes 0 or 1, int64 (n,)."""
        return (x @ self.weights + self.bias > 0).astype(np.int64)
