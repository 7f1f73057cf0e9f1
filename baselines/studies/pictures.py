"""Plots of a study: the accuracy of every trial, and validation over the epochs."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from baselines.studies.statistics import Group
from baselines.studies.study import Study
from competition.pictures.figures import GIVEN, INK, LINES, new_figure, save
from competition.record.history import History

_MOST = 12  # variants in the chart of curves; more cannot be told apart


def draw_accuracy(path: Path, groups: Sequence[Group], study: Study) -> None:
    """A row a variant: a dot a seed, a bar at the mean."""
    shown = [group for group in groups if group.values]
    title = textwrap.fill(study.question, 80)  # over the whole picture: the axes are narrow beside long labels
    figure = new_figure(7.5, 1.1 + 0.2 * title.count("\n") + 0.42 * len(shown))
    axes = figure.add_subplot()
    for place, group in enumerate(shown):
        values = 100 * np.array(list(group.values.values()))
        axes.plot(values, np.full(len(values), place), "o", ms=5, alpha=0.6, mew=0, color=GIVEN)
        axes.plot([100 * group.mean] * 2, [place - 0.3, place + 0.3], color=INK, lw=2)
    axes.set_yticks(range(len(shown)), [textwrap.fill(group.label, 44) for group in shown], fontsize=8)
    axes.invert_yaxis()
    axes.margins(y=0.1)
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel("test accuracy, %: a dot a seed, the bar their mean")
    figure.suptitle(title, fontsize=10)
    save(figure, path)


def draw_curves(path: Path, groups: Sequence[Group], runs: Path) -> None:
    """Validation loss and accuracy over the epochs, mean over seeds, for the runs that lie here."""
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(9, 3.8)
    left, right = figure.subplots(1, 2)
    for place, group in enumerate([group for group in groups if group.values][:_MOST]):
        histories = [History(runs / str(row["run"]) / "history.csv").rows for row in group.rows if row.get("run")]
        histories = [rows for rows in histories if rows]
        if not histories:
            continue
        length = max(map(len, histories))
        style = {"color": LINES[place % len(LINES)], "ls": ("-", "--")[place // len(LINES) % 2], "label": group.label}
        for axes, key in ((left, "valid_loss"), (right, "valid_accuracy")):
            table = np.full((len(histories), length), math.nan)
            for row, rows in enumerate(histories):
                table[row, : len(rows)] = [float(each[key]) for each in rows]
            means = np.ma.masked_invalid(table).mean(axis=0)  # a seed that stopped early has no say after its end
            axes.plot(range(1, length + 1), means, marker="o" if length < 20 else "", ms=3, **style)
    left.set(xlabel="epoch", ylabel="validation loss", yscale="log")
    right.set(xlabel="epoch", ylabel="validation accuracy")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    handles, labels = left.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=7, frameon=False)
    save(figure, path)
