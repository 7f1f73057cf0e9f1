"""DCGAN. Radford, Metz, Chintala: Unsupervised representation learning with deep convolutional GANs (2016)."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from baselines.contract.config import ADAM_EPSILON
from baselines.port import weights_of
from baselines.specs.autoencoder import DCGANSpec, smallest_side
from baselines.torch_nets.generative.transposed import ToMap, doubling, halving


class Generator(nn.Sequential):
    """Maps noise (n, noise) to pictures (n, c, h, w) in [0, 1]."""

    def __init__(self, spec: DCGANSpec, channels: int, image_size: int) -> None:
        super().__init__()
        side = smallest_side(image_size, spec.widths, "a DCGAN")
        back = tuple(reversed(spec.widths))
        self.add_module("project", nn.Linear(spec.noise, back[0] * side * side, bias=False))
        self.add_module("to_map", ToMap(side, back[0]))
        self.add_module("bn0", _batch_norm(spec, back[0]))
        self.add_module("relu0", nn.ReLU())
        for number, (before, width) in enumerate(pairwise(back), start=1):
            self.add_module(f"up{number}", doubling(before, width, bias=False))
            self.add_module(f"bn{number}", _batch_norm(spec, width))
            self.add_module(f"relu{number}", nn.ReLU())
        self.add_module("output", doubling(back[-1], channels))
        self.add_module("sigmoid", nn.Sigmoid())
        _draw(self, spec.deviation)


class Discriminator(nn.Sequential):
    """Maps pictures (n, c, h, w) in [0, 1] to logits (n, 1): above 0 it takes them for real."""

    def __init__(self, spec: DCGANSpec, channels: int, image_size: int) -> None:
        super().__init__()
        side = smallest_side(image_size, spec.widths, "a DCGAN")
        for number, (before, width) in enumerate(pairwise((channels, *spec.widths)), start=1):
            self.add_module(f"down{number}", halving(before, width, bias=number == 1))
            if number > 1:
                self.add_module(f"bn{number}", _batch_norm(spec, width))
            self.add_module(f"leaky{number}", nn.LeakyReLU(spec.slope))
        self.add_module("flatten", nn.Flatten())
        self.add_module("judge", nn.Linear(spec.widths[-1] * side * side, 1))
        _draw(self, spec.deviation)


def _batch_norm(spec: DCGANSpec, channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=spec.bn.eps, momentum=1 - spec.bn.momentum)


def _draw(model: nn.Sequential, deviation: float) -> None:
    for layer in model:
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, 0.0, deviation)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class Pair:
    """See ``baselines.generative.gan.Pair``."""

    def __init__(
        self, spec: DCGANSpec, channels: int, image_size: int, lr: float, beta1: float, smoothing: float, seed: int
    ) -> None:
        torch.manual_seed(seed)
        self.generator = Generator(spec, channels, image_size)
        self.discriminator = Discriminator(spec, channels, image_size)
        self._real_target = 1 - smoothing
        self._g_steps, self._d_steps = (
            torch.optim.Adam(model.parameters(), lr, (beta1, 0.999), ADAM_EPSILON)
            for model in (self.generator, self.discriminator)
        )

    def step(self, real: np.ndarray, noise: np.ndarray) -> tuple[float, float, float, float]:
        """One step of the discriminator on real and made pictures, then one of the generator."""
        pictures = torch.from_numpy(np.ascontiguousarray(real.transpose(0, 3, 1, 2)))
        made = self.generator.train()(torch.from_numpy(noise))
        of_real, of_made = self.discriminator.train()(pictures), self.discriminator(made.detach())
        d_loss = _bce(of_real, self._real_target) + _bce(of_made, 0.0)
        self._d_steps.zero_grad()
        d_loss.backward()
        self._d_steps.step()
        g_loss = _bce(self.discriminator(made), 1.0)  # the non-saturating loss of Goodfellow et al. 2014, section 3
        self._g_steps.zero_grad()
        g_loss.backward()
        self._g_steps.step()
        shares = (float(logits.detach().sigmoid().mean()) for logits in (of_real, of_made))
        return float(d_loss.detach()), float(g_loss.detach()), *shares  # type: ignore[return-value]

    def generate(self, noise: np.ndarray) -> np.ndarray:
        """Pictures float32 (n, h, w, c) from noise float32 (n, noise)."""
        with torch.no_grad():
            return self.generator.eval()(torch.from_numpy(noise)).numpy().transpose(0, 2, 3, 1)

    def weights(self) -> dict[str, dict[str, np.ndarray]]:
        """Weights of ``generator`` and ``discriminator`` in PyTorch's names and layout."""
        return {"generator": weights_of(self.generator), "discriminator": weights_of(self.discriminator)}


def _bce(logits: Tensor, target: float) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))
