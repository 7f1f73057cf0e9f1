"""What a run takes photos for: the likeliest breeds as lines of text, and a heat map of the likeliest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from competition.data.source.names import shown
from competition.report.html.pages import pretty
from competition.types import Predictions

if TYPE_CHECKING:
    from competition.explain.networks.protocol import Backend

MOST_PHOTOS = 100  # more are for a file, not for a screen


def best_lines(predicted: Predictions, most: int = 5) -> list[str]:
    """The ``most`` likeliest breeds of each photo, most probable first: the photo's name, then a line a breed."""
    lines: list[str] = []
    for row, name in enumerate(predicted.ids):
        best = _best(predicted.probabilities[row], most)
        width = max(len(pretty(predicted.classes[column])) for column in best)
        lines.append(shown(name))
        for column in best:
            share = 100 * predicted.probabilities[row, column]
            lines.append(f"  {pretty(predicted.classes[column]):{width}}  {share:5.1f} %")
    return lines


def _best(row: np.ndarray, most: int) -> Sequence[int]:
    return [int(column) for column in np.argsort(-row, kind="stable")[:most]]


def write_heat_map(backend: Backend, photo: Path, predicted: Predictions, path: Path) -> Path:
    """Draw a photo beside what in it speaks for its likeliest breed (Grad-CAM), as PNG.

    Args:
        backend: a network of the run, see ``open_run.open_backend``.
        photo: the photo.
        predicted: the run's prediction for this photo alone.
        path: the PNG to write.

    Raises:
        PhotoError: the photo cannot be read.
        UsageError: the network has no layer that is a map.
    """
    from competition.explain.networks.protocol import class_target
    from competition.explain.show.explain_photos import heat
    from competition.explain.show.verbs import read_prepared
    from competition.pictures import figures
    from competition.pictures.overlays import overlay

    column = _best(predicted.probabilities[0], 1)[0]
    breed = predicted.classes[column]
    image = read_prepared(backend, photo)
    found = heat(backend, image[None], class_target(backend.classes, [breed]))[0]
    said = f"{pretty(breed)} {predicted.probabilities[0, column]:.1%}"
    panels = [
        figures.Panel(image, shown(photo.name), said),
        figures.Panel(overlay(image, found), "Grad-CAM", "what speaks for it"),
    ]
    return figures.save(figures.sheet([panels], side=3.2), path)
