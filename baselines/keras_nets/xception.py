"""Xception. Chollet: Xception: deep learning with depthwise separable convolutions (2017), figure 5."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from baselines.keras_nets.builder import Builder
from baselines.specs.xception import XceptionSpec


def build(spec: XceptionSpec, num_classes: int, in_channels: int, image_size: int, name: str) -> keras.Model:
    """Entry flow ``block1`` to ``block4``, middle flow, exit flow; blocks are counted as in Keras' own Xception."""
    add = Builder(spec)
    image = keras.Input((image_size, image_size, in_channels), name="image")
    x = image
    for number, width in enumerate(spec.stem, start=1):
        stride, padding = (2 if number == 1 and not spec.small else 1), int(spec.small)
        x = add.conv_bn(x, f"block1_conv{number}", f"block1_bn{number}", width, 3, stride, padding)
        x = add.activation(x, f"block1_relu{number}")
    block = 1
    for widths, pool in spec.flow:
        block += 1
        x = _block(add, x, f"block{block}", widths, pool, first_relu=block > 2)
    for number, width in enumerate(spec.exit[2:], start=1):
        x = _separable(add, x, f"block{block + 1}_sepconv{number}", f"block{block + 1}_bn{number}", width)
        x = add.activation(x, f"block{block + 1}_relu{number}")
    x = layers.GlobalAveragePooling2D(name="avgpool")(x)
    logits = add.dense(add.dropout(x, "drop"), "fc", num_classes, logits=True)
    return keras.Model(image, logits, name=name)


def _separable(add: Builder, x: Any, name: str, bn: str, filters: int) -> Any:
    """Depthwise 3 x 3, then pointwise 1 x 1, with nothing in between, then batch norm where there is one."""
    x = add.depthwise(x, f"{name}.depthwise")
    return add.conv_bn(x, f"{name}.pointwise", bn, filters, 1)


def _block(add: Builder, x: Any, name: str, widths: tuple[int, ...], pool: bool, first_relu: bool) -> Any:
    """ReLU and separable convolutions with a shortcut around them; with ``pool`` it halves the map."""
    shortcut = x
    if pool:
        shortcut = add.conv_bn(x, f"{name}.shortcut.conv", f"{name}.shortcut.bn", widths[-1], 1, 2)
    for number, width in enumerate(widths, start=1):
        if number > 1 or first_relu:
            x = add.activation(x, f"{name}.body.relu{number}")
        x = _separable(add, x, f"{name}.body.sepconv{number}", f"{name}.body.bn{number}", width)
    if pool:
        x = layers.MaxPooling2D(3, 2, padding="same", name=f"{name}.body.pool")(x)
    return layers.Add(name=name)([x, shortcut])
