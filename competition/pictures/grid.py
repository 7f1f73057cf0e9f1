"""Several images in one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    pass


def image_grid(images: np.ndarray, gap: int = 2) -> np.ndarray:
    """Tile images (n, h, w, 1 or 3), uint8 or float in [0, 1], near a square on white: uint8 (H, W, 3).

    Raises:
        ValueError: there is no image, or the shape is another.
    """
    if images.ndim != 4 or images.shape[3] not in (1, 3) or not len(images):
        raise ValueError(f"expected images (n, h, w, 1 or 3), got shape {images.shape}")
    pixels = images if images.dtype == np.uint8 else np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8)
    count, height, width = pixels.shape[:3]
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    grid = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for index, tile in enumerate(pixels):
        row, column = divmod(index, columns)
        top, left = row * (height + gap), column * (width + gap)
        grid[top : top + height, left : left + width] = tile
    return grid
