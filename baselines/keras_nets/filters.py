"""A classical filter as a convolution whose weights never train."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from baselines.specs.filters import require_room


@keras.saving.register_keras_serializable(package="baselines")
class FixedFilter2D(keras.layers.Layer):
    """One kernel on every channel by itself, borders mirrored: ``baselines.specs.filters.apply_filter`` as a layer.

    Args:
        kernel: (side, side).
    """

    def __init__(self, kernel: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._start = np.array(kernel, dtype=np.float32)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the weights (side, side, channels, 1)."""
        channels = int(input_shape[-1] or 0)
        shape = (*self._start.shape, channels, 1)
        self.kernel = self.add_weight(shape=shape, initializer="zeros", trainable=False, name="kernel")
        self.kernel.assign(np.broadcast_to(self._start[:, :, None, None], shape))

    def call(self, inputs: Any) -> Any:
        """Map (n, h, w, c) to the same shape."""
        if inputs.shape[1] is not None and inputs.shape[2] is not None:
            require_room(inputs.shape[1], inputs.shape[2], len(self._start))
        border = len(self._start) // 2
        padded = ops.pad(inputs, [[0, 0], [border, border], [border, border], [0, 0]], mode="reflect")
        return ops.depthwise_conv(padded, ops.cast(self.kernel, inputs.dtype), padding="valid")

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Arguments that make this layer again."""
        return {**super().get_config(), "kernel": self._start.tolist()}


def apply_filter(images: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Run the layer on images float32 (n, h, w, c)."""
    return np.asarray(ops.convert_to_numpy(FixedFilter2D(kernel)(images)))
