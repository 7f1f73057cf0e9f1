"""Strided depthwise convolutions stay in float32 under the CPU's autocast; nothing else changes."""

from __future__ import annotations

import copy

import torch
from torch import nn

from competition.training.engine.half_precision import spare_slow_convolutions


def small_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, stride=2, groups=8), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 4, 1)
    )


def types_of(model: nn.Module, images: torch.Tensor) -> list[torch.dtype]:
    """Of every layer's output under autocast."""
    found: list[torch.dtype] = []
    hooks = [layer.register_forward_hook(lambda _, __, out: found.append(out.dtype)) for layer in model]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model(images)
    for hook in hooks:
        hook.remove()
    return found


def test_only_the_strided_depthwise_convolution_computes_in_float32():
    model, images = small_net(), torch.randn(2, 3, 16, 16)
    half, full = torch.bfloat16, torch.float32
    assert types_of(model, images) == [half] * 4
    assert spare_slow_convolutions(model) == 1
    assert types_of(model, images) == [half, full, half, half]


def test_names_results_and_copies_stay():
    plain, model, images = small_net(), small_net(), torch.randn(2, 3, 16, 16)
    spare_slow_convolutions(model)
    assert list(model.state_dict()) == list(plain.state_dict())
    assert torch.equal(model(images), plain(images))
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert torch.equal(twin(images), plain(images))  # the copy's layers are its own


def test_gradients_are_those_of_a_whole_step_in_float32_within_rounding():
    plain, model, images = small_net(), small_net(), torch.randn(4, 3, 16, 16)
    spare_slow_convolutions(model)
    plain(images).square().mean().backward()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(images).square().mean()
    loss.backward()
    for own, reference in zip(model.parameters(), plain.parameters(), strict=True):
        assert own.grad.dtype == torch.float32
        assert torch.allclose(own.grad, reference.grad, rtol=0.1, atol=0.02 * float(reference.grad.abs().max()))
