"""Back-propagated gradients against central differences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from baselines.numpy_nets.losses import LOSSES
from baselines.numpy_nets.mlp import MLP
from competition.errors import UsageError


def gradient_errors(
    model: MLP, x: np.ndarray, y: np.ndarray, step: float = 1e-5, sample: int = 0, seed: int = 0
) -> dict[str, float]:
    """Relative error ``|a - n| / (|a| + |n|)`` (norms) of the gradient of every matrix and bias.

    Args:
        model: a network in float64.
        x: inputs (n, in).
        y: targets.
        step: half the distance of the two points of ``n = (L(t + h) - L(t - h)) / 2h``.
        sample: parameters of each array that are checked; 0 checks all of them.
        seed: of that choice.

    Returns:
        The error by name; below 1e-6 is what a correct gradient shows, about 1 is what a wrong sign shows.

    Raises:
        UsageError: the network is not in float64, where rounding would hide the answer.
    """
    if model.theta.dtype != np.float64:
        raise UsageError("gradients are checked in float64: make the network with dtype=np.float64")
    model.loss_and_gradient(x, y)
    analytic = model.gradient.copy()
    rng, errors, at = np.random.default_rng(seed), {}, 0
    for number, (fan_in, fan_out) in enumerate(zip(model.sizes[:-1], model.sizes[1:], strict=True), start=1):
        for name, size in ((f"fc{number}.weight", fan_in * fan_out), (f"fc{number}.bias", fan_out)):
            places = np.arange(at, at + size)
            if sample and sample < size:
                places = rng.choice(places, sample, replace=False)
            numeric = np.array([_difference(model, x, y, int(place), step) for place in places])
            errors[name] = _relative(analytic[places], numeric)
            at += size
    return errors


def check_all(hidden: Sequence[int] = (32, 16), seed: int = 0) -> dict[tuple[str, str], float]:
    """Largest relative error of a network of every activation and loss, on random inputs with both penalties.

    Args:
        hidden: widths.
        seed: of inputs, targets and weights.
    """
    found = {}
    for activation in ("sigmoid", "tanh", "relu"):
        for loss in LOSSES:
            rng = np.random.default_rng(seed)
            x = rng.normal(size=(16, 12))
            real = rng.normal(size=(16, 4))
            targets = {"mse": real, "bce": (real > 0).astype(float), "cross_entropy": real.argmax(axis=1)}
            net = MLP((12, *hidden, 4), activation, loss, "xavier", seed, np.float64, l1=1e-4, l2=1e-3)
            found[activation, loss] = max(gradient_errors(net, x, targets[loss]).values())
    return found


def _difference(model: MLP, x: np.ndarray, y: np.ndarray, place: int, step: float) -> float:
    before = model.theta[place]
    model.theta[place] = before + step
    above = model.loss_and_gradient(x, y)
    model.theta[place] = before - step
    below = model.loss_and_gradient(x, y)
    model.theta[place] = before
    return (above - below) / (2 * step)


def _relative(a: np.ndarray, b: np.ndarray) -> float:
    total = float(np.linalg.norm(a) + np.linalg.norm(b))
    return float(np.linalg.norm(a - b)) / total if total else 0.0
