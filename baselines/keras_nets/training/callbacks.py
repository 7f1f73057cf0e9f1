"""The kit's Keras callbacks, one concern each; every one also works in a ``model.fit`` of your own.

    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    memory = [Rates(FitConfig(epochs=10, lr=0.1, schedule="one_cycle")), Throughput(len(x)), EarlyStop(5),
              BestWeights(Path("run/model.safetensors")), Records(Path("run/history.csv"))]
    model.fit(x, y, validation_data=(xv, yv), epochs=10, callbacks=[
        *memory, StopOnNaN(), Board(Path("run/tensorboard")), Resume(Path("run/checkpoint"), with_state=memory)])

What they add to ``logs`` at an epoch's end (``rate``, ``images_per_second``, ``seconds``) the later ones see:
``Records`` and ``Board`` come after the others, ``Resume`` last.
None asks for the logs of a batch, so Keras need not wait for the device at every step.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import keras
import numpy as np

from baselines.contract.config import FitConfig
from baselines.contract.schedules import rate_at
from competition.console import Ticker
from competition.errors import KitError
from competition.record.history import History
from competition.record.tensorboard import tensorboard

Logs = dict[str, Any] | None

# Columns of the kit's history by the names that Keras has for them.
COLUMNS: Mapping[str, str] = {
    "loss": "train_loss",
    "accuracy": "train_accuracy",
    "val_cross_entropy": "valid_loss",
    "val_accuracy": "valid_accuracy",
    "rate": "rate",
    "images_per_second": "images_per_second",
    "seconds": "seconds",
}


def figures_of(logs: Mapping[str, Any]) -> dict[str, float]:
    """The kit's columns from Keras' logs; a model of several outputs has its first output's metrics under its name."""
    named = dict(logs)
    for key, value in logs.items():
        for wanted in ("accuracy", "cross_entropy"):
            if key.endswith(f"_{wanted}"):
                named.setdefault(f"val_{wanted}" if key.startswith("val_") else wanted, value)
    named.setdefault("val_cross_entropy", named.get("val_loss"))
    return {column: float(named[name]) for name, column in COLUMNS.items() if named.get(name) is not None}


class StatefulCallback(keras.callbacks.Callback, ABC):
    """A callback that remembers epochs; ``Resume`` saves and restores what it says."""

    @abstractmethod
    def get_state(self) -> dict[str, Any]:
        """JSON-able values."""

    @abstractmethod
    def set_state(self, state: Mapping[str, Any]) -> None:
        """Put back what ``get_state`` gave."""


