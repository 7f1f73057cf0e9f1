"""Layers that PyTorch lacks or that several networks share, and the initialisation of them all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from baselines.specs.base import Spec, initial_range
from baselines.specs.googlenet import LocalNorm


class ScaledTanh(nn.Module):
    """``1.7159 tanh(2/3 a)``, the squashing function of LeCun et al. 1998, appendix A: 1 maps to 1, -1 to -1."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply the function elementwise."""
        return 1.7159 * torch.tanh(x * (2 / 3))


ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "scaled_tanh": ScaledTanh}


class Subsampling2d(nn.Module):
    """Trainable subsampling of LeCun et al. 1998: the sum over 2 x 2, times a coefficient, plus a bias, both per map.

    The coefficient starts at 1/4, so that the layer starts as an average.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.coefficient = nn.Parameter(torch.full((channels,), 0.25))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, c, h, w) to (n, c, h // 2, w // 2)."""
        total = 4 * functional.avg_pool2d(x, 2)
        return total * self.coefficient[:, None, None] + self.bias[:, None, None]


class TableConv2d(nn.Module):
    """Convolution in which each output map reads only the input maps its row of a table names.

    Attributes:
        weight: (connections, k, k), one kernel a connection, in the table's order.
        bias: (len(table),).
        in_channels: number of input maps.
        kernel_size: (k, k).
    """

    scatter: Tensor

    def __init__(self, in_channels: int, table: Sequence[Sequence[int]], kernel: int) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.kernel_size = in_channels, len(table), (kernel, kernel)
        places = [out * in_channels + source for out, row in enumerate(table) for source in row]
        scatter = np.zeros((self.out_channels * in_channels, len(places)))
        scatter[places, range(len(places))] = 1
        self.register_buffer("scatter", torch.tensor(scatter, dtype=torch.get_default_dtype()), persistent=False)
        self.weight = nn.Parameter(torch.empty(len(places), kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(self.out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, in, h, w) to (n, out, h - k + 1, w - k + 1)."""
        kernel = self.scatter @ self.weight.flatten(1)
        kernel = kernel.reshape(self.out_channels, self.in_channels, *self.kernel_size)
        return functional.conv2d(x, kernel, self.bias)


class Gaussian(nn.Module):
    """Euclidean radial basis functions of LeCun et al. 1998, equation 7; logits are the negative squared distances.

    With them, cross-entropy is the paper's discriminative criterion (equation 9) without its rubbish class. The codes
    are fixed at +-1 at random with equal probabilities, a choice that section II.B names beside the drawn digits.

    Attributes:
        codes: (classes, features), fixed.
    """

    codes: Tensor

    def __init__(self, in_features: int, num_classes: int, codes: Tensor) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, num_classes
        self.register_buffer("codes", codes)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, features) to logits (n, classes)."""
        return -(x[:, None, :] - self.codes).square().sum(dim=2)


class SameMaxPool2d(nn.Module):
    """Max pooling with TensorFlow's ``same`` padding: output side = ceil(side / stride), the odd pixel at the end."""

    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def _padding(self, side: int) -> tuple[int, int]:
        total = max((-(-side // self.stride) - 1) * self.stride + self.kernel - side, 0)
        return total // 2, total - total // 2

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, c, h, w) to (n, c, ceil(h / stride), ceil(w / stride))."""
        pads = (*self._padding(x.shape[3]), *self._padding(x.shape[2]))
        return functional.max_pool2d(functional.pad(x, pads, value=float("-inf")), self.kernel, self.stride)


def local_norm(spec: LocalNorm) -> nn.LocalResponseNorm:
    """Local response normalisation over channels of (n, c, h, w)."""
    return nn.LocalResponseNorm(spec.size, spec.alpha, spec.beta, spec.bias)


def batch_norm(spec: Spec, channels: int) -> nn.BatchNorm2d:
    """Batch normalisation over channels of (n, c, h, w), with the specification's constants."""
    return nn.BatchNorm2d(channels, eps=spec.norm.eps, momentum=1 - spec.norm.momentum)


def batch_norm_dense(spec: Spec, features: int) -> nn.BatchNorm1d:
    """Batch normalisation over features of (n, f), with the specification's constants."""
    return nn.BatchNorm1d(features, eps=spec.norm.eps, momentum=1 - spec.norm.momentum)


def initialise(model: nn.Module, scheme: str, ones: Sequence[str] = ()) -> None:
    """Draw every weight anew and set the biases to 0.

    Args:
        model: the network, changed in place.
        scheme: see ``baselines.specs.initial_range``.
        ones: names of layers whose biases start at 1.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear | TableConv2d):
            kind, value = initial_range(scheme, *_fans(module))
            with torch.no_grad():
                module.weight.normal_(0, value) if kind == "normal" else module.weight.uniform_(-value, value)
                if module.bias is not None:
                    module.bias.fill_(1.0 if name in ones else 0.0)


def _fans(module: nn.Conv2d | nn.Linear | TableConv2d) -> tuple[int, int]:
    """Fan-in and fan-out of one unit of a layer."""
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    area = module.kernel_size[0] * module.kernel_size[1]
    if isinstance(module, TableConv2d):
        connections = module.weight.shape[0]
        return area * connections // module.out_channels, area * connections // module.in_channels
    return area * module.in_channels // module.groups, area * module.out_channels // module.groups
