"""The augmentations of ``augment.py`` on torchvision's transforms v2: the same names, the same table of strengths."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from competition.training.photos.strengths import Strength, checked_photo, colour_spans


@dataclass(frozen=True)
class TorchvisionAugment:
    """``Strength`` as a torchvision v2 pipeline on uint8 tensors; torch's own random state is left as it was."""

    name: str
    size: int
    strength: Strength

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """See ``Augment``."""
        import torch

        # Only the CPU generator: torch.manual_seed would queue a seeding of every GPU at each photo.
        generator = torch.default_generator
        before = generator.get_state()
        generator.manual_seed(int(rng.integers(2**63)))
        try:
            pixels = torch.from_numpy(checked_photo(image).copy()).permute(2, 0, 1)
            drawn = self._pipeline(pixels)
        finally:
            generator.set_state(before)
        return np.ascontiguousarray(drawn.permute(1, 2, 0).numpy())

    def __getstate__(self) -> dict[str, Any]:
        """Only the numbers travel to another process; the pipeline is built there."""
        return {"name": self.name, "size": self.size, "strength": self.strength}

    @cached_property
    def _pipeline(self) -> Callable[[Any], Any]:
        from torchvision.transforms import v2

        return v2.Compose([*self._geometry(v2), *self._colour(v2), *self._damage(v2)])

    def _geometry(self, v2: Any) -> list[Any]:
        s = self.strength
        steps = [
            v2.RandomResizedCrop(
                self.size, scale=s.crop, ratio=s.ratio, interpolation=v2.InterpolationMode.BICUBIC, antialias=True
            ),
            v2.RandomHorizontalFlip(0.5),
        ]
        if s.move:
            move = v2.RandomAffine(
                s.rotate,
                translate=(s.shift, s.shift),
                scale=(1 - s.zoom, 1 + s.zoom),
                interpolation=v2.InterpolationMode.BILINEAR,
            )
            # RandomAffine fills with a constant: mirror a margin around, move, cut the margin off again.
            margin = min(math.ceil(self.size * _reach(s)), self.size - 1)
            around = [v2.Pad(margin, padding_mode="reflect"), move, v2.CenterCrop(self.size)]
            steps.append(v2.RandomApply(around, p=s.move))
        return steps

    def _colour(self, v2: Any) -> list[Any]:
        s = self.strength
        steps = []
        if s.jitter:
            steps.append(v2.RandomApply([v2.ColorJitter(**colour_spans(s), hue=s.hue)], p=s.jitter))
        if s.grey:
            steps.append(v2.RandomGrayscale(s.grey))
        return steps

    def _damage(self, v2: Any) -> list[Any]:
        import torch

        s = self.strength
        steps = []
        if s.blur:
            kernel = 2 * round(3 * s.blur_sigma) + 1
            steps.append(v2.RandomApply([v2.GaussianBlur(kernel, (0.1, s.blur_sigma))], p=s.blur))
        if s.noise:
            to_float, to_uint8 = v2.ToDtype(torch.float32, scale=True), v2.ToDtype(torch.uint8, scale=True)
            noise = v2.GaussianNoise(sigma=0.6 * s.noise_std)  # v2 takes no range: the middle of the other library's
            steps.append(v2.RandomApply([to_float, noise, to_uint8], p=s.noise))
        if s.dropout:
            # One hole of a step, each as likely as the last: on average as many as the other library drops.
            area = (s.hole_side[0] ** 2, s.hole_side[1] ** 2)
            hole = v2.RandomErasing(p=0.5, scale=area, ratio=(0.5, 2.0), value=128)
            certain = v2.RandomErasing(p=1.0, scale=area, ratio=(0.5, 2.0), value=128)
            steps.append(v2.RandomApply([certain, *[hole] * (s.holes[1] - s.holes[0])], p=s.dropout))
        return steps


def _reach(strength: Strength) -> float:
    """How far outside the square its corners may come from, as a share of its side."""
    turn = math.radians(min(strength.rotate, 45))
    return (math.cos(turn) + math.sin(turn)) / (1 - strength.zoom) / 2 - 0.5 + strength.shift
