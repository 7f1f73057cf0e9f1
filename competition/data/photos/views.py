"""Photos as arrays: reading, the views a model looks at, and the cache of resized photos."""

from __future__ import annotations

import numpy as np
from PIL import Image

from competition.errors import UsageError, nearest
from competition.types import View

RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def render_view(
    image: np.ndarray, view: View, input_size: int, crop_pct: float = 1.0, interpolation: str = "bicubic"
) -> np.ndarray:
    """Cut a view's square out of a photo and resize it, with antialiasing, in one pass.

    Args:
        image: uint8 (h, w, 3), RGB.
        view: which part, at which scale, mirrored or not.
        input_size: side in pixels that the backbone was made for.
        crop_pct: the backbone's crop fraction, in (0, 1]: side of its centre crop over the photo's shorter side.
        interpolation: Pillow's name of the filter, as backbones state it.

    Returns:
        uint8 (s, s, 3) with ``s = view.size_for(input_size)``.

    Raises:
        UsageError: ``crop_pct`` or ``interpolation`` is impossible.
    """
    if interpolation not in RESAMPLING:
        known = ", ".join(RESAMPLING)
        raise UsageError(f"unknown interpolation '{interpolation}'{nearest(interpolation, RESAMPLING)} Known: {known}")
    size = view.size_for(input_size)
    box = _box(image.shape[0], image.shape[1], view.crop, crop_pct)
    if box == (0, 0, size, size) and image.shape[:2] == (size, size):
        square = np.ascontiguousarray(image)  # resampling would give back the same pixels
    else:
        square = np.asarray(Image.fromarray(image).resize((size, size), RESAMPLING[interpolation], box=box))
    return np.ascontiguousarray(square[:, ::-1]) if view.flip else square


def _box(height: int, width: int, crop: str, crop_pct: float) -> tuple[float, float, float, float]:
    """The view's square in the photo's pixels: left, top, right, bottom."""
    if not 0 < crop_pct <= 1:
        raise UsageError(f"crop_pct={crop_pct} is impossible: expected a fraction above 0, at most 1")
    side = min(height, width) * (1.0 if crop == "whole" else crop_pct)
    left = {"left": 0.0, "right": width - side}.get(crop.rpartition("_")[2], (width - side) / 2)
    top = {"top": 0.0, "bottom": height - side}.get(crop.partition("_")[0], (height - side) / 2)
    return (left, top, left + side, top + side)


def source_side(view: View, input_size: int, crop_pct: float = 1.0) -> int:
    """Shorter side in pixels that a photo needs so that rendering the view never enlarges it."""
    return int(np.ceil(view.size_for(input_size) / (1.0 if view.crop == "whole" else crop_pct)))
