"""Activations and their derivatives, elementwise on arrays of any shape and float type."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from competition.errors import require_known

Unary = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Activation:
    """A function and its derivative.

    Attributes:
        name: how it is asked for.
        forward: ``a = f(z)``.
        slope: ``f'(z)`` written in terms of ``a = f(z)``, so that ``z`` need not be kept.
    """

    name: str
    forward: Unary
    slope: Unary


def sigmoid(z: np.ndarray) -> np.ndarray:
    """``1 / (1 + exp(-z))``, by way of tanh: no overflow for large ``-z``."""
    return 0.5 * (np.tanh(0.5 * z) + 1)


def relu(z: np.ndarray) -> np.ndarray:
    """``max(z, 0)``."""
    return np.maximum(z, 0)


ACTIVATIONS: Mapping[str, Activation] = {
    item.name: item
    for item in (
        Activation("identity", lambda z: z, np.ones_like),
        Activation("sigmoid", sigmoid, lambda a: a * (1 - a)),
        Activation("tanh", np.tanh, lambda a: 1 - a * a),
        Activation("relu", relu, lambda a: (a > 0).astype(a.dtype)),
    )
}


def activation(name: str) -> Activation:
    """Return the activation of that name.

    Raises:
        UsageError: there is none; the nearest name is offered.
    """
    require_known("activation", name, ACTIVATIONS)
    return ACTIVATIONS[name]
