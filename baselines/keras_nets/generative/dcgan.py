"""DCGAN. Radford, Metz, Chintala: Unsupervised representation learning with deep convolutional GANs (2016)."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from baselines.contract.config import ADAM_EPSILON
from baselines.keras_nets.generative.transposed import doubling, halving
from baselines.port import weights_of
from baselines.specs.autoencoder import DCGANSpec, smallest_side


def build_generator(spec: DCGANSpec, channels: int, image_size: int) -> keras.Model:
    """Maps noise (n, noise) to pictures (n, h, w, c) in [0, 1]."""
    side = smallest_side(image_size, spec.widths, "a DCGAN")
    back = tuple(reversed(spec.widths))
    noise = keras.Input((spec.noise,), name="noise")
    x = layers.Dense(side * side * back[0], use_bias=False, kernel_initializer=_normal(spec), name="project")(noise)
    x = layers.Reshape((side, side, back[0]), name="to_map")(x)
    x = layers.ReLU(name="relu0")(_batch_norm(spec, "bn0")(x))
    for number, width in enumerate(back[1:], start=1):
        x = doubling(x, f"up{number}", width, _normal(spec), bias=False)
        x = layers.ReLU(name=f"relu{number}")(_batch_norm(spec, f"bn{number}")(x))
    x = doubling(x, "output", channels, _normal(spec))
    return keras.Model(noise, layers.Activation("sigmoid", name="sigmoid")(x), name="generator")


def build_discriminator(spec: DCGANSpec, channels: int, image_size: int) -> keras.Model:
    """Maps pictures (n, h, w, c) in [0, 1] to logits (n, 1): above 0 it takes them for real."""
    smallest_side(image_size, spec.widths, "a DCGAN")
    image = keras.Input((image_size, image_size, channels), name="image")
    x = image
    for number, width in enumerate(spec.widths, start=1):
        x = halving(x, f"down{number}", width, _normal(spec), bias=number == 1)
        if number > 1:
            x = _batch_norm(spec, f"bn{number}")(x)
        x = layers.LeakyReLU(spec.slope, name=f"leaky{number}")(x)
    x = layers.Flatten(name="flatten")(x)
    logits = layers.Dense(1, kernel_initializer=_normal(spec), name="judge")(x)
    return keras.Model(image, logits, name="discriminator")


def _normal(spec: DCGANSpec) -> keras.initializers.Initializer:
    return keras.initializers.RandomNormal(0.0, spec.deviation)


def _batch_norm(spec: DCGANSpec, name: str) -> keras.layers.Layer:
    return layers.BatchNormalization(momentum=spec.bn.momentum, epsilon=spec.bn.eps, name=name)


class Pair:
    """See ``baselines.generative.gan.Pair``."""

    def __init__(
        self, spec: DCGANSpec, channels: int, image_size: int, lr: float, beta1: float, smoothing: float, seed: int
    ) -> None:
        keras.utils.set_random_seed(seed)
        self.generator = build_generator(spec, channels, image_size)
        self.discriminator = build_discriminator(spec, channels, image_size)
        self._real_target = 1 - smoothing
        self._g_steps, self._d_steps = (keras.optimizers.Adam(lr, beta1, 0.999, epsilon=ADAM_EPSILON) for _ in range(2))
        self._g_steps.build(self.generator.trainable_variables)
        self._d_steps.build(self.discriminator.trainable_variables)
        self._compiled = tf.function(self._step)  # one graph a pair: its variables are this pair's

    def step(self, real: np.ndarray, noise: np.ndarray) -> tuple[float, float, float, float]:
        """One step of the discriminator on real and made pictures, then one of the generator."""
        figures = self._compiled(tf.constant(real), tf.constant(noise))
        return tuple(float(figure) for figure in figures)  # type: ignore[return-value]

    def _step(self, real: Any, noise: Any) -> tuple[Any, Any, Any, Any]:
        # Made pictures are judged twice with running statistics updated each time, as in the PyTorch pair.
        with tf.GradientTape() as g_tape:
            made = self.generator(noise, training=True)
            with tf.GradientTape() as d_tape:
                of_real = self.discriminator(real, training=True)
                of_made = self.discriminator(tf.stop_gradient(made), training=True)
                d_loss = _bce(of_real, self._real_target) + _bce(of_made, 0.0)
            d_gradients = d_tape.gradient(d_loss, self.discriminator.trainable_variables)
            self._d_steps.apply(d_gradients, self.discriminator.trainable_variables)
            # The non-saturating loss of Goodfellow et al. 2014, section 3, by the discriminator just improved.
            g_loss = _bce(self.discriminator(made, training=True), 1.0)
        g_gradients = g_tape.gradient(g_loss, self.generator.trainable_variables)
        self._g_steps.apply(g_gradients, self.generator.trainable_variables)
        return d_loss, g_loss, ops.mean(ops.sigmoid(of_real)), ops.mean(ops.sigmoid(of_made))

    def generate(self, noise: np.ndarray) -> np.ndarray:
        """Pictures float32 (n, h, w, c) from noise float32 (n, noise)."""
        return np.asarray(ops.convert_to_numpy(self.generator(noise, training=False)))

    def weights(self) -> dict[str, dict[str, np.ndarray]]:
        """Weights of ``generator`` and ``discriminator`` in PyTorch's names and layout."""
        return {"generator": weights_of(self.generator), "discriminator": weights_of(self.discriminator)}


def _bce(logits: Any, target: float) -> Any:
    """Mean binary cross-entropy of logits: ``softplus(z) - target * z``."""
    return ops.mean(ops.softplus(logits) - target * logits)
