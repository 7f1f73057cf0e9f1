"""Trains the tiny fold in a process of its own that ends itself at a given place.

``kill`` is ``never`` or the number of steps after which the process kills itself with SIGKILL; with ``ctrl-c:N``
it sends itself SIGINT after N steps instead, with ``valid:E`` it is killed while epoch E is validated.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import torch

from competition.record.run_dir import RunDir
from competition.training.engine.callbacks import KitCallback
from competition.training.finetune import fit_fold as session  # noqa: F401 - imported before the fork, so that each start is quick
from competition.training.finetune.fit_fold import fit_fold
from tests.training.small_fold import small_config, small_data, small_fold


class Killer(KitCallback):
    """Ends the process without warning, after the checkpoint of that step has been written or not."""

    order = 95

    def __init__(self, kill: str) -> None:
        kind, _, number = kill.rpartition(":")
        self.kind, self.number = kind or "kill", -1 if number == "never" else int(number)

    def after_batch(self) -> None:
        """Strike."""
        state, training = self.learn.state, self.learn.training
        if self.kind == "valid" and not training and state.epoch == self.number:
            os.kill(os.getpid(), signal.SIGKILL)
        if training and self.learn.last_chunk and state.total_steps == self.number:
            if self.kind == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            elif self.kind == "ctrl-c":
                os.kill(os.getpid(), signal.SIGINT)


def train(folder: Path, kill: str, every: float, workers: int, log: Path, **changes: object) -> None:
    """Train, with some settings changed; standard output and error go to ``log``, the result to its last line."""
    with log.open("w") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    torch.set_num_threads(1)
    data = small_data(folder.parent / "photos")
    settings = {"epochs": 3, "accumulate": 2, "batch_size": 4, "mixup": 0.4, "cutmix": 1.0, "freeze_epochs": 1}
    config = small_config(**{**settings, "workers": workers, "momentum": 0.8, **changes})
    killer = Killer(kill)
    result = fit_fold(
        data, small_fold(data), config, RunDir(folder), weights=None, save_every=every, callbacks=[killer]
    )
    print(f"result {result.log_loss!r} {result.accuracy!r}", flush=True)
