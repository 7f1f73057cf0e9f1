"""One fold on its own, as a run would train it: for sweeps and range tests."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from competition.config import TrainConfig
from competition.data.source.arrange import arranged
from competition.data.source.competition_data import CompetitionData
from competition.errors import UsageError
from competition.files import digest_of
from competition.record.run_dir import RunDir
from competition.training.cross_validate import check_start, open_run
from competition.training.run.prepare import Prepared
from competition.training.sweep.database import require_optuna
from competition.training.sweep.space import Space
from competition.training.sweep.study import SweepResult, run_sweep
from competition.types import Fold, FoldResult

# They say where and on what it trains; a study compares how.
_NOT_VARIED = ("name", "n_folds", "seed", "device", "workers", "backbone", "pretrained", "head_from", "needs_gpu")


@dataclass(frozen=True)
class OneFold:
    """A fold ready to be trained: audited data, its split, and the probe's head where the recipe starts from it."""

    prepared: Prepared
    fold: Fold
    head: tuple[np.ndarray, np.ndarray] | None


def open_fold(
    data: CompetitionData, config: TrainConfig, run: RunDir, fold: int, weights: Path | str | None
) -> OneFold:
    """Audit, make folds and, for ``head_from=probe``, solve the probe; all of it is kept in the run's folder.

    Raises:
        UsageError: there is no such fold.
        ResumeError: the folder holds something else.
    """
    if not 0 <= fold < config.n_folds:
        raise UsageError(f"--fold {fold} is impossible: expected 0 to {config.n_folds - 1}")
    data = arranged(data, config)
    check_start(data, config, run, (fold,), weights)
    prepared = open_run(data, config, run, weights)
    head = None
    if config.head_from == "probe":
        from competition.training.probe.run import fit_heads

        head = fit_heads(prepared, config, run, weights)[fold]
    return OneFold(prepared, prepared.table.folds()[fold], head)


def sweep_recipe(
    data: CompetitionData,
    config: TrainConfig,
    space: Space,
    run_dir: Path | str,
    *,
    trials: int,
    fold: int = 0,
    weights: Path | str | None = None,
    storage: str | None = None,
) -> SweepResult:
    """Work on the sweep of a recipe until its study has ``trials`` trials; the same call continues it.

    Args:
        data: the competition.
        config: the recipe.
        space: what varies.
        run_dir: the sweep's folder.
        trials: finished and pruned trials wanted.
        fold: the fold that every trial trains.
        weights: folder of pretrained weights; None looks at the usual places.
        storage: address of a shared database; None keeps the study in the folder.

    Raises:
        KitError: one of its kinds, see ``run_sweep`` and ``fit_fold``.
    """
    fixed = [key for key in space.keys if key in _NOT_VARIED]
    if fixed:
        raise UsageError(f"--vary {fixed[0]} is impossible: a sweep compares settings of one backbone on one fold")
    require_optuna()
    space.check(config)
    run = RunDir(Path(run_dir))
    data = arranged(data, config)
    with run.claimed():
        one = open_fold(data, config, run, fold, weights)
        facts = {
            "data_digest": data.digest,
            "fold": fold,
            "folds_digest": digest_of([one.fold.train_ids, one.fold.valid_ids]),
            "weights": run.manifest.get("weights"),
        }
        fit = _fitter(one, weights)
        return run_sweep(config, space, fit, run, trials=trials, facts=facts, storage=storage)


def _fitter(one: OneFold, weights: Path | str | None) -> Callable[..., FoldResult]:
    import optuna

    from competition.training.finetune.fit_fold import fit_fold

    def fit(config: TrainConfig, run: RunDir, on_epoch: Callable[[Mapping[str, Any]], None]) -> FoldResult:
        data, folder = one.prepared.usable, run.fold(one.fold.index)
        try:
            result = fit_fold(
                data, one.fold, config, run, weights=weights, head=one.head, test=False, epoch_hooks=[on_epoch]
            )
        except optuna.TrialPruned:
            shutil.rmtree(folder / "state", ignore_errors=True)
            raise
        # The study keeps the figures; the weights of dozens of trials would fill the disk.
        (folder / "model.safetensors").unlink(missing_ok=True)
        return result

    return fit
