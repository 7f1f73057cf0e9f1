"""Trains the tiny fold in each of the processes that a launcher starts; the arguments are a run folder and settings.

``key=value`` changes the configuration; ``ctrl-c=RANK:STEP`` has that process asked to stop after that step,
``folds=2`` trains another one in ``<run folder>1``, and ``stop-early=1`` lets fastai's ``EarlyStoppingCallback`` end it
after the first epoch that is no better by a million.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch
from fastai.callback.tracker import EarlyStoppingCallback

from competition.record.run_dir import RunDir
from competition.training.finetune.fit_fold import fit_fold
from tests.training.interrupted_fold import Killer
from tests.training.small_fold import small_config, small_data, small_fold

# No batch norm, which on CPUs sees a process's own photos only, and no chance that is a process's own.
SETTINGS: dict[str, object] = {
    "backbone": "test_convnext", "epochs": 3, "freeze_epochs": 1, "drop_rate": 0.0, "drop_path_rate": 0.0,
    "batch_size": 7, "clip_grad": 1.0,
}  # fmt: skip
COUNT = 95  # 71 train: two processes take 4 and 3 of a batch of 7; 24 validate


def train(folder: Path, rank: int = 0, **changes: str) -> float:
    """Train the fold, in one process or together with others; gives its log loss."""
    data = small_data(folder.parent / f"photos{rank}", count=COUNT)
    callbacks: list[Any] = []
    chosen, _, step = changes.pop("ctrl-c", "-1:never").partition(":")
    if int(chosen) == rank:
        callbacks.append(Killer(f"ctrl-c:{step}"))
    if changes.pop("stop-early", ""):
        callbacks.append(EarlyStoppingCallback(patience=1, min_delta=1e6))
    read = {key: type(getattr(small_config(), key))(value) for key, value in changes.items()}
    config = small_config(**{**SETTINGS, **read})
    return fit_fold(data, small_fold(data), config, RunDir(folder), weights=None, callbacks=callbacks).log_loss


def main() -> None:
    """Train one fold together."""
    torch.set_num_threads(1)
    rank = int(os.environ.get("RANK", "0"))
    changes = dict(argument.split("=", 1) for argument in sys.argv[2:])
    folder = Path(sys.argv[1])
    for number in range(int(changes.pop("folds", "1"))):
        loss = train(folder.with_name(f"{folder.name}{number or ''}"), rank, **changes)
        print(f"rank {rank}: {loss!r}", flush=True)


if __name__ == "__main__":
    main()
