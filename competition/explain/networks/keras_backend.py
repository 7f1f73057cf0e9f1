"""Keras models behind the explanation protocol: flat, Sequential, nested, reloaded and subclassed ones.

Rebuilding a graph that ends in the layer fails for nested models and for those that were never called. Instead the
model is simply run, and the layer's own ``call`` is wrapped for that time: what it returns is kept and watched by the
gradient tape. That splits any model at any layer, shortcuts around the layer included.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from competition.environment import before_tensorflow

before_tensorflow()

import keras  # noqa: E402
import tensorflow as tf  # noqa: E402

from competition.errors import KitError, UsageError  # noqa: E402
from competition.explain.networks.keras_layers import (  # noqa: E402
    KerasBook,
    all_layers,
    hooked,
    inner_layers,
    keep_inputs,
    keep_output,
    replaced,
    to_numpy,
)
from competition.explain.networks.protocol import (  # noqa: E402
    LayerInfo,
    Target,
    check_finite,
    check_images,
    check_target,
    pick_layer,
    square_input,
)

_RECTIFIERS = ("relu", "relu6", "silu", "swish", "gelu")
_RECTIFYING_LAYERS = (keras.layers.ReLU,)


class KerasBackend:
    """A Keras model, normalised float (n, h, w, c) to logits (n, classes), behind ``protocol.Backend``.

    A softmax at the end is passed over: the logits before it are explained.

    Args:
        model: the model, on the TensorFlow backend.
        classes: names of the logits, in their order.
        mean: of each channel in [0, 1]: what the model's training subtracted.
        std: of each channel.
        input_shape: (h, w, c) that the model is made for.
        prepare: turns a photo, uint8 (h, w, 3), into float32 ``input_shape``; the centre square, resized, by default.

    Raises:
        KitError: Keras runs on another backend than TensorFlow.
    """

    framework = "keras"

    def __init__(
        self,
        model: Any,
        classes: Sequence[str],
        mean: Sequence[float],
        std: Sequence[float],
        input_shape: tuple[int, int, int],
        prepare: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> None:
        if keras.backend.backend() != "tensorflow":
            raise KitError(f"Keras runs on {keras.backend.backend()}: explanations need KERAS_BACKEND=tensorflow")
        self.model = model
        self.classes, self.input_shape = tuple(classes), input_shape
        self.mean, self.std = (np.asarray(values, dtype=np.float32) for values in (mean, std))
        self._prepare = prepare
        self.book = KerasBook(model, self._forward, input_shape)

    def prepare(self, photo: np.ndarray) -> np.ndarray:
        """Turn a photo, uint8 (h, w, 3), into what the model is shown: float32 ``input_shape`` in [0, 1]."""
        return square_input(photo, self.input_shape) if self._prepare is None else self._prepare(photo)

    def layers(self) -> tuple[LayerInfo, ...]:
        """Every layer with one tensor per image, in the order in which they finish; nested ones as ``outer/inner``."""
        return tuple(seen.info for seen in self.book.seen.values())

    def last_spatial_layer(self) -> str:
        """The last layer on whose map, position by position, the logits depend.

        Raises:
            UsageError: there is none (a perceptron).
        """
        return self.book.last

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Logits, float32 (n, classes)."""
        return check_finite("the logits", to_numpy(self._forward(self._tensor(images))))

    def embed(self, images: np.ndarray) -> np.ndarray:
        """Input of the last layer that holds weights, averaged over positions, float32 (n, d)."""
        kept: list[Any] = []
        with hooked(self.model, self.book.classifier, keep_inputs(kept)):
            self._forward(self._tensor(images))
        found = to_numpy(kept[-1])
        return found.reshape(len(found), -1, found.shape[-1]).mean(axis=1)

    def activations(self, images: np.ndarray, layer: str) -> np.ndarray:
        """Output of a spatial layer, float32 (n, h, w, c)."""
        pick_layer(self.layers(), layer)
        kept: list[Any] = []
        with hooked(self.model, layer, keep_output(kept)):
            self._forward(self._tensor(images))
        return check_finite(f"the activations of '{layer}'", to_numpy(self.book.to_map(layer, kept[-1], images.shape)))

    def layer_gradients(self, images: np.ndarray, layer: str, target: Target) -> tuple[np.ndarray, np.ndarray]:
        """Output of a spatial layer and the target's gradient with respect to it, both float32 (n, h, w, c)."""
        pick_layer(self.layers(), layer)
        check_target(target, images, self.classes)
        kept: list[Any] = []
        with tf.GradientTape(watch_accessed_variables=False) as tape:

            def cut(_: Any, output: Any) -> Any:
                tape.watch(output)
                kept.append(output)
                return output

            with hooked(self.model, layer, cut):
                score = tf.reduce_sum(self._forward(self._tensor(images)) * target.weights)
        gradient = tape.gradient(score, kept[-1])
        if gradient is None:
            raise KitError(f"the logits do not depend on layer '{layer}': choose another")
        maps = [to_numpy(self.book.to_map(layer, tensor, images.shape)) for tensor in (kept[-1], gradient)]
        return check_finite(f"the activations of '{layer}'", maps[0]), check_finite(
            f"the gradients at '{layer}'", maps[1]
        )

    def input_gradients(self, images: np.ndarray, target: Target) -> np.ndarray:
        """The target's gradient with respect to the images in [0, 1], float32 (n, h, w, c)."""
        check_target(target, images, self.classes)
        pixels = self._tensor(images)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(pixels)
            score = tf.reduce_sum(self._forward(pixels) * target.weights)
        return check_finite("the gradients at the image", to_numpy(tape.gradient(score, pixels)))

    def guided_gradients(self, images: np.ndarray, target: Target) -> np.ndarray:
        """As ``input_gradients``, with negative gradients stopped at every rectifier, float32 (n, h, w, c).

        See ``TorchBackend.guided_gradients`` for the source and what counts as a rectifier.

        Raises:
            UsageError: the model has no rectifier.
        """
        with ExitStack() as stack:
            if not sum(self._gate(layer, stack) for layer in all_layers(self.model).values()):
                raise UsageError("guided backpropagation needs rectifiers (ReLU and relatives): this model has none")
            return self.input_gradients(images, target)

    def activation_gradients(
        self, images: np.ndarray, layer: str, weights: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Value and gradient with respect to the images of ``sum(weights * activation)``; see the protocol."""
        info = pick_layer(self.layers(), layer, spatial=False)
        kept: list[Any] = []
        pixels = self._tensor(images)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(pixels)
            with hooked(self.model, layer, keep_output(kept)):
                self._forward(pixels)
            output = self.book.to_map(layer, kept[-1], images.shape) if info.spatial else kept[-1]
            values = _weighted(tf.cast(output, tf.float32), weights, layer)
        gradient = tape.gradient(values, pixels)
        return to_numpy(values), check_finite("the gradients at the image", to_numpy(gradient))

    def filters(self, layer: str) -> np.ndarray:
        """Kernel of a convolution, float32 (kh, kw, channels in, channels out).

        Raises:
            UsageError: the layer doesn't exist or is no convolution; convolutions are named.
        """
        info = pick_layer(self.layers(), layer, spatial=False)
        kernel = _kernel(all_layers(self.model)[layer])
        if kernel is None:
            known = [name for name, other in all_layers(self.model).items() if _kernel(other) is not None]
            raise UsageError(f"layer '{layer}' ({info.kind}) is no convolution; some are: {', '.join(known[:4])}")
        return kernel

    def _tensor(self, images: np.ndarray) -> Any:
        return tf.convert_to_tensor(check_images(images, self.input_shape[2]))

    def _forward(self, pixels: Any) -> Any:
        """Logits, float32 (n, classes), of images (n, h, w, c) in [0, 1]."""
        with ExitStack() as stack:
            self._pass_softmax(stack)
            try:
                output = self.model((pixels - self.mean) / self.std, training=False)
            except (ValueError, tf.errors.InvalidArgumentError) as error:
                reason = " ".join(str(error).split())[:200]
                size = f"{pixels.shape[1]} x {pixels.shape[2]}"
                raise KitError(f"the model cannot compute images of {size} pixels: {reason}") from error
        logits = output[0] if isinstance(output, list | tuple) else output  # auxiliary heads come after the logits
        if len(logits.shape) != 2 or logits.shape[1] != len(self.classes):
            raise UsageError(f"the model gives {tuple(logits.shape)} for {len(self.classes)} classes")
        return tf.cast(logits, tf.float32)

    def _pass_softmax(self, stack: ExitStack) -> None:
        """Leave out a softmax at the end of the model."""
        final = _final_layer(self.model)
        if isinstance(final, keras.layers.Softmax):
            stack.enter_context(replaced(final, "call", lambda inputs, *_, **__: inputs))
        elif getattr(final, "activation", None) is keras.activations.softmax:
            stack.enter_context(replaced(final, "activation", keras.activations.linear))

    def _gate(self, layer: Any, stack: ExitStack) -> int:
        """Gate a layer that rectifies; 1 if it does."""
        activation: Any = getattr(layer, "activation", None)
        if getattr(activation, "__name__", "") in _RECTIFIERS:
            stack.enter_context(replaced(layer, "activation", lambda x: _gated(x, activation(x))))
            return 1
        if isinstance(layer, _RECTIFYING_LAYERS):
            call = layer.call
            stack.enter_context(replaced(layer, "call", lambda x, *_, **__: _gated(x, call(x))))
            return 1
        return 0


def _final_layer(model: Any) -> Any:
    inner = inner_layers(model)
    return _final_layer(inner[-1]) if inner else model


def _gated(inputs: Any, output: Any) -> Any:
    """The output; backward a positive gradient passes where the rectifier's input was positive."""
    positive = tf.cast(inputs > 0, output.dtype)

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def gate(values: Any) -> Any:
        return tf.identity(values), lambda gradient: tf.maximum(gradient, 0) * positive

    return gate(output)


def _kernel(layer: Any) -> np.ndarray | None:
    """Kernel (kh, kw, in, out) of a convolution, None of other layers; a depthwise one has one input channel."""
    kernel = getattr(layer, "kernel", None)
    if kernel is None or len(kernel.shape) != 4:
        return None
    values = to_numpy(kernel)
    return values.transpose(0, 1, 3, 2) if isinstance(layer, keras.layers.DepthwiseConv2D) else values


def _weighted(output: Any, weights: np.ndarray | None, layer: str) -> Any:
    """Per image the weighted sum of an output, or the mean of its squares: (n,)."""
    axes = list(range(1, len(output.shape)))
    if weights is None:
        return tf.reduce_mean(tf.square(output), axis=axes)
    given = np.asarray(weights, dtype=np.float32)
    try:
        given = np.broadcast_to(given, tuple(output.shape))
    except ValueError as error:
        own = tuple(output.shape[1:])
        raise UsageError(f"weights of shape {given.shape} do not fit the output {own} of layer '{layer}'") from error
    return tf.reduce_sum(output * given, axis=axes)
