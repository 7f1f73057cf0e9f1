"""What autoencoder and DCGAN share: transposed convolutions that double a map, and a map from a dense layer."""

from __future__ import annotations

from torch import Tensor, nn

from baselines.specs.autoencoder import KERNEL, PADDING, STRIDE


class ToMap(nn.Module):
    """Vectors (n, side * side * c) as maps (n, c, side, side).

    The vector is read as (side, side, c), Keras' order, so that the dense layer before it has the same weights there.
    """

    def __init__(self, side: int, channels: int) -> None:
        super().__init__()
        self.side, self.channels = side, channels

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, side * side * c) to (n, c, side, side)."""
        return x.reshape(-1, self.side, self.side, self.channels).permute(0, 3, 1, 2)


def halving(channels: int, filters: int, bias: bool = True) -> nn.Conv2d:
    """A convolution that halves a map."""
    return nn.Conv2d(channels, filters, KERNEL, STRIDE, PADDING, bias=bias)


def doubling(channels: int, filters: int, bias: bool = True) -> nn.ConvTranspose2d:
    """A transposed convolution that doubles a map."""
    return nn.ConvTranspose2d(channels, filters, KERNEL, STRIDE, PADDING, bias=bias)


def fans(layer: nn.Module) -> tuple[int, int]:
    """Fan-in and fan-out of one unit; a transposed convolution's output pixel is reached by ``(k / s)^2`` taps."""
    if isinstance(layer, nn.Linear):
        return layer.in_features, layer.out_features
    if isinstance(layer, nn.ConvTranspose2d):
        return layer.in_channels * (KERNEL // STRIDE) ** 2, layer.out_channels * KERNEL**2
    if isinstance(layer, nn.Conv2d):
        return layer.in_channels * KERNEL**2, layer.out_channels * (KERNEL // STRIDE) ** 2
    raise TypeError(f"{type(layer).__name__} has no fans")
