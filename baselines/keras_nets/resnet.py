"""Residual networks. He, Zhang, Ren, Sun: Deep residual learning for image recognition (2016)."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from baselines.keras_nets.builder import Builder
from baselines.specs.resnet import ResNetSpec


def build(spec: ResNetSpec, num_classes: int, in_channels: int, image_size: int, name: str) -> keras.Model:
    """Stem ``conv1``, stages ``layer1`` ... of blocks, mean over the map, logits ``fc``."""
    add = Builder(spec)
    image = keras.Input((image_size, image_size, in_channels), name="image")
    kernel, stride, padding = (7, 2, 3) if spec.stem == "imagenet" else (3, 1, 1)
    x = add.conv_bn(image, "conv1", "bn1", spec.widths[0], kernel, stride, padding)
    x = add.activation(x, "relu")
    if spec.stem == "imagenet":
        x = add.max_pool(x, "maxpool", 3, 2, padding=1)
    for number, (depth, width) in enumerate(zip(spec.depths, spec.widths, strict=True), start=1):
        for index in range(depth):
            x = _block(add, spec, x, f"layer{number}.{index}", width, stride=2 if number > 1 and index == 0 else 1)
    x = layers.GlobalAveragePooling2D(name="avgpool")(x)
    logits = add.dense(add.dropout(x, "drop"), "fc", num_classes, logits=True)
    return keras.Model(image, logits, name=name)


def _block(add: Builder, spec: ResNetSpec, x: Any, name: str, width: int, stride: int) -> Any:
    """A basic or a bottleneck block: convolutions with batch norm, the shortcut added before the last ReLU."""
    out = width * spec.expansion
    if spec.block == "basic":
        shapes = [(width, 3, stride), (out, 3, 1)]
    else:
        at_1x1 = stride if spec.bottleneck_stride == "1x1" else 1
        shapes = [(width, 1, at_1x1), (width, 3, stride // at_1x1), (out, 1, 1)]
    residual = x
    for number, (filters, kernel, step) in enumerate(shapes, start=1):
        residual = add.conv_bn(
            residual, f"{name}.conv{number}", f"{name}.bn{number}", filters, kernel, step, kernel // 2
        )
        if number < len(shapes):
            residual = add.activation(residual, f"{name}.relu{number}")
    total = layers.Add(name=f"{name}.add")([residual, _shortcut(add, spec, x, name, out, stride)])
    return add.activation(total, f"{name}.relu{len(shapes)}")


def _shortcut(add: Builder, spec: ResNetSpec, x: Any, name: str, out: int, stride: int) -> Any:
    if stride == 1 and x.shape[-1] == out:
        return x
    if spec.shortcut == "projection":
        return add.conv_bn(x, f"{name}.downsample.0", f"{name}.downsample.1", out, 1, stride)
    if stride > 1:  # option A: every stride-th pixel, then channels of zeros
        x = x[:, ::stride, ::stride]
    parts, missing = [x], out - x.shape[-1]
    while missing > 0:
        part = x if missing >= x.shape[-1] else x[..., :missing]
        parts.append(layers.Rescaling(0.0, name=f"{name}.zeros{len(parts)}")(part))
        missing -= part.shape[-1]
    return layers.Concatenate(name=f"{name}.downsample")(parts) if len(parts) > 1 else x
