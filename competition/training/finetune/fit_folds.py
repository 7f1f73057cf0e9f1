"""Folds over several devices, one process each; and the processes of a launcher, which train each fold together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from queue import Empty
from typing import TYPE_CHECKING, Any

from competition import system_errors
from competition.config import Config, TrainConfig
from competition.data.source.competition_data import CompetitionData
from competition.errors import KitError
from competition.record.run_dir import RunDir
from competition.system import processes
from competition.types import Fold, FoldResult

if TYPE_CHECKING:
    from competition.training.engine.processes import Together
    from competition.training.finetune.fold_job import Head


def fit_folds(
    data: CompetitionData,
    folds: Sequence[Fold],
    config: TrainConfig,
    run: RunDir,
    *,
    devices: Sequence[str],
    weights: Path | str | None,
    heads: Sequence[Head | None] | None = None,
    test: bool = True,
) -> list[FoldResult]:
    """Fit folds side by side, one process for each device; each takes the next fold when it is done with one.

    Args:
        data: photos and labels.
        folds: which to fit.
        config: the recipe.
        run: where everything is kept; results are the same as of ``fit_fold`` called for one fold after the other.
        devices: ``cuda:0``, ``cuda:1``, ...
        weights: folder of weights.
        heads: one for each fold, with ``head_from=probe``.
        test: predict the test photos too.

    Returns:
        One result for each fold, in their order.

    Raises:
        KitError: a fold failed (its error, with its number), or a process was killed.
    """
    from competition.training.finetune.fit_fold import fit_fold

    context = processes.context(computing=True)
    waiting, failures = context.Queue(), context.Queue()
    starts = heads or [None] * len(folds)
    for fold, head in zip(folds, starts, strict=True):
        waiting.put((fold, head))
    workers = [
        context.Process(  # type: ignore[attr-defined]
            target=_fit_next, args=(waiting, failures, data, replace(config, device=device), run.path, weights, test)
        )
        for device in devices[: len(folds)]
    ]
    for worker in workers:
        worker.start()
    processes.join_all(workers)
    if not failures.empty():
        raise KitError(failures.get())
    killed = [worker.exitcode for worker in workers if worker.exitcode]
    if killed:
        raise KitError(f"a process that fitted folds ended with {killed[0]}: not enough memory? start again to go on")
    return [
        fit_fold(data, fold, config, run, weights=weights, head=head, test=test)
        for fold, head in zip(folds, starts, strict=True)
    ]


def _fit_next(
    waiting: Any,
    failures: Any,
    data: CompetitionData,
    config: TrainConfig,
    folder: Path,
    weights: Path | str | None,
    test: bool,
) -> None:
    """Fit folds from the queue until it is empty."""
    from competition.training.finetune.fit_fold import fit_fold

    while True:
        try:
            fold, head = waiting.get(timeout=1)
        except Empty:
            return
        try:
            fit_fold(data, fold, config, RunDir(folder), weights=weights, head=head, test=test)
        except Exception as error:
            line = str(error) if isinstance(error, KitError) else system_errors.explain(error, everywhere=True)
            if line is None:
                raise
            failures.put(f"fold {fold.index} on {config.device}: {line}")
            return


def companions(config: Config) -> Together | None:
    """The processes that a launcher started to train a recipe's folds together; None where this one is alone."""
    if processes.launched()[1] == 1 or not isinstance(config, TrainConfig):
        return None
    from competition.training.backbones.devices import pick_device
    from competition.training.finetune.fit_fold import join

    return join(pick_device(config.device))


def follow(together: Together, config: TrainConfig, run: RunDir, *, weights: Path | str | None, test: bool) -> None:
    """Train along with the main process, fold by fold; everything else of the run is its affair."""
    from competition.training.finetune.fit_fold import fit_fold

    while (task := together.told()) is not None:
        data, fold, head = task
        fit_fold(data, fold, config, run, weights=weights, head=head, test=test)
