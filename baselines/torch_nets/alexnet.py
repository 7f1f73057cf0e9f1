"""AlexNet. Krizhevsky, Sutskever, Hinton: ImageNet classification with deep convolutional neural networks (2012).

The single tower is that of Krizhevsky: One weird trick for parallelizing convolutional neural networks (2014).
"""

from __future__ import annotations

from torch import nn

from baselines.specs.alexnet import ALEXNET_BIASES_OF_ONE, AlexNetSpec, alexnet_side
from baselines.torch_nets.layers import batch_norm, initialise


class AlexNet(nn.Sequential):
    """Convolutions ``conv1`` to ``conv5``, dense layers ``fc6`` to ``fc8``."""

    def __init__(self, spec: AlexNetSpec, num_classes: int, in_channels: int, image_size: int) -> None:
        super().__init__()
        channels = in_channels
        for number, conv in enumerate(spec.convs, start=1):
            layer = nn.Conv2d(channels, conv.filters, conv.kernel, conv.stride, conv.padding, bias=not spec.batch_norm)
            self.add_module(f"conv{number}", layer)
            if spec.batch_norm:
                self.add_module(f"bn{number}", batch_norm(spec, conv.filters))
            self.add_module(f"relu{number}", nn.ReLU())
            if conv.pool:
                self.add_module(f"pool{number}", nn.MaxPool2d(*conv.pool))
            channels = conv.filters
        self.add_module("flatten", nn.Flatten())
        features = channels * alexnet_side(spec, image_size) ** 2
        for number, width in enumerate(spec.hidden, start=6):
            self.add_module(f"drop{number}", nn.Dropout(spec.dropout))
            self.add_module(f"fc{number}", nn.Linear(features, width))
            self.add_module(f"relu{number}", nn.ReLU())
            features = width
        self.add_module(f"fc{6 + len(spec.hidden)}", nn.Linear(features, num_classes))
        initialise(self, spec.initialisation, ALEXNET_BIASES_OF_ONE if spec.initialisation == "alexnet" else ())
