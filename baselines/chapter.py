"""What the notebooks call: data, tables, pictures and sentences of a study, one line a cell.

    from baselines import chapter
    chapter.begin("pytorch")
    data = chapter.load("cifar100", "cifar10")
    chapter.show(chapter.samples(data), "eight images of every class")

Sentences that state a number are made from that number (``findings``, ``verdict``), so they stay true when a notebook
is executed elsewhere. Nothing here trains or explains by itself: it arranges what ``baselines`` and
``competition.explain`` compute.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from baselines.datasets import Dataset, load_dataset
from baselines.records import FitResult
from competition.errors import DataError, UsageError
from competition.files import read_npz
from competition.notebook import pick, picture, quiet, short, show, tell

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from competition.explain.backend import Backend

__all__ = [
    "about",
    "answers",
    "autoencoder_findings",
    "begin",
    "channel_images",
    "class_images",
    "confusion",
    "curves",
    "deletion_figure",
    "figures",
    "findings",
    "first_filters",
    "heat_maps",
    "layers",
    "limited",
    "line",
    "load",
    "maps",
    "mistakes",
    "one_of_each",
    "per_class",
    "pick",
    "picture",
    "quiet",
    "samples",
    "short",
    "show",
    "tell",
]


def begin(framework: str = "pytorch", seed: int = 0) -> None:
    """Seed everything, keep third parties' warnings out of the page, say on what the notebook runs."""
    warnings.filterwarnings("ignore")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    from baselines.adapter import adapter_for
    from competition import environment

    if framework == "keras":
        environment.before_tensorflow()
    np.random.seed(seed)  # noqa: NPY002 - libraries that a reader adds may draw from the global generator
    device = adapter_for(framework).device_name("auto")
    tell(f"{framework} on **{device}**, {'short' if short() else 'full'} mode.")


def load(*names: str, image_size: int | None = None) -> Dataset:
    """The first of some data sets that can be had: the wanted one, then its stand-ins, last ``digits``.

    Args:
        names: see ``baselines.list_datasets``, best first.
        image_size: side in pixels to resize to.
    """
    reasons = []
    for name in (*names, "digits"):
        try:
            data = load_dataset(name, image_size=image_size)
        except (DataError, UsageError) as error:
            reasons.append(f"{name}: {error}")
            continue
        if name != names[0]:
            tell(f"**{names[0]} could not be had here; {name} stands in for it.** Results are those of {name}.")
        return data
    raise DataError("; ".join(reasons))


