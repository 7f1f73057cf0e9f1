"""Losses over the outputs of the last layer, each with its gradient and its way from outputs to predictions.

Sigmoid and softmax are part of the loss, not of the network: their gradients then cancel to ``prediction - target``,
and no logarithm of a rounded 0 is ever taken. Means are PyTorch's: over the batch for cross-entropy, over all values
for the other two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from baselines.numpy_nets.activations import sigmoid
from competition.errors import require_known

LossAndGradient = Callable[[np.ndarray, np.ndarray], tuple[float, np.ndarray]]


@dataclass(frozen=True)
class Loss:
    """A loss.

    Attributes:
        name: how it is asked for.
        evaluate: outputs (n, k) and targets to (mean loss, its gradient (n, k)). Targets are int (n,) class numbers
            for cross-entropy, otherwise float (n, k) or (n,) when k is 1.
        predict: outputs (n, k) to predictions (n, k): values, probabilities, or probabilities that sum to 1.
    """

    name: str
    evaluate: LossAndGradient
    predict: Callable[[np.ndarray], np.ndarray]


def softmax(z: np.ndarray) -> np.ndarray:
    """Probabilities along the last axis; the largest score is taken off first, so nothing overflows."""
    shifted = np.exp(z - z.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def mean_squared_error(outputs: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
    """``mean (z - y)^2`` and its gradient."""
    difference = outputs - _columns(targets, outputs)
    return float(np.mean(difference * difference)), difference * outputs.dtype.type(2 / outputs.size)


def binary_cross_entropy(outputs: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
    """``mean -[y log s(z) + (1 - y) log(1 - s(z))]`` of the logits ``z``.

    It is computed as ``max(z, 0) - zy + log(1 + e^-|z|)``, which is the same and never overflows.
    """
    y = _columns(targets, outputs)
    loss = np.maximum(outputs, 0) - outputs * y + np.log1p(np.exp(-np.abs(outputs)))
    return float(np.mean(loss)), (sigmoid(outputs) - y) / outputs.dtype.type(outputs.size)


def cross_entropy(outputs: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
    """``mean -log softmax(z)[class]`` of the logits ``z`` (n, k) and class numbers (n,)."""
    rows = np.arange(len(outputs))
    shifted = outputs - outputs.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    totals = exponentials.sum(axis=1, keepdims=True)
    loss = np.mean(np.log(totals[:, 0]) - shifted[rows, targets])
    gradient = exponentials / totals
    gradient[rows, targets] -= 1
    gradient /= outputs.dtype.type(len(outputs))
    return float(loss), gradient


def _columns(targets: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """Targets as floats in the outputs' shape and type.

    Raises:
        ValueError: their number differs; broadcasting (n,) against (n, 1) to (n, n) would go unnoticed.
    """
    shaped = np.asarray(targets, dtype=outputs.dtype)
    shaped = shaped[:, None] if shaped.ndim == 1 else shaped
    if shaped.shape != outputs.shape:
        raise ValueError(f"targets {np.shape(targets)} do not fit outputs {outputs.shape}")
    return shaped


LOSSES: Mapping[str, Loss] = {
    item.name: item
    for item in (
        Loss("mse", mean_squared_error, lambda z: z),
        Loss("bce", binary_cross_entropy, sigmoid),
        Loss("cross_entropy", cross_entropy, softmax),
    )
}


def loss_called(name: str) -> Loss:
    """Return the loss of that name.

    Raises:
        UsageError: there is none; the nearest name is offered.
    """
    require_known("loss", name, LOSSES)
    return LOSSES[name]
