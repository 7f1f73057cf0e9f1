"""Maps as colours, and colours over a photo: arrays in, arrays out."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

HEAT = "inferno"


@lru_cache(maxsize=8)
def _palette(name: str) -> np.ndarray:
    """The 256 colours of a Matplotlib colour map, float32 (256, 3); Matplotlib is imported here, late."""
    from matplotlib import colormaps

    return np.asarray(colormaps[name](np.arange(256))[:, :3], dtype=np.float32)


def coloured(values: np.ndarray, name: str = HEAT) -> np.ndarray:
    """Values in [0, 1] of any shape as colours, float32 (..., 3)."""
    return _palette(name)[np.clip(values * 255 + 0.5, 0, 255).astype(np.uint8)]


def signed_colours(values: np.ndarray) -> np.ndarray:
    """Values in [-1, 1] as colours (..., 3): blue for negative, white for 0, red for positive."""
    strength = np.clip(np.abs(values), 0, 1)[..., None]
    ends = np.where(values[..., None] < 0, np.array([0.08, 0.30, 0.55]), np.array([0.66, 0.22, 0.08]))
    return np.asarray(1 - strength * (1 - ends), dtype=np.float32)


def in_colour(image: np.ndarray) -> np.ndarray:
    """An image (h, w, 1 or 3) in [0, 1] with three channels."""
    return np.broadcast_to(image, (*image.shape[:2], 3))


def overlay(image: np.ndarray, heat: np.ndarray, *, strength: float = 0.55, name: str = HEAT) -> np.ndarray:
    """A map over its photo: the photo pales to grey where the map is low and glows where it is high.

    Args:
        image: float (h, w, c) in [0, 1].
        heat: float (h, w) in [0, 1].
        strength: how opaque the colours are where the map is 1, in [0, 1].
        name: a Matplotlib colour map.

    Returns:
        float32 (h, w, 3) in [0, 1].
    """
    photo = in_colour(image)
    grey = photo.mean(axis=2, keepdims=True)
    pale = 0.12 + 0.7 * (0.35 * photo + 0.65 * grey)
    level = np.clip(heat, 0, 1)[..., None]
    base = pale + (photo - pale) * np.sqrt(level)
    opacity = strength * level
    colours = coloured(0.3 + 0.7 * np.clip(heat, 0, 1), name)  # the darkest third would hide what it marks
    return np.asarray(np.clip(base * (1 - opacity) + colours * opacity, 0, 1), dtype=np.float32)


def contrast_overlay(image: np.ndarray, towards: np.ndarray, against: np.ndarray) -> np.ndarray:
    """Where a photo speaks for one class (the kit's orange) and where for the other (its teal), over the grey photo.

    Args:
        image: float (h, w, c) in [0, 1].
        towards: float (h, w) in [0, 1], what speaks for the first class.
        against: float (h, w) in [0, 1], what speaks for the second.

    Returns:
        float32 (h, w, 3) in [0, 1].
    """
    grey = 0.25 + 0.75 * in_colour(image).mean(axis=2, keepdims=True)
    difference = np.clip(towards, 0, 1) - np.clip(against, 0, 1)
    opacity = 0.8 * np.abs(difference)[..., None]
    colour = np.where(difference[..., None] > 0, np.array([0.85, 0.36, 0.12]), np.array([0.05, 0.50, 0.54]))
    return np.asarray(np.clip(grey * (1 - opacity) + colour * opacity, 0, 1), dtype=np.float32)


def as_uint8(image: np.ndarray) -> np.ndarray:
    """An image in [0, 1] as bytes, rounded."""
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