def limited(data: Dataset, images: int) -> Dataset:
    """The data set with at most so many training images, and a fifth of it in each other part; all in full mode."""
    import dataclasses

    from baselines.evaluate import sample_of

    if not short():
        return data
    rest = max(100, images // 5)
    return dataclasses.replace(
        data,
        train=sample_of(data.train, images, 0),
        valid=sample_of(data.valid, rest, 1),
        test=sample_of(data.test, rest, 2),
    )


def about(data: Dataset) -> pd.DataFrame:
    """The parts of a data set: images, classes, side, mean and standard deviation by channel."""
    import pandas as pd

    rows = [
        {"part": name, "images": len(part), "smallest class": int(counts.min()), "largest class": int(counts.max())}
        for name, part in (("train", data.train), ("validation", data.valid), ("test", data.test))
        for counts in [np.bincount(part.labels, minlength=data.num_classes)]
    ]
    table = pd.DataFrame(rows).set_index("part")
    table.attrs["caption"] = f"{data.name}: {data.num_classes} classes, {data.image_size} pixels"
    return table


def samples(data: Dataset, per_class: int = 8, most_classes: int = 10) -> Figure:
    """Some training images of the first classes, a row per class."""
    from competition.explain.figures import Panel, sheet

    rows = []
    for number, name in enumerate(data.classes[:most_classes]):
        images = data.train.images[data.train.labels == number][:per_class]
        rows.append([Panel(image / 255, name if column == 0 else "") for column, image in enumerate(images)])
    return sheet([row for row in rows if row], side=0.85)


def layers(model: Any) -> None:
    """Show the layer table: shapes, parameters, multiply-accumulates."""
    from baselines.summary import summarise

    print(summarise(model).table())


def figures(result: FitResult) -> pd.DataFrame:
    """What a run reached and cost, one row a figure."""
    import pandas as pd

    found = result.metrics
    rows = {f"{part} accuracy": f"{found[part]['accuracy']:.4f}" for part in ("train", "valid", "test")}
    rows |= {f"{part} loss": f"{found[part]['loss']:.4f}" for part in ("train", "valid", "test")}
    if found["test"]["top5"] is not None and len(found["per_class"]) > 10:
        rows["test top-5 accuracy"] = f"{found['test']['top5']:.4f}"
    rows |= {
        "parameters": f"{found['parameters']:,}",
        "multiply-accumulates per image": f"{found['macs']:,}",
        "epochs (best)": f"{found['epochs']} ({found['best_epoch']})",
        "seconds per epoch": f"{found['seconds_per_epoch']:.1f}",
        "images per second": f"{found['images_per_second']:,.0f}",
        "peak memory, MB": f"{found['peak_memory_mb']:,.0f}",
        "device": found["device"],
    }
    return pd.DataFrame({"value": rows})


def per_class(result: FitResult, most: int = 20) -> pd.DataFrame:
    """Precision, recall and F1 of each class, worst F1 first."""
    import pandas as pd

    table = pd.DataFrame(result.metrics["per_class"]).set_index("class")
    table = table[["images", "precision", "recall", "f1"]].sort_values("f1", na_position="first")
    return table.head(most).round(3)


def curves(result: FitResult) -> Figure:
    """Loss, accuracy and rate by epoch."""
    from baselines.pictures import curves_figure

    return curves_figure(result.history)


def confusion(result: FitResult) -> Figure:
    """True against predicted class on the test part."""
    from baselines.pictures import confusion_figure

    stored = read_npz(result.run / "test.npz")
    return confusion_figure(stored["probabilities"], stored["labels"], [str(name) for name in stored["classes"]])


def mistakes(result: FitResult, data: Dataset, most: int = 16) -> Figure:
    """The wrong test predictions of which the network was surest."""
    from baselines.pictures import misclassified_figure

    stored = read_npz(result.run / "test.npz")
    title = str(result.metrics["model"])
    return misclassified_figure(
        data.test.images, stored["probabilities"], stored["labels"], data.classes, title, most=most
    )


def findings(result: FitResult) -> str:
    """What the numbers of a run say: how well, how much it over-fits, where it fails; Markdown."""
    found, rows = result.metrics, result.history
    gap = found["train"]["accuracy"] - found["test"]["accuracy"]
    worst = per_class(result, 1)
    lines = [
        f"- **{found['test']['accuracy']:.2%}** of {found['test']['images']:,} test images are classified rightly "
        f"(chance would be {1 / len(found['per_class']):.1%}), by {found['parameters']:,} parameters.",
        f"- Training images are classified rightly {found['train']['accuracy']:.2%} of the time: "
        + (
            f"{gap * 100:.1f} points more than test images, so the network over-fits."
            if gap > 0.02
            else f"{abs(gap) * 100:.1f} points {'more' if gap >= 0 else 'less'} than test images, hardly a gap."
        ),
        f"- The best of {found['epochs']} epochs was number {found['best_epoch']}"
        + (", the last one: more epochs might help." if found["best_epoch"] == found["epochs"] else "."),
        f"- The class with the lowest F1 is **{worst.index[0]}** ({worst['f1'].iloc[0]:.2f}).",
        f"- {_most_confused(found)}",
    ]
    first, last = rows[0]["valid_loss"], rows[-1]["valid_loss"]
    lines.append(f"- The validation loss went from {first:.3f} after the first epoch to {last:.3f} after the last.")
    return "\n".join(lines)


def _most_confused(found: Any) -> str:
    matrix = np.array(found["confusion"])
    np.fill_diagonal(matrix, 0)
    names = [row["class"] for row in found["per_class"]]
    if not matrix.any():
        return "No test image is confused with another class."
    true, called = np.unravel_index(matrix.argmax(), matrix.shape)
    return f"What is confused most: **{names[true]}** called **{names[called]}** ({matrix.max()} times)."


def first_filters(backend: Backend, layer: str | None = None) -> Figure:
    """The filters of a convolution, by default of the first."""
    from competition.explain.activations import filter_sheet
    from competition.explain.figures import picture_figure
    from competition.explain.verbs import first_with_filters

    chosen = layer or first_with_filters(backend)
    return picture_figure(filter_sheet(backend, chosen, most=64), chosen, longest=5.0)


def answers(backend: Backend, image: np.ndarray, count: int = 3, channels: int = 16) -> Figure:
    """An image and what some spatial layers answer to it, from the input to the last.

    Args:
        backend: the network.
        image: uint8 (h, w, c).
        count: layers shown.
        channels: channels shown of each, the strongest.
    """
    from competition.explain.activations import activation_maps, mosaic, stretched, strongest
    from competition.explain.figures import Panel, sheet

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
    from competition.explain.ascent import AscentConfig, ascend_class
    from competition.explain.figures import Panel, sheet

    config = AscentConfig(steps=steps or pick(256, 24))
    panels = [Panel(ascend_class(backend, name, config=config), name) for name in names]
    half = (len(panels) + 1) // 2 if len(panels) > 5 else len(panels)
    return sheet([row for row in (panels[:half], panels[half:]) if row], side=1.7)


def channel_images(backend: Backend, layers: Sequence[str], channels: int = 3, steps: int | None = None) -> Figure:
    """Pictures painted from noise for the first channels of some layers, a row per layer."""
    from competition.explain.ascent import AscentConfig, ascend_channel
    from competition.explain.figures import Panel, sheet

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
    from competition.explain.backend import class_target
    from competition.explain.explain_photos import heat
    from competition.explain.faithfulness import deletion
    from competition.explain.figures import curves_figure

    pixels = images.astype(np.float32) / 255
    target = class_target(backend.classes, list(labels))
    maps = {method: heat(backend, pixels, target, method) for method in methods}
    maps["random"] = np.random.default_rng(0).random(pixels.shape[:3], dtype=np.float32)
    found = {name: deletion(backend, pixels, target, heat_map, steps=pick(20, 10)) for name, heat_map in maps.items()}
    lines = {name: (curve.shares.tolist(), curve.values.mean(axis=0).tolist()) for name, curve in found.items()}
    return curves_figure(lines, "share of the pixels that are blanked", "probability of the class")


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
    from competition.explain.backend import class_target
    from competition.explain.explain_photos import heat
    from competition.explain.figures import Panel, sheet
    from competition.explain.overlays import overlay

    pixels = images.astype(np.float32) / 255
    target = class_target(backend.classes, list(labels))
    called = [backend.classes[number] for number in backend.logits(pixels).argmax(axis=1)]
    rows = [[Panel(image, label) for image, label in zip(pixels, labels, strict=True)]]
    for method in methods:
        maps = heat(backend, pixels, target, method)
        panels = [Panel(overlay(image, found), method) for image, found in zip(pixels, maps, strict=True)]
        rows.append(panels)
    rows[0] = [
        Panel(panel.image, panel.title, "" if name == panel.title else f"called {name}")
        for panel, name in zip(rows[0], called, strict=True)
    ]
    return sheet(rows, side=1.6)


def one_of_each(data: Dataset, classes: int = 6) -> tuple[np.ndarray, list[str]]:
    """A test image of each of the first classes, uint8 (n, h, w, c), and their names."""
    rows = [int(np.flatnonzero(data.test.labels == number)[0]) for number in range(min(classes, data.num_classes))]
    return data.test.images[rows], [data.classes[data.test.labels[row]] for row in rows]


def line(values: Sequence[float], x: str, y: str) -> Figure:
    """A course of numbers, counted from 1."""
    from competition.explain.figures import curves_figure

    return curves_figure({y: (list(range(1, len(values) + 1)), list(values))}, x, y)


def maps(values: np.ndarray, names: Sequence[str]) -> Figure:
    """Signed maps (n, h, w) side by side, one scale for all: orange above 0, blue below."""
    from competition.explain.figures import Panel, sheet, wrapped

    largest = max(float(np.abs(values).max()), 1e-12)
    share = values[..., None] / largest
    warm, cold = np.array([0.66, 0.28, 0.10]), np.array([0.08, 0.39, 0.55])
    shown = 1 - np.clip(share, 0, 1) * (1 - warm) - np.clip(-share, 0, 1) * (1 - cold)
    panels = [Panel(image.astype(np.float32), str(name)) for image, name in zip(shown, names, strict=True)]
    return sheet(wrapped(panels, 5), side=1.5)


def autoencoder_findings(table: pd.DataFrame) -> str:
    """What a table of ``compare_autoencoders`` says, Markdown."""
    lines = []
    for noise, rows in table.groupby("noise"):
        best = rows.sort_values("psnr").iloc[-1]
        gain = best["psnr"] - best["psnr_input"]
        text = f"- Noise {noise:g}: the **{best['kind']}** autoencoder is ahead with {best['psnr']:.1f} dB"
        lines.append(text + (f", {gain:+.1f} dB against its noisy input." if noise else "."))
    sizes = table.drop_duplicates("kind").set_index("kind")["parameters"]
    sizes_said = ", ".join(f"{kind} {count:,}" for kind, count in sizes.items())
    return "\n".join([*lines, f"- Parameters: {sizes_said}."])
