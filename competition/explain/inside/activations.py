"""What the layers of a network hold: filters as a sheet, every channel of a layer for a photo as a grid of maps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from competition.errors import UsageError
from competition.explain.networks.protocol import check_finite, find_layer
from competition.pictures.overlays import coloured, signed_colours

if TYPE_CHECKING:
    from competition.explain.networks.protocol import Backend

_GAP = 1  # pixels between tiles


def filter_tiles(kernel: np.ndarray, most: int = 256) -> np.ndarray:
    """Filters as small pictures, float32 (n, kh, kw, 3) in [0, 1].

    Filters that look at RGB are shown in colour, around grey, each stretched to its own largest weight. Filters over
    more channels have no colour: they are shown one input channel after another, negative weights blue, positive red.

    Args:
        kernel: float (kh, kw, channels in, channels out).
        most: tiles at most, the first ones.
    """
    check_finite("filters", kernel)
    height, width, inputs, outputs = kernel.shape
    largest = np.maximum(np.abs(kernel).max(axis=(0, 1, 2), keepdims=True), 1e-12)
    scaled = kernel / largest  # in [-1, 1], filter by filter
    if inputs in (1, 3):
        tiles = 0.5 + 0.5 * np.moveaxis(scaled, 3, 0)[:most]
        return np.ascontiguousarray(np.broadcast_to(tiles, (len(tiles), height, width, 3)), dtype=np.float32)
    planes = np.moveaxis(scaled, (3, 2), (0, 1)).reshape(outputs * inputs, height, width)[:most]
    return signed_colours(planes)


def filter_columns(kernel: np.ndarray, most: int = 256) -> int:
    """Columns that suit ``filter_tiles``: one row per filter where input channels stand side by side."""
    inputs, outputs = kernel.shape[2:]
    if inputs in (1, 3) or inputs > most:
        return math.ceil(math.sqrt(min(most, outputs if inputs in (1, 3) else most)))
    return int(inputs)


def mosaic(tiles: np.ndarray, columns: int | None = None, *, side: int = 0, ground: float = 1.0) -> np.ndarray:
    """Equal tiles side by side.

    Args:
        tiles: float (n, h, w, c) in [0, 1], or (n, h, w).
        columns: tiles in a row; None makes it about square.
        side: each tile is enlarged, pixel by pixel, to at least this height.
        ground: shade between the tiles.

    Returns:
        float32 (H, W, 3).

    Raises:
        UsageError: there is no tile.
    """
    if not len(tiles):
        raise UsageError("there is nothing to draw: no filter and no channel")
    if tiles.ndim == 3:
        tiles = tiles[..., None]
    tiles = np.broadcast_to(tiles, (*tiles.shape[:3], 3))
    times = max(1, math.ceil(side / tiles.shape[1]))
    tiles = tiles.repeat(times, axis=1).repeat(times, axis=2)
    n, height, width, _ = tiles.shape
    columns = columns or max(1, round(math.sqrt(n * height / width)))
    rows = math.ceil(n / columns)
    sheet = np.full((rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP, 3), ground, dtype=np.float32)
    for index, tile in enumerate(tiles):
        top, left = index // columns * (height + _GAP), index % columns * (width + _GAP)
        sheet[top : top + height, left : left + width] = tile
    return sheet


def filter_sheet(backend: Backend, layer: str, *, most: int = 256, side: int = 28) -> np.ndarray:
    """The filters of a convolution as one picture, float32 (H, W, 3) in [0, 1]; see ``filter_tiles``.

    Raises:
        UsageError: there is no such layer, or it has no filters.
    """
    kernel = backend.filters(layer)
    return mosaic(filter_tiles(kernel, most), filter_columns(kernel, most), side=side)


def activation_maps(backend: Backend, image: np.ndarray, layer: str) -> np.ndarray:
    """Every channel of a spatial layer for one image (h, w, c) in [0, 1]: float32 (channels, H, W), as computed.

    Raises:
        UsageError: there is no such layer, or it isn't spatial.
        KitError: the activation is not a number somewhere.
    """
    find_layer(backend, layer)
    return np.moveaxis(check_finite(layer, backend.activations(image[None], layer))[0], 2, 0)


def strongest(maps: np.ndarray, most: int) -> np.ndarray:
    """Indices of the ``most`` channels that answer most (mean of the positive part), strongest first."""
    return np.argsort(-np.maximum(maps, 0).mean(axis=(1, 2)), kind="stable")[:most]


def stretched(maps: np.ndarray, *, together: bool = False) -> np.ndarray:
    """Maps (n, h, w) scaled to [0, 1], each on its own or all together; a flat map is 0."""
    axes = None if together else (1, 2)
    low = maps.min(axis=axes, keepdims=True)
    span = maps.max(axis=axes, keepdims=True) - low
    return np.asarray(np.where(span > 1e-12, (maps - low) / np.maximum(span, 1e-12), 0.0), dtype=np.float32)


def activation_grid(
    backend: Backend, image: np.ndarray, layer: str, *, most: int = 1024, side: int = 28, together: bool = False
) -> np.ndarray:
    """Every channel of a layer for one image as a grid of maps, in the order of the channels.

    Args:
        backend: the network.
        image: float32 (h, w, c) in [0, 1].
        layer: name of a spatial layer.
        most: channels at most; beyond that the first ones.
        side: least height of a map, pixels.
        together: one scale for all channels, which shows which of them are silent; else each has its own.

    Returns:
        float32 (H, W, 3) in [0, 1]: dark is low, bright is high.
    """
    maps = activation_maps(backend, image, layer)[:most]
    return mosaic(coloured(stretched(maps, together=together), "viridis"), side=side)
