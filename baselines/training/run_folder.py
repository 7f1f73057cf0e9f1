"""What a trained baseline leaves on the disk, the same for both frameworks, and how it is read again.

A run folder: ``config.json``, ``manifest.json``, ``history.csv``, ``tensorboard/``, ``model.safetensors`` (the best
epoch's weights, under the framework's own names), ``model.json`` (what the model is and on what it was trained),
``valid.npz`` and ``test.npz`` (predictions), ``metrics.json``, ``confusion.png``, ``misclassified.png``,
``curves.png``, and ``checkpoint/`` while it trains.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from baselines.data.datasets import Dataset
from baselines.training.frameworks import adapter_for, framework_of
from competition.errors import DataError, ResumeError, UsageError
from competition.files import read_json, write_json

RUNS = Path("runs/baselines")


@dataclass(frozen=True)
class FitResult:
    """A trained network: where its run lies and what it reached.

    Attributes:
        run: the run's folder.
        history: one row per epoch, columns as in ``history.csv``.
        metrics: as in ``metrics.json``.
    """

    run: Path
    history: tuple[Mapping[str, Any], ...]
    metrics: Mapping[str, Any]

    @property
    def accuracy(self) -> float:
        """Share of the test images classified rightly, in [0, 1]."""
        return float(self.metrics["test"]["accuracy"])

    @property
    def loss(self) -> float:
        """Cross-entropy of the test images, nats."""
        return float(self.metrics["test"]["loss"])


@dataclass(frozen=True)
class ModelCard:
    """What a stored model is: enough to make it again and to feed it.

    Attributes:
        name: registered name, or the class of a network of one's own.
        framework: ``pytorch`` or ``keras``.
        registered: whether ``create_model`` can make it.
        arguments: keyword arguments of ``create_model``.
        classes: in the order of the logits.
        image_size: side in pixels.
        channels: 1 or 3.
        mean: of the training images, by channel, in [0, 1].
        std: standard deviation, likewise.
        dataset: name, source, digest, and the options of ``load_dataset``.
    """

    name: str
    framework: str
    registered: bool
    arguments: Mapping[str, Any]
    classes: tuple[str, ...]
    image_size: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    dataset: Mapping[str, Any]

    @classmethod
    def of(cls, model: Any, data: Dataset) -> ModelCard:
        """Describe a model and the data it is trained on."""
        info = getattr(model, "info", None)
        return cls(
            name=info.name if info else type(model).__name__,
            framework=framework_of(model),
            registered=info is not None,
            arguments=info.to_dict() if info else {},
            classes=data.classes,
            image_size=data.image_size,
            channels=data.in_channels,
            mean=tuple(map(float, data.mean)),
            std=tuple(map(float, data.std)),
            dataset={"name": data.name, "source": data.source, "digest": data.digest, **data.options},
        )

    @property
    def described(self) -> str:
        """Name and arguments as one text, the same for the same model."""
        options = [f"{key}={_listed(value)}" for key, value in sorted(self.arguments.items()) if key != "name"]
        return f"{self.name}({', '.join(options)})"

    def save(self, path: Path) -> None:
        """Write ``model.json``."""
        write_json(path, asdict(self))

    @classmethod
    def load(cls, folder: Path) -> ModelCard:
        """Read ``model.json`` of a run.

        Raises:
            ResumeError: this is no folder of a baseline.
            DataError: the file is damaged.
        """
        path = folder / "model.json"
        if not path.is_file():
            raise ResumeError(f"{folder} is no run of a baseline (no model.json): make one with 'baselines train'")
        try:
            stored: dict[str, Any] = dict(read_json(path))
            values: dict[str, Any] = {
                key: tuple(value) if isinstance(value, list) else value for key, value in stored.items()
            }
            return cls(**values)
        except (TypeError, ValueError) as error:
            raise DataError(f"{path} is damaged ({error}): train again") from error


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def stored_model(folder: Path, card: ModelCard, model: Any = None) -> Any:
    """The network of a run with its best weights.

    Args:
        folder: the run's.
        card: its ``model.json``.
        model: the network itself, needed where it is not a registered one.

    Raises:
        UsageError: the network is not a registered one and was not given.
        WeightsError: the weights are missing, damaged or of another model.
    """
    from baselines.registry import create_model

    if model is None:
        if not card.registered:
            raise UsageError(f"{folder} holds a network of your own ({card.name}): give it as model=")
        model = create_model(**card.arguments)
    adapter_for(card.framework).load(model, folder / "model.safetensors")
    return model


def read_metrics(folder: Path) -> dict[str, Any]:
    """Read ``metrics.json`` of a finished run.

    Raises:
        ResumeError: the run is not finished.
    """
    path = folder / "metrics.json"
    if not path.is_file():
        raise ResumeError(f"{folder} has no metrics.json: finish it with the 'baselines train' command that began it")
    return dict(read_json(path))


def new_run(name: str) -> Path:
    """A folder that does not exist yet: ``runs/baselines/<name>``, then with ``-2``, ``-3`` and so on."""
    path, number = RUNS / name, 1
    while path.exists():
        number += 1
        path = RUNS / f"{name}-{number}"
    return path


def ids_of(count: int) -> tuple[str, ...]:
    """Names of the images of a part: their places, padded."""
    width = len(str(max(count - 1, 0)))
    return tuple(f"{place:0{width}d}" for place in range(count))
