"""Classical image filters as fixed convolutions: what a convolution does before a network learns its own.

    from baselines.specs.filters import apply_filter, edges, kernel
    sharp = apply_filter(photo, kernel("sharpen"))           # photo float32 (n, h, w, c) in [0, 1]
    custom = apply_filter(photo, kernel("0 1 0; 1 -4 1; 0 1 0"))

A filter slides over the image without being turned around (cross-correlation, as in every network's convolution), the
same kernel on every channel. Borders are mirrored without repeating the edge pixel.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from competition.errors import UsageError, nearest

MAX_SIDE = 31  # of a kernel; a larger one is a mistake rather than a filter


def gaussian_kernel(side: int, sigma: float) -> np.ndarray:
    """Samples of a Gaussian on a square of ``side`` pixels, sum 1, float32."""
    line = np.exp(-((np.arange(side) - (side - 1) / 2) ** 2) / (2 * sigma**2))
    square = np.outer(line, line)
    return (square / square.sum()).astype(np.float32)


def _table() -> dict[str, np.ndarray]:
    smooth, difference = np.array([1.0, 2.0, 1.0]), np.array([-1.0, 0.0, 1.0])
    raw = {
        "identity": [[0, 0, 0], [0, 1, 0], [0, 0, 0]],
        "blur": np.full((3, 3), 1 / 9),
        "blur_wide": np.full((9, 9), 1 / 81),
        "gaussian": gaussian_kernel(7, 1.5),
        "sharpen": [[0, -1, 0], [-1, 5, -1], [0, -1, 0]],
        "edge": [[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]],
        "laplacian": [[0, 1, 0], [1, -4, 1], [0, 1, 0]],
        "sobel_x": np.outer(smooth, difference),  # answers to vertical edges
        "sobel_y": np.outer(difference, smooth),  # answers to horizontal edges
        "prewitt_x": np.outer([1, 1, 1], difference),
        "prewitt_y": np.outer(difference, [1, 1, 1]),
        "scharr_x": np.outer([3, 10, 3], difference),
        "scharr_y": np.outer(difference, [3, 10, 3]),
        "emboss": [[-2, -1, 0], [-1, 1, 1], [0, 1, 2]],
    }
    kernels = {name: np.array(values, dtype=np.float32) for name, values in raw.items()}
    for array in kernels.values():
        array.setflags(write=False)
    return kernels


KERNELS: Mapping[str, np.ndarray] = MappingProxyType(_table())


def kernel(text: str) -> np.ndarray:
    """Return a kernel (side, side) by its name, or read one written as rows: ``0 -1 0; -1 5 -1; 0 -1 0``.

    Raises:
        UsageError: the name is unknown, or the rows are no odd square of numbers.
    """
    if text in KERNELS:
        return KERNELS[text]
    if not any(sign in text for sign in "; ,") and not text.lstrip("+-").replace(".", "", 1).isdecimal():
        raise UsageError(
            f"unknown filter '{text}'{nearest(text, KERNELS)} Known: {', '.join(KERNELS)}; or rows of numbers"
        )
    try:
        rows = [[float(cell) for cell in row.replace(",", " ").split()] for row in text.split(";") if row.strip()]
    except ValueError as error:
        raise UsageError(
            f"the kernel '{text}' holds something that is no number: write '0 -1 0; -1 5 -1; 0 -1 0'"
        ) from error
    return checked_kernel(rows, text)


def checked_kernel(rows: object, name: str = "given") -> np.ndarray:
    """Rows of numbers as a float32 kernel (side, side).

    Raises:
        UsageError: not square, of even side (such a filter would move the image by half a pixel), or too large.
    """
    try:
        array = np.array(rows, dtype=np.float32)
    except ValueError as error:
        raise UsageError(f"the kernel '{name}' has rows of different length") from error
    if array.ndim != 2 or array.shape[0] != array.shape[1] or array.shape[0] % 2 == 0 or array.shape[0] > MAX_SIDE:
        raise UsageError(
            f"the kernel '{name}' has the shape {array.shape}: expected a square of odd side up to {MAX_SIDE}"
        )
    if not np.isfinite(array).all():
        raise UsageError(f"the kernel '{name}' holds a value that is not finite")
    return array


def apply_filter(images: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Slide a kernel over images, each channel by itself.

    Args:
        images: float (n, h, w, c), larger than half the kernel.
        weights: (side, side), odd.

    Returns:
        Float32 (n, h, w, c), not clipped: derivatives are negative at one side of an edge.

    Raises:
        UsageError: the images are smaller than the mirrored border.
    """
    import cv2

    height, width = images.shape[1:3]
    if len(weights) // 2 >= min(height, width):
        border, side = len(weights) // 2, len(weights)
        raise UsageError(f"a kernel of {side}x{side} needs images larger than {border} px, not {height}x{width}")
    found = [cv2.filter2D(np.float32(image), -1, weights, borderType=cv2.BORDER_REFLECT_101) for image in images]
    return np.array(found, dtype=np.float32).reshape(images.shape)


def edges(images: np.ndarray, family: str = "sobel") -> np.ndarray:
    """Strength of edges: the length of the gradient of brightness, whatever its direction.

    Args:
        images: float (n, h, w, c) in [0, 1].
        family: ``sobel``, ``prewitt`` or ``scharr``.

    Returns:
        Float32 (n, h, w, 1): 1 is the strongest that a step from 0 to 1 along an axis gives, a diagonal may exceed it.
    """
    brightness = images.mean(axis=3, keepdims=True)
    across, down = kernel(f"{family}_x"), kernel(f"{family}_y")
    length = np.hypot(apply_filter(brightness, across), apply_filter(brightness, down))
    return length / np.float32(across[across > 0].sum())


def as_picture(filtered: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Bring a filter's answer to [0, 1] for the eye: 0.5 is no change where the kernel's sum is 0, else it is clipped.

    An answer around 0 is stretched until its strongest half percent is black or white (never fiftyfold or more).

    Args:
        filtered: float (n, h, w, c).
        weights: the kernel that made it.
    """
    if math.isclose(float(weights.sum()), 0, abs_tol=1e-4):
        largest = float(weights[weights > 0].sum())  # what images in [0, 1] can reach
        reach = max(float(np.quantile(np.abs(filtered), 0.995)), largest / 50, 1e-9)
        filtered = 0.5 + filtered / (2 * reach)
    return np.clip(filtered, 0, 1)
