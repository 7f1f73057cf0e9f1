"""Exact continuation of a ``model.fit``: weights, optimiser, generators of dropout, running metrics, position.

The files are those of ``competition.training.engine``: safetensors and JSON, digest-checked, the one before kept.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from baselines.keras_nets.training.callbacks import Logs, StatefulCallback
from competition.console import say
from competition.errors import ResumeError
from competition.training.engine.interrupt import Interrupt


class Resume(keras.callbacks.Callback):
    """Saves the state of a training and, when ``model.fit`` starts again, puts it back. Put it last in the list.

    In a ``model.fit`` of your own it continues at the beginning of the epoch that was interrupted, with the state it
    had there. ``fit_keras`` also continues inside an epoch.

    Args:
        folder: of the checkpoints.
        identity: what the training is (configuration, digest of the data); a checkpoint of another one is refused.
        with_state: callbacks whose memory belongs to the training (``Rates``, ``BestWeights``, ``EarlyStop``...).
        every: least seconds between two checkpoints; 0 writes one after every epoch.
        inside: write them inside epochs as well. That needs images whose order follows from the epoch's number and
            can be entered anywhere (``baselines.keras_nets.training.feed.Feed``).
        interrupt: is asked at every step whether to stop; needs ``inside``.

    Attributes:
        epoch: where the training goes on, from 0.
        step: of that epoch, from 0.
    """

    def __init__(
        self,
        folder: Path,
        identity: Mapping[str, Any] | None = None,
        with_state: Sequence[StatefulCallback] = (),
        *,
        every: float = 0.0,
        inside: bool = False,
        interrupt: Interrupt | None = None,
    ) -> None:
        from competition.training.engine.checkpoint import CheckpointStore

        super().__init__()
        self.store = CheckpointStore(folder, identity or {})
        self.with_state, self.every, self.inside = list(with_state), every, inside
        self.interrupt = interrupt or Interrupt()
        self.epoch = self.step = 0
        self._last = time.monotonic()
        self._running: dict[str, np.ndarray] | None = None
        self._restored = False

    def on_train_begin(self, logs: Logs = None) -> None:
        """Put the newest checkpoint back, unless ``restore`` has done it."""
        if not self._restored and self.restore(self.model):
            self.model._initial_epoch = self.epoch  # as Keras' own BackupAndRestore

    def restore(self, model: keras.Model) -> bool:
        """Put the newest whole checkpoint back; False when there is none.

        Raises:
            ResumeError: it belongs to another training or another model.
        """
        self._restored = True
        stored = self.store.load()
        if stored is None:
            return False
        _build_optimiser(model)
        parts: dict[str, dict[str, np.ndarray]] = {"model": {}, "optimiser": {}, "metric": {}}
        for name, tensor in stored.tensors.items():
            part, number = name.split(".", 1)
            parts[part][number] = tensor.numpy()
        _assign("model", model.variables, parts["model"])
        _assign("optimiser", model.optimizer.variables, parts["optimiser"])
        self.epoch, self.step = int(stored.facts["epoch"]), int(stored.facts["step"])
        self._running = parts["metric"] if self.step else None
        for callback, state in zip(self.with_state, stored.facts["callbacks"], strict=True):
            callback.set_state(state)
        say(f"going on in epoch {self.epoch + 1}" + (f" after step {self.step}" if self.step else ""))
        return True

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Put back the running means of an epoch that was interrupted."""
        if epoch != self.epoch:
            self.epoch, self.step = epoch, 0
        if self._running is not None:
            _assign("metric", self.model.metrics_variables, self._running)
            self._running = None

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """Save when it is time, and stop when the user asked for it: the state is that before this step.

        Raises:
            KeyboardInterrupt: after Ctrl-C, once the state is on the disk.
        """
        if not (batch and self.inside) or not (self._due or self.interrupt.asked):
            return
        # What a loss that is not a number has done to the weights is not worth keeping.
        if math.isfinite(float(self.model.get_metrics_result().get("loss", 0.0))):
            self.save(self.epoch, self.step + batch)
        self._stop_when_asked(f"in epoch {self.epoch + 1} after step {self.step + batch}")

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Save the state before the next epoch, when it is time."""
        self.epoch, self.step = epoch + 1, 0
        last = self.model.stop_training or self.epoch == self.params.get("epochs")
        if self._due or last or self.interrupt.asked:
            self.save(self.epoch, 0)
        self._stop_when_asked(f"after epoch {self.epoch}")

    @property
    def _due(self) -> bool:
        return time.monotonic() - self._last >= self.every

    def _stop_when_asked(self, where: str) -> None:
        if self.interrupt.asked:
            say(f"stopped {where}; saved, the same command goes on from there")
            raise KeyboardInterrupt

    def save(self, epoch: int, step: int) -> None:
        """Write a checkpoint that continues with ``step`` of ``epoch`` (both from 0).

        Raises:
            StorageError: the disk is full.
        """
        import torch

        from competition.training.engine.checkpoint import Checkpoint

        groups = {"model": self.model.variables, "optimiser": self.model.optimizer.variables}
        if step:
            groups["metric"] = self.model.metrics_variables
        tensors = {
            f"{part}.{number:05d}": torch.from_numpy(np.array(ops.convert_to_numpy(variable)))
            for part, variables in groups.items()
            for number, variable in enumerate(variables)
        }
        facts = {"epoch": epoch, "step": step, "callbacks": [callback.get_state() for callback in self.with_state]}
        name = f"epoch-{epoch:04d}-step-{step:06d}-{secrets.token_hex(3)}"
        self.store.save(name, Checkpoint(tensors, facts))
        self._last = time.monotonic()


def _build_optimiser(model: keras.Model) -> None:
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)


def _assign(what: str, variables: Sequence[Any], values: Mapping[str, np.ndarray]) -> None:
    shapes = [tuple(variable.shape) for variable in variables]
    stored = [values[key].shape for key in sorted(values)]
    if shapes != stored:
        raise ResumeError(f"the checkpoint is of another model or optimiser ({what}: {len(stored)} values stored)")
    for variable, key in zip(variables, sorted(values), strict=True):
        variable.assign(values[key])