class Rates(StatefulCallback):
    """Sets the learning rate of every step as ``schedules.rate_at`` has it, and logs the last as ``rate``.

    Args:
        config: schedule, peak rate, epochs.
        steps: of an epoch; None takes what ``model.fit`` knows.
    """

    def __init__(self, config: FitConfig, steps: int | None = None) -> None:
        super().__init__()
        self.config, self.steps = config, steps
        self.valid_losses: list[float] = []
        self._epoch = self.first_step = 0
        self._rate = math.nan

    def on_train_begin(self, logs: Logs = None) -> None:
        """See that the rate can be set.

        Raises:
            KitError: the optimiser was made with a schedule.
        """
        if not hasattr(self.model.optimizer.learning_rate, "assign"):
            raise KitError("the optimiser has a schedule of its own: make it with a number as learning_rate")

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Know the epoch."""
        self._epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """Set the rate, where it differs from the last one."""
        steps = self.steps or self.params.get("steps") or 1
        rate = rate_at(self.config, self._epoch + (self.first_step + batch) / steps, self.valid_losses)
        if rate != self._rate:
            self._rate = rate
            # TensorFlow's own variable: Keras' assign converts, checks and reads back, a third of a millisecond a step.
            self.model.optimizer.learning_rate.value.assign(rate, read_value=False)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Log the rate and remember the validation loss, which ``plateau`` goes by."""
        self.first_step = 0
        if logs is not None:
            loss = figures_of(logs).get("valid_loss")
            self.valid_losses += [] if loss is None else [loss]
            logs["rate"] = self._rate

    def get_state(self) -> dict[str, Any]:
        """Validation losses so far."""
        return {"valid_losses": self.valid_losses}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Put them back; the rate itself follows from them and the position."""
        self.valid_losses = [float(loss) for loss in state["valid_losses"]]
        self._rate = math.nan


class Throughput(StatefulCallback):
    """Logs ``seconds`` (of the whole epoch) and ``images_per_second`` (of its training part).

    Args:
        images: trained on in an epoch.
    """

    def __init__(self, images: int) -> None:
        super().__init__()
        self.images = images
        self.before = 0.0  # seconds of this epoch in an earlier process
        self._began: float | None = None
        self._trained = 0.0

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Start the clock."""
        self._began, self._trained = time.perf_counter(), 0.0

    def on_test_begin(self, logs: Logs = None) -> None:
        """The epoch's training is over where its validation begins."""
        self._trained = self._trained or self._running

    @property
    def _running(self) -> float:
        return 0.0 if self._began is None else time.perf_counter() - self._began

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Stop the clock."""
        seconds = self._running
        if logs is not None:
            logs["images_per_second"] = self.images / max(self.before + (self._trained or seconds), 1e-9)
            logs["seconds"] = self.before + seconds
        self.before, self._began = 0.0, None

    def get_state(self) -> dict[str, Any]:
        """Seconds of the epoch so far."""
        return {"before": self.before + self._running}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Count them in."""
        self.before = float(state["before"])


class Records(StatefulCallback):
    """Writes ``history.csv`` with the kit's columns, a row an epoch.

    Args:
        history: the file, or a ``History`` to fill.
    """

    def __init__(self, history: Path | History) -> None:
        super().__init__()
        self.history = history if isinstance(history, History) else History(history)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Add the row; rows that an earlier start left behind it are forgotten."""
        self.history.truncate(epoch)
        self.history.append(epoch=epoch + 1, **figures_of(logs or {}))

    def get_state(self) -> dict[str, Any]:
        """Rows so far."""
        return {"rows": len(self.history.rows)}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Forget the rows of epochs that are trained again."""
        self.history.truncate(int(state["rows"]))


class Board(keras.callbacks.Callback):
    """Writes TensorBoard under the kit's own tags (``competition.record.board``): runs of both frameworks overlay.

    Args:
        folder: of the event file.

    Attributes:
        batch: images uint8 (n, h, w, c) as the network sees them before normalisation, to be shown once; or None.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.batch: np.ndarray | None = None
        self._open = ExitStack()
        self._writer: Any = None

    def on_train_begin(self, logs: Logs = None) -> None:
        """Open the file."""
        if self._writer is None:
            self._writer = self._open.enter_context(tensorboard(self.folder))
        if self.batch is not None:
            from competition.record.board import log_batch_images

            log_batch_images(self._writer, self.batch)
            self.batch = None

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Write the epoch's figures."""
        from competition.record.board import log_epoch

        log_epoch(self._writer, {"epoch": epoch + 1, **figures_of(logs or {})})

    def on_train_end(self, logs: Logs = None) -> None:
        """Close the file."""
        self._open.close()
        self._writer = None


class Progress(keras.callbacks.Callback):
    """Moves a bar over images, at most twice a second.

    Args:
        ticker: of ``competition.console.progress``.
        images: per step.
    """

    def __init__(self, ticker: Ticker, images: int) -> None:
        super().__init__()
        self.ticker, self.images = ticker, images
        self._waiting = 0
        self._last = time.monotonic()

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """Count the step before this one."""
        self._waiting += 1 if batch else 0
        if time.monotonic() - self._last > 0.5:
            self._tell()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Count the last step."""
        self._waiting += 1
        self._tell()

    def _tell(self) -> None:
        self.ticker.advance(self._waiting * self.images)
        self._waiting, self._last = 0, time.monotonic()
