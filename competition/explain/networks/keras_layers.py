"""Which layers of a Keras model give a map over the image, and how a layer is watched while the model runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from competition.errors import KitError, UsageError
from competition.explain.networks.protocol import LayerInfo, grid_of

Change = Callable[[Any, Any], Any]  # (inputs of a call, its output) -> what the model goes on with
_PASSING = (keras.layers.Dropout, keras.layers.SpatialDropout2D, keras.layers.Identity)


def inner_layers(layer: Any) -> list[Any]:
    """The layers inside a model or a model used as a layer."""
    return list(getattr(layer, "layers", []))


def all_layers(model: Any, outer: str = "") -> dict[str, Any]:
    """Every layer by its path, inner ones after the one that holds them."""
    found: dict[str, Any] = {}
    for layer in inner_layers(model):
        if not isinstance(layer, keras.layers.InputLayer):
            found[f"{outer}{layer.name}"] = layer
            found.update(all_layers(layer, f"{outer}{layer.name}/"))
    return found


@contextmanager
def replaced(layer: Any, attribute: str, value: Any) -> Iterator[None]:
    """Give one layer another attribute or method for the duration of the block."""
    own = vars(layer).get(attribute)
    object.__setattr__(layer, attribute, value)  # Keras' own would track it
    try:
        yield
    finally:
        if own is None:
            object.__delattr__(layer, attribute)
        else:
            object.__setattr__(layer, attribute, own)


@contextmanager
def hooked(model: Any, name: str, change: Change) -> Iterator[None]:
    """Pass the inputs and the output of a layer's call through ``change`` while the block runs."""
    layer = all_layers(model)[name]
    call = layer.call

    def wrapped(inputs: Any, *args: Any, **kwargs: Any) -> Any:
        return change(inputs, call(inputs, *args, **kwargs))

    with replaced(layer, "call", wrapped):
        yield


def keep_output(kept: list[Any]) -> Change:
    """A change that changes nothing and keeps the output."""

    def change(_: Any, output: Any) -> Any:
        kept.append(output)
        return output

    return change


def keep_inputs(kept: list[Any]) -> Change:
    """A change that changes nothing and keeps the inputs."""

    def change(inputs: Any, output: Any) -> Any:
        kept.append(inputs)
        return output

    return change


def to_numpy(tensor: Any) -> np.ndarray:
    """A tensor as float32."""
    return np.ascontiguousarray(keras.ops.convert_to_numpy(tensor), dtype=np.float32)


@dataclass(frozen=True)
class Seen:
    """A layer as the noise images showed it; ``tokens`` where its map comes as a sequence."""

    info: LayerInfo
    tokens: bool


@dataclass
class _Pass:
    """What one pass over the noise images left: names and outputs in the order of finishing, and the logits."""

    outputs: list[tuple[str, Any]]
    logits: Any


