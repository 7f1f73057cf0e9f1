"""LeNet-5. LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition (1998), II.B."""

from __future__ import annotations

import torch
from torch import nn

from baselines.specs.lenet import LENET_C3_TABLE, LeNetSpec, lenet_codes, lenet_padding
from baselines.torch_nets.layers import ACTIVATIONS, Gaussian, Subsampling2d, TableConv2d, batch_norm, initialise


class LeNet5(nn.Sequential):
    """Layers C1, S2, C3, S4, C5, F6 and the output, under the paper's names in lower case."""

    def __init__(self, spec: LeNetSpec, num_classes: int, in_channels: int, image_size: int) -> None:
        super().__init__()
        self._spec = spec
        first, second, third = spec.maps
        padding = lenet_padding(image_size)
        side = ((image_size + 2 * padding - 4) // 2 - 4) // 2
        self._convolve("1", nn.Conv2d(in_channels, first, 5, padding=padding, bias=not spec.batch_norm), first)
        self._pool("2", first)
        self._convolve("3", self._c3(first, second), second)
        self._pool("4", second)
        self._convolve("5", nn.Conv2d(second, third, side, bias=not spec.batch_norm), third)
        self.add_module("flatten", nn.Flatten())
        self.add_module("drop5", nn.Dropout(spec.dropout))
        self.add_module("f6", nn.Linear(third, spec.units))
        self.add_module("act6", ACTIVATIONS[spec.activation]())
        self.add_module("output", self._output(num_classes))
        initialise(self, spec.initialisation)

    def _convolve(self, number: str, layer: nn.Module, filters: int) -> None:
        self.add_module(f"c{number}", layer)
        if self._spec.batch_norm:
            self.add_module(f"bn{number}", batch_norm(self._spec, filters))
        self.add_module(f"act{number}", ACTIVATIONS[self._spec.activation]())

    def _c3(self, channels: int, filters: int) -> nn.Module:
        if self._spec.connections == "table":
            return TableConv2d(channels, LENET_C3_TABLE, 5)
        return nn.Conv2d(channels, filters, 5, bias=not self._spec.batch_norm)

    def _pool(self, number: str, channels: int) -> None:
        if self._spec.pooling == "subsampling":
            self.add_module(f"s{number}", Subsampling2d(channels))
            self.add_module(f"act{number}", ACTIVATIONS[self._spec.activation]())
        else:
            self.add_module(f"s{number}", nn.AvgPool2d(2) if self._spec.pooling == "average" else nn.MaxPool2d(2))

    def _output(self, num_classes: int) -> nn.Module:
        if self._spec.head == "gaussian":
            codes = torch.tensor(lenet_codes(num_classes, self._spec.units), dtype=torch.get_default_dtype())
            return Gaussian(self._spec.units, num_classes, codes)
        return nn.Linear(self._spec.units, num_classes)
