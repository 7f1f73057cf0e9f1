"""Networks small enough for tests: a CNN, and token models at sizes other than those they are known by."""

from __future__ import annotations

from typing import Any

import numpy as np
import timm
import torch
from torch import nn

from competition.explain.networks.torch_backend import TorchBackend

CLASSES = ("chow", "lakeland_terrier", "pug", "wire-haired_fox_terrier")
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)

# Name: timm's architecture, its arguments, the image's height and width.
ZOO: dict[str, tuple[str, dict[str, Any], tuple[int, int]]] = {
    "resnet": ("test_resnet", {}, (64, 64)),
    "convnext": ("test_convnext", {}, (64, 96)),
    "efficientnet": ("test_efficientnet", {}, (64, 64)),
    "vit": (
        "vit_tiny_patch16_224",
        {"embed_dim": 24, "depth": 2, "num_heads": 2, "img_size": (48, 80)},
        (48, 80),
    ),
    "vit_registers": (
        "vit_small_patch14_reg4_dinov2",
        {"embed_dim": 24, "depth": 2, "num_heads": 2, "img_size": 56},
        (56, 56),
    ),
    "deit": (
        "deit_tiny_distilled_patch16_224",
        {"embed_dim": 24, "depth": 2, "num_heads": 2, "img_size": 64},
        (64, 64),
    ),
    "eva": (
        "eva02_tiny_patch14_224",
        {"embed_dim": 24, "depth": 2, "num_heads": 2, "img_size": 70},
        (70, 70),
    ),
    "swin": (
        "swin_tiny_patch4_window7_224",
        {"embed_dim": 12, "depths": (1, 1), "num_heads": (2, 2), "img_size": 64, "window_size": 4},
        (64, 64),
    ),
}
GRIDS = {
    "resnet": (2, 2),
    "convnext": (2, 3),
    "efficientnet": (2, 2),
    "vit": (3, 5),
    "vit_registers": (4, 4),
    "deit": (4, 4),
    "eva": (5, 5),
    "swin": (8, 8),
}


def zoo(name: str) -> TorchBackend:
    """A network of the zoo with random weights, the same each time."""
    architecture, arguments, size = ZOO[name]
    torch.manual_seed(0)
    model = timm.create_model(architecture, num_classes=len(CLASSES), **arguments)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim < 2:
                parameter.add_(torch.randn_like(parameter) * 0.1)  # heads and layer scales that start near 0
            else:
                parameter.add_(torch.randn_like(parameter) * 0.02)
    return TorchBackend(model, CLASSES, MEAN, STD, (*size, 3))


def images(backend: TorchBackend, count: int = 2, seed: int = 0) -> np.ndarray:
    """Random images at the backend's size."""
    return np.random.default_rng(seed).random((count, *backend.input_shape), dtype=np.float32)


class SmallCNN(nn.Module):
    """Two convolutions, ReLU in place and called twice, global mean, linear: small enough to think through."""

    def __init__(self, classes: int = len(CLASSES), channels: int = 3) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.conv1 = nn.Conv2d(channels, 6, 3, padding=1)
        self.conv2 = nn.Conv2d(6, 8, 3, stride=2, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(8, classes)
        self.unused = nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        x = self.relu(self.conv1(x))
        x = self.relu(self.conv2(x))
        return self.fc(self.drop(self.pool(x).flatten(1)))


class SmallBackend(TorchBackend):
    """The small CNN behind the protocol."""

    model: SmallCNN


def small(side: int = 12) -> SmallBackend:
    """The small CNN behind the protocol."""
    return SmallBackend(SmallCNN(), CLASSES, MEAN, STD, (side, side, 3))
