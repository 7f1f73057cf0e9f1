"""Whether a run fits this machine: photos for the folds, a folder to write to, space on the disk, memory."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from competition.config import Config, ProbeConfig
from competition.data.source.competition_data import CompetitionData
from competition.environment import cache_folder
from competition.errors import DataError, StorageError
from competition.files import require_writable
from competition.record.run_dir import RunDir
from competition.training.probe.embed import Block, cached

_FLOAT = 4  # bytes
_CHECKPOINTS = 8  # times the weights: two checkpoints with the optimiser's two moments and the average each


def require_folds(data: CompetitionData, config: Config, run: RunDir) -> None:
    """What needs no network to be seen.

    Raises:
        DataError: there are fewer photos than folds.
        StorageError: the run's folder cannot be written.
    """
    if len(data.train) < config.n_folds:
        raise DataError(f"{len(data.train)} photos cannot fill {config.n_folds} folds: use fewer folds (n_folds)")
    require_writable(run / "manifest.json")


def require_room_for_features(data: CompetitionData, blocks: Sequence[Block], config: ProbeConfig) -> None:
    """The features that are not in the cache yet must fit the disk, those of the train photos the memory.

    Raises:
        StorageError: they do not.
    """
    width = sum(block.backbone.num_features for block in blocks)
    parts = [part for part in (data.train, data.test) if part]
    waiting = [(part, block) for part in parts for block in blocks if cached(part, block, config) is None]
    _require_space(cache_folder(), sum(len(part) * b.backbone.num_features for part, b in waiting) * _FLOAT, "features")
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    needed = len(data.train) * width * _FLOAT
    if needed > memory:
        raise StorageError(
            f"the features of {len(data.train):,} photos take {needed / 1e9:,.1f} GB of memory, this machine has "
            f"{memory / 1e9:,.1f} GB: use fewer backbones or views"
        )


def require_room_for_networks(run: RunDir, weights_bytes: int, folds: int) -> None:
    """The networks of the folds and the checkpoints of one must fit the disk.

    Raises:
        StorageError: they do not.
    """
    _require_space(run.path, weights_bytes * (folds + _CHECKPOINTS), "networks and checkpoints")


def _require_space(folder: Path, needed: int, what: str) -> None:
    place = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(place).free
    if needed > free:
        raise StorageError(
            f"the {what} take about {needed / 1e6:,.0f} MB in {folder}, where {free / 1e6:,.0f} MB are free: free some "
            "space there, or choose another place (--run-dir, DOGBREED_CACHE)"
        )
