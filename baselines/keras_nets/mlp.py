"""Multi-layer perceptron: the network without convolutions that the others are measured against."""

from __future__ import annotations

import keras
from keras import layers

from baselines.keras_nets.builder import Builder
from baselines.specs.mlp import MLPSpec


def build(spec: MLPSpec, num_classes: int, in_channels: int, image_size: int, name: str) -> keras.Model:
    """Dense layers ``fc1`` ... over the flattened image; the last gives the logits."""
    add = Builder(spec)
    image = keras.Input((image_size, image_size, in_channels), name="image")
    x = layers.Flatten(name="flatten")(image)
    for number, width in enumerate(spec.hidden, start=1):
        x = add.dense(x, f"fc{number}", width, bias=not spec.batch_norm)
        if spec.batch_norm:
            x = add.batch_norm(x, f"bn{number}")
        x = add.activation(x, f"act{number}", spec.activation)
        x = add.dropout(x, f"drop{number}")
    logits = add.dense(x, f"fc{len(spec.hidden) + 1}", num_classes, logits=True)
    return keras.Model(image, logits, name=name)
