"""Gradient descent on one flat vector of parameters, in place. Conventions are those of ``torch.optim``."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from baselines.contract.config import ADAM_BETA2, ADAM_EPSILON, RMSPROP_EPSILON, RMSPROP_RHO
from competition.errors import require_known


class SGD:
    """``theta -= rate * g``."""

    def __init__(self, size: int, dtype: np.dtype | type = np.float32) -> None:
        self._step = np.empty(size, dtype)

    def update(self, theta: np.ndarray, gradient: np.ndarray, rate: float) -> None:
        """Move ``theta`` (size,) one step against ``gradient`` (size,)."""
        np.multiply(gradient, theta.dtype.type(rate), out=self._step)
        theta -= self._step


class Momentum(SGD):
    """Heavy ball (Polyak 1964): ``v = m v + g``, ``theta -= rate * v``.

    Args:
        size: number of parameters.
        dtype: of the parameters.
        momentum: share of the velocity that is kept.
        nesterov: look ahead (Nesterov 1983; Sutskever et al. 2013): ``theta -= rate * (g + m v)``.
    """

    def __init__(
        self, size: int, dtype: np.dtype | type = np.float32, momentum: float = 0.9, nesterov: bool = False
    ) -> None:
        super().__init__(size, dtype)
        self.momentum, self.nesterov = momentum, nesterov
        self._velocity = np.zeros(size, dtype)

    def update(self, theta: np.ndarray, gradient: np.ndarray, rate: float) -> None:
        """Move ``theta`` (size,) one step."""
        momentum = theta.dtype.type(self.momentum)
        self._velocity *= momentum
        self._velocity += gradient
        np.multiply(self._velocity, theta.dtype.type(rate * (momentum if self.nesterov else 1)), out=self._step)
        theta -= self._step
        if self.nesterov:
            super().update(theta, gradient, rate)


class Adam(SGD):
    """Adam (Kingma and Ba 2015, algorithm 1), with bias-corrected moments.

    Args:
        size: number of parameters.
        dtype: of the parameters.
        beta1: decay of the mean of the gradient.
        beta2: decay of the mean of its square.
        eps: added to the root of the second moment.
    """

    def __init__(
        self,
        size: int,
        dtype: np.dtype | type = np.float32,
        beta1: float = 0.9,
        beta2: float = ADAM_BETA2,
        eps: float = ADAM_EPSILON,
    ) -> None:
        super().__init__(size, dtype)
        self.beta1, self.beta2, self.eps = beta1, beta2, eps
        self._first, self._second = np.zeros(size, dtype), np.zeros(size, dtype)
        self._steps = 0

    def update(self, theta: np.ndarray, gradient: np.ndarray, rate: float) -> None:
        """Move ``theta`` (size,) one step."""
        kind, step = theta.dtype.type, self._step
        self._steps += 1
        self._first *= kind(self.beta1)
        np.multiply(gradient, kind(1 - self.beta1), out=step)
        self._first += step
        self._second *= kind(self.beta2)
        np.multiply(gradient, gradient, out=step)
        step *= kind(1 - self.beta2)
        self._second += step
        np.sqrt(self._second, out=step)
        step /= kind(np.sqrt(1 - self.beta2**self._steps))
        step += kind(self.eps)
        np.divide(self._first, step, out=step)
        step *= kind(rate / (1 - self.beta1**self._steps))
        theta -= step


class RMSprop(SGD):
    """Gradient over the root of its mean square (Tieleman and Hinton 2012), ``eps`` added to the root.

    Args:
        size: number of parameters.
        dtype: of the parameters.
        rho: decay of the mean square.
        eps: added to its root.
    """

    def __init__(
        self, size: int, dtype: np.dtype | type = np.float32, rho: float = RMSPROP_RHO, eps: float = RMSPROP_EPSILON
    ) -> None:
        super().__init__(size, dtype)
        self.rho, self.eps = rho, eps
        self._square = np.zeros(size, dtype)

    def update(self, theta: np.ndarray, gradient: np.ndarray, rate: float) -> None:
        """Move ``theta`` (size,) one step."""
        kind, step = theta.dtype.type, self._step
        self._square *= kind(self.rho)
        np.multiply(gradient, gradient, out=step)
        step *= kind(1 - self.rho)
        self._square += step
        np.sqrt(self._square, out=step)
        step += kind(self.eps)
        np.divide(gradient, step, out=step)
        step *= kind(rate)
        theta -= step


OPTIMISERS: Mapping[str, Callable[[int, np.dtype | type, float], SGD]] = {
    "sgd": lambda size, dtype, momentum: SGD(size, dtype),
    "momentum": lambda size, dtype, momentum: Momentum(size, dtype, momentum),
    "nesterov": lambda size, dtype, momentum: Momentum(size, dtype, momentum, nesterov=True),
    "adam": lambda size, dtype, momentum: Adam(size, dtype, beta1=momentum),
    "adamw": lambda size, dtype, momentum: Adam(size, dtype, beta1=momentum),  # who decays the kernels does it before
    "rmsprop": lambda size, dtype, momentum: RMSprop(size, dtype),
}


def create_optimiser(name: str, size: int, dtype: np.dtype | type = np.float32, momentum: float = 0.9) -> SGD:
    """Make an optimiser for ``size`` parameters.

    Args:
        name: ``sgd``, ``momentum``, ``nesterov``, ``adam``, ``adamw`` (the same without the decay) or ``rmsprop``.
        size: number of parameters.
        dtype: their type.
        momentum: of the velocity, or Adam's first beta.

    Raises:
        UsageError: the name is unknown.
    """
    require_known("optimiser", name, OPTIMISERS)
    return OPTIMISERS[name](size, dtype, momentum)
