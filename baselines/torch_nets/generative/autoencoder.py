"""Autoencoders. Hinton, Salakhutdinov: Reducing the dimensionality of data with neural networks (2006)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from baselines.contract.config import ADAM_EPSILON
from baselines.port import load_into, weights_of
from baselines.specs.autoencoder import AutoencoderSpec, smallest_side
from baselines.specs.base import initial_range
from baselines.torch_nets.generative.transposed import ToMap, doubling, fans, halving


class Autoencoder(nn.Sequential):
    """Layers down to ``latent`` and back up to ``output``, which gives logits of the pixels (n, c, h, w)."""

    def __init__(self, spec: AutoencoderSpec, in_channels: int, image_size: int) -> None:
        super().__init__()
        if spec.kind == "dense":
            self._dense(spec, in_channels, image_size)
        else:
            self._convolutional(spec, in_channels, image_size)
        self._draw(spec.init)

    def _dense(self, spec: AutoencoderSpec, channels: int, side: int) -> None:
        self.add_module("flatten", nn.Flatten())
        pixels = channels * side * side
        widths = (pixels, *spec.hidden)
        for number, (before, width) in enumerate(pairwise(widths), start=1):
            self.add_module(f"enc{number}", nn.Linear(before, width))
            self.add_module(f"enc{number}_relu", nn.ReLU())
        self.add_module("latent", nn.Linear(widths[-1], spec.latent))
        back = (spec.latent, *reversed(spec.hidden))
        for number, (before, width) in enumerate(pairwise(back), start=1):
            self.add_module(f"dec{number}", nn.Linear(before, width))
            self.add_module(f"dec{number}_relu", nn.ReLU())
        self.add_module("output", nn.Linear(back[-1], pixels))
        self.add_module("to_map", ToMap(side, channels))

    def _convolutional(self, spec: AutoencoderSpec, channels: int, image_size: int) -> None:
        side = smallest_side(image_size, spec.widths, "a convolutional autoencoder")
        widths = (channels, *spec.widths)
        for number, (before, width) in enumerate(pairwise(widths), start=1):
            self.add_module(f"enc{number}", halving(before, width))
            self.add_module(f"enc{number}_relu", nn.ReLU())
        self.add_module("flatten", nn.Flatten())
        self.add_module("latent", nn.Linear(widths[-1] * side * side, spec.latent))
        self.add_module("dec0", nn.Linear(spec.latent, widths[-1] * side * side))
        self.add_module("dec0_relu", nn.ReLU())
        self.add_module("to_map", ToMap(side, widths[-1]))
        back = tuple(reversed(spec.widths))
        for number, (before, width) in enumerate(pairwise(back), start=1):
            self.add_module(f"dec{number}", doubling(before, width))
            self.add_module(f"dec{number}_relu", nn.ReLU())
        self.add_module("output", doubling(back[-1], channels))

    def _draw(self, init: str) -> None:
        for layer in self:
            if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
                kind, value = initial_range(init, *fans(layer))
                with torch.no_grad():
                    layer.weight.normal_(0, value) if kind == "normal" else layer.weight.uniform_(-value, value)
                    if layer.bias is not None:
                        layer.bias.zero_()

    def encode(self, x: Tensor) -> Tensor:
        """Map images (n, c, h, w) to the middle (n, latent)."""
        for name, layer in self.named_children():
            x = layer(x)
            if name == "latent":
                break
        return x


class Trainer:
    """See ``baselines.generative.autoencoder.Trainer``."""

    def __init__(self, spec: AutoencoderSpec, in_channels: int, image_size: int, loss: str, seed: int) -> None:
        torch.manual_seed(seed)
        self.model = Autoencoder(spec, in_channels, image_size)
        self._loss = loss
        self._optimiser = torch.optim.Adam(self.model.parameters(), eps=ADAM_EPSILON)

    def step(self, inputs: np.ndarray, targets: np.ndarray, rate: float) -> float:
        """One step of Adam towards reconstructing ``targets`` from ``inputs``; returns the loss before it."""
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        logits, wanted = self.model.train()(_tensor(inputs)), _tensor(targets)
        if self._loss == "bce":
            loss = functional.binary_cross_entropy_with_logits(logits, wanted)
        else:
            loss = functional.mse_loss(logits.sigmoid(), wanted)
        self._optimiser.zero_grad()
        loss.backward()
        self._optimiser.step()
        return float(loss.detach())

    def reconstruct(self, images: np.ndarray) -> np.ndarray:
        """Images after the way down and up, float32 in [0, 1]."""
        with torch.no_grad():
            return self.model.eval()(_tensor(images)).sigmoid().numpy().transpose(0, 2, 3, 1)

    def encode(self, images: np.ndarray) -> np.ndarray:
        """The middle, float32 (n, latent)."""
        with torch.no_grad():
            return self.model.eval().encode(_tensor(images)).numpy()

    def weights(self) -> dict[str, np.ndarray]:
        """Weights in PyTorch's names and layout."""
        return weights_of(self.model)

    def load(self, weights: Mapping[str, np.ndarray]) -> None:
        """Take weights as ``weights`` gives them."""
        load_into(self.model, weights)


def _tensor(images: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2), dtype=np.float32))
