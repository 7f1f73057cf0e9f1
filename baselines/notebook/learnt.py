"""Pictures of what a network has learnt, for the notebooks: filters, activation maps, ascents, heat maps.

They arrange what ``competition.explain`` computes; ``baselines.notebook.study`` offers them with the rest of a study.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from competition.notebook.display import pick

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from competition.explain.networks.protocol import Backend


def first_filters(backend: Backend, layer: str | None = None) -> Figure:
    """The filters of a convolution, by default of the first."""
    from competition.explain.inside.activations import filter_sheet
    from competition.explain.show.verbs import first_with_filters
    from competition.pictures.figures import picture_figure

    chosen = layer or first_with_filters(backend)
    return picture_figure(filter_sheet(backend, chosen, most=64), chosen, longest=5.0)


def map_sizes(backend: Backend) -> str:
    """A sentence about the first filters and about how the maps shrink."""
    from competition.explain.show.verbs import first_with_filters

    height, width, _, count = backend.filters(first_with_filters(backend)).shape
    sides = [f"{info.shape[0]} x {info.shape[1]}" for info in backend.layers() if info.spatial]
    return (
        f"The first convolution has **{count}** filters of {height} x {width}. The first maps are {sides[0]}, the last "
        f"{sides[-1]}: a heat map drawn from the last cannot be sharper than that."
    )


def answers(backend: Backend, image: np.ndarray, count: int = 3, channels: int = 16) -> Figure:
    """An image and what some spatial layers answer to it, from the input to the last.

    Args:
        backend: the network.
        image: uint8 (h, w, c).
        count: layers shown.
        channels: channels shown of each, the strongest.
    """
    from competition.explain.inside.activations import activation_maps, mosaic, stretched, strongest
    from competition.pictures.figures import Panel, sheet

    pixels = image.astype(np.float32) / 255
    names = [info.name for info in backend.layers() if info.spatial]
    chosen = [names[place] for place in np.linspace(0, len(names) - 1, count).round().astype(int)]
    panels = [Panel(pixels, "input")]
    for name in dict.fromkeys(chosen):
        maps = activation_maps(backend, pixels, name)
        best = maps[strongest(maps, channels)]
        shape = f"{maps.shape[0]} x {maps.shape[1]} x {maps.shape[2]}"
        panels.append(Panel(mosaic(stretched(best), side=28), name, f"{shape}, the {len(best)} strongest"))
    return sheet([panels], side=2.6)


def class_images(backend: Backend, names: Sequence[str], steps: int | None = None) -> Figure:
    """Pictures painted from noise by gradient ascent on classes."""
    from competition.explain.inside.ascent import AscentConfig, ascend_class
    from competition.pictures.figures import Panel, sheet

    config = AscentConfig(steps=steps or pick(256, 24))
    panels = [Panel(ascend_class(backend, name, config=config), _words(name)) for name in names]
    half = (len(panels) + 1) // 2 if len(panels) > 5 else len(panels)
    return sheet([row for row in (panels[:half], panels[half:]) if row], side=1.7)


def channel_images(backend: Backend, layers: Sequence[str], channels: int = 3, steps: int | None = None) -> Figure:
    """Pictures painted from noise for the first channels of some layers, a row per layer."""
    from competition.explain.inside.ascent import AscentConfig, ascend_channel
    from competition.pictures.figures import Panel, sheet

    config = AscentConfig(steps=steps or pick(192, 20), size=min(backend.input_shape[0], 128))
    rows = [
        [Panel(ascend_channel(backend, name, number, config), name, f"channel {number}") for number in range(channels)]
        for name in layers
    ]
    columns = [[row[number] for row in rows] for number in range(channels)]
    return sheet(columns, side=1.9)


def deletion_figure(backend: Backend, images: np.ndarray, labels: Sequence[str], methods: Sequence[str]) -> Figure:
    """Probability of the class while the hottest pixels are blanked: each method's mean, and random maps'.

    Args:
        backend: the network.
        images: uint8 (n, h, w, c).
        labels: classes, length n.
        methods: of heat maps.
    """
    from competition.explain.maps.faithfulness import deletion
    from competition.explain.networks.protocol import class_target
    from competition.explain.show.explain_photos import heat
    from competition.pictures.figures import curves_figure

    pixels = images.astype(np.float32) / 255
    target = class_target(backend.classes, list(labels))
    maps = {method: heat(backend, pixels, target, method) for method in methods}
    maps["random"] = np.random.default_rng(0).random(pixels.shape[:3], dtype=np.float32)
    found = {name: deletion(backend, pixels, target, heat_map, steps=pick(20, 10)) for name, heat_map in maps.items()}
    lines = {name: (curve.shares.tolist(), curve.values.mean(axis=0).tolist()) for name, curve in found.items()}
    return curves_figure(lines, "share of the pixels that are blanked", "probability of the class")


def deletion_findings(figure: Figure) -> str:
    """What the lines of a ``deletion_figure`` say: the lower the mean, the more faithful the map."""
    means = {str(line.get_label()): float(np.mean(line.get_ydata())) for line in figure.axes[0].get_lines()}  # type: ignore[arg-type]
    best = min(means, key=lambda name: means[name])
    said = ", ".join(f"{name} {value:.2f}" for name, value in sorted(means.items(), key=lambda item: item[1]))
    verdict = "no map is better than chance here" if best == "random" else f"**{best}** is the most faithful here"
    return f"Mean probability on the way: {said}. By this measure {verdict}."


def heat_maps(
    backend: Backend,
    images: np.ndarray,
    labels: Sequence[str],
    methods: Sequence[str] = ("gradcam", "layercam", "integrated-gradients"),
) -> Figure:
    """Images, and over each of them where some methods find what speaks for its class.

    Args:
        backend: the network.
        images: uint8 (n, h, w, c).
        labels: true classes, length n.
        methods: see ``dogbreed explain --help``.
    """
    from competition.explain.networks.protocol import class_target
    from competition.explain.show.explain_photos import heat
    from competition.pictures.figures import Panel, sheet
    from competition.pictures.overlays import overlay

    pixels = images.astype(np.float32) / 255
    target = class_target(backend.classes, list(labels))
    called = [backend.classes[number] for number in backend.logits(pixels).argmax(axis=1)]
    titles = [_words(label) for label in labels]
    rows = [[Panel(image, title) for image, title in zip(pixels, titles, strict=True)]]
    for method in methods:
        maps = heat(backend, pixels, target, method)
        panels = [Panel(overlay(image, found), method) for image, found in zip(pixels, maps, strict=True)]
        rows.append(panels)
    rows[0] = [
        Panel(panel.image, panel.title, "" if _words(name) == panel.title else f"called {_words(name)}")
        for panel, name in zip(rows[0], called, strict=True)
    ]
    return sheet(rows, side=2.1 if backend.input_shape[0] > 64 else 1.6)


def line(values: Sequence[float], x: str, y: str) -> Figure:
    """A course of numbers, counted from 1."""
    from competition.pictures.figures import curves_figure

    return curves_figure({y: (list(range(1, len(values) + 1)), list(values))}, x, y)


def maps(values: np.ndarray, names: Sequence[str]) -> Figure:
    """Signed maps (n, h, w) side by side, one scale for all: orange above 0, blue below."""
    from competition.pictures.figures import Panel, sheet, wrapped

    largest = max(float(np.abs(values).max()), 1e-12)
    share = values[..., None] / largest
    warm, cold = np.array([0.66, 0.28, 0.10]), np.array([0.08, 0.39, 0.55])
    shown = 1 - np.clip(share, 0, 1) * (1 - warm) - np.clip(-share, 0, 1) * (1 - cold)
    panels = [Panel(image.astype(np.float32), str(name)) for image, name in zip(shown, names, strict=True)]
    return sheet(wrapped(panels, 5), side=1.5)


def _words(name: str) -> str:
    return name.replace("_", " ")
