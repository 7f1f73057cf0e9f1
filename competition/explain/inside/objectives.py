"""What gradient ascent raises: the logit of a class, a filter, a neuron, a whole layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from competition.errors import UsageError
from competition.explain.networks.protocol import class_target, contrast_target, find_layer

if TYPE_CHECKING:
    from competition.explain.networks.protocol import Backend


class Objective(Protocol):
    """A value for every image and its gradient; ``name`` says in words what it is."""

    name: str

    def value(self, images: np.ndarray) -> np.ndarray:
        """Value per image, float (n,), of images (n, h, w, c) in [0, 1]."""

    def gradient(self, images: np.ndarray) -> np.ndarray:
        """Gradient of each image's value with respect to it, float (n, h, w, c)."""


class ClassObjective:
    """The logit of a class, minus the logit of ``versus`` where one is given.

    Raises:
        UsageError: a name is no class.
    """

    def __init__(self, backend: Backend, target: str, versus: str | None = None, gamma: float = 1.0) -> None:
        self._backend = backend
        if versus is None:
            self.name, self._target = target, class_target(backend.classes, [target])
        else:
            self.name = f"{target} rather than {versus}"
            self._target = contrast_target(backend.classes, [target], [versus], gamma)

    def value(self, images: np.ndarray) -> np.ndarray:
        """Weighted logits."""
        return self._target.repeated(len(images)).scores(self._backend.logits(images))

    def gradient(self, images: np.ndarray) -> np.ndarray:
        """Their input gradient."""
        return self._backend.input_gradients(images, self._target.repeated(len(images)))


class LayerObjective:
    """A weighted sum over a layer's activation; without weights its mean square, as in DeepDream."""

    def __init__(self, backend: Backend, layer: str, weights: np.ndarray | None = None, name: str = "") -> None:
        self.name, self._backend, self._layer, self._weights = name or layer, backend, layer, weights

    def value(self, images: np.ndarray) -> np.ndarray:
        """The sum, or the mean square."""
        return self._backend.activation_gradients(images, self._layer, self._weights)[0]

    def gradient(self, images: np.ndarray) -> np.ndarray:
        """Its gradient with respect to the images."""
        return self._backend.activation_gradients(images, self._layer, self._weights)[1]


def channel_objective(backend: Backend, layer: str, channel: int, *, neuron: bool = False) -> LayerObjective:
    """A filter's mean activation over the picture, or only its neuron in the middle; a unit of a layer that is no map.

    Args:
        backend: the network.
        layer: name of a layer.
        channel: index of the filter.
        neuron: the one neuron in the middle of the picture instead of all of them.

    Raises:
        UsageError: there is no such layer, or it has no such channel.
    """
    info = find_layer(backend, layer, spatial=False)
    if not 0 <= channel < info.shape[-1]:
        raise UsageError(f"channel {channel} is not in layer '{layer}': it has channels 0 to {info.shape[-1] - 1}")
    weights = np.zeros(info.shape, dtype=np.float32)
    if not info.spatial or neuron:
        weights[(*(side // 2 for side in info.shape[:-1]), channel)] = 1.0
    else:
        weights[..., channel] = 1.0 / np.prod(info.shape[:-1])
    kind = "unit" if not info.spatial else "neuron" if neuron else "channel"
    return LayerObjective(backend, layer, weights, f"{layer}, {kind} {channel}")
