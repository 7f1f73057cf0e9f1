"""A classical filter as a convolution whose weights never train."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from baselines.specs.filters import require_room


class FixedFilter2d(nn.Module):
    """One kernel on every channel by itself, borders mirrored: ``baselines.specs.filters.apply_filter`` as a layer.

    Attributes:
        weight: (channels, 1, side, side), a buffer: no optimiser sees it.
    """

    weight: Tensor

    def __init__(self, kernel: np.ndarray, channels: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.tensor(np.array(kernel)).repeat(channels, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, c, h, w) to the same shape."""
        border = require_room(x.shape[2], x.shape[3], self.weight.shape[2])
        padded = functional.pad(x, (border,) * 4, mode="reflect") if border else x
        return functional.conv2d(padded, self.weight, groups=self.weight.shape[0])


def apply_filter(images: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Run the layer on images float32 (n, h, w, c)."""
    layer = FixedFilter2d(kernel, images.shape[3])
    with torch.no_grad():
        filtered = layer(torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))))
    return filtered.numpy().transpose(0, 2, 3, 1)
