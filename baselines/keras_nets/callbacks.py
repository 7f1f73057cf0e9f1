"""The kit's Keras callbacks, one concern each; every one also works in a ``model.fit`` of your own.

    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    memory = [Rates(FitConfig(epochs=10, lr=0.1, schedule="one_cycle")), Throughput(len(x)), EarlyStop(5),
              BestWeights(Path("run/model.safetensors")), Records(Path("run/history.csv"))]
    model.fit(x, y, validation_data=(xv, yv), epochs=10, callbacks=[
        *memory, StopOnNaN(), Board(Path("run/tensorboard")), Resume(Path("run/checkpoint"), with_state=memory)])

What they add to ``logs`` at an epoch's end (``rate``, ``images_per_second``, ``seconds``) the later ones see:
``Records`` and ``Board`` come after the others, ``Resume`` (``baselines.keras_nets.resume``) last. None asks for the
logs of a batch, so Keras need not wait for the device at every step.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import keras
import numpy as np

from baselines.fit_config import FitConfig
from baselines.keras_nets.weights import save_own_weights
from baselines.schedules import rate_at
from competition.console import Ticker, say
from competition.errors import KitError
from competition.training.tracking import History, tensorboard

Logs = dict[str, Any] | None

# Columns of the kit's history and the names under which Keras may have them, the first that is there.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "train_loss": ("loss",),
    "train_accuracy": ("accuracy", "acc", "sparse_categorical_accuracy", "categorical_accuracy"),
    "valid_loss": ("val_cross_entropy", "val_loss"),
    "valid_accuracy": ("val_accuracy", "val_acc", "val_sparse_categorical_accuracy", "val_categorical_accuracy"),
    "rate": ("rate", "learning_rate"),
    "images_per_second": ("images_per_second",),
    "seconds": ("seconds",),
}


def figures_of(logs: Mapping[str, Any]) -> dict[str, float]:
    """The kit's columns from Keras' logs; a model of several outputs has its first output's metrics under its name."""
    named = dict(logs)
    for key, value in logs.items():
        validation = key.startswith("val_")
        for wanted in ("accuracy", "cross_entropy"):
            if key.endswith(f"_{wanted}"):
                named.setdefault(f"val_{wanted}" if validation else wanted, value)
    row = {}
    for column, names in COLUMNS.items():
        found = next((name for name in names if name in named), None)
        if found is not None:
            row[column] = float(named[found])
    return row


class StatefulCallback(keras.callbacks.Callback):
    """A callback that remembers epochs; ``Resume`` saves and restores what it says."""

    def get_state(self) -> dict[str, Any]:
        """JSON-able values."""
        raise NotImplementedError

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Put back what ``get_state`` gave."""
        raise NotImplementedError


class Rates(StatefulCallback):
    """Sets the learning rate of every step as ``baselines.schedules.rate_at`` has it, and logs the last as ``rate``.

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

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Know the epoch."""
        self._epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """Set the rate, where it differs from the last one."""
        steps = self.steps or self.params.get("steps") or 1
        rate = rate_at(self.config, self._epoch + (self.first_step + batch) / steps, self.valid_losses)
        if rate != self._rate:
            self._rate = rate
            self.model.optimizer.learning_rate.assign(rate)

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


class StopOnNaN(keras.callbacks.Callback):
    """Ends the training with one clear line when the loss is not a number.

    Args:
        every: steps between two looks; the loss is a running mean, so a NaN stays in it.
    """

    def __init__(self, every: int = 50) -> None:
        super().__init__()
        self.every = every

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """Look every few steps."""
        if batch and batch % self.every == 0:
            self._look(self.model.get_metrics_result().get("loss"), f"step {batch}")

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Look at the epoch's mean."""
        self._look((logs or {}).get("loss"), f"epoch {epoch + 1}")

    def _look(self, loss: Any, where: str) -> None:
        if loss is not None and not math.isfinite(float(loss)):
            raise KitError(f"the training loss is not a number ({where}): lower lr, or set clip_grad")


