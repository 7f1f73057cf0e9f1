"""Residual networks. He, Zhang, Ren, Sun: Deep residual learning for image recognition (2016).

Module names are torchvision's, so state dicts of its ResNets load as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from baselines.specs.resnet import ResNetSpec
from baselines.torch_nets.layers import batch_norm, initialise


class IdentityShortcut(nn.Module):
    """Option A of section 3.3: every ``stride``-th pixel, and zeros for the channels that are missing."""

    def __init__(self, missing: int, stride: int) -> None:
        super().__init__()
        self.missing, self.stride = missing, stride

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, c, h, w) to (n, c + missing, ceil(h / stride), ceil(w / stride))."""
        x = x[:, :, :: self.stride, :: self.stride]
        return torch.cat([x, x.new_zeros(x.shape[0], self.missing, *x.shape[2:])], dim=1)


class Block(nn.Module):
    """A basic or a bottleneck block: convolutions with batch norm, the shortcut added before the last ReLU."""

    def __init__(self, spec: ResNetSpec, channels: int, width: int, stride: int) -> None:
        super().__init__()
        out = width * spec.expansion
        if spec.block == "basic":
            shapes = [(channels, width, 3, stride), (width, out, 3, 1)]
        else:
            at_1x1 = stride if spec.bottleneck_stride == "1x1" else 1
            shapes = [(channels, width, 1, at_1x1), (width, width, 3, stride // at_1x1), (width, out, 1, 1)]
        self.depth = len(shapes)
        for number, (inputs, filters, kernel, step) in enumerate(shapes, start=1):
            conv = nn.Conv2d(inputs, filters, kernel, step, kernel // 2, bias=not spec.batch_norm)
            self.add_module(f"conv{number}", conv)
            self.add_module(f"bn{number}", batch_norm(spec, filters) if spec.batch_norm else nn.Identity())
            self.add_module(f"relu{number}", nn.ReLU())
        self.downsample = _shortcut(spec, channels, out, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, c, h, w) to (n, width x expansion, h / stride, w / stride)."""
        residual = x
        for number in range(1, self.depth + 1):
            residual = self.get_submodule(f"bn{number}")(self.get_submodule(f"conv{number}")(residual))
            if number < self.depth:
                residual = self.get_submodule(f"relu{number}")(residual)
        total = residual + (x if self.downsample is None else self.downsample(x))
        return self.get_submodule(f"relu{self.depth}")(total)


def _shortcut(spec: ResNetSpec, channels: int, out: int, stride: int) -> nn.Module | None:
    if stride == 1 and channels == out:
        return None
    if spec.shortcut == "identity":
        return IdentityShortcut(out - channels, stride)
    conv = nn.Conv2d(channels, out, 1, stride, bias=not spec.batch_norm)
    return nn.Sequential(conv, batch_norm(spec, out)) if spec.batch_norm else nn.Sequential(conv)


class ResNet(nn.Sequential):
    """Stem ``conv1``, stages ``layer1`` ... of blocks, mean over the map, logits ``fc``."""

    def __init__(self, spec: ResNetSpec, num_classes: int, in_channels: int, image_size: int) -> None:
        super().__init__()
        channels = spec.widths[0]
        full = spec.stem == "imagenet"
        kernel, stride, padding = (7, 2, 3) if full else (3, 1, 1)
        bias = not spec.batch_norm
        self.add_module("conv1", nn.Conv2d(in_channels, channels, kernel, stride, padding, bias=bias))
        if spec.batch_norm:
            self.add_module("bn1", batch_norm(spec, channels))
        self.add_module("relu", nn.ReLU())
        if full:
            self.add_module("maxpool", nn.MaxPool2d(3, 2, padding=1))
        for number, (depth, width) in enumerate(zip(spec.depths, spec.widths, strict=True), start=1):
            blocks = []
            for index in range(depth):
                blocks.append(Block(spec, channels, width, stride=2 if number > 1 and index == 0 else 1))
                channels = width * spec.expansion
            self.add_module(f"layer{number}", nn.Sequential(*blocks))
        self.add_module("avgpool", nn.AdaptiveAvgPool2d(1))
        self.add_module("flatten", nn.Flatten())
        self.add_module("drop", nn.Dropout(spec.dropout))
        self.add_module("fc", nn.Linear(channels, num_classes))
        initialise(self, spec.initialisation)
