"""VGG. Simonyan, Zisserman: Very deep convolutional networks for large-scale image recognition (2015), table 1."""

from __future__ import annotations

from torch import nn

from baselines.specs.vgg import VGGSpec, vgg_side
from baselines.torch_nets.layers import batch_norm, initialise


class VGG(nn.Sequential):
    """Convolutions ``conv1_1`` ... ``conv5_3``, poolings ``pool1`` ... ``pool5``, dense layers ``fc6`` and on."""

    def __init__(self, spec: VGGSpec, num_classes: int, in_channels: int, image_size: int) -> None:
        super().__init__()
        channels = in_channels
        for block, (depth, width) in enumerate(zip(spec.depths, spec.widths, strict=True), start=1):
            for number in range(1, depth + 1):
                self._convolve(spec, f"{block}_{number}", channels, width)
                channels = width
            self.add_module(f"pool{block}", nn.MaxPool2d(2, 2, ceil_mode=spec.head == "pool"))
        if spec.head == "pool":
            self.add_module("avgpool", nn.AdaptiveAvgPool2d(1))
        self.add_module("flatten", nn.Flatten())
        self._head(spec, channels * vgg_side(spec, image_size) ** 2, num_classes)
        initialise(self, spec.initialisation)

    def _convolve(self, spec: VGGSpec, place: str, channels: int, width: int) -> None:
        # Even with batch norm torchvision keeps the bias, and so do the published counts.
        self.add_module(f"conv{place}", nn.Conv2d(channels, width, 3, padding=1))
        if spec.batch_norm:
            self.add_module(f"bn{place}", batch_norm(spec, width))
        self.add_module(f"relu{place}", nn.ReLU())

    def _head(self, spec: VGGSpec, features: int, num_classes: int) -> None:
        for number, width in enumerate(spec.hidden, start=6):
            self.add_module(f"fc{number}", nn.Linear(features, width))
            self.add_module(f"relu{number}", nn.ReLU())
            self.add_module(f"drop{number}", nn.Dropout(spec.dropout))
            features = width
        self.add_module(f"fc{6 + len(spec.hidden)}", nn.Linear(features, num_classes))
