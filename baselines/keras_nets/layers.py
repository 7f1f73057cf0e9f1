"""Layers that Keras lacks: those of LeNet-5 as published, and local response normalisation. All can be saved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

_register = keras.saving.register_keras_serializable(package="baselines")


@_register
class ScaledTanh(keras.layers.Layer):
    """``1.7159 tanh(2/3 a)``, the squashing function of LeCun et al. 1998, appendix A: 1 maps to 1, -1 to -1."""

    def call(self, inputs: Any) -> Any:
        """Apply the function elementwise."""
        return 1.7159 * ops.tanh(inputs * (2 / 3))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The input's shape."""
        return input_shape


@_register
class Subsampling2D(keras.layers.Layer):
    """Trainable subsampling of LeCun et al. 1998: the sum over 2 x 2, times a coefficient, plus a bias, both per map.

    The coefficient starts at 1/4, so that the layer starts as an average.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the coefficient and the bias, each (channels,)."""
        shape = (input_shape[-1],)
        self.coefficient = self.add_weight(
            shape=shape, initializer=keras.initializers.Constant(0.25), name="coefficient"
        )
        self.bias = self.add_weight(shape=shape, initializer="zeros", name="bias")

    def call(self, inputs: Any) -> Any:
        """Map (n, h, w, c) to (n, h // 2, w // 2, c)."""
        total = 4 * ops.average_pool(inputs, 2, 2)
        return total * ops.cast(self.coefficient, total.dtype) + ops.cast(self.bias, total.dtype)


@_register
class TableConv2D(keras.layers.Layer):
    """Convolution in which each output map reads only the input maps its row of a table names.

    Args:
        table: input maps of every output map.
        kernel_size: side of the kernel.
        kernel_initializer: how the kernels (connections, k, k) start.
    """

    def __init__(
        self,
        table: Sequence[Sequence[int]],
        kernel_size: int,
        kernel_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.table = [list(row) for row in table]
        self.kernel_size = kernel_size
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    @property
    def connections(self) -> int:
        """Number of kernels."""
        return sum(len(row) for row in self.table)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the kernels (connections, k, k) and the bias (maps,)."""
        self.in_channels = int(input_shape[-1] or 0)
        places = [source * len(self.table) + out for out, row in enumerate(self.table) for source in row]
        self._scatter = np.zeros((self.connections, self.in_channels * len(self.table)), dtype=np.float32)
        self._scatter[range(self.connections), places] = 1
        shape = (self.connections, self.kernel_size, self.kernel_size)
        self.kernel = self.add_weight(shape=shape, initializer=self.kernel_initializer, name="kernel")
        self.bias = self.add_weight(shape=(len(self.table),), initializer="zeros", name="bias")

    def call(self, inputs: Any) -> Any:
        """Map (n, h, w, in) to (n, h - k + 1, w - k + 1, out)."""
        side = self.kernel_size
        flat = ops.transpose(ops.reshape(self.kernel, (self.connections, side * side)))
        dense = ops.reshape(ops.matmul(flat, self._scatter), (side, side, self.in_channels, len(self.table)))
        return ops.conv(inputs, ops.cast(dense, inputs.dtype), padding="valid") + ops.cast(self.bias, inputs.dtype)

    def get_config(self) -> dict[str, Any]:
        """Arguments that make this layer again."""
        return {
            **super().get_config(),
            "table": [list(row) for row in self.table],
            "kernel_size": self.kernel_size,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


@_register
class Gaussian(keras.layers.Layer):
    """Euclidean radial basis functions of LeCun et al. 1998, equation 7; logits are the negative squared distances.

    The codes are a fixed weight (classes, features) of +-1; see ``baselines.torch_nets.layers.Gaussian``.

    Args:
        num_classes: number of codes.
        codes: their values; all zero when left out, to be loaded.
    """

    def __init__(self, num_classes: int, codes: np.ndarray | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self._start = codes

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the codes."""
        shape = (self.num_classes, input_shape[-1])
        self.codes = self.add_weight(shape=shape, initializer="zeros", trainable=False, name="codes")
        if self._start is not None:
            self.codes.assign(self._start)

    def call(self, inputs: Any) -> Any:
        """Map (n, features) to logits (n, classes)."""
        distance = ops.expand_dims(inputs, 1) - ops.cast(self.codes, inputs.dtype)
        return -ops.sum(ops.square(distance), axis=2)

    def get_config(self) -> dict[str, Any]:
        """Arguments that make this layer again; the codes come with the weights."""
        return {**super().get_config(), "num_classes": self.num_classes}


@_register
class LocalResponseNorm(keras.layers.Layer):
    """Local response normalisation over channels: ``x / (bias + alpha / size * sum of squares) ** beta``.

    Args:
        size: channels in the window, centred.
        alpha: weight of the mean of squares.
        beta: exponent.
        bias: constant that keeps the denominator from 0.
    """

    def __init__(self, size: int, alpha: float, beta: float, bias: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size, self.alpha, self.beta, self.bias = size, alpha, beta, bias

    def call(self, inputs: Any) -> Any:
        """Normalise (n, h, w, c); windows are cut at the first and the last channel."""
        channels = inputs.shape[-1]
        before = self.size // 2
        padded = ops.pad(ops.square(inputs), [[0, 0], [0, 0], [0, 0], [before, self.size - 1 - before]])
        total = sum(padded[..., start : start + channels] for start in range(self.size))
        return inputs / ops.power(self.bias + self.alpha / self.size * total, self.beta)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Arguments that make this layer again."""
        own = {"size": self.size, "alpha": self.alpha, "beta": self.beta, "bias": self.bias}
        return {**super().get_config(), **own}
