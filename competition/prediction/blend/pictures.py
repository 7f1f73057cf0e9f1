"""Pictures of a blend as PNG: how alike the members err, when one more stops helping, what each method is worth."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from competition.files import atomic_path
from competition.prediction.blend.study import BlendStudy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PICTURES = ("correlation.png", "members.png", "methods.png")
_INK, _GIVEN, _CALLED, _SOFT = "#1f2320", "#14636b", "#a8481a", "#8a8f88"


def draw_pictures(found: BlendStudy, folder: Path) -> tuple[Path, ...]:
    """Write the three pictures of a blend into ``folder``; returns their paths."""
    paths = tuple(folder / name for name in PICTURES)
    m = len(found.stack.members)
    with _picture(paths[0], width=4.2 + 0.55 * m, height=2.6 + 0.5 * m) as axes:
        _correlation(found, axes)
    with _picture(paths[1], width=6.4, height=3.8) as axes:
        _curve(found, axes)
    with _picture(paths[2], width=7.2, height=4.2) as axes:
        _methods(found, axes)
    return paths


@contextmanager
def _picture(path: Path, width: float, height: float) -> Iterator[Axes]:
    """Axes whose figure is written to ``path``, without a window and without touching matplotlib's global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    yield axes
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        figure.savefig(stream, format="png", dpi=130)


def _correlation(found: BlendStudy, axes: Axes) -> None:
    """Correlation of per-photo losses as shade and number, disagreement below it."""
    values = found.loss_correlation
    names = [name.replace("$", r"\$") for name in found.stack.names]  # no mathematics
    axes.imshow(values, cmap="YlGnBu", vmin=min(0.0, float(values.min())), vmax=1)
    axes.spines[:].set_visible(False)
    for i in range(len(names)):
        for j in range(len(names)):
            text = f"{values[i, j]:.2f}" if i == j else f"{values[i, j]:.2f}\n{found.disagreement[i, j]:.1%}"
            axes.text(j, i, text, ha="center", va="center", fontsize=8, color="white" if values[i, j] > 0.6 else _INK)
    axes.set_xticks(range(len(names)), names, rotation=35, ha="right", fontsize=9)
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.set_title("Correlation of per-photo log loss\n(below: photos called differently)", fontsize=10, loc="left")


def _curve(found: BlendStudy, axes: Axes) -> None:
    sizes = np.array([point.members for point in found.curve])
    losses = np.array([point.log_loss for point in found.curve])
    errors = np.array([point.gap_error for point in found.curve])
    axes.errorbar(sizes, losses, yerr=errors, color=_GIVEN, marker="o", capsize=3, linewidth=1.6)
    enough = found.enough.members
    axes.axvline(enough, color=_CALLED, linestyle="--", linewidth=1)
    said = f"{enough} {'is' if enough == 1 else 'are'} enough" if enough < sizes.max() else "all of them help"
    axes.annotate(
        said, (enough, losses.max()), (-4, 0), textcoords="offset points", ha="right", color=_CALLED, fontsize=9
    )
    labels = [f"{point.members}\n+ {point.added}".replace("$", r"\$") for point in found.curve]
    axes.set_xticks(sizes, labels, fontsize=8)
    axes.set_xlim(0.6, sizes.max() + 0.6)
    axes.set_ylabel("nested log loss (nats)")
    axes.set_title("Blends of the best 1, 2, ... members\n(bars: error of the distance to the best)",
                   fontsize=10, loc="left")  # fmt: skip


def _methods(found: BlendStudy, axes: Axes) -> None:
    scores = found.scores
    places = np.arange(len(scores))[::-1]
    for place, score in zip(places, scores, strict=True):
        taken = score.method == found.chosen
        axes.errorbar(
            score.gap, place, xerr=score.gap_error, color=_CALLED if taken else _GIVEN if score.ties else _SOFT,
            marker="D" if taken else "o", capsize=3, linewidth=1.6,
        )  # fmt: skip
    labels = [f"{s.method}{' (taken)' if s.method == found.chosen else ''}  {s.log_loss:.4f}" for s in scores]
    axes.set_yticks(places, labels, fontsize=9)
    axes.axvline(0, color=_SOFT, linewidth=0.8)
    axes.set_xlabel("nats above the best method (bars: standard error of that difference)", fontsize=9)
    axes.set_title("Ways to combine, from simple (top) to complicated", fontsize=10, loc="left")