class KerasBook:
    """The layers of a model, looked at once.

    Args:
        model: the model.
        forward: images (n, h, w, c) in [0, 1] to logits (n, classes).
        input_shape: (h, w, c).
    """

    def __init__(self, model: Any, forward: Callable[[Any], Any], input_shape: tuple[int, int, int]) -> None:
        self.model, self.forward, self.input_shape = model, forward, input_shape

    @cached_property
    def seen(self) -> dict[str, Seen]:
        """Layers by name, in the order in which they finish; a layer called twice counts with its last call."""
        return self._looked[0]

    @cached_property
    def classifier(self) -> str:
        """Name of the last layer that holds weights on the way to the logits."""
        return self._looked[1]

    @cached_property
    def _looked(self) -> tuple[dict[str, Seen], str]:
        shown, layers = self._show(self._noise()), all_layers(self.model)
        # With auxiliary heads the layer that gives the logits need not be the last one.
        ends = [row for row, (_, output) in enumerate(shown.outputs) if _equal(output, shown.logits)]
        before = shown.outputs[: ends[0] + 1] if ends else shown.outputs
        holding = [name for name, _ in before if layers[name].weights and not inner_layers(layers[name])]
        return {name: self._describe(name, output) for name, output in dict(shown.outputs).items()}, holding[-1]

    @cached_property
    def last(self) -> str:
        """The last layer on whose map, position by position, the features before the classifier or the logits depend.

        Raises:
            UsageError: there is none (a perceptron).
        """
        features: list[Any] = []
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            with hooked(self.model, self.classifier, keep_inputs(features)):
                shown = self._show(self._noise(), tape.watch)
            # The features as well: a head that starts from zeros gives the logits no gradient.
            score = sum(_mixed(output) for output in (*features, shown.logits))
        outputs = [(name, output) for name, output in shown.outputs if self._may_be_last(name)]
        gradients = tape.gradient(score, [output for _, output in outputs])
        connected = [name for (name, _), gradient in zip(outputs, gradients, strict=True) if gradient is not None]
        for (name, _), gradient in reversed(list(zip(outputs, gradients, strict=True))):
            if gradient is not None:
                positions = np.abs(to_numpy(self.to_map(name, gradient, (2, *self.input_shape)))).max(axis=-1)
                if (positions > 0).mean() >= 0.5:
                    return name
        if connected:  # a network whose units are all dead has no gradient anywhere; its maps are there all the same
            return connected[-1]
        raise UsageError("this model has no layer that is a map over the image: class activation maps need one")

    def to_map(self, layer: str, output: Any, images: Sequence[int]) -> Any:
        """A layer's output as (n, h, w, c), for images of shape (n, h, w, c).

        Raises:
            KitError: tokens that form no grid over images of this size.
        """
        if not self.seen[layer].tokens:
            return output
        grid = grid_of(output.shape[1:], (images[1], images[2]))
        if grid is None:
            size = f"{images[1]} x {images[2]}"
            raise KitError(f"the {output.shape[1]} tokens of '{layer}' form no grid over {size} pixels")
        rows, columns, prefix = grid
        return tf.reshape(output[:, prefix:], (output.shape[0], rows, columns, output.shape[2]))

    def _noise(self) -> Any:
        return tf.convert_to_tensor(np.random.default_rng(0).random((2, *self.input_shape), dtype=np.float32))

    def _show(self, pixels: Any, watch: Callable[[Any], None] | None = None) -> _Pass:
        """Run the model and note what every layer gives."""
        found: list[tuple[str, Any]] = []

        def keeper(name: str) -> Change:
            def keep(_: Any, output: Any) -> Any:
                shape = tuple(getattr(output, "shape", ()))
                if len(shape) >= 2 and shape[0] == len(pixels):
                    if watch is not None:
                        watch(output)
                    found.append((name, output))
                return output

            return keep

        with ExitStack() as stack:
            for name in all_layers(self.model):
                stack.enter_context(hooked(self.model, name, keeper(name)))
            return _Pass(found, self.forward(pixels))

    def _describe(self, name: str, output: Any) -> Seen:
        shape = tuple(int(side) for side in output.shape[1:])
        grid = grid_of(shape, self.input_shape[:2]) if len(shape) == 2 else None
        described = shape if grid is None else (*grid[:2], shape[1])
        spatial = len(described) == 3 and described[0] * described[1] > 1
        kind = type(all_layers(self.model)[name]).__name__
        return Seen(LayerInfo(name, kind, described if spatial else shape, spatial), grid is not None and spatial)

    def _may_be_last(self, name: str) -> bool:
        """Maps of single layers; dropout gives what came before it."""
        layer = all_layers(self.model)[name]
        return self.seen[name].info.spatial and not isinstance(layer, _PASSING) and not inner_layers(layer)


def _equal(output: Any, logits: Any) -> bool:
    return tuple(output.shape) == tuple(logits.shape) and np.array_equal(to_numpy(output), to_numpy(logits))


def _mixed(output: Any) -> Any:
    """A scalar on which every value of an output has its own influence."""
    weights = np.random.default_rng(0).random(tuple(output.shape[1:]), dtype=np.float32)
    return tf.reduce_sum(tf.cast(output, tf.float32) * weights)
