"""The multi-layer perceptron with its back-propagation written out (Rumelhart, Hinton and Williams 1986).

One layer computes ``z = a_in W + b`` and ``a = f(z)``. Going back, ``d = dL/dz`` of a layer gives ``dL/dW = a_in^T d``,
``dL/db = sum of d over the batch`` and ``dL/da_in = d W^T``; times ``f'`` that is the ``d`` of the layer before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from baselines.numpy_nets.activations import activation as activation_called
from baselines.numpy_nets.losses import loss_called
from baselines.specs.base import initial_range
from competition.errors import UsageError, WeightsError


class MLP:
    """Dense layers of any number; without hidden ones it is linear, logistic or softmax regression.

    All parameters lie in one flat vector, of which the layers' matrices are views: an optimiser step is one pass over
    it, however many layers there are.

    Args:
        sizes: number of inputs, widths of the hidden layers, number of outputs.
        activation: of the hidden layers: ``relu``, ``tanh``, ``sigmoid`` or ``identity``.
        loss: ``cross_entropy``, ``bce`` or ``mse``; it decides what ``predict`` returns.
        init: ``he``, ``xavier`` or another scheme of ``baselines.specs.initial_range``; biases start at 0.
        seed: of the initial weights.
        dtype: float32, or float64 for checking gradients.
        l1: weight of the penalty ``sum |W|`` (not on biases).
        l2: weight of the penalty ``sum W^2`` (not on biases), as in ``FitConfig``.

    Raises:
        UsageError: an unknown name, or fewer than two sizes.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        activation: str = "relu",
        loss: str = "cross_entropy",
        init: str = "he",
        seed: int = 0,
        dtype: type = np.float32,
        l1: float = 0.0,
        l2: float = 0.0,
    ) -> None:
        if len(sizes) < 2 or min(sizes) < 1:
            raise UsageError(
                f"sizes={tuple(sizes)} is impossible: name inputs, hidden widths and outputs, each 1 or more"
            )
        self.sizes, self.loss_name, self.l1, self.l2 = tuple(sizes), loss, l1, l2
        self.activation, self.loss = activation_called(activation), loss_called(loss)
        self.theta: np.ndarray = np.zeros(sum((a + 1) * b for a, b in self._pairs), dtype)  # all parameters
        self.gradient = np.zeros_like(self.theta)  # of the last loss, in the same order
        self.weights, self.biases = self._views(self.theta)
        self._weight_gradients, self._bias_gradients = self._views(self.gradient)
        self.scores: np.ndarray = np.empty((0, sizes[-1]), dtype)  # outputs of the last batch that was learnt from
        self._draw(init, np.random.default_rng(seed))

    @property
    def _pairs(self) -> list[tuple[int, int]]:
        """Inputs and outputs of each layer."""
        return list(zip(self.sizes[:-1], self.sizes[1:], strict=True))

    def _views(self, flat: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Matrices (in, out) and biases (out,) that share memory with a flat vector."""
        matrices, biases, at = [], [], 0
        for fan_in, fan_out in self._pairs:
            matrices.append(flat[at : at + fan_in * fan_out].reshape(fan_in, fan_out))
            at += fan_in * fan_out
            biases.append(flat[at : at + fan_out])
            at += fan_out
        return matrices, biases

    def _draw(self, init: str, rng: np.random.Generator) -> None:
        for matrix in self.weights:
            kind, value = initial_range(init, *matrix.shape)
            matrix[:] = (
                rng.normal(0, value, matrix.shape) if kind == "normal" else rng.uniform(-value, value, matrix.shape)
            )

    def forward(self, x: np.ndarray) -> list[np.ndarray]:
        """Activations of every layer: the input (n, in) itself, the hidden ones, and last the outputs (n, out)."""
        layers = [x]
        last = len(self.weights) - 1
        for number, (matrix, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            z = layers[-1] @ matrix
            z += bias
            layers.append(z if number == last else self.activation.forward(z))
        return layers

    def outputs(self, x: np.ndarray) -> np.ndarray:
        """Logits or values (n, out) for inputs (n, in)."""
        return self.forward(x)[-1]

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Probabilities (cross-entropy, bce) or values (mse), (n, out)."""
        return self.loss.predict(self.outputs(x))

    def loss_and_gradient(self, x: np.ndarray, y: np.ndarray) -> float:
        """Mean loss of a batch with its penalties; ``gradient`` then holds the gradient of that.

        Args:
            x: inputs (n, in).
            y: targets, see ``losses.Loss``.
        """
        layers = self.forward(x)
        self.scores = layers[-1]
        loss, delta = self.loss.evaluate(self.scores, y)
        for number in range(len(self.weights) - 1, -1, -1):
            np.matmul(layers[number].T, delta, out=self._weight_gradients[number])  # (in, out)
            np.sum(delta, axis=0, out=self._bias_gradients[number])
            if number:
                delta = delta @ self.weights[number].T  # (n, in)
                delta *= self.activation.slope(layers[number])
        return loss + self._penalise()

    def _penalise(self) -> float:
        """Add the penalties' gradients; return the penalties."""
        penalty = 0.0
        if self.l1 or self.l2:
            kind = self.theta.dtype.type
            for matrix, gradient in zip(self.weights, self._weight_gradients, strict=True):
                gradient += kind(2 * self.l2) * matrix + kind(self.l1) * np.sign(matrix)
                penalty += self.l2 * float(np.sum(matrix * matrix)) + self.l1 * float(np.abs(matrix).sum())
        return penalty

    def state(self) -> dict[str, np.ndarray]:
        """Copies of all parameters under PyTorch's names and in its layout: ``fc1.weight`` (out, in), ``fc1.bias``."""
        named = {}
        for number, (matrix, bias) in enumerate(zip(self.weights, self.biases, strict=True), start=1):
            named[f"fc{number}.weight"] = np.ascontiguousarray(matrix.T)
            named[f"fc{number}.bias"] = bias.copy()
        return named

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Take parameters as ``state`` gives them.

        Raises:
            WeightsError: names or shapes are another network's.
        """
        own = {name: array.shape for name, array in self.state().items()}
        given = {name: np.shape(array) for name, array in state.items()}
        if own != given:
            wrong = sorted(set(own.items()) ^ set(given.items()))[0]
            raise WeightsError(f"these weights belong to another network: {wrong[0]} {wrong[1]} does not fit")
        for number, (matrix, bias) in enumerate(zip(self.weights, self.biases, strict=True), start=1):
            matrix[:] = state[f"fc{number}.weight"].T
            bias[:] = state[f"fc{number}.bias"]
