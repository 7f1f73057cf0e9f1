"""Autoencoders. Hinton, Salakhutdinov: Reducing the dimensionality of data with neural networks (2006)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import initializers, layers, ops

from baselines.contract.config import ADAM_EPSILON
from baselines.keras_nets.generative.transposed import doubling, halving
from baselines.port import load_into, weights_of
from baselines.specs.autoencoder import KERNEL, STRIDE, AutoencoderSpec, smallest_side
from baselines.specs.base import initial_range


def build(spec: AutoencoderSpec, in_channels: int, image_size: int) -> keras.Model:
    """Layers down to ``latent`` and back up; the output is logits of the pixels (n, h, w, c)."""
    image = keras.Input((image_size, image_size, in_channels), name="image")
    logits = _dense_way(image, spec) if spec.kind == "dense" else _convolutional_way(image, spec)
    return keras.Model(image, logits, name=f"autoencoder_{spec.kind}")


def _dense_way(image: Any, spec: AutoencoderSpec) -> Any:
    shape = image.shape[1:]
    x = layers.Flatten(name="flatten")(image)
    for number, width in enumerate(spec.hidden, start=1):
        x = layers.ReLU(name=f"enc{number}_relu")(_dense(x, f"enc{number}", width, spec))
    x = _dense(x, "latent", spec.latent, spec)
    for number, width in enumerate(reversed(spec.hidden), start=1):
        x = layers.ReLU(name=f"dec{number}_relu")(_dense(x, f"dec{number}", width, spec))
    x = _dense(x, "output", int(np.prod(shape)), spec)
    return layers.Reshape(shape, name="to_map")(x)


def _convolutional_way(image: Any, spec: AutoencoderSpec) -> Any:
    side = smallest_side(image.shape[1], spec.widths, "a convolutional autoencoder")
    x = image
    for number, width in enumerate(spec.widths, start=1):
        fans = x.shape[-1] * KERNEL**2, width * (KERNEL // STRIDE) ** 2
        x = halving(x, f"enc{number}", width, _initializer(spec, *fans))
        x = layers.ReLU(name=f"enc{number}_relu")(x)
    x = _dense(layers.Flatten(name="flatten")(x), "latent", spec.latent, spec)
    x = layers.ReLU(name="dec0_relu")(_dense(x, "dec0", side * side * spec.widths[-1], spec))
    x = layers.Reshape((side, side, spec.widths[-1]), name="to_map")(x)
    for number, width in enumerate(list(reversed(spec.widths))[1:], start=1):
        x = doubling(x, f"dec{number}", width, _initializer(spec, *_transposed_fans(x, width)))
        x = layers.ReLU(name=f"dec{number}_relu")(x)
    channels = image.shape[-1]
    return doubling(x, "output", channels, _initializer(spec, *_transposed_fans(x, channels)))


def _transposed_fans(x: Any, filters: int) -> tuple[int, int]:
    return x.shape[-1] * (KERNEL // STRIDE) ** 2, filters * KERNEL**2


def _dense(x: Any, name: str, units: int, spec: AutoencoderSpec) -> Any:
    return layers.Dense(units, kernel_initializer=_initializer(spec, x.shape[-1], units), name=name)(x)


def _initializer(spec: AutoencoderSpec, fan_in: int, fan_out: int) -> initializers.Initializer:
    kind, value = initial_range(spec.init, fan_in, fan_out)
    return initializers.RandomNormal(0.0, value) if kind == "normal" else initializers.RandomUniform(-value, value)


class Trainer:
    """See ``baselines.generative.autoencoder.Trainer``."""

    def __init__(self, spec: AutoencoderSpec, in_channels: int, image_size: int, loss: str, seed: int) -> None:
        keras.utils.set_random_seed(seed)
        self.model = build(spec, in_channels, image_size)
        self._encoder = keras.Model(self.model.input, self.model.get_layer("latent").output)
        self.model.compile(
            optimizer=keras.optimizers.Adam(epsilon=ADAM_EPSILON),
            loss=keras.losses.BinaryCrossentropy(from_logits=True) if loss == "bce" else _squared_error,
        )

    def step(self, inputs: np.ndarray, targets: np.ndarray, rate: float) -> float:
        """One step of Adam towards reconstructing ``targets`` from ``inputs``; returns the loss before it."""
        self.model.optimizer.learning_rate = rate
        self.model.reset_metrics()  # train_on_batch returns a running mean
        return float(self.model.train_on_batch(inputs, targets))

    def reconstruct(self, images: np.ndarray) -> np.ndarray:
        """Images after the way down and up, float32 in [0, 1]."""
        return np.asarray(ops.convert_to_numpy(ops.sigmoid(self.model(images, training=False))))

    def encode(self, images: np.ndarray) -> np.ndarray:
        """The middle, float32 (n, latent)."""
        return np.asarray(ops.convert_to_numpy(self._encoder(images, training=False)))

    def weights(self) -> dict[str, np.ndarray]:
        """Weights in PyTorch's names and layout."""
        return weights_of(self.model)

    def load(self, weights: Mapping[str, np.ndarray]) -> None:
        """Take weights as ``weights`` gives them."""
        load_into(self.model, weights)


def _squared_error(wanted: Any, logits: Any) -> Any:
    return ops.mean(ops.square(ops.sigmoid(logits) - wanted))
