"""The figures and pictures of a trained network: loss, accuracy, per-class rates, cost; written into its run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

from baselines.contract.trainer import Outcome
from baselines.data.datasets import Dataset, Part, load_dataset
from baselines.summary import summarise
from baselines.training.frameworks import Adapter, adapter_for
from baselines.training.run_folder import ModelCard, ids_of, read_metrics, stored_model
from competition.errors import DataError
from competition.files import write_json, write_npz
from competition.record.metrics import accuracy, confusion_matrix, log_softmax, per_class_table

# The training part is only looked at to see over-fitting: this many of its images tell enough.
_TRAIN_IMAGES = 10_000


@dataclass(frozen=True)
class Scored:
    """A part of a data set with a network's logits float32 (n, c), and the seconds they took."""

    part: Part
    logits: np.ndarray
    seconds: float

    @property
    def probabilities(self) -> np.ndarray:
        """float64 (n, c)."""
        return np.exp(log_softmax(self.logits))

    @property
    def figures(self) -> dict[str, Any]:
        """Images, cross-entropy in nats, accuracy, and top-5 accuracy where there are more than five classes."""
        rows = np.arange(len(self.part))
        probabilities = self.probabilities
        return {
            "images": len(self.part),
            "loss": float(-log_softmax(self.logits)[rows, self.part.labels].mean()),
            "accuracy": accuracy(probabilities, self.part.labels),
            "top5": accuracy(probabilities, self.part.labels, 5) if probabilities.shape[1] > 5 else None,
        }


def score(adapter: Adapter, model: Any, part: Part, card: ModelCard, batch_size: int, device: str) -> Scored:
    """Logits of a part.

    Raises:
        DataError: they are not numbers.
    """
    mean, std = np.array(card.mean, np.float32), np.array(card.std, np.float32)
    began = monotonic()
    logits = adapter.predict(model, part.images, mean, std, batch_size=batch_size, device=device)
    seconds = monotonic() - began
    if not np.isfinite(logits).all():
        raise DataError(f"{card.name} gives logits that are not numbers: train again with a lower lr")
    return Scored(part, logits, seconds)


def sample_of(part: Part, most: int, seed: int) -> Part:
    """At most ``most`` images of a part, drawn by the seed."""
    if len(part) <= most:
        return part
    rows = np.sort(np.random.default_rng([seed, 3]).permutation(len(part))[:most])
    return Part(part.images[rows], part.labels[rows])


def report_run(
    adapter: Adapter,
    model: Any,
    data: Dataset,
    card: ModelCard,
    folder: Path,
    outcome: Outcome,
    history: Sequence[Mapping[str, Any]],
    *,
    batch_size: int,
    device: str,
    seed: int,
) -> dict[str, Any]:
    """Look at the test part, once, and write predictions, pictures and, last, ``metrics.json``; returns the metrics."""
    parts = {"train": sample_of(data.train, _TRAIN_IMAGES, seed), "valid": data.valid, "test": data.test}
    scored = {name: score(adapter, model, part, card, batch_size, device) for name, part in parts.items()}
    for name in ("valid", "test"):
        _save_predictions(folder / f"{name}.npz", scored[name], data.classes)
    metrics = {
        "model": card.name,
        "framework": card.framework,
        "dataset": data.name,
        **{name: part.figures for name, part in scored.items()},
        **class_figures(scored["test"], data.classes),
        **_cost(model, card),
        **_course(outcome, history),
        "inference_images_per_second": len(data.test) / max(scored["test"].seconds, 1e-9),
        "peak_memory_mb": round(adapter.peak_memory_mb(device), 1),
        "device": adapter.device_name(device),
    }
    draw_run(folder, scored["test"], data.classes, history, f"{card.name} ({card.framework}) on {data.name}")
    write_json(folder / "metrics.json", metrics)
    return metrics


def class_figures(scored: Scored, classes: Sequence[str]) -> dict[str, Any]:
    """Per-class precision, recall and F1 in the order of the classes, their means, and the confusion matrix."""
    labels, probabilities = scored.part.labels, scored.probabilities
    table = per_class_table(probabilities, labels, classes).rename(columns={"photos": "images"}).set_index("class")
    rows = [
        {"class": name, **{key: _number(value) for key, value in table.loc[name].to_dict().items()}} for name in classes
    ]
    # A class that is never called has no precision: it counts as 0 in the mean, as scikit-learn does.
    means = {
        key: float(np.mean([row[key] or 0.0 for row in rows if row["images"]])) for key in ("precision", "recall", "f1")
    }
    matrix = confusion_matrix(probabilities.argmax(axis=1), labels, len(classes))
    return {"per_class": rows, "macro": means, "confusion": matrix.tolist()}


