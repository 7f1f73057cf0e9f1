"""Trains the tiny fold in each of the processes that torchrun starts; the argument is the run folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

from competition.record.run_dir import RunDir
from competition.training.finetune.fit_fold import fit_fold
from tests.training.small_fold import small_config, small_data, small_fold

SETTINGS: dict[str, object] = {"epochs": 5, "freeze_epochs": 1, "drop_rate": 0.0, "drop_path_rate": 0.0}


def main() -> None:
    """Train one fold together."""
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    data = small_data(folder.parent / f"photos{os.environ['RANK']}", count=96)
    result = fit_fold(data, small_fold(data), small_config(batch_size=4, **SETTINGS), RunDir(folder), weights=None)
    print(f"rank {os.environ['RANK']}: {result.log_loss!r}", flush=True)


if __name__ == "__main__":
    main()
