"""Pictures of a trained network: confusion, misclassified images, learning curves. Matplotlib is imported late."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from competition.pictures.figures import CALLED, GIVEN, Panel, new_figure, sheet, wrapped
from competition.record.board import most_confused
from competition.record.metrics import confusion_matrix

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_CLASSES = 50
_MOST_NUMBERED = 20


def confusion_figure(probabilities: np.ndarray, labels: np.ndarray, classes: Sequence[str], title: str = "") -> Figure:
    """Counts of true against predicted class, shaded by the share of the row.

    Beyond 50 classes the 30 most confused are shown, all others gathered in a last column.

    Args:
        probabilities: (n, c).
        labels: (n,).
        classes: names, length c.
        title: above it.
    """
    chosen, others = list(range(len(classes))), False
    if len(classes) > _MOST_CLASSES:
        chosen, others = most_confused(probabilities, labels, classes, 30) or chosen[:30], True
    matrix = confusion_matrix(probabilities.argmax(axis=1), labels, len(classes))[chosen]
    counts = matrix[:, chosen]
    if others:
        counts = np.column_stack([counts, matrix.sum(axis=1) - counts.sum(axis=1)])
    names = [classes[index] for index in chosen]
    side = 2.2 + (0.42 if len(names) <= _MOST_NUMBERED else 0.2) * len(names)
    figure = new_figure(side + 0.8, side)
    axes = figure.add_subplot()
    shares = counts / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    _name_axes(axes, [*names, "(any other)"] if others else names, names)
    if len(names) <= _MOST_NUMBERED:
        _write_counts(axes, counts, shares)
    share = float((probabilities.argmax(axis=1) == labels).mean())
    axes.set_title(f"{title}\n{share:.2%} of {len(labels):,} test images right".strip(), fontsize=10, loc="left")
    return figure


def _name_axes(axes: Axes, columns: Sequence[str], rows: Sequence[str]) -> None:
    size = 9 if len(rows) <= _MOST_NUMBERED else 6
    turned: dict[str, Any] = {"rotation": 55, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(range(len(columns)), list(columns), fontsize=size, **turned)
    axes.set_yticks(range(len(rows)), list(rows), fontsize=size)
    axes.set(xlabel="predicted", ylabel="true")


def _write_counts(axes: Axes, counts: np.ndarray, shares: np.ndarray) -> None:
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if shares[row, column] > 0.55 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=8)


def misclassified_figure(
    images: np.ndarray,
    probabilities: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    title: str = "",
    most: int = 24,
) -> Figure:
    """The wrongly classified images of which the network was surest, each with its true and its predicted class.

    Args:
        images: uint8 (n, h, w, c).
        probabilities: (n, c).
        labels: (n,).
        classes: names, length c.
        title: above them.
        most: images at most.
    """
    predicted = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    surest = wrong[np.argsort(-probabilities[wrong, predicted[wrong]], kind="stable")][:most]
    if not len(surest):
        figure = new_figure(5, 1)
        figure.text(0.02, 0.4, f"{title}: no test image was misclassified", fontsize=10)
        return figure
    panels = [
        Panel(
            images[row].astype(np.float32) / 255,
            f"{classes[predicted[row]]} {probabilities[row, predicted[row]]:.0%}",
            f"is {classes[labels[row]]} ({probabilities[row, labels[row]]:.0%})",
        )
        for row in surest
    ]
    shown = f"{title}: the {len(surest)} surest of {len(wrong):,} mistakes"
    return sheet(wrapped(panels, 6), title=shown, side=1.5)


def curves_figure(history: Sequence[Mapping[str, Any]], title: str = "") -> Figure:
    """Loss, accuracy and learning rate by epoch.

    Args:
        history: rows of ``history.csv``.
        title: above them.
    """
    figure = new_figure(12, 3.6)
    epochs = [row["epoch"] for row in history]
    marker = "o" if len(epochs) < 3 else None
    for axes, (name, columns) in zip(
        figure.subplots(1, 3),
        {
            "loss, nats": {"training": "train_loss", "validation": "valid_loss"},
            "accuracy": {"training": "train_accuracy", "validation": "valid_accuracy"},
            "learning rate": {"": "rate"},
        }.items(),
        strict=True,
    ):
        for colour, (label, column) in zip((GIVEN, CALLED), columns.items(), strict=False):
            axes.plot(epochs, [row[column] for row in history], label=label, color=colour, linewidth=2, marker=marker)
        axes.set(xlabel="epoch", ylabel=name)
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.get_major_locator().set_params(integer=True)
        if len(columns) > 1:
            axes.legend(frameon=False)
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    return figure
