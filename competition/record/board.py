"""What every trainer of the kit writes to TensorBoard, under the same tags, whatever framework it trains with.

The functions take NumPy arrays and a ``SummaryWriter`` (``tensorboard.tensorboard`` opens one), so a Keras trainer
calls them like a PyTorch one; only ``log_graph`` needs a torch model. The embedding projector is in ``projector.py``.

| tag | what |
|---|---|
| ``loss/train``, ``loss/valid`` | the loss that is minimised, mean over an epoch |
| ``score/log_loss``, ``score/accuracy`` | of the validation photos; ``_ema``, ``_raw``: which weights |
| ``score/accuracy_train`` | running, while the weights change |
| ``rate/<group>`` | learning rate of each group of layers |
| ``optimiser/gradient_norm`` | before clipping |
| ``throughput/images_per_second``, ``throughput/waiting_for_data`` | the latter is a share of time, in [0, 1] |
| ``progress/side`` | side of the training squares, pixels |
| ``step/...`` | the same by step instead of by epoch |
| ``batch/augmented`` | a batch as the network sees it |
| ``confused/...`` | picture and precision-recall curves of the most confused breeds |
| ``final/...`` | the metrics of the hparams tab |
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from competition.console import warn
from competition.data.source.names import wordnet
from competition.pictures.grid import image_grid
from competition.record.metrics import confused_pairs

if TYPE_CHECKING:
    from torch import nn
    from torch.utils.tensorboard import SummaryWriter

TAGS: Mapping[str, str] = {
    "train_loss": "loss/train",
    "valid_loss": "loss/valid",
    "log_loss": "score/log_loss",
    "accuracy": "score/accuracy",
    "valid_accuracy": "score/accuracy",
    "train_accuracy": "score/accuracy_train",
    "log_loss_raw": "score/log_loss_raw",
    "accuracy_raw": "score/accuracy_raw",
    "log_loss_ema": "score/log_loss_ema",
    "accuracy_ema": "score/accuracy_ema",
    "gradient_norm": "optimiser/gradient_norm",
    "images_per_second": "throughput/images_per_second",
    "waiting": "throughput/waiting_for_data",
    "seconds": "throughput/seconds",
    "side": "progress/side",
}
# Counters and words of a history row: they place the row, they are no figures of it.
_NOT_FIGURES = ("epoch", "step", "fold", "trial", "phase", "best")


def tag_of(column: str) -> str:
    """TensorBoard tag of a history column: as in ``TAGS``, ``rate_head`` gives ``rate/head``, others ``other/...``."""
    if column in TAGS:
        return TAGS[column]
    if column == "rate" or column.startswith("rate_"):
        return f"rate/{column.removeprefix('rate').lstrip('_') or 'all'}"
    return f"other/{column}"


def log_epoch(writer: SummaryWriter, row: Mapping[str, Any]) -> None:
    """Write one row of a history as scalars at step ``row["epoch"]``.

    Args:
        writer: where to.
        row: ``epoch`` and any of the columns in ``TAGS``, ``rate_<group>`` and others; cells that are None or text are
            left out, as are ``step``, ``fold``, ``trial``, ``phase`` and ``best``.
    """
    _log_row(writer, row, int(row["epoch"]), "")
    writer.flush()


def log_step(writer: SummaryWriter, step: int, row: Mapping[str, Any]) -> None:
    """Write figures of one optimiser step (columns as in ``log_epoch``) under ``step/...``; call it every few steps."""
    _log_row(writer, row, step, "step/")


def _log_row(writer: SummaryWriter, row: Mapping[str, Any], step: int, prefix: str) -> None:
    for column, value in row.items():
        if column in _NOT_FIGURES or value is None or isinstance(value, str):
            continue
        writer.add_scalar(f"{prefix}{tag_of(column)}", float(value), step)


def log_batch_images(
    writer: SummaryWriter, images: np.ndarray, step: int = 0, tag: str = "batch/augmented", most: int = 16
) -> None:
    """Write a batch as one picture of tiles.

    Args:
        writer: where to.
        images: (n, h, w, 3) or (n, h, w, 1), uint8 or float in [0, 1]: before normalisation, or with it taken back.
        step: epoch or step.
        tag: see the module.
        most: tiles at most.
    """
    writer.add_image(tag, image_grid(images[:most]), step, dataformats="HWC")


def log_graph(writer: SummaryWriter, model: nn.Module, example: Any) -> None:
    """Write the graph of a torch model, traced once in evaluation mode; every module's mode is put back.

    It is traced on the CPU, a model elsewhere as a copy: for a GPU TorchScript would compile kernels that nobody calls
    again. A model that cannot be traced is told of and left out: the graph is for looking at.

    Args:
        writer: where to.
        model: a torch module.
        example: one input batch, a tensor on the CPU; a batch of one is enough.
    """
    import copy

    import torch

    if any(parameter.device.type != "cpu" for parameter in model.parameters()):
        model = copy.deepcopy(model).cpu()
    modes = {module: module.training for module in model.modules()}  # frozen parts may differ from the rest
    model.eval()
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # the tracer warns of every Python branch
            writer.add_graph(model, example, use_strict_trace=False)
    except Exception as error:  # noqa: BLE001 - tracers raise anything; said aloud, and nothing depends on it
        warn(f"no graph for TensorBoard: {type(model).__name__} cannot be traced ({str(error).splitlines()[0]})")
    finally:
        for module, training in modes.items():
            module.training = training


def log_hparams(writer: SummaryWriter, config: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
    """Write the configuration and the final metrics for the hparams tab, into the writer's own run.

    Args:
        writer: where to.
        config: as ``Config.to_dict`` gives it; tuples become text.
        metrics: by name (``log_loss``, ``accuracy``); shown as ``final/<name>``. None is left out.
    """
    from torch.utils.tensorboard.summary import hparams

    finals = {f"final/{name}": float(value) for name, value in metrics.items() if value is not None}
    # SummaryWriter.add_hparams would open a second run in a folder named by the time: three summaries do without it.
    for summary in hparams({key: _plain(value) for key, value in config.items()}, finals):
        writer._get_file_writer().add_summary(summary)  # type: ignore[no-untyped-call]
    for tag, value in finals.items():
        writer.add_scalar(tag, value, 0)
    writer.flush()


def _plain(value: Any) -> bool | int | float | str:
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "()"
    return str(value)


def most_confused(probabilities: np.ndarray, labels: np.ndarray, classes: Sequence[str], most: int) -> list[int]:
    """Indices of the classes in the most confused pairs, worst pair first, at most ``most``; empty without errors.

    Args:
        probabilities: (n, c).
        labels: (n,) class indices.
        classes: names, length c.
        most: indices at most.
    """
    index_of = {name: index for index, name in enumerate(classes)}
    pairs = confused_pairs(probabilities, labels, classes, most=most)
    chosen = dict.fromkeys(index_of[name] for pair in zip(pairs["a"], pairs["b"], strict=True) for name in pair)
    return list(chosen)[:most]


def log_confused(writer: SummaryWriter, probabilities: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> None:
    """Write what is confused most: precision-recall curves of eight breeds, one picture of sixteen.

    The tags are ``confused/pr/<breed>`` and ``confused/matrix``; without errors nothing is written.

    Args:
        writer: where to.
        probabilities: (n, c).
        labels: (n,) class indices.
        classes: names, length c.
    """
    chosen = most_confused(probabilities, labels, classes, 16)
    for index in most_confused(probabilities, labels, classes, 8):
        writer.add_pr_curve(f"confused/pr/{classes[index]}", labels == index, probabilities[:, index], 0)
    if chosen:
        picture = confusion_picture(probabilities, labels, classes, chosen)
        writer.add_image("confused/matrix", picture, 0, dataformats="HWC")


def confusion_picture(
    probabilities: np.ndarray, labels: np.ndarray, classes: Sequence[str], chosen: Sequence[int]
) -> np.ndarray:
    """Draw counts of true against predicted breed for ``chosen`` class indices, all others gathered in a last column.

    Args:
        probabilities: (n, c).
        labels: (n,) class indices.
        classes: names, length c.
        chosen: rows and columns, in this order.

    Returns:
        uint8 (H, W, 3).
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    counts = _chosen_counts(probabilities.argmax(axis=1), labels, chosen, len(classes))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # A dollar sign in a name is no mathematics.
    names = [wordnet(classes[index])[1].replace("_", " ").replace("$", r"\$") for index in chosen]
    figure = Figure(figsize=(4.2 + 0.42 * len(names), 3.4 + 0.38 * len(names)), dpi=110, layout="constrained")
    canvas, axes = FigureCanvasAgg(figure), figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(names) + 1), [*names, "(any other)"], rotation=55, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="predicted", ylabel="true")
    axes.set_title(f"the {len(names)} most confused of {len(classes)} breeds: photos, shaded by share of the row")
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if shares[row, column] > 0.55 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=9)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _chosen_counts(predicted: np.ndarray, labels: np.ndarray, chosen: Sequence[int], n_classes: int) -> np.ndarray:
    """Counts (k, k + 1): rows and columns as in ``chosen``, the last column all other predictions."""
    place = np.full(n_classes, len(chosen))
    place[list(chosen)] = np.arange(len(chosen))
    counts = np.zeros((len(chosen) + 1, len(chosen) + 1), int)
    np.add.at(counts, (place[labels], place[predicted]), 1)
    return counts[:-1]
