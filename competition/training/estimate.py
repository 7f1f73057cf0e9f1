"""What a training would cost here, from a few steps."""

from __future__ import annotations

import time

import torch
from torch import nn


def seconds_per_photo(model: nn.Module, image_size: int, photos: int = 2, least: float = 2.0) -> float:
    """Wall time of forward and backward pass per photo on the CPU, seconds; repeats for ``least`` seconds."""
    model.train()
    images = torch.zeros(photos, 3, image_size, image_size)
    model(images).sum().backward()
    start, done = time.monotonic(), 0
    while done == 0 or time.monotonic() - start < least:
        model(images).sum().backward()
        done += photos
    for parameter in model.parameters():
        parameter.grad = None
    return (time.monotonic() - start) / done
