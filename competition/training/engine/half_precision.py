"""What half precision is not good for: convolutions whose gradient the CPU's library computes slowly."""

from __future__ import annotations

from types import MethodType

import torch
from torch import nn


def spare_slow_convolutions(model: nn.Module) -> int:
    """Let strided depthwise convolutions compute in float32 under the CPU's autocast; returns how many there are.

    oneDNN has no fast bfloat16 gradient for them: 672 channels, 14 x 14, stride 2, batch 16 took 139 ms a step on one
    Zen 4 core against 4 ms in float32, a fifth of the whole step of EfficientNetV2-B0 for two such layers. Names,
    parameters and copies (``copy.deepcopy``) of the model stay as they are.
    """
    found = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d) and _is_slow(layer)]
    for layer in found:
        layer.forward = MethodType(_in_float32, layer)  # type: ignore[method-assign]
    return len(found)


def _is_slow(layer: nn.Conv2d) -> bool:
    return layer.groups > 1 and layer.groups == layer.in_channels and max(layer.stride) > 1


def _in_float32(layer: nn.Conv2d, images: torch.Tensor) -> torch.Tensor:
    with torch.autocast(images.device.type, enabled=False):
        result: torch.Tensor = type(layer).forward(layer, images.to(layer.weight.dtype))
    return result
