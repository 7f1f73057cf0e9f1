"""What the notebooks call: data, tables, pictures and sentences of a study, one line a cell.

    from baselines.notebook import study as chapter
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
from typing import TYPE_CHECKING, Any

import numpy as np

from baselines.data.datasets import Dataset, load_dataset
from baselines.notebook.learnt import (
    answers,
    channel_images,
    class_images,
    deletion_figure,
    deletion_findings,
    first_filters,
    heat_maps,
    line,
    map_sizes,
    maps,
)
from baselines.training.run_folder import FitResult
from competition.errors import DataError, UsageError
from competition.files import read_npz
from competition.notebook.display import mode, pick, picture, quiet, short, show, tell

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

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
    "deletion_findings",
    "figures",
    "findings",
    "first_filters",
    "heat_maps",
    "ladder_findings",
    "layers",
    "learning_layers",
    "limited",
    "line",
    "load",
    "map_sizes",
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
    "size_against",
    "tell",
    "weights",
]


_PROPER = {"pytorch": "PyTorch", "keras": "Keras on TensorFlow", "numpy": "NumPy"}
# The digits that scikit-learn brings have 8 pixels, too few for most networks here.
_STAND_IN_SIDE = 16


def begin(framework: str = "pytorch", seed: int = 0) -> None:
    """Seed everything, keep third parties' warnings out of the page, say on what the notebook runs.

    Args:
        framework: ``pytorch``, ``keras`` or ``numpy``.
        seed: of NumPy's global generator.
    """
    warnings.filterwarnings("ignore")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    from baselines.training.frameworks import adapter_for
    from competition import environment

    if framework == "keras":
        environment.before_tensorflow()
    np.random.seed(seed)  # noqa: NPY002 - libraries that a reader adds may draw from the global generator
    device = adapter_for(framework).device_name("auto")
    mode(f"{_PROPER[framework]} on **{device}**")


def load(*names: str, image_size: int | None = None) -> Dataset:
    """The first of some data sets that can be had: the wanted one, then its stand-ins, last ``digits``.

    Args:
        names: see ``baselines.list_datasets``, best first.
        image_size: side in pixels to resize to.
    """
    reasons = []
    for name in dict.fromkeys((*names, "digits")):
        side = _STAND_IN_SIDE if name == "digits" != names[0] else None
        try:
            data = load_dataset(name, image_size=image_size or side)
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

    from baselines.training.evaluate import sample_of

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
    from competition.pictures.figures import Panel, sheet

    rows = []
    for number, name in enumerate(data.classes[:most_classes]):
        images = data.train.images[data.train.labels == number][:per_class]
        rows.append([Panel(image / 255, name if column == 0 else "") for column, image in enumerate(images)])
    return sheet([row for row in rows if row], side=0.85)


def layers(model: Any) -> None:
    """Show the layer table: shapes, parameters, multiply-accumulates."""
    from baselines.summary import summarise

    print(summarise(model).table())


def learning_layers(model: Any) -> int:
    """Convolutions and dense layers: what the papers count when they say how deep a network is."""
    from baselines.summary import summarise

    return sum(row.kind in ("conv", "conv by table", "dense") for row in summarise(model).rows)


def weights(model: Any, most: int = 6) -> pd.DataFrame:
    """Names and shapes of a network's first arrays, as its framework keeps them."""
    import pandas as pd

    from baselines.port import is_keras

    if is_keras(model):
        rows = [{"weight": item.path, "shape": tuple(item.shape)} for item in model.weights[:most]]
    else:
        rows = [{"weight": name, "shape": tuple(item.shape)} for name, item in list(model.state_dict().items())[:most]]
    return pd.DataFrame(rows).set_index("weight")


def size_against(model: Any, other: str, data: Dataset) -> str:
    """A sentence about how many weights a network has beside another of the same framework.

    Args:
        model: the network.
        other: registered name of the other.
        data: gives the other's classes and image size.
    """
    from baselines.registry import create_model
    from baselines.summary import summarise

    mine = summarise(model)
    theirs = create_model(
        other, mine.framework, num_classes=data.num_classes, in_channels=data.in_channels, image_size=data.image_size
    )
    more = summarise(theirs).parameters
    return f"{mine.parameters:,} weights; `{other}` has {more:,}, which is {more / mine.parameters:,.0f} times as many."


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
    from baselines.training.pictures import curves_figure

    return curves_figure(result.history)


def confusion(result: FitResult) -> Figure:
    """True against predicted class on the test part."""
    from baselines.training.pictures import confusion_figure

    stored = read_npz(result.run / "test.npz")
    return confusion_figure(stored["probabilities"], stored["labels"], [str(name) for name in stored["classes"]])


def mistakes(result: FitResult, data: Dataset, most: int = 16) -> Figure:
    """The wrong test predictions of which the network was surest."""
    from baselines.training.pictures import misclassified_figure

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


def one_of_each(data: Dataset, classes: int = 6) -> tuple[np.ndarray, list[str]]:
    """A test image of each of the first classes, uint8 (n, h, w, c), and their names."""
    rows = [int(np.flatnonzero(data.test.labels == number)[0]) for number in range(min(classes, data.num_classes))]
    return data.test.images[rows], [data.classes[data.test.labels[row]] for row in rows]


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


def ladder_findings(table: pd.DataFrame) -> str:
    """What a table of ``tabular.walk`` says about lines and layers, Markdown."""
    rows: list[dict[Any, Any]] = table.to_dict("records")

    def best_of(chosen: list[dict[Any, Any]]) -> dict[Any, Any]:
        return max(chosen, key=lambda row: float(row["test"]))

    first, best = rows[0], best_of(rows)
    deepest = best_of([row for row in rows if str(row["model"]).startswith("MLP")])
    line = best_of([row for row in rows if not str(row["model"]).startswith("MLP")])
    gap, spread = deepest["test"] - line["test"], max(deepest["spread"], line["spread"])
    verdict = "which is within the spread" if abs(gap) <= spread else "which exceeds the spread"
    return (
        f"The best model here is **{best['model']}** with {best['test']:.1%} of the test rows; always saying the most "
        f"frequent class gives {first['test']:.1%}. The best network with hidden layers differs from the best without "
        f"by {gap * 100:+.1f} points, {verdict} ({spread * 100:.1f})."
    )
