"""VGG. Simonyan, Zisserman: Very deep convolutional networks for large-scale image recognition (2015), table 1."""

from __future__ import annotations

import keras
from keras import layers

from baselines.keras_nets.builder import Builder
from baselines.specs.vgg import VGGSpec


def build(spec: VGGSpec, num_classes: int, in_channels: int, image_size: int, name: str) -> keras.Model:
    """Convolutions ``conv1_1`` ... ``conv5_3``, poolings ``pool1`` ... ``pool5``, dense layers ``fc6`` and on."""
    add = Builder(spec)
    image = keras.Input((image_size, image_size, in_channels), name="image")
    x = image
    for block, (depth, width) in enumerate(zip(spec.depths, spec.widths, strict=True), start=1):
        for number in range(1, depth + 1):
            place = f"{block}_{number}"
            x = add.conv(x, f"conv{place}", width, 3, padding=1)
            if spec.batch_norm:
                x = add.batch_norm(x, f"bn{place}")
            x = add.activation(x, f"relu{place}")
        x = add.max_pool(x, f"pool{block}", 2, 2, ceil=spec.head == "pool")
    last = layers.GlobalAveragePooling2D(name="avgpool") if spec.head == "pool" else layers.Flatten(name="flatten")
    x = last(x)
    for number, width in enumerate(spec.hidden, start=6):
        x = add.activation(add.dense(x, f"fc{number}", width), f"relu{number}")
        x = add.dropout(x, f"drop{number}")
    logits = add.dense(x, f"fc{6 + len(spec.hidden)}", num_classes, logits=True)
    return keras.Model(image, logits, name=name)
