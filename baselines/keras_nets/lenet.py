"""LeNet-5. LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition (1998), II.B."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from baselines.keras_nets.builder import Builder, half_precision
from baselines.keras_nets.layers import Gaussian, Subsampling2D, TableConv2D
from baselines.specs.lenet import LENET_C3_TABLE, LeNetSpec, lenet_codes, lenet_padding


def build(spec: LeNetSpec, num_classes: int, in_channels: int, image_size: int, name: str) -> keras.Model:
    """Layers C1, S2, C3, S4, C5, F6 and the output, under the paper's names in lower case."""
    add = Builder(spec)
    image = keras.Input((image_size, image_size, in_channels), name="image")
    x = add.conv_bn(image, "c1", "bn1", spec.maps[0], 5, padding=lenet_padding(image_size))
    x = add.activation(x, "act1", spec.activation)
    x = _pool(add, spec, x, "2")
    x = add.activation(_c3(add, spec, x), "act3", spec.activation)
    x = _pool(add, spec, x, "4")
    x = add.conv_bn(x, "c5", "bn5", spec.maps[2], x.shape[1])
    x = add.activation(x, "act5", spec.activation)
    x = add.dropout(layers.Flatten(name="flatten")(x), "drop5")
    x = add.activation(add.dense(x, "f6", spec.units), "act6", spec.activation)
    if spec.head == "gaussian":
        dtype = "float32" if half_precision() else None
        logits = Gaussian(num_classes, lenet_codes(num_classes, spec.units), dtype=dtype, name="output")(x)
    else:
        logits = add.dense(x, "output", num_classes, logits=True)
    return keras.Model(image, logits, name=name)


def _c3(add: Builder, spec: LeNetSpec, x: Any) -> Any:
    filters = spec.maps[1]
    if spec.connections == "full":
        return add.conv_bn(x, "c3", "bn3", filters, 5)
    connections = sum(map(len, LENET_C3_TABLE))
    initializer = add.initializer(25 * connections // filters, 25 * connections // x.shape[-1])
    x = TableConv2D(LENET_C3_TABLE, 5, initializer, name="c3")(x)
    return add.batch_norm(x, "bn3") if spec.batch_norm else x


def _pool(add: Builder, spec: LeNetSpec, x: Any, number: str) -> Any:
    if spec.pooling == "subsampling":
        return add.activation(Subsampling2D(name=f"s{number}")(x), f"act{number}", spec.activation)
    kind = layers.AveragePooling2D if spec.pooling == "average" else layers.MaxPooling2D
    return kind(2, name=f"s{number}")(x)