class _Monitor(StatefulCallback):
    """Follows one figure and knows its best epoch.

    Args:
        monitor: ``valid_loss`` (lower is better) or ``valid_accuracy``.
    """

    def __init__(self, monitor: str = "valid_loss") -> None:
        super().__init__()
        self.monitor = monitor
        self.best: tuple[float, float] | None = None
        self.best_epoch = 0
        self.stale = 0

    def look(self, epoch: int, logs: Logs) -> bool:
        """Take in an epoch (from 0) and say whether it is the best so far."""
        figures = figures_of(logs or {})
        if self.monitor not in figures:
            raise KitError(f"no {self.monitor} to go by: give model.fit validation data and a metric 'accuracy'")
        loss = figures.get("valid_loss", 0.0)
        # Of equally accurate epochs the one of lower loss.
        key = (-figures[self.monitor], loss) if self.monitor == "valid_accuracy" else (figures[self.monitor], loss)
        if self.best is None or key < self.best:
            self.best, self.best_epoch, self.stale = key, epoch + 1, 0
            return True
        self.stale += 1
        return False

    def get_state(self) -> dict[str, Any]:
        """The best so far."""
        return {"best": self.best, "best_epoch": self.best_epoch, "stale": self.stale}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Put it back."""
        self.best = None if state["best"] is None else (state["best"][0], state["best"][1])
        self.best_epoch, self.stale = state["best_epoch"], state["stale"]


class BestWeights(_Monitor):
    """Writes the weights of the best epoch as safetensors, under Keras' own names; whole or not at all.

    Args:
        path: of the file.
        monitor: see ``_Monitor``.
        write: what writes them, ``(model, path)``.
    """

    def __init__(
        self,
        path: Path,
        monitor: str = "valid_loss",
        write: Callable[[keras.Model, Path], None] = save_own_weights,
    ) -> None:
        super().__init__(monitor)
        self.path, self.write = path, write

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Write, where the epoch is better than all before it."""
        if self.look(epoch, logs):
            self.write(self.model, self.path)


class EarlyStop(_Monitor):
    """Stops after ``patience`` epochs in a row without a better one.

    Args:
        patience: 0 never stops.
        monitor: see ``_Monitor``.
    """

    def __init__(self, patience: int, monitor: str = "valid_loss") -> None:
        super().__init__(monitor)
        self.patience = patience
        self.stopped = ""

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Stop, where it is time."""
        if not self.patience:
            return
        self.look(epoch, logs)
        if self.stale >= self.patience:
            self.stopped = f"no better {self.monitor} for {self.stale} epochs"
            if epoch + 1 < self.params.get("epochs", math.inf):
                say(f"stopped early: {self.stopped}")
            self.model.stop_training = True

    def get_state(self) -> dict[str, Any]:
        """The best so far, and whether it has stopped."""
        return {**super().get_state(), "stopped": self.stopped}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Put it back."""
        super().set_state(state)
        self.stopped = state["stopped"]


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
    """Writes TensorBoard under the kit's own tags (``competition.training.board``): runs of both frameworks overlay.

    Args:
        folder: of the event file.
        batch: images uint8 (n, h, w, c) as the network sees them before normalisation, to be shown once; or None.
    """

    def __init__(self, folder: Path, batch: np.ndarray | None = None) -> None:
        super().__init__()
        self.folder, self.batch = folder, batch
        self._open = ExitStack()
        self._writer: Any = None

    def on_train_begin(self, logs: Logs = None) -> None:
        """Open the file."""
        if self._writer is None:
            self._writer = self._open.enter_context(tensorboard(self.folder))
        if self.batch is not None:
            from competition.training.board import log_batch_images

            log_batch_images(self._writer, self.batch)
            self.batch = None

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Write the epoch's figures."""
        from competition.training.board import log_epoch

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
