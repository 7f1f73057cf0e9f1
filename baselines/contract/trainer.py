"""What a framework offers to ``fit``: the shapes of its functions, and what several of them need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from baselines.contract.config import FitConfig
    from baselines.data.datasets import Dataset
    from competition.record.run_dir import RunDir


EpochHook = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Outcome:
    """How a training ended.

    Attributes:
        epochs: epochs done.
        best_epoch: the epoch, from 1, whose weights the model now has.
        stopped: why it ended before its last epoch; empty otherwise.
        seconds: of all starts together, validation included.
    """

    epochs: int
    best_epoch: int
    stopped: str
    seconds: float


class Fit(Protocol):
    """Train, or go on where ``checkpoint/`` was left; the model has the best epoch's weights afterwards.

    ``run`` gains ``history.csv`` (columns epoch, train_loss, train_accuracy, valid_loss, valid_accuracy, rate,
    images_per_second, seconds), ``tensorboard/`` and, while it lasts, ``checkpoint/``. ``train_loss`` is what is
    minimised, ``valid_loss`` the plain cross-entropy. ``epoch_hooks`` get each new row; what they raise ends the
    training. ``callbacks`` are the framework's own.
    """

    def __call__(
        self,
        model: Any,
        data: Dataset,
        config: FitConfig,
        run: RunDir,
        *,
        save_every: float,
        callbacks: Sequence[Any],
        epoch_hooks: Sequence[EpochHook],
    ) -> Outcome:
        """Train."""
        ...


class Predict(Protocol):
    """Logits float32 (n, classes) of images uint8 (n, h, w, c), in evaluation mode, normalised by mean and std."""

    def __call__(
        self, model: Any, images: np.ndarray, mean: np.ndarray, std: np.ndarray, *, batch_size: int, device: str
    ) -> np.ndarray:
        """Compute the logits."""
        ...


def peak_process_mb() -> float:
    """Most memory this process ever had resident, MiB."""
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def set_dropout(layers: Sequence[Any], attribute: str, rate: float | None) -> None:
    """Set the rate of a model's dropout layers (``p`` in PyTorch, ``rate`` in Keras); None leaves them.

    Raises:
        UsageError: there are none.
    """
    from competition.errors import UsageError

    if rate is None:
        return
    if not layers:
        raise UsageError("dropout is set, but the model has no dropout layers: leave it out or make the model with it")
    for layer in layers:
        setattr(layer, attribute, rate)
