"""Layer tables: output shapes, parameters and multiply-accumulates (MACs), equal for both frameworks."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

from baselines.port import is_keras

# Class name in either framework -> the kind that is shown. What is not here (padding, adding, flattening) is no row.
_KINDS = {
    "Conv2d": "conv",
    "Conv2D": "conv",
    "DepthwiseConv2D": "conv",
    "TableConv2d": "conv by table",
    "TableConv2D": "conv by table",
    "Linear": "dense",
    "Dense": "dense",
    "Gaussian": "gaussian",
    "Subsampling2d": "subsampling",
    "Subsampling2D": "subsampling",
    "BatchNorm1d": "batch norm",
    "BatchNorm2d": "batch norm",
    "BatchNormalization": "batch norm",
    "LocalResponseNorm": "local norm",
    "MaxPool2d": "max pool",
    "SameMaxPool2d": "max pool",
    "MaxPooling2D": "max pool",
    "AvgPool2d": "average pool",
    "AveragePooling2D": "average pool",
    "AdaptiveAvgPool2d": "average pool",
    "AdaptiveAveragePooling2D": "average pool",
    "GlobalAveragePooling2D": "average pool",
    "Dropout": "dropout",
    "ReLU": "relu",
    "Tanh": "tanh",
    "ScaledTanh": "scaled tanh",
}


@dataclass(frozen=True)
class Row:
    """One layer.

    Attributes:
        name: dotted path in PyTorch, layer name in Keras.
        kind: what it does.
        shape: of its output for one image, channels first.
        parameters: trainable and other weights, running statistics not counted.
        trainable: trainable weights.
        macs: multiply-accumulates for one image; only convolutions, dense and Gaussian layers, and the coefficients of
            a trainable subsampling have any (the convention of the papers: biases and normalisation are not counted).
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    trainable: int
    macs: int


@dataclass(frozen=True)
class Summary:
    """The table of one model and its totals."""

    model: str
    framework: str
    rows: tuple[Row, ...]

    @property
    def parameters(self) -> int:
        """All weights; running statistics of batch normalisation are not counted."""
        return sum(row.parameters for row in self.rows)

    @property
    def trainable(self) -> int:
        """Trainable weights."""
        return sum(row.trainable for row in self.rows)

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image."""
        return sum(row.macs for row in self.rows)

    def table(self) -> str:
        """The rows and the totals as aligned text."""
        head = ("layer", "kind", "output", "parameters", "MACs")
        lines = [
            (row.name, row.kind, " x ".join(map(str, row.shape)), f"{row.parameters:,}", f"{row.macs:,}")
            for row in self.rows
        ]
        totals = [(f"{self.model} ({self.framework})", "", "", f"{self.parameters:,}", f"{self.macs:,}")]
        if self.trainable != self.parameters:
            totals.append(("of which trainable", "", "", f"{self.trainable:,}", ""))
        widths = [max(len(line[column]) for line in [head, *lines, *totals]) for column in range(5)]
        rule = "  ".join("-" * width for width in widths)

        def text(line: tuple[str, ...]) -> str:
            left = [cell.ljust(width) for cell, width in zip(line[:3], widths[:3], strict=True)]
            right = [cell.rjust(width) for cell, width in zip(line[3:], widths[3:], strict=True)]
            return "  ".join([*left, *right]).rstrip()

        return "\n".join([text(head), rule, *map(text, lines), rule, *map(text, totals)])


def summarise(model: Any, input_shape: tuple[int, int, int] | None = None) -> Summary:
    """Make the layer table of a model; nothing is computed with its weights.

    Args:
        model: a PyTorch module, a Keras model or a NumPy network.
        input_shape: (channels, h, w) of one image; needed only for a PyTorch module that ``create_model`` did not make.

    Raises:
        ValueError: the input shape is needed and not given.
    """
    info = getattr(model, "info", None)
    if is_keras(model):
        rows = tuple(_keras_rows(model))
        return Summary(model.name, "keras", rows)
    if type(model).__module__.startswith("baselines.numpy_nets."):
        return Summary(type(model).__name__, "numpy", tuple(_numpy_rows(model)))
    if input_shape is None:
        if info is None:
            raise ValueError("input_shape is needed: the model was not made by create_model")
        input_shape = (info.in_channels, info.image_size, info.image_size)
    return Summary(info.name if info else type(model).__name__, "pytorch", tuple(_torch_rows(model, input_shape)))


def _numpy_rows(model: Any) -> Iterator[Row]:
    """The dense layers of ``baselines.numpy_nets.mlp.MLP``."""
    for number, (inputs, units) in enumerate(zip(model.sizes[:-1], model.sizes[1:], strict=True), start=1):
        total = (inputs + 1) * units
        yield Row(f"fc{number}", "dense", (units,), total, total, inputs * units)


def _torch_rows(model: Any, input_shape: tuple[int, int, int]) -> list[Row]:
    """Rows in the order of execution, on PyTorch's meta device: shapes only, no arithmetic."""
    import torch

    # Training mode, so that auxiliary heads run; two images, since batch norm needs more than one value.
    shadow = copy.deepcopy(model).to("meta").train()
    rows: list[Row] = []

    def record(name: str, layer: Any, output: Any) -> None:
        kind = _KINDS.get(type(layer).__name__)
        if kind:
            weights = list(layer.parameters(recurse=False))
            fixed = layer.codes.numel() if kind == "gaussian" else 0
            trainable = sum(weight.numel() for weight in weights if weight.requires_grad)
            total = sum(weight.numel() for weight in weights) + fixed
            shape = tuple(output.shape[1:])
            rows.append(Row(name, kind, shape, total, trainable, _torch_macs(kind, layer, shape)))

    hooks = [
        layer.register_forward_hook(lambda layer, _, output, name=name: record(name, layer, output))
        for name, layer in shadow.named_modules()
        if not list(layer.children())
    ]
    try:
        with torch.no_grad():
            shadow(torch.zeros(2, *input_shape, device="meta"))
    finally:
        for hook in hooks:
            hook.remove()
    return rows


def _torch_macs(kind: str, layer: Any, shape: tuple[int, ...]) -> int:
    if kind in ("conv", "conv by table"):
        return int(layer.weight.numel()) * prod(shape[1:])
    if kind == "gaussian":
        return int(layer.codes.numel())
    if kind == "dense":
        return int(layer.weight.numel())
    return prod(shape) if kind == "subsampling" else 0


def _keras_rows(model: Any) -> Iterator[Row]:
    """Rows in Keras' own order, which is by depth."""
    for layer in model.layers:
        name = type(layer).__name__
        kind = layer.activation.__name__ if name == "Activation" else _KINDS.get(name)
        if not kind:
            continue
        shape = tuple(layer.output.shape[1:])
        shape = (shape[-1], *shape[:-1])
        if name == "GlobalAveragePooling2D":
            shape = (shape[0], 1, 1)
        statistics = 0 if kind != "batch norm" else sum(prod(weight.shape) for weight in layer.non_trainable_weights)
        total = sum(prod(weight.shape) for weight in layer.weights) - statistics
        trainable = sum(prod(weight.shape) for weight in layer.trainable_weights)
        yield Row(layer.name, kind, shape, total, trainable, _keras_macs(kind, layer, shape))


def _keras_macs(kind: str, layer: Any, shape: tuple[int, ...]) -> int:
    if kind in ("conv", "conv by table"):
        return prod(layer.kernel.shape) * prod(shape[1:])
    if kind == "gaussian":
        return prod(layer.codes.shape)
    if kind == "dense":
        return prod(layer.kernel.shape)
    return prod(shape) if kind == "subsampling" else 0
