"""Sheets of small pictures with words beside them, and simple charts, as PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from competition.files import atomic_path
from competition.pictures.figures import new_figure, save

_GAP = 2  # pixels between pictures


def tiled(images: np.ndarray, columns: int) -> np.ndarray:
    """Lay images out in rows on white.

    Args:
        images: float (n, h, w, c) in [0, 1].
        columns: pictures a row.

    Returns:
        uint8 (H, W, 3).
    """
    count, height, width = images.shape[:3]
    rows = -(-count // columns)
    sheet = np.full((rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP, 3), 255, dtype=np.uint8)
    for place, image in enumerate(np.clip(np.rint(images * 255), 0, 255).astype(np.uint8)):
        top, left = (place // columns) * (height + _GAP), (place % columns) * (width + _GAP)
        sheet[top : top + height, left : left + width] = image  # one channel spreads over three
    return sheet


def save_tiles(path: Path, images: np.ndarray, columns: int, zoom: int = 2) -> None:
    """Write a sheet of images float (n, h, w, c) in [0, 1], each pixel ``zoom`` pixels wide."""
    from PIL import Image

    sheet = tiled(images, columns).repeat(zoom, axis=0).repeat(zoom, axis=1)
    with atomic_path(path) as temporary:
        Image.fromarray(sheet).save(temporary, format="PNG")


def save_rows(path: Path, rows: Sequence[tuple[str, np.ndarray]], title: str = "", inches: float = 0.75) -> None:
    """Write a sheet whose rows have names: originals above, what became of them below.

    Args:
        path: of the PNG.
        rows: name and images float (n, h, w, c) in [0, 1] of each row.
        title: above the sheet.
        inches: width of one picture.
    """
    columns = max(len(images) for _, images in rows)
    heights = [images.shape[1] / images.shape[2] for _, images in rows]
    words = 1.6  # inches for the names
    figure = new_figure(words + columns * inches, sum(heights) * inches + (0.5 if title else 0.15))
    figure.set_layout_engine("none")
    left, top = words / figure.get_figwidth(), 1 - (0.45 if title else 0.08) / figure.get_figheight()
    if title:
        figure.suptitle(title, fontsize=10)
    bottom = top
    for (name, images), height in zip(rows, heights, strict=True):
        share = height * inches / figure.get_figheight()
        bottom -= share
        axes = figure.add_axes((left, bottom, len(images) / columns * (1 - left), share * 0.97))
        axes.imshow(tiled(images, len(images)), interpolation="nearest", aspect="auto")
        axes.set_axis_off()
        figure.text(left - 0.01, bottom + share / 2, name, ha="right", va="center", fontsize=8)
    save(figure, path)


def save_lines(
    path: Path, series: Mapping[str, Sequence[float]], x_label: str, y_label: str, title: str = "", log: bool = False
) -> None:
    """Write a line chart; every series counts from 1."""
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(6, 3.6)
    axes = figure.add_subplot()
    for name, values in series.items():
        axes.plot(range(1, len(values) + 1), values, marker="o" if len(values) <= 30 else "", ms=3, label=name)
    axes.set(xlabel=x_label, ylabel=y_label, title=title, yscale="log" if log else "linear")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)
    save(figure, path)


def save_scatter(path: Path, points: np.ndarray, labels: np.ndarray, classes: Sequence[str], title: str) -> None:
    """Write points (n, 2), coloured by class."""
    from matplotlib import colormaps

    figure = new_figure(6.4, 5.2)
    axes = figure.add_subplot()
    colours = colormaps["tab10" if len(classes) <= 10 else "nipy_spectral"]
    for number, name in enumerate(classes):
        chosen = points[labels == number]
        colour = colours(number if len(classes) <= 10 else number / (len(classes) - 1))
        axes.scatter(chosen[:, 0], chosen[:, 1], s=6, color=colour, label=name, linewidths=0)
    axes.set(title=title, xticks=[], yticks=[])
    if len(classes) <= 20:
        axes.legend(frameon=False, markerscale=2.5, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    save(figure, path)
