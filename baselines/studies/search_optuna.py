"""A study's trials in Optuna's database: queued, searched, shared by processes and machines."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.exceptions import TrialPruned
from optuna.trial import FrozenTrial, TrialState

from baselines.studies.job import Job, one, row_of
from baselines.studies.study import Cell, Study
from competition import system_errors
from competition.console import say, warn
from competition.errors import KitError, TrainingError
from competition.system import processes
from competition.system_errors import explain_disk_errors
from competition.training.sweep import database


def run_trials(job: Job, jobs: int) -> list[dict[str, Any]]:
    """Train what is missing of the study; returns what ``trials_of`` does.

    Args:
        job: the study.
        jobs: processes that train side by side.

    Raises:
        ResumeError: the database holds another study of that name.
        StorageError: the database cannot be reached.
        KitError: all worker processes ended by an error.
    """
    study, kept = job.study, open_study(job)
    database.retake_lost_trials(kept, alone=not job.shared)
    _queue(kept, study)
    waiting = _missing(kept, study)
    if waiting:
        say(f"{study.name}: {waiting} trials to go{f', {jobs} at a time' if jobs > 1 else ''}")
        _work(job, min(jobs, waiting))
        left = _missing(kept, study)
        if left:
            warn(f"{study.name}: {left} trials did not come to their end and are not in the report; run it again")
    return trials_of(kept, study)


def open_study(job: Job) -> optuna.Study:
    """Create the study in the database, or join it when it compares the same.

    Raises:
        ResumeError: a study of that name compares something else.
        StorageError: the database cannot be reached.
    """
    with explain_disk_errors(job.folder):
        job.folder.mkdir(parents=True, exist_ok=True)
    seed = job.study.seeds[0] if job.alone else None
    return database.open_study(job.title, job.address, job.study.identity(), seed)


def _queue(kept: optuna.Study, study: Study) -> None:
    """Queue the cells that the database does not know yet, or knows only as broken off."""
    broken = [TrialState.FAIL, TrialState.PRUNED]
    known = {
        trial.user_attrs.get("cell")
        for trial in kept.get_trials(deepcopy=False)
        if trial.state not in broken or "diverged" in trial.user_attrs
    }
    for cell in [] if study.searched else study.cells():
        if cell.key not in known:
            kept.enqueue_trial({}, user_attrs={"cell": cell.key})


def trials_of(kept: optuna.Study, study: Study) -> list[dict[str, Any]]:
    """What the settled trials of the study reached: ``label``, ``settings``, ``seed``, ``state`` and the figures.

    A cell that was run twice (by two machines at once) counts once.
    """
    rows: dict[str, dict[str, Any]] = {}
    for trial in kept.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.FAIL)):
        attributes = trial.user_attrs
        if "settings" not in attributes or (trial.state == TrialState.FAIL and "diverged" not in attributes):
            continue
        state = "finished" if trial.state == TrialState.COMPLETE else "diverged"
        key = attributes.get("cell", str(trial.number))
        rows.setdefault(key, row_of(trial.number, key, attributes, state))
    if study.searched:
        return list(rows.values())
    # In the order in which the study declares them; a database may hold seeds that are not asked for now.
    return [rows[cell.key] for cell in study.cells() if cell.key in rows]


def _missing(kept: optuna.Study, study: Study) -> int:
    wanted = study.trials if study.searched else len(study.cells())
    return max(0, wanted - len(trials_of(kept, study)))


def _work(job: Job, jobs: int) -> None:
    """Train until nothing waits, in this process or in several."""
    if jobs == 1:
        work(job)
        return
    context = processes.context(computing=True)
    with _threads(max(1, (os.cpu_count() or 1) // jobs)):
        workers = [context.Process(target=_worker, args=(job,)) for _ in range(jobs)]  # type: ignore[attr-defined]
        for worker in workers:
            worker.start()
    processes.join_all(workers)
    if all(worker.exitcode for worker in workers):
        raise KitError(f"all {jobs} worker processes ended by an error (see above); --jobs 1 shows it in full")


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Environment for processes started in the block: so many computing threads each."""
    names = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update({name: before[name] or str(count) for name in names})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]


def _worker(job: Job) -> None:
    """Main function of a worker process: errors of users are one line here as well."""
    import sys

    from competition.environment import before_tensorflow
    from competition.secret_shapes import mask
    from competition.system.command_line import hush_imports

    hush_imports()
    before_tensorflow()
    try:
        work(job)
    except Exception as error:
        line = str(error) if isinstance(error, KitError) else system_errors.explain(error, everywhere=True)
        if line is None:
            mask(error)  # multiprocessing prints the traceback of what is raised from here
            raise
        warn(f"a worker ended: {line}")
        sys.exit(1)


def work(job: Job) -> None:
    """Take trials from the database one by one until none is left."""
    kept = open_study(job)
    cells = {cell.key: cell for cell in job.study.cells()} if not job.study.searched else {}

    def objective(trial: optuna.Trial) -> float:
        if job.study.searched:
            cell = Cell({key: entry.suggest(trial, key) for key, entry in job.study.space.items()}, job.study.seeds[0])
        elif trial.user_attrs.get("cell") in cells:
            cell = cells[trial.user_attrs["cell"]]
        else:
            if "cell" not in trial.user_attrs:  # another worker took the last one between the look and the asking
                kept.stop()
            raise TrialPruned  # a seed that is not asked for now: queued again when it is
        return one(job, trial, cell)

    def enough(kept: optuna.Study, trial: FrozenTrial) -> None:
        if not _left(kept, job.study, set(cells)):
            kept.stop()

    if _left(kept, job.study, set(cells)):
        kept.optimize(objective, callbacks=[enough], catch=(TrainingError,))


def _left(kept: optuna.Study, study: Study, cells: set[str]) -> bool:
    """Whether a trial is to be taken: a queued cell of this study, or one more draw."""
    trials = kept.get_trials(deepcopy=False)
    if study.searched:
        taken = [trial for trial in trials if trial.state == TrialState.RUNNING]
        return len(trials_of(kept, study)) + len(taken) < study.trials
    return any(trial.state == TrialState.WAITING and trial.user_attrs.get("cell") in cells for trial in trials)
