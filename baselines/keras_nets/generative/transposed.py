"""What autoencoder and DCGAN share: convolutions that halve a map and transposed ones that double it."""

from __future__ import annotations

from typing import Any

from keras import initializers, layers

from baselines.specs.autoencoder import KERNEL, PADDING, STRIDE


def halving(x: Any, name: str, filters: int, initializer: initializers.Initializer, bias: bool = True) -> Any:
    """Add a convolution that halves a map; padded as PyTorch pads, a pixel on each side."""
    x = layers.ZeroPadding2D(PADDING, name=f"{name}.pad")(x)
    return layers.Conv2D(filters, KERNEL, STRIDE, use_bias=bias, kernel_initializer=initializer, name=name)(x)


def doubling(x: Any, name: str, filters: int, initializer: initializers.Initializer, bias: bool = True) -> Any:
    """Add a transposed convolution that doubles a map."""
    return layers.Conv2DTranspose(
        filters, KERNEL, STRIDE, padding="same", use_bias=bias, kernel_initializer=initializer, name=name
    )(x)
