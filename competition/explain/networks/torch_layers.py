"""Which modules of a PyTorch model give a map over the image, and how their output is read as one.

Whether an output is (n, c, h, w), (n, h, w, c) or a sequence of tokens is seen from one pass over two noise images; the
grid and the prefix tokens of a sequence are derived from the model and the size of the image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, nn

from competition.errors import KitError, UsageError
from competition.explain.networks.protocol import LayerInfo, grid_of
from competition.explain.networks.torch_hooks import untouched

Layout = Literal["nchw", "nhwc", "tokens", "other"]
Forward = Callable[[Tensor], Tensor]
_CHANNELS_FIRST = (nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
_PASSING = (nn.Identity, nn.Dropout, nn.Dropout2d)  # their output is the layer's before


@dataclass(frozen=True)
class Seen:
    """A layer as the noise images showed it."""

    info: LayerInfo
    layout: Layout


@dataclass
class _Pass:
    """What one pass over the noise images left.

    Attributes:
        outputs: names and outputs of the modules, in the order in which they finish.
        inputs: first input of each module that holds weights of its own.
        logits: (2, classes).
    """

    outputs: list[tuple[str, Tensor]]
    inputs: dict[str, Tensor]
    logits: Tensor


class LayerBook:
    """The modules of a model, looked at once.

    Args:
        model: the model.
        forward: images (n, c, h, w) in [0, 1] to logits (n, classes).
        input_shape: (h, w, c).
        device: where images go.
    """

    def __init__(
        self, model: nn.Module, forward: Forward, input_shape: tuple[int, int, int], device: torch.device
    ) -> None:
        self.model, self.forward, self.input_shape, self.device = model, forward, input_shape, device

    @cached_property
    def seen(self) -> dict[str, Seen]:
        """Layers by name, in the order in which they finish; a module called twice counts with its last call."""
        return {name: self._describe(name, output) for name, output in dict(self._shown.outputs).items()}

    @cached_property
    def classifier(self) -> str:
        """Name of the last module that holds weights."""
        return list(self._shown.inputs)[-1]

    def calls(self, layer: str) -> int:
        """How often the module is called in one pass."""
        return sum(name == layer for name, _ in self._shown.outputs)

    @cached_property
    def _shown(self) -> _Pass:
        with torch.no_grad():
            shown = self._show(self._noise())
        # Only shapes are needed from here on: the values go.
        outputs = [(name, output.to("meta")) for name, output in shown.outputs]
        return _Pass(outputs, {name: value.to("meta") for name, value in shown.inputs.items()}, shown.logits)

    @cached_property
    def last(self) -> str:
        """The last layer on whose map, position by position, the features before the classifier or the logits depend.

        Raises:
            UsageError: there is none (a perceptron).
        """
        shown = self._show(self._noise().requires_grad_())
        outputs = [(name, output) for name, output in shown.outputs if self._may_be_last(name, output)]
        # The features as well: a head that starts from zeros gives the logits no gradient.
        score = _mixed(shown.inputs[self.classifier]) + _mixed(shown.logits)
        found = torch.autograd.grad(score, [output for _, output in outputs], allow_unused=True) if outputs else ()
        for (_, output), gradient in reversed(list(zip(outputs, found, strict=True))):
            # A container returns the tensor of its last module: the module, which both frameworks know, is named.
            first = next(other for other, tensor in outputs if tensor is output)
            if gradient is not None and self._reaches_everywhere(first, gradient):
                return first
        connected = [name for (name, _), gradient in zip(outputs, found, strict=True) if gradient is not None]
        if connected:  # a network whose units are all dead has no gradient anywhere; its maps are there all the same
            return connected[-1]
        raise UsageError("this model has no layer that is a map over the image: class activation maps need one")

    def to_map(self, layer: str, output: Tensor, images: Sequence[int]) -> Tensor:
        """A layer's output as (n, h, w, c), for images of shape (n, h, w, c).

        Raises:
            KitError: tokens that form no grid over images of this size.
        """
        layout = self.seen[layer].layout
        if layout == "nchw":
            return output.permute(0, 2, 3, 1)
        if layout == "nhwc":
            return output
        grid = self._grid(layer, output.shape[1:], self._size_at(layer, (images[1], images[2])))
        if grid is None:
            size = f"{images[1]} x {images[2]}"
            raise KitError(f"the {output.shape[1]} tokens of '{layer}' form no grid over {size} pixels")
        rows, columns, prefix = grid
        return output[:, prefix:].unflatten(1, (rows, columns))

    def _noise(self) -> Tensor:
        height, width, channels = self.input_shape
        return torch.rand((2, channels, height, width), generator=torch.Generator().manual_seed(0)).to(self.device)

    def _show(self, pixels: Tensor) -> _Pass:
        """Run the model and note what every module takes and gives."""
        shown = _Pass([], {}, torch.empty(0))

        def keep(name: str) -> Callable[..., None]:
            def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
                if isinstance(output, Tensor) and output.ndim >= 2 and output.shape[0] == len(pixels):
                    shown.outputs.append((name, output))
                    if inputs and _has_own_weights(module):
                        shown.inputs.pop(name, None)  # the order is that of the last calls
                        shown.inputs[name] = inputs[0]

            return hook

        with untouched(self.model), ExitStack() as stack:
            for name, module in self.model.named_modules():
                if name:
                    stack.callback(module.register_forward_hook(keep(name)).remove)
            shown.logits = self.forward(pixels)
        return shown

    def _describe(self, name: str, output: Tensor) -> Seen:
        size = self._size_at(name, self.input_shape[:2])
        shape = tuple(output.shape[1:])
        layout = self._layout(name, shape, size)
        described = shape
        if layout == "nchw":
            described = (shape[1], shape[2], shape[0])
        elif layout == "tokens":
            described = (*(self._grid(name, shape, size) or (0, 0))[:2], shape[1])
        spatial = layout != "other" and described[0] * described[1] > 1
        kind = type(self.model.get_submodule(name)).__name__
        info = LayerInfo(name, kind, described if spatial else shape, spatial)
        return Seen(info, layout if spatial else "other")

    def _layout(self, name: str, shape: tuple[int, ...], size: tuple[int, int]) -> Layout:
        module = self.model.get_submodule(name)
        if len(shape) == 2:
            return "tokens" if self._grid(name, shape, size) is not None else "other"
        if len(shape) != 3:
            return "other"
        if isinstance(module, _CHANNELS_FIRST):
            return "nchw"
        first, last = self._fits(name, shape[1:], size), self._fits(name, shape[:2], size)
        if first and last:  # as many channels as rows and columns
            return "nhwc" if isinstance(module, nn.LayerNorm | nn.Linear) else "nchw"
        return "nchw" if first else "nhwc" if last else "other"

    def _fits(self, name: str, grid: tuple[int, ...], size: tuple[int, int]) -> bool:
        """Whether a grid has the image's proportions; attention matrices of token models are larger than the grid."""
        limit = self._patches(name, size) or size
        skew = abs(grid[0] - grid[1] * size[0] / size[1])
        near = skew <= (1 if size[0] != size[1] else 0)
        return near and grid[0] <= limit[0] + 2 and grid[1] <= limit[1] + 2

    def _size_at(self, name: str, size: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the image where the layer is: a network of several backbones may resize it."""
        of = getattr(self.model, "image_size_at", None)
        return size if of is None else of(name, size)

    def _owner(self, name: str, attribute: str) -> Any:
        """An attribute of the innermost module around a layer that has it, or None."""
        path = name.split(".")
        around = (".".join(path[:depth]) for depth in range(len(path) - 1, -1, -1))
        found = (getattr(self.model.get_submodule(outer), attribute, None) for outer in around)
        return next((value for value in found if value is not None), None)

    def _patches(self, name: str, size: tuple[int, int]) -> tuple[int, int] | None:
        """Rows and columns after the patch embedding of the model around a layer, where it has one."""
        side = getattr(self._owner(name, "patch_embed"), "patch_size", None)
        if side is None:
            return None
        rows, columns = (side, side) if isinstance(side, int) else tuple(side)
        return -(-size[0] // int(rows)), -(-size[1] // int(columns))

    def _grid(self, name: str, shape: Sequence[int], size: tuple[int, int]) -> tuple[int, int, int] | None:
        prefix = self._owner(name, "num_prefix_tokens")
        return grid_of(shape, size, prefix=prefix, patches=self._patches(name, size))

    def _may_be_last(self, name: str, output: Tensor) -> bool:
        """Maps that are features: no dropout, and of tokens only norms and blocks, not the projections of attention."""
        seen, module = self.seen[name], self.model.get_submodule(name)
        if not seen.info.spatial or not output.requires_grad or isinstance(module, _PASSING):
            return False
        return seen.layout != "tokens" or "Norm" in seen.info.kind or any(True for _ in module.children())

    def _reaches_everywhere(self, layer: str, gradient: Tensor) -> bool:
        """Whether at least half of the positions count; in a ViT's last block only the class token does."""
        positions = self.to_map(layer, gradient, (2, *self.input_shape)).abs().amax(dim=-1)
        return bool((positions > 0).float().mean() >= 0.5)


def _mixed(output: Tensor) -> Tensor:
    """A scalar on which every value of an output has its own influence."""
    weights = torch.rand(output.shape[1:], generator=torch.Generator().manual_seed(0)).to(output.device)
    return (output.float() * weights).sum()


def _has_own_weights(module: nn.Module) -> bool:
    return any(True for _ in (*module.parameters(recurse=False), *module.buffers(recurse=False)))
