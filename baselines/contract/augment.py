"""Augmentation of whole batches of small images, the same in both frameworks: crop with padding, flip, cutout.

Plain NumPy on uint8 batches: per-image pipelines (albumentations, as the competition's photos use) would cost more time
than the small networks themselves. What is drawn follows from the generator alone.
"""

from __future__ import annotations

import numpy as np

from baselines.contract.config import FitConfig


def augment_batch(images: np.ndarray, config: FitConfig, rng: np.random.Generator) -> np.ndarray:
    """A batch with every augmentation that the configuration names, each image drawn for itself.

    Args:
        images: uint8 (n, h, w, c); left as it is.
        config: which augmentations, and their sizes.
        rng: the only source of chance.

    Returns:
        uint8 (n, h, w, c), the same array when there is nothing to do.
    """
    if "crop" in config.augment:
        images = crop(images, config.crop_padding, rng)
    if "flip" in config.augment:
        images = flip(images, rng)
    if "cutout" in config.augment:
        images = cutout(images, config.cutout_side, rng)
    return images


def crop(images: np.ndarray, padding: int, rng: np.random.Generator) -> np.ndarray:
    """Pad every image with zeros and cut a window of its old size (He et al., arXiv:1512.03385, section 4.2)."""
    count, height, width, channels = images.shape
    padded = np.zeros((count, height + 2 * padding, width + 2 * padding, channels), np.uint8)
    padded[:, padding : padding + height, padding : padding + width] = images
    corners = rng.integers(0, 2 * padding + 1, size=(count, 2)).tolist()
    out = np.empty_like(images)
    # Copying slices beats a fancy index over all pixels about fivefold.
    for number, (top, left) in enumerate(corners):
        out[number] = padded[number, top : top + height, left : left + width]
    return out


def flip(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mirror about half of the images left to right."""
    chosen = rng.random(len(images)) < 0.5
    out = images.copy()
    out[chosen] = images[chosen, :, ::-1]
    return out


def cutout(images: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    """Blank a square around a random centre, cut off at the border (DeVries and Taylor, arXiv:1708.04552).

    The square becomes each channel's mean over the batch, which is about zero once the images are normalised.
    """
    count, height, width, _ = images.shape
    out = images.copy()
    fill = np.rint(images.mean(axis=(0, 1, 2))).astype(np.uint8)
    centres = np.column_stack([rng.integers(height, size=count), rng.integers(width, size=count)])
    for number, (y, x) in enumerate(centres.tolist()):
        top, left = max(0, y - side // 2), max(0, x - side // 2)
        out[number, top : y - side // 2 + side, left : x - side // 2 + side] = fill
    return out
