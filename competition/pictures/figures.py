"""Matplotlib figures for notebooks and files: maps over photos, sheets of filters, ascents, embeddings, faithfulness.

Figures are made without pyplot, so nothing of Matplotlib's global state is touched and no window opens; a notebook
shows a returned figure by itself, ``save`` writes it as PNG.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from competition.data.source.names import wordnet
from competition.errors import UsageError
from competition.files import atomic_path
from competition.pictures.overlays import as_uint8, in_colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, SOFT, GIVEN, CALLED = "#1f2320", "#5d635d", "#14636b", "#a8481a"
LINES = (GIVEN, CALLED, "#7a6a2f", "#4b4f8c", "#1f2320", "#8a8f88")


@dataclass(frozen=True)
class Panel:
    """A picture with a line above and, smaller, one below: ``image`` is (h, w, 1 or 3) in [0, 1]."""

    image: np.ndarray
    title: str = ""
    below: str = ""


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of that size in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: Path, dpi: int = 110) -> Path:
    """Write a figure as PNG, whole or not at all; returns ``path``."""
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        figure.savefig(stream, format="png", dpi=dpi)
    return path


def as_image(figure: Figure, dpi: int = 100) -> np.ndarray:
    """A figure as uint8 (h, w, 3), for TensorBoard."""
    figure.set_dpi(dpi)
    figure.canvas.draw()
    return np.array(figure.canvas.buffer_rgba())[:, :, :3]  # type: ignore[attr-defined]


def to_board(writer: Any, tag: str, picture: Figure | np.ndarray, step: int = 0) -> None:
    """Log a figure, or a picture (h, w, 3) in [0, 1] or uint8, with a TensorBoard ``SummaryWriter``."""
    if isinstance(picture, np.ndarray):
        shown = picture if picture.dtype == np.uint8 else as_uint8(in_colour(picture))
    else:
        shown = as_image(picture)
    writer.add_image(tag, shown, step, dataformats="HWC")


def sheet(rows: Sequence[Sequence[Panel | None]], *, title: str = "", side: float = 2.1) -> Figure:
    """Pictures in rows, each under its title; rows may differ in length, and None leaves a place empty.

    Args:
        rows: at least one row with at least one picture.
        title: above everything.
        side: of a picture, inches.

    Raises:
        UsageError: there is no picture.
    """
    columns = max((len(row) for row in rows), default=0)
    if columns == 0:
        raise UsageError("there is no picture to draw")
    lines = 1 + any(panel.below for row in rows for panel in row if panel is not None)
    height = len(rows) * (side + 0.25 * lines) + (0.45 if title else 0.1)
    figure = new_figure(columns * (side + 0.08) + 0.1, height)
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for row, panels in enumerate(rows):
        for column, panel in enumerate(panels):
            if panel is not None:
                _draw(grid[row, column], panel, letters=int(13 * side))
    if title:
        figure.suptitle(title, fontsize=12, fontweight="bold", color=INK, x=0.01, ha="left")
    return figure


def _draw(axes: Axes, panel: Panel, letters: int = 30) -> None:
    axes.set_axis_on()
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.imshow(np.clip(in_colour(panel.image), 0, 1), interpolation="nearest" if panel.image.shape[0] < 64 else None)
    axes.set_title(_shortened(panel.title, letters), fontsize=9, color=INK, pad=3)
    if panel.below:
        axes.set_xlabel(_shortened(panel.below, letters + 4), fontsize=8, color=SOFT, labelpad=2)


def _shortened(text: str, most: int) -> str:
    """The text, cut in the middle where it is too long for a panel; ``$`` is no mathematics here."""
    shown = text if len(text) <= most else f"{text[: most // 2]}…{text[-(most // 2 - 1) :]}"
    return shown.replace("$", r"\$")


def wrapped(panels: Sequence[Panel], columns: int) -> list[list[Panel | None]]:
    """Panels in rows of ``columns``."""
    return [list(panels[start : start + columns]) for start in range(0, len(panels), columns)]


def picture_figure(
    image: np.ndarray, title: str = "", below: str = "", *, beside: np.ndarray | None = None, longest: float = 11.0
) -> Figure:
    """One large picture (a sheet of filters, a grid of maps) under its title; at least a pixel per pixel.

    Args:
        image: (h, w, 1 or 3) in [0, 1].
        title: above it.
        below: under it, wrapped.
        beside: a picture that it belongs to, drawn small at its left.
        longest: side in inches that it may have.
    """
    height, width = image.shape[:2]
    scale = min(longest, max(5.0, max(height, width) / 90)) / max(height, width)
    wide, left = max(3.2, width * scale), 0.0 if beside is None else 2.2
    lines = textwrap.wrap(below, int(13 * (wide + left)))
    figure = new_figure(wide + left, height * scale + 0.35 * bool(title) + 0.2 * len(lines))
    if beside is None:
        axes = figure.add_subplot()
    else:
        small, axes = figure.subplots(1, 2, width_ratios=(left, wide))
        _draw(small, Panel(beside))
        small.set_anchor("N")
    _draw(axes, Panel(image))
    axes.set_anchor("NW")
    axes.set_title(title.replace("$", r"\$"), fontsize=11, color=INK, loc="left")
    figure.supxlabel("\n".join(lines).replace("$", r"\$"), fontsize=9, color=SOFT, x=0.01, ha="left")
    return figure


def ascent_figure(image: np.ndarray, name: str, steps: Sequence[int], values: Sequence[float]) -> Figure:
    """A painted picture beside the curve of its objective."""
    figure = new_figure(8.6, 4.6)
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    _draw(left, Panel(image))
    left.set_title(_shortened(name, 44), fontsize=11, color=INK, loc="left")
    right.plot(steps, values, color=GIVEN, linewidth=2)
    _plain(right, "step", "value of the objective")
    right.annotate(
        f"{values[-1]:.3g}", (steps[-1], values[-1]), xytext=(-4, 5), textcoords="offset points", ha="right", color=INK
    )
    return figure


def _plain(axes: Axes, x: str, y: str) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#c9c3b5")
    axes.tick_params(colors=SOFT, labelsize=8)
    axes.set_xlabel(x, fontsize=9, color=SOFT)
    axes.set_ylabel(y, fontsize=9, color=SOFT)


def curves_figure(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], x: str, y: str, title: str = "", *, faint: str = "\0"
) -> Figure:
    """Named lines over the same axes; those whose names begin with ``faint`` are grey and dashed."""
    figure = new_figure(6.2, 3.8)
    axes = figure.add_subplot()
    for index, (name, (xs, ys)) in enumerate(curves.items()):
        grey = name.startswith(faint)
        colour = "#8a8f88" if grey else LINES[index % len(LINES)]
        axes.plot(xs, ys, label=name, color=colour, linewidth=2, linestyle="--" if grey else "-")
    _plain(axes, x, y)
    axes.legend(frameon=False, fontsize=8)
    if title:
        axes.set_title(title, fontsize=11, color=INK, loc="left")
    return figure


def embedding_figure(
    points: np.ndarray, labels: Sequence[str], *, shown: Sequence[str] = (), title: str = "", side: float = 8.0
) -> Figure:
    """Points (n, 2); the breeds ``shown`` in colour with their names at their median, all others faint.

    Args:
        points: float (n, 2).
        labels: breed of each point.
        shown: breeds in colour, at most a dozen to tell apart.
        title: above.
        side: inches.
    """
    from matplotlib import colormaps

    figure = new_figure(side, side * 0.86)
    axes = figure.add_subplot()
    of = np.asarray(labels)
    others = points[~np.isin(of, list(shown))]
    axes.scatter(others[:, 0], others[:, 1], s=5, color="#c9c3b5", alpha=0.55, linewidths=0)
    colours = colormaps["tab20" if len(shown) > 10 else "tab10"].colors  # type: ignore[attr-defined]
    for index, breed in enumerate(shown):
        chosen = points[of == breed]
        if len(chosen):
            axes.scatter(chosen[:, 0], chosen[:, 1], s=13, color=colours[index % len(colours)], linewidths=0, zorder=2)
    for breed, place in label_places(points, of, shown).items():
        _name(axes, place, breed)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_title(title, fontsize=11, color=INK, loc="left")
    return figure


def label_places(points: np.ndarray, labels: np.ndarray, shown: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Where the names of breeds stand: at the median of their points, moved down where another name stands already."""
    width, height = 0.2 * np.ptp(points[:, 0]), 0.026 * np.ptp(points[:, 1])
    medians = {breed: np.median(points[labels == breed], axis=0) for breed in shown if (labels == breed).any()}
    places: dict[str, tuple[float, float]] = {}
    for breed in sorted(medians, key=lambda name: -medians[name][1]):
        x, y = map(float, medians[breed])
        while any(
            abs(x - other_x) < width and abs(y - other_y) < 0.99 * height for other_x, other_y in places.values()
        ):
            y -= height / 4
        places[breed] = (x, y)
    return places


def _name(axes: Axes, place: tuple[float, float], breed: str) -> None:
    from matplotlib.patheffects import withStroke

    halo = [withStroke(linewidth=2.5, foreground="white")]
    text = wordnet(breed)[1].replace("_", " ").replace("$", r"\$")
    axes.text(*place, text, fontsize=8.5, ha="center", color=INK, fontweight="bold", path_effects=halo, zorder=3)
