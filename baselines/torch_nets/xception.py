"""Xception. Chollet: Xception: deep learning with depthwise separable convolutions (2017), figure 5."""

from __future__ import annotations

from torch import Tensor, nn

from baselines.specs.xception import XceptionSpec
from baselines.torch_nets.layers import SameMaxPool2d, batch_norm, initialise


class SeparableConv2d(nn.Sequential):
    """Depthwise 3 x 3, then pointwise 1 x 1, with nothing in between; one bias at the end unless batch norm follows."""

    def __init__(self, channels: int, filters: int, bias: bool) -> None:
        super().__init__()
        self.add_module("depthwise", nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False))
        self.add_module("pointwise", nn.Conv2d(channels, filters, 1, bias=bias))


class Block(nn.Module):
    """ReLU and separable convolutions with a shortcut around them; an entry or exit block ends in a max pooling.

    Args:
        spec: the specification.
        channels: input channels.
        widths: filters of the separable convolutions.
        pool: halve the map, with a 1 x 1 convolution of stride 2 as the shortcut.
        first_relu: start with a ReLU (all but the first block do).
    """

    def __init__(
        self, spec: XceptionSpec, channels: int, widths: tuple[int, ...], pool: bool, first_relu: bool = True
    ) -> None:
        super().__init__()
        self.body = nn.Sequential()
        self.shortcut = nn.Sequential()
        if pool:
            self.shortcut.add_module("conv", nn.Conv2d(channels, widths[-1], 1, 2, bias=not spec.batch_norm))
            if spec.batch_norm:
                self.shortcut.add_module("bn", batch_norm(spec, widths[-1]))
        for number, width in enumerate(widths, start=1):
            if number > 1 or first_relu:
                self.body.add_module(f"relu{number}", nn.ReLU())
            self.body.add_module(f"sepconv{number}", SeparableConv2d(channels, width, bias=not spec.batch_norm))
            if spec.batch_norm:
                self.body.add_module(f"bn{number}", batch_norm(spec, width))
            channels = width
        if pool:
            self.body.add_module("pool", SameMaxPool2d(3, 2))

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, c, h, w) to (n, widths[-1], h, w), or half of h and w rounded up."""
        total: Tensor = self.body(x) + self.shortcut(x)
        return total


class Xception(nn.Sequential):
    """Entry flow ``block1`` to ``block4``, middle flow, exit flow; blocks are counted as in Keras' own Xception."""

    def __init__(self, spec: XceptionSpec, num_classes: int, in_channels: int, image_size: int) -> None:
        super().__init__()
        stride, padding = (1, 1) if spec.small else (2, 0)
        channels = in_channels
        for number, width in enumerate(spec.stem, start=1):
            step = stride if number == 1 else 1
            conv = nn.Conv2d(channels, width, 3, step, padding, bias=not spec.batch_norm)
            self._convolve(spec, "block1", number, conv, width)
            channels = width
        block = 1
        for widths, pool in spec.flow:
            block += 1
            self.add_module(f"block{block}", Block(spec, channels, widths, pool, first_relu=block > 2))
            channels = widths[-1]
        for number, width in enumerate(spec.exit[2:], start=1):
            separable = SeparableConv2d(channels, width, bias=not spec.batch_norm)
            self._convolve(spec, f"block{block + 1}", number, separable, width)
            channels = width
        self.add_module("avgpool", nn.AdaptiveAvgPool2d(1))
        self.add_module("flatten", nn.Flatten())
        self.add_module("drop", nn.Dropout(spec.dropout))
        self.add_module("fc", nn.Linear(channels, num_classes))
        initialise(self, spec.initialisation)

    def _convolve(self, spec: XceptionSpec, block: str, number: int, layer: nn.Module, width: int) -> None:
        kind = "conv" if isinstance(layer, nn.Conv2d) else "sepconv"
        self.add_module(f"{block}_{kind}{number}", layer)
        if spec.batch_norm:
            self.add_module(f"{block}_bn{number}", batch_norm(spec, width))
        self.add_module(f"{block}_relu{number}", nn.ReLU())
