"""GoogLeNet (Inception v1). Szegedy et al.: Going deeper with convolutions (2015), table 1."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from baselines.keras_nets.builder import Builder
from baselines.keras_nets.layers import LocalResponseNorm
from baselines.specs.googlenet import (
    AUX_DROPOUT,
    AUX_FILTERS,
    AUX_HEADS,
    AUX_UNITS,
    INCEPTION_TABLE,
    GoogLeNetSpec,
    Inception,
    LocalNorm,
)


def build(spec: GoogLeNetSpec, num_classes: int, in_channels: int, image_size: int, name: str) -> keras.Model:
    """Stem, modules ``inception3a`` to ``inception5b``, mean over the map, logits ``fc``.

    With auxiliary heads the model has three outputs: the logits, those of ``aux1`` and those of ``aux2``.
    """
    add = Builder(spec)
    image = keras.Input((image_size, image_size, in_channels), name="image")
    x = _stem(add, spec, image)
    auxiliary = []
    for row_name, row in INCEPTION_TABLE.items():
        if isinstance(row, Inception):
            x = _module(add, spec, x, row_name, row)
        else:
            x = add.max_pool(x, row_name, *spec.pool(row_name), ceil=True)
        if spec.aux_heads and row_name in AUX_HEADS:
            auxiliary.append(_aux_head(add, spec, x, AUX_HEADS[row_name], num_classes))
    x = layers.GlobalAveragePooling2D(name="avgpool")(x)
    logits = add.dense(add.dropout(x, "drop"), "fc", num_classes, logits=True)
    return keras.Model(image, [logits, *auxiliary] if auxiliary else logits, name=name)


def _conv(add: Builder, x: Any, name: str, filters: int, kernel: int, stride: int = 1, padding: int = 0) -> Any:
    x = add.conv_bn(x, f"{name}.conv", f"{name}.bn", filters, kernel, stride, padding)
    return add.activation(x, f"{name}.relu")


def _stem(add: Builder, spec: GoogLeNetSpec, x: Any) -> Any:
    full = spec.stem == "imagenet"
    x = _conv(add, x, "conv1", 64, *((7, 2, 3) if full else (3, 1, 1)))
    if full:
        x = add.max_pool(x, "maxpool1", 3, 2, ceil=True)
    x = _norm(spec, x, "norm1")
    x = _conv(add, x, "conv2", 64, 1)
    x = _conv(add, x, "conv3", 192, 3, padding=1)
    x = _norm(spec, x, "norm2")
    return add.max_pool(x, "maxpool2", 3, 2, ceil=True) if full else x


def _norm(spec: GoogLeNetSpec, x: Any, name: str) -> Any:
    if spec.batch_norm or not spec.local_norm:
        return x
    norm = LocalNorm()
    return LocalResponseNorm(norm.size, norm.alpha, norm.beta, norm.bias, name=name)(x)


def _module(add: Builder, spec: GoogLeNetSpec, x: Any, name: str, widths: Inception) -> Any:
    """Four branches over the same input, concatenated along channels (figure 2b)."""
    wide = spec.wide_kernel
    branch1 = _conv(add, x, f"{name}.branch1", widths.branch1, 1)
    branch2 = _conv(add, x, f"{name}.branch2.0", widths.branch2[0], 1)
    branch2 = _conv(add, branch2, f"{name}.branch2.1", widths.branch2[1], 3, padding=1)
    branch3 = _conv(add, x, f"{name}.branch3.0", widths.branch3[0], 1)
    branch3 = _conv(add, branch3, f"{name}.branch3.1", widths.branch3[1], wide, padding=wide // 2)
    branch4 = layers.MaxPooling2D(3, 1, padding="same", name=f"{name}.branch4.0")(x)
    branch4 = _conv(add, branch4, f"{name}.branch4.1", widths.branch4, 1)
    return layers.Concatenate(name=name)([branch1, branch2, branch3, branch4])


def _aux_head(add: Builder, spec: GoogLeNetSpec, x: Any, name: str, num_classes: int) -> Any:
    """An auxiliary classifier (section 5)."""
    if spec.aux_pool == "5x5/3":
        x = layers.AveragePooling2D(5, 3, name=f"{name}.pool")(x)
    else:
        x = layers.AdaptiveAveragePooling2D(4, name=f"{name}.pool")(x)
    x = layers.Flatten(name=f"{name}.flatten")(_conv(add, x, f"{name}.conv", AUX_FILTERS, 1))
    x = add.activation(add.dense(x, f"{name}.fc1", AUX_UNITS), f"{name}.relu")
    x = add.dropout(x, f"{name}.drop", AUX_DROPOUT if spec.dropout else 0.0)
    return add.dense(x, f"{name}.fc2", num_classes, logits=True)
