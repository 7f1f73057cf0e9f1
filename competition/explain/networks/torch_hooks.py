"""What the PyTorch adapter does to a model for the time of an explanation, and undoes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_RECTIFIERS = {
    functional.relu,
    functional.relu6,
    functional.silu,
    functional.gelu,
    functional.hardtanh,
    torch.relu,
    torch.relu_,
    Tensor.relu,
    Tensor.relu_,
}


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, frozen parameters, nothing in place; on leaving everything is as it was, gradients included."""
    training = [module for module in model.modules() if module.training]
    in_place = [module for module in model.modules() if getattr(module, "inplace", None) is True]
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    try:
        for module in training:
            module.training = False
        for module in in_place:
            module.inplace = False  # type: ignore[assignment]
        for parameter in learning:
            parameter.requires_grad_(False)
        yield
    finally:
        for module in training:
            module.training = True
        for module in in_place:
            module.inplace = True  # type: ignore[assignment]
        for parameter in learning:
            parameter.requires_grad_(True)
        for parameter, gradient in gradients:
            parameter.grad = gradient


class _Gate(torch.autograd.Function):
    """Identity forward; backward lets a positive gradient pass where the rectifier's input was positive."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, positive: Tensor) -> Tensor:
        ctx.save_for_backward(positive)
        return output.view_as(output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (positive,) = ctx.saved_tensors
        return gradient.clamp_min(0) * positive, None


class Rectifiers(TorchFunctionMode):
    """While active, every rectifier, module or function, is followed by the gate of guided backpropagation.

    Attributes:
        count: rectifiers met.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call ``func``, gated where it rectifies."""
        if func not in _RECTIFIERS:
            return func(*args, **(kwargs or {}))
        self.count += 1
        positive = args[0] > 0  # before the call, which may work in place
        return _Gate.apply(func(*args, **(kwargs or {})), positive)  # type: ignore[no-untyped-call]
