"""A photo and what classical filters make of it, on one sheet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from baselines.specs.filters import apply_filter, as_picture, edges, kernel
from competition.errors import PhotoError

USUAL = ("blur_wide", "gaussian", "sharpen", "edge", "laplacian", "sobel_x", "sobel_y", "emboss")


def read_photo(path: Path, size: int) -> np.ndarray:
    """A photo as float32 (1, h, w, 3) in [0, 1], its longer side at most ``size`` pixels.

    Raises:
        PhotoError: missing, damaged or no picture.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as opened:
            photo = ImageOps.exif_transpose(opened).convert("RGB")
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise PhotoError(f"{path} cannot be read as a photo ({error})") from error
    photo.thumbnail((size, size))
    return np.asarray(photo, dtype=np.float32)[None] / 255


def write_sheet(photo: Path, out: Path, kernels: Sequence[str] = (), size: int = 320) -> Path:
    """Draw the photo, the strength of its edges, and each filter's answer; returns ``out``.

    Args:
        photo: path of the photo.
        out: PNG to write.
        kernels: names or rows of numbers; empty takes the usual ones.
        size: longer side of a picture, pixels.

    Raises:
        UsageError: an unknown filter, or a kernel that does not fit.
        PhotoError: the photo cannot be read.
    """
    from competition.pictures.figures import new_figure, save

    image = read_photo(photo, size)
    shown = [("photo", image[0]), ("edges (Sobel)", np.clip(edges(image)[0], 0, 1).repeat(3, axis=2))]
    for text in kernels or USUAL:
        weights = kernel(text)
        shown.append((text, as_picture(apply_filter(image, weights), weights)[0]))
    columns = min(5, len(shown))
    rows = -(-len(shown) // columns)
    height, width = image.shape[1:3]
    figure = new_figure(2.6 * columns, (2.6 * height / width + 0.3) * rows)
    for place, (title, picture) in enumerate(shown, start=1):
        axes = figure.add_subplot(rows, columns, place)
        axes.imshow(picture)
        axes.set_title(title, fontsize=8)
        axes.set_axis_off()
    return save(figure, out)
