"""GoogLeNet (Inception v1). Szegedy et al.: Going deeper with convolutions (2015), table 1.

Module names are torchvision's.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from baselines.specs.googlenet import (
    AUX_DROPOUT,
    AUX_FILTERS,
    AUX_HEADS,
    AUX_UNITS,
    INCEPTION_TABLE,
    GoogLeNetSpec,
    Inception,
    LocalNorm,
    googlenet_aux_side,
)
from baselines.torch_nets.layers import batch_norm, initialise, local_norm


class AuxLogits(NamedTuple):
    """What the network gives in training mode when it has auxiliary heads; each (n, classes)."""

    logits: Tensor
    aux1: Tensor
    aux2: Tensor


class ConvBlock(nn.Sequential):
    """Convolution, batch normalisation where the specification has it, ReLU."""

    def __init__(
        self, spec: GoogLeNetSpec, channels: int, filters: int, kernel: int, stride: int = 1, padding: int = 0
    ) -> None:
        super().__init__()
        self.add_module("conv", nn.Conv2d(channels, filters, kernel, stride, padding, bias=not spec.batch_norm))
        if spec.batch_norm:
            self.add_module("bn", batch_norm(spec, filters))
        self.add_module("relu", nn.ReLU())


class InceptionModule(nn.Module):
    """Four branches over the same input, concatenated along channels (figure 2b)."""

    def __init__(self, spec: GoogLeNetSpec, channels: int, widths: Inception) -> None:
        super().__init__()
        wide = spec.wide_kernel
        (reduce3, width3), (reduce5, width5) = widths.branch2, widths.branch3
        self.branch1 = ConvBlock(spec, channels, widths.branch1, 1)
        self.branch2 = nn.Sequential(
            ConvBlock(spec, channels, reduce3, 1), ConvBlock(spec, reduce3, width3, 3, padding=1)
        )
        self.branch3 = nn.Sequential(
            ConvBlock(spec, channels, reduce5, 1), ConvBlock(spec, reduce5, width5, wide, padding=wide // 2)
        )
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, padding=1), ConvBlock(spec, channels, widths.branch4, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, c, h, w) to (n, filters, h, w)."""
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], dim=1)


class AuxHead(nn.Sequential):
    """An auxiliary classifier (section 5)."""

    def __init__(self, spec: GoogLeNetSpec, channels: int, side: int, num_classes: int) -> None:
        super().__init__()
        self.add_module("pool", nn.AvgPool2d(5, 3) if spec.aux_pool == "5x5/3" else nn.AdaptiveAvgPool2d(4))
        self.add_module("conv", ConvBlock(spec, channels, AUX_FILTERS, 1))
        self.add_module("flatten", nn.Flatten())
        self.add_module("fc1", nn.Linear(AUX_FILTERS * side * side, AUX_UNITS))
        self.add_module("relu", nn.ReLU())
        self.add_module("drop", nn.Dropout(AUX_DROPOUT if spec.dropout else 0.0))
        self.add_module("fc2", nn.Linear(AUX_UNITS, num_classes))


class GoogLeNet(nn.Module):
    """Stem, modules ``inception3a`` to ``inception5b``, mean over the map, logits ``fc``.

    With auxiliary heads, training mode gives :class:`AuxLogits`; evaluation always gives the logits alone.
    """

    def __init__(self, spec: GoogLeNetSpec, num_classes: int, in_channels: int, image_size: int) -> None:
        super().__init__()
        self._stem(spec, in_channels)
        channels = 192
        side = googlenet_aux_side(spec, image_size) if spec.aux_heads else 0
        for name, row in INCEPTION_TABLE.items():
            if isinstance(row, Inception):
                self.add_module(name, InceptionModule(spec, channels, row))
                channels = row.filters
            else:
                self.add_module(name, nn.MaxPool2d(*spec.pool(name), ceil_mode=True))
            if spec.aux_heads and name in AUX_HEADS:
                self.add_module(AUX_HEADS[name], AuxHead(spec, channels, side, num_classes))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.drop = nn.Dropout(spec.dropout)
        self.fc = nn.Linear(channels, num_classes)
        self.aux_heads = spec.aux_heads
        initialise(self, spec.initialisation)

    def _stem(self, spec: GoogLeNetSpec, in_channels: int) -> None:
        full = spec.stem == "imagenet"
        norm = spec.local_norm and not spec.batch_norm
        self.conv1 = ConvBlock(spec, in_channels, 64, *((7, 2, 3) if full else (3, 1, 1)))
        self.maxpool1 = nn.MaxPool2d(3, 2, ceil_mode=True) if full else nn.Identity()
        self.norm1 = local_norm(LocalNorm()) if norm else nn.Identity()
        self.conv2 = ConvBlock(spec, 64, 64, 1)
        self.conv3 = ConvBlock(spec, 64, 192, 3, padding=1)
        self.norm2 = local_norm(LocalNorm()) if norm else nn.Identity()
        self.maxpool2 = nn.MaxPool2d(3, 2, ceil_mode=True) if full else nn.Identity()

    def forward(self, x: Tensor) -> Tensor | AuxLogits:
        """Map (n, c, h, w) to logits (n, classes), in training with auxiliary heads to :class:`AuxLogits`."""
        x = self.conv2(self.norm1(self.maxpool1(self.conv1(x))))
        x = self.maxpool2(self.norm2(self.conv3(x)))
        auxiliary: dict[str, Tensor] = {}
        for name in INCEPTION_TABLE:
            x = self.get_submodule(name)(x)
            if self.aux_heads and self.training and name in AUX_HEADS:
                auxiliary[AUX_HEADS[name]] = self.get_submodule(AUX_HEADS[name])(x)
        logits: Tensor = self.fc(self.drop(self.flatten(self.avgpool(x))))
        return AuxLogits(logits, **auxiliary) if auxiliary else logits