def _number(value: Any) -> Any:
    """JSON has no NaN: a rate of nothing is null."""
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _cost(model: Any, card: ModelCard) -> dict[str, Any]:
    """Parameters and multiply-accumulates; null where a layer of one's own cannot be counted."""
    table = summarise(model, (card.channels, card.image_size, card.image_size))
    return {"parameters": table.parameters, "trainable": table.trainable, "macs": table.macs}


def _course(outcome: Outcome, history: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How training went: epochs, time, throughput (median over the epochs)."""
    return {
        "epochs": outcome.epochs,
        "best_epoch": outcome.best_epoch,
        "stopped": outcome.stopped,
        "seconds": outcome.seconds,
        "seconds_per_epoch": float(np.median([row["seconds"] for row in history])),
        "images_per_second": float(np.median([row["images_per_second"] for row in history])),
    }


def _save_predictions(path: Path, scored: Scored, classes: Sequence[str]) -> None:
    """``Predictions`` with the labels beside them."""
    write_npz(
        path,
        ids=np.array(ids_of(len(scored.part))),
        classes=np.array(classes),
        probabilities=scored.probabilities,
        labels=scored.part.labels,
    )


def draw_run(
    folder: Path, scored: Scored, classes: Sequence[str], history: Sequence[Mapping[str, Any]], title: str
) -> None:
    """Write ``confusion.png``, ``misclassified.png`` and ``curves.png``; TensorBoard gets the first two as well."""
    from baselines.training import pictures
    from competition.pictures.figures import save, to_board
    from competition.record.tensorboard import tensorboard

    labels, probabilities = scored.part.labels, scored.probabilities
    confusion = pictures.confusion_figure(probabilities, labels, classes, title)
    mistakes = pictures.misclassified_figure(scored.part.images, probabilities, labels, classes, title)
    save(confusion, folder / "confusion.png")
    save(mistakes, folder / "misclassified.png")
    save(pictures.curves_figure(history, title), folder / "curves.png")
    with tensorboard(folder / "tensorboard") as writer:
        to_board(writer, "confused/matrix", confusion)
        to_board(writer, "confused/mistakes", mistakes)


def evaluate_run(
    folder: Path, data: Dataset | None = None, *, model: Any = None, device: str = "auto", batch_size: int = 256
) -> dict[str, Any]:
    """Load a run's network and score the test part again; nothing is written.

    Args:
        folder: the run's.
        data: another data set of the same classes and image shape; None loads the run's own.
        model: needed for a network of one's own.
        device: as in the configuration.
        batch_size: images at a time.

    Returns:
        Figures of the test part: ``test``, ``per_class``, ``macro``, ``confusion``, and ``stored``, what
        ``metrics.json`` has.

    Raises:
        DataError: the data do not fit the network.
        KitError: run, weights or data are missing or damaged.
    """
    card = ModelCard.load(folder)
    network = stored_model(folder, card, model)
    data = data or load_for(folder)
    require_same_task(card, data)
    scored = score(adapter_for(card.framework), network, data.test, card, batch_size, device)
    stored = read_metrics(folder)["test"] if data.digest == card.dataset["digest"] else None
    return {"test": scored.figures, **class_figures(scored, data.classes), "stored": stored}


def load_for(folder: Path, name: str | None = None, where: Path | None = None) -> Dataset:
    """The data set that a run was trained on, or another one at the same size.

    Args:
        folder: the run's.
        name: of the other set; None takes the run's own.
        where: folder that holds data sets; None takes the run's.
    """
    card = ModelCard.load(folder)
    options = {key: value for key, value in card.dataset.items() if key not in ("name", "source", "digest")}
    if where is not None:
        options["where"] = where
    if name is not None:
        options["image_size"] = card.image_size
    return load_dataset(name or card.dataset["name"], **options)


def require_same_task(card: ModelCard, data: Dataset) -> None:
    """Check that a data set has a stored model's classes and image shape.

    Raises:
        DataError: it has not.
    """
    shape = (data.image_size, data.in_channels)
    if shape != (card.image_size, card.channels):
        raise DataError(
            f"{card.name} was trained on {card.image_size} px images of {card.channels} channels, {data.name} has "
            f"{shape[0]} px and {shape[1]}"
        )
    if data.classes != card.classes:
        raise DataError(f"{data.name} has other classes than {card.dataset['name']}, on which {card.name} was trained")
