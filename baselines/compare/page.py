"""The page that sets runs of baselines side by side, whatever trained them: one HTML file that stands alone."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from baselines.compare.runs import (
    Run,
    differing,
    groups_of,
    missed_by_all,
    paired,
    read_runs,
    telling_images,
    worst_classes,
)
from baselines.data.datasets import load_dataset
from competition.console import duration, warn
from competition.errors import KitError
from competition.files import distinct_names
from competition.record.metrics import confusion_matrix
from competition.report.html.charts import Series, lines_chart
from competition.report.html.curves import Chart
from competition.report.html.pages import Site, percent, write_page
from competition.report.html.tiles import Line, Tile

_TEMPLATES = Path(__file__).parent / "templates"
_STYLES = 8
_MOST_CLASSES = 12
_PIXELS = 96


def write_comparison(runs: Sequence[Path], out: Path) -> Path:
    """Write the comparison of finished runs as one HTML file; returns ``out``.

    Runs on the same test images are compared image by image; runs on others only stand in the same table.

    Args:
        runs: their folders.
        out: the HTML file.

    Raises:
        ResumeError: a folder is no finished run of a baseline.
        DataError: a file of a run is missing or damaged.
        StorageError: the page cannot be written.
    """
    read = read_runs(runs)
    groups = groups_of(read)
    return write_page(
        out,
        "compare.html",
        title="Baselines compared",
        site=Site(name="From-scratch baselines"),
        folder=_TEMPLATES,
        lead=_lead(read, groups),
        runs=[_row(run, name) for run, name in zip(read, distinct_names([run.folder for run in read]), strict=True)],
        charts=_charts(read),
        letters=[(run.letter, _style(place)) for place, run in enumerate(read)],
        settings=differing(read),
        groups=[_group(group) for group in groups],
    )


def _lead(runs: Sequence[Run], groups: Sequence[Sequence[Run]]) -> str:
    names = ", ".join(dict.fromkeys(run.dataset for run in runs))
    many = f"{len(runs)} runs" if len(runs) > 1 else "One run"
    if len(groups) > 1:
        return f"{many} on {names}. Scores on different test images say nothing about each other."
    return f"{many} on {names}, {len(runs[0].labels):,} test images that no run learnt from or chose by."


def _style(place: int) -> str:
    return f"s{place % _STYLES}" + (" dots" if place // _STYLES % 2 else "")


def _row(run: Run, folder: str) -> dict[str, Any]:
    """What the table says about a run; figures with the number they are sorted by."""
    metrics = run.metrics
    test, valid = metrics["test"], metrics["valid"]
    return {
        "letter": run.letter,
        "name": run.name,
        "folder": folder,
        "dataset": run.dataset,
        "device": metrics["device"],
        "epochs": f"{metrics['epochs']} (best {metrics['best_epoch']})",
        "cells": [
            (test["accuracy"], percent(test["accuracy"], 2)),
            (test["loss"], f"{test['loss']:.4f}"),
            (valid["accuracy"], percent(valid["accuracy"], 2)),
            (metrics["macro"]["f1"], f"{metrics['macro']['f1']:.4f}"),
            (metrics["parameters"], _short(metrics["parameters"])),
            (metrics["macs"], _short(metrics["macs"])),
            (metrics["seconds_per_epoch"], duration(metrics["seconds_per_epoch"])),
            (metrics["images_per_second"], f"{metrics['images_per_second']:,.0f}"),
            (metrics["peak_memory_mb"], f"{metrics['peak_memory_mb']:,.0f}"),
        ],
    }


def _short(value: float | None) -> str:
    """A count with three digits: ``61.7 k``, ``15.2 M``, ``1.82 G``; a dash where it is not known."""
    if value is None:
        return "\u2013"
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}\u202f{letter}"
    return f"{value:g}"


def _charts(runs: Sequence[Run]) -> list[Chart]:
    """Curves of all runs over each other."""
    wanted = (
        ("valid_accuracy", "validation accuracy, %", "On the validation images, which choose the best epoch."),
        ("valid_loss", "validation loss (nats)", "Plain cross-entropy, the same for every run."),
        ("train_loss", "training loss", "What is minimised: with smoothing, penalties and auxiliary heads."),
        ("rate", "learning rate, thousandths", "Of the epoch's last step."),
    )
    charts = []
    for column, label, caption in wanted:
        lines = [_line(run, place, run.column("epoch"), column) for place, run in enumerate(runs)]
        svg = lines_chart(lines, "epoch", label)
        if svg is not None:
            charts.append(Chart(svg, caption))
    timed = [
        _line(run, place, tuple(np.cumsum(run.column("seconds")).tolist()), "valid_accuracy")
        for place, run in enumerate(runs)
    ]
    svg = lines_chart(timed, "seconds of training", "validation accuracy, %")
    if svg is not None:
        charts.insert(2, Chart(svg, "The same accuracy against the time it took, on the device in the table."))
    return charts


def _line(run: Run, place: int, x: tuple[float, ...], column: str) -> Series:
    # Numbers like 0.0005 would need more room than the axis has.
    unit = {"rate": 1000, "valid_accuracy": 100}.get(column, 1)
    y = tuple(unit * value for value in run.column(column))
    return Series(f"{run.letter}  {run.name}, {run.dataset}", x, y, _style(place))


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix as the page shows it: the run, accuracy, column heads, and rows of (class, cells)."""

    letter: str
    name: str
    said: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, tuple[tuple[int, float, str, str], ...]], ...]


