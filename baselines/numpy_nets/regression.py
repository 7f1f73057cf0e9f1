"""The perceptron, from which all of it came; regressions are an ``MLP`` without hidden layers."""

from __future__ import annotations

import numpy as np


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
