"""Augmentation of training photos: ``none``, ``light``, ``medium`` and ``strong``, behind one small interface.

An ``Augment`` takes a uint8 photo and a generator and returns a uint8 square. It draws from nothing but that
generator, so a photo, an epoch and a seed decide what the network sees, in whichever process it happens. Normalisation
is not done here: it belongs to the model's side.

albumentations does the work. 2.0.8 is its last MIT release and it is no longer maintained, hence the interface.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from competition.errors import UsageError, require_known
from competition.training.photos.strengths import STRENGTHS, checked_photo, resized


class Augment(Protocol):
    """What a training loop asks of an augmentation.

    Attributes:
        name: ``none``, ``light``, ``medium`` or ``strong``.
        size: side of the square that comes out, pixels.
    """

    @property
    def name(self) -> str:
        """See the class."""
        ...

    @property
    def size(self) -> int:
        """See the class."""
        ...

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return one draw.

        Args:
            image: uint8 (h, w, 3), RGB; it is not changed.
            rng: the only source of chance; it is advanced.

        Returns:
            uint8 (size, size, 3), contiguous.
        """
        ...


def make_augment(name: str, size: int) -> Augment:
    """Return the augmentation of that name; its library is imported at the first draw.

    Args:
        name: ``none`` (the largest centre square, resized), ``light``, ``medium`` or ``strong``.
        size: side of the square that comes out, pixels.

    Raises:
        UsageError: unknown name (the nearest one is offered), or a size below 1.
    """
    require_known("augmentation", name, STRENGTHS)
    if size < 1:
        raise UsageError(f"augmentation to a side of {size} pixels is impossible: expected 1 or more")
    strength = STRENGTHS[name]
    if strength is None:
        return CentreSquare(size)
    from competition.training.photos.augment_albumentations import AlbumentationsAugment

    return AlbumentationsAugment(name, size, strength)


@dataclass(frozen=True)
class CentreSquare:
    """No augmentation: the largest centre square, resized. Draws nothing from the generator."""

    size: int
    name: str = "none"

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """See ``Augment``."""
        height, width = checked_photo(image).shape[:2]
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        square = image[top : top + side, left : left + side]
        return square.copy() if side == self.size else resized(square, self.size)


def draw_augment_sheet(
    photo: np.ndarray,
    *,
    names: Sequence[str] = tuple(STRENGTHS),
    draws: int = 7,
    size: int = 160,
    seed: int = 0,
) -> np.ndarray:
    """Draw what each pipeline does to one photo: a row each, the original at the left, then ``draws`` draws.

    Args:
        photo: uint8 (h, w, 3).
        names: pipelines, from top to bottom.
        draws: draws for each pipeline.
        size: side of a square, pixels.
        seed: of the draws.

    Returns:
        uint8 (H, W, 3).
    """
    from PIL import Image, ImageDraw, ImageFont

    gap, label_width = 6, 90
    step = size + gap
    sheet = Image.new("RGB", (label_width + (draws + 1) * step + gap, 24 + len(names) * step), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    pen.text((label_width + gap, 4), "original", fill="black", font=font)
    pen.text((label_width + step + gap, 4), "draws", fill="black", font=font)
    original = Image.fromarray(CentreSquare(size)(photo, np.random.default_rng()))
    for row, name in enumerate(names):
        augment, rng, top = make_augment(name, size), np.random.default_rng([seed, row]), 24 + row * step
        pen.text((gap, top + size // 2 - 8), name, fill="black", font=font)
        sheet.paste(original, (label_width + gap, top))
        for column in range(draws):
            square = Image.fromarray(augment(photo, rng))
            sheet.paste(square, (label_width + (column + 1) * step + gap, top))
    return np.asarray(sheet)
