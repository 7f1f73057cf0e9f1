"""AlexNet. Krizhevsky, Sutskever, Hinton: ImageNet classification with deep convolutional neural networks (2012).

The single tower is that of Krizhevsky: One weird trick for parallelizing convolutional neural networks (2014).
"""

from __future__ import annotations

import keras
from keras import layers

from baselines.keras_nets.builder import Builder
from baselines.specs.alexnet import ALEXNET_BIASES_OF_ONE, AlexNetSpec


def build(spec: AlexNetSpec, num_classes: int, in_channels: int, image_size: int, name: str) -> keras.Model:
    """Convolutions ``conv1`` to ``conv5``, dense layers ``fc6`` to ``fc8``."""
    add = Builder(spec, ALEXNET_BIASES_OF_ONE if spec.initialisation == "alexnet" else ())
    image = keras.Input((image_size, image_size, in_channels), name="image")
    x = image
    for number, conv in enumerate(spec.convs, start=1):
        x = add.conv_bn(x, f"conv{number}", f"bn{number}", conv.filters, conv.kernel, conv.stride, conv.padding)
        x = add.activation(x, f"relu{number}")
        if conv.pool:
            x = add.max_pool(x, f"pool{number}", *conv.pool)
    x = layers.Flatten(name="flatten")(x)
    for number, width in enumerate(spec.hidden, start=6):
        x = add.dropout(x, f"drop{number}")
        x = add.activation(add.dense(x, f"fc{number}", width), f"relu{number}")
    logits = add.dense(x, f"fc{6 + len(spec.hidden)}", num_classes, logits=True)
    return keras.Model(image, logits, name=name)
