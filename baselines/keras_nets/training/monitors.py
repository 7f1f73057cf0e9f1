"""Keras callbacks that judge epochs: the best weights, an early stop, a loss that is not a number."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from baselines.keras_nets.training.callbacks import Logs, StatefulCallback, figures_of
from baselines.keras_nets.training.weights import save_own_weights
from competition.console import say
from competition.errors import KitError


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
    """

    def __init__(self, path: Path, monitor: str = "valid_loss") -> None:
        super().__init__(monitor)
        self.path = path

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Write, where the epoch is better than all before it."""
        if self.look(epoch, logs):
            save_own_weights(self.model, self.path)


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
