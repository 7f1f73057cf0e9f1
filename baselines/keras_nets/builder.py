"""The few ways in which the networks call Keras' layers: paddings as PyTorch counts them, initialisation, names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from baselines.keras_nets.layers import ScaledTanh
from baselines.specs.base import Spec, initial_range


def half_precision() -> bool:
    """Whether Keras' present policy computes in float16 or bfloat16; the logits are then kept in float32."""
    return keras.config.dtype_policy().compute_dtype in ("float16", "bfloat16")


class Builder:
    """Adds named layers to a flat functional model.

    Tensors are (n, h, w, c). Padding is symmetric, in pixels, as in the papers and in PyTorch: TensorFlow's ``same``
    would put the odd pixel of a strided convolution at the end.

    Args:
        spec: gives initialisation and batch normalisation.
        ones: names of layers whose biases start at 1.
    """

    def __init__(self, spec: Spec, ones: Sequence[str] = ()) -> None:
        self.spec, self.ones = spec, ones

    def initializer(self, fan_in: int, fan_out: int) -> keras.initializers.Initializer:
        """Initialiser of a kernel with these fans."""
        kind, value = initial_range(self.spec.initialisation, fan_in, fan_out)
        if kind == "normal":
            return keras.initializers.RandomNormal(0.0, value)
        return keras.initializers.RandomUniform(-value, value)

    def bias(self, name: str) -> str:
        """Initialiser of a bias."""
        return "ones" if name in self.ones else "zeros"

    def conv(
        self, x: Any, name: str, filters: int, kernel: int, stride: int = 1, padding: int = 0, bias: bool = True
    ) -> Any:
        """Add a convolution."""
        x, mode = self._pad(x, name, kernel, stride, padding)
        area = kernel * kernel
        return layers.Conv2D(
            filters,
            kernel,
            stride,
            padding=mode,
            use_bias=bias,
            kernel_initializer=self.initializer(area * x.shape[-1], area * filters),
            bias_initializer=self.bias(name),
            name=name,
        )(x)

    def depthwise(self, x: Any, name: str) -> Any:
        """Add a depthwise 3 x 3 convolution, padded, without bias."""
        initializer = self.initializer(9, 9)
        return layers.DepthwiseConv2D(3, padding="same", use_bias=False, depthwise_initializer=initializer, name=name)(
            x
        )

    def _pad(self, x: Any, name: str, kernel: int, stride: int, padding: int) -> tuple[Any, str]:
        if padding == 0:
            return x, "valid"
        if stride == 1 and 2 * padding == kernel - 1:
            return x, "same"
        return layers.ZeroPadding2D(padding, name=f"{name}.pad")(x), "valid"

    def batch_norm(self, x: Any, name: str) -> Any:
        """Add batch normalisation over the last axis."""
        return layers.BatchNormalization(momentum=self.spec.norm.momentum, epsilon=self.spec.norm.eps, name=name)(x)

    def conv_bn(self, x: Any, conv: str, bn: str, filters: int, kernel: int, stride: int = 1, padding: int = 0) -> Any:
        """Add a convolution and, where the specification has it, batch normalisation in place of the bias."""
        x = self.conv(x, conv, filters, kernel, stride, padding, bias=not self.spec.batch_norm)
        return self.batch_norm(x, bn) if self.spec.batch_norm else x

    def activation(self, x: Any, name: str, kind: str = "relu") -> Any:
        """Add an activation."""
        layer = ScaledTanh(name=name) if kind == "scaled_tanh" else layers.Activation(kind, name=name)
        return layer(x)

    def max_pool(self, x: Any, name: str, size: int, stride: int, padding: int = 0, ceil: bool = False) -> Any:
        """Add max pooling of values that are 0 or more where ``padding`` is used (it pads with zeros).

        Args:
            x: the input.
            name: the layer's name.
            size: side of the window.
            stride: step of the window.
            padding: symmetric padding in pixels.
            ceil: keep a last window that only partly covers the map (PyTorch's ``ceil_mode``).
        """
        x, mode = self._pad(x, name, size, stride, padding)
        if ceil and (x.shape[1] - size) % stride:
            mode = "same"  # here the same as ceil_mode: at most stride - 1 pixels, all at the end
        return layers.MaxPooling2D(size, stride, padding=mode, name=name)(x)

    def dropout(self, x: Any, name: str, rate: float | None = None) -> Any:
        """Add dropout, at the specification's rate unless another is given."""
        return layers.Dropout(self.spec.dropout if rate is None else rate, name=name)(x)

    def dense(self, x: Any, name: str, units: int, bias: bool = True, logits: bool = False) -> Any:
        """Add a dense layer; logits stay in float32 under mixed precision."""
        return layers.Dense(
            units,
            use_bias=bias,
            kernel_initializer=self.initializer(x.shape[-1], units),
            bias_initializer=self.bias(name),
            dtype="float32" if logits and half_precision() else None,
            name=name,
        )(x)