def _group(runs: Sequence[Run]) -> dict[str, Any]:
    """What can be said about runs on the same test images."""
    classes = runs[0].classes
    images = _test_images(runs[0])
    return {
        "dataset": runs[0].dataset,
        "letters": [run.letter for run in runs],
        "pairs": [paired(a, b) for a, b in combinations(runs, 2)][:30],
        "worst": worst_classes(runs),
        "matrices": _matrices(runs),
        "shown": min(len(classes), _MOST_CLASSES),
        "classes": len(classes),
        "telling": [_tile(runs, place, images) for place in telling_images(runs)],
        "missed": [_tile(runs, place, images) for place in missed_by_all(runs)] if len(runs) > 1 else [],
        "pictures": images is not None,
    }


def _matrices(runs: Sequence[Run]) -> list[Matrix]:
    """Confusion of every run, over the classes that all runs together confuse most."""
    classes, labels = runs[0].classes, runs[0].labels
    counts = [confusion_matrix(run.called, labels, len(classes)) for run in runs]
    errors = sum(matrix + matrix.T for matrix in counts)
    np.fill_diagonal(errors, 0)
    chosen = np.sort(np.argsort(-errors.sum(axis=1), kind="stable")[:_MOST_CLASSES])
    return [_matrix(run, matrix, chosen) for run, matrix in zip(runs, counts, strict=True)]


def _matrix(run: Run, counts: np.ndarray, chosen: np.ndarray) -> Matrix:
    names = tuple(run.classes[index] for index in chosen)
    rest = len(run.classes) > len(chosen)
    off = counts - np.diag(np.diag(counts))
    most = max(int(off[chosen].max()), 1)
    rows = []
    for name, index in zip(names, chosen, strict=True):
        row = [int(count) for count in counts[index, chosen]]
        cells = [(n, heads) for n, heads in zip(row, names, strict=True)]
        if rest:
            cells.append((int(counts[index].sum()) - sum(row), "another class"))
        rows.append(
            (name, tuple((n, min(n / most, 1.0), head, "right" if head == name else "err") for n, head in cells))
        )
    heads = (*names, "(any other)") if rest else names
    said = f"{percent(float(run.right.mean()), 2)} right"
    return Matrix(run.letter, run.name, said, heads, tuple(rows))


def _test_images(run: Run) -> np.ndarray | None:
    """The test images uint8 (n, h, w, c), where the data set can be found; None otherwise."""
    described = dict(run.card.dataset)
    options = {key: value for key, value in described.items() if key not in ("name", "source", "digest")}
    try:
        data = load_dataset(described["name"], **options, download=False)
    except KitError as error:
        warn(f"no sample images on the page: {error}")
        return None
    return data.test.images if data.digest == described["digest"] else None


def _tile(runs: Sequence[Run], place: int, images: np.ndarray | None) -> Tile:
    classes, labels = runs[0].classes, runs[0].labels
    given = classes[labels[place]]
    lines, said = [Line(given, "label", "given")], []
    for run in runs:
        called, sure = classes[run.called[place]], float(run.probabilities[place].max())
        lines.append(Line(f"{run.letter}  {called}", percent(sure, 0), "" if called == given else "called"))
        said.append(f"{run.letter} says {called}")
    alt = f"Test image {place}, labelled {given}; {', '.join(said)}"
    return Tile(f"image {place}", _picture(images[place]) if images is not None else None, alt, tuple(lines))


def _picture(image: np.ndarray) -> str:
    """An image (h, w, c) as a ``data:`` address; large ones are made smaller, small ones the browser enlarges."""
    from PIL import Image

    pixels = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    pixels.thumbnail((_PIXELS, _PIXELS))
    buffer = io.BytesIO()
    pixels.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
