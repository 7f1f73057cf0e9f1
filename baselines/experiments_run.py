"""Working through a study: its trials in Optuna's database, in this process or several, on one machine or many."""

from __future__ import annotations

import math
import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baselines.experiments import Cell, Study, label_of
from competition.console import duration, say, warn
from competition.errors import KitError, ResumeError, TrainingError, UsageError
from competition.files import differences, explain_disk_errors
from competition.training.tracking import RunDir

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

    from baselines.experiments_report import Report

_STARTUP_TRIALS = 5


@dataclass(frozen=True)
class Job:
    """What a worker process needs; plain enough to be sent to it.

    Attributes:
        study: what is compared.
        folder: of the study.
        address: of the database.
        where: where data sets lie.
        device: for every trial.
        alone: one process works on the study, so that a seed makes a search repeatable.
    """

    study: Study
    folder: Path
    address: str = field(repr=False)  # it may hold a password
    where: str | None
    device: str
    alone: bool

    @property
    def title(self) -> str:
        """Name of the study in the database."""
        return f"baselines-{self.study.name}"


def run_study(
    study: Study,
    folder: str | Path | None = None,
    *,
    where: str | Path | None = None,
    jobs: int = 1,
    storage: str | None = None,
    device: str = "auto",
) -> Report:
    """Run what is missing of a study and write its report; the same call continues it.

    Args:
        study: see ``baselines.studies``, or one's own.
        folder: where trials, database and report go; None means ``runs/sweeps/NAME``.
        where: where data sets lie, see ``load_dataset``.
        jobs: processes that train side by side; each computes with its share of the cores.
        storage: Optuna's database address, which many machines may share (each with a folder of its own, or one that
            they share); None means ``study.sqlite3`` in the folder.
        device: for every trial.

    Raises:
        UsageError: ``jobs`` is below 1, or the study does not fit its data.
        ResumeError: the folder or the database holds another study of that name.
        StorageError: the database cannot be reached.
        KitError: no trial came to its end.
    """
    from baselines.experiments_report import write_report
    from competition.training.sweep import retake_lost_trials

    if jobs < 1:
        raise UsageError(f"--jobs {jobs} is impossible: expected 1 or more")
    home = Path(folder) if folder else Path("runs/sweeps") / study.name
    run = RunDir(home)
    with run.claimed():
        address = storage or f"sqlite:///{(home / 'study.sqlite3').resolve()}"
        job = Job(study, home, address, str(where) if where else None, device, storage is None and jobs == 1)
        database = open_study(job)
        retake_lost_trials(database, alone=storage is None)
        _queue(database, study)
        waiting = _missing(database, study)
        if waiting:
            say(f"{study.name}: {waiting} trials to go{f', {jobs} at a time' if jobs > 1 else ''}")
            _work(job, min(jobs, waiting))
            left = _missing(database, study)
            if left:
                warn(f"{study.name}: {left} trials did not come to their end and are not in the report; run it again")
        return write_report(study, trials_of(database, study), home)


def open_study(job: Job) -> optuna.Study:
    """Create the study in the database, or join it when it compares the same.

    Raises:
        ResumeError: a study of that name compares something else.
        StorageError: the database cannot be reached.
    """
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    from competition.training.sweep import database, unusable

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with explain_disk_errors(job.folder):
            job.folder.mkdir(parents=True, exist_ok=True)
        found = optuna.create_study(
            study_name=job.title, storage=database(job.address), direction="minimize", load_if_exists=True
        )
    except (SQLAlchemyError, ImportError, optuna.exceptions.StorageInternalError) as error:
        raise unusable(job.address, error) from error
    identity, stored = job.study.identity(), found.user_attrs.get("identity")
    if stored is None:
        found.set_user_attr("identity", identity)
    elif stored != identity:
        changed = "; ".join(differences(stored, identity)[:3])
        raise ResumeError(
            f"'{job.title}' compares something else there ({changed}): choose another --run-dir or --name"
        )
    # Machines that share a study must not draw the same values; alone, the seed makes a search repeatable.
    seed = job.study.seeds[0] + len(found.get_trials(deepcopy=False)) if job.alone else None
    found.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=_STARTUP_TRIALS)
    return found


def _queue(database: optuna.Study, study: Study) -> None:
    """Queue the cells that the database does not know yet, or knows only as broken off."""
    from optuna.trial import TrialState

    broken = [TrialState.FAIL, TrialState.PRUNED]
    known = {
        trial.user_attrs.get("cell")
        for trial in database.get_trials(deepcopy=False)
        if trial.state not in broken or "diverged" in trial.user_attrs
    }
    for cell in [] if study.searched else study.cells():
        if cell.key not in known:
            database.enqueue_trial({}, user_attrs={"cell": cell.key})


def trials_of(database: optuna.Study, study: Study) -> list[dict[str, Any]]:
    """What the settled trials of the study reached: ``label``, ``settings``, ``seed``, ``state`` and the figures.

    A cell that was run twice (by two machines at once) counts once.
    """
    from optuna.trial import TrialState

    rows: dict[str, dict[str, Any]] = {}
    for trial in database.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.FAIL)):
        attributes = trial.user_attrs
        if "settings" not in attributes or (trial.state == TrialState.FAIL and "diverged" not in attributes):
            continue
        state = "finished" if trial.state == TrialState.COMPLETE else "diverged"
        key = attributes.get("cell", str(trial.number))
        rows.setdefault(
            key,
            {
                "trial": trial.number,
                "key": key,
                "label": label_of(attributes["settings"]),
                "settings": attributes["settings"],
                "seed": attributes["seed"],
                "state": state,
                "run": attributes.get("run"),
                **attributes.get("figures", {}),
            },
        )
    if study.searched:
        return list(rows.values())
    # In the order in which the study declares them; a database may hold seeds that are not asked for now.
    return [rows[cell.key] for cell in study.cells() if cell.key in rows]


def _missing(database: optuna.Study, study: Study) -> int:
    wanted = study.trials if study.searched else len(study.cells())
    return max(0, wanted - len(trials_of(database, study)))


def _work(job: Job, jobs: int) -> None:
    """Train until nothing waits, in this process or in several."""
    if jobs == 1:
        work(job)
        return
    context = multiprocessing.get_context("spawn")  # a forked child would inherit the threads' locks, held
    with _threads(max(1, (os.cpu_count() or 1) // jobs)):
        workers = [context.Process(target=_worker, args=(job,)) for _ in range(jobs)]
        for worker in workers:
            worker.start()
    try:
        for worker in workers:
            worker.join()
    except BaseException:
        for worker in workers:
            worker.terminate()
        raise
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

    from competition.entry import hush_imports
    from competition.environment import before_tensorflow
    from competition.secret_shapes import mask

    hush_imports()
    before_tensorflow()
    try:
        work(job)
    except KitError as error:
        warn(f"a worker ended: {error}")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        mask(error)  # multiprocessing prints the traceback of what is raised from here
        raise


def work(job: Job) -> None:
    """Take trials from the database one by one until none is left."""
    from optuna.exceptions import TrialPruned

    database = open_study(job)
    cells = {cell.key: cell for cell in job.study.cells()} if not job.study.searched else {}

    def objective(trial: optuna.Trial) -> float:
        if job.study.searched:
            cell = Cell({key: entry.suggest(trial, key) for key, entry in job.study.space.items()}, job.study.seeds[0])
        elif trial.user_attrs.get("cell") in cells:
            cell = cells[trial.user_attrs["cell"]]
        else:
            if "cell" not in trial.user_attrs:  # another worker took the last one between the look and the asking
                database.stop()
            raise TrialPruned  # a seed that is not asked for now: queued again when it is
        return _one(job, trial, cell)

    def enough(database: optuna.Study, trial: FrozenTrial) -> None:
        if not _left(database, job.study, set(cells)):
            database.stop()

    if _left(database, job.study, set(cells)):
        database.optimize(objective, callbacks=[enough], catch=(TrainingError,))


def _left(database: optuna.Study, study: Study, cells: set[str]) -> bool:
    """Whether a trial is to be taken: a queued cell of this study, or one more draw."""
    from optuna.trial import TrialState

    trials = database.get_trials(deepcopy=False)
    if study.searched:
        taken = [trial for trial in trials if trial.state == TrialState.RUNNING]
        return len(trials_of(database, study)) + len(taken) < study.trials
    return any(trial.state == TrialState.WAITING and trial.user_attrs.get("cell") in cells for trial in trials)


def _one(job: Job, trial: optuna.Trial, cell: Cell) -> float:
    """Train one cell and tell the database; returns the validation loss."""
    import dataclasses

    from baselines.experiments_trial import plain, run_plan

    plan = job.study.plan(cell.settings, cell.seed)
    plan = dataclasses.replace(plan, config=dataclasses.replace(plan.config, device=job.device))
    run = job.folder / "trials" / f"{cell.key}-seed{cell.seed}"
    trial.set_user_attr("settings", {key: list(v) if isinstance(v, tuple) else v for key, v in cell.settings.items()})
    trial.set_user_attr("seed", cell.seed)
    trial.set_user_attr("run", run.name)
    say(f"trial {trial.number}: {cell.label}, seed {cell.seed}")
    try:
        figures = plain(run_plan(plan, job.where, run))
    except TrainingError as error:
        trial.set_user_attr("diverged", str(error))
        warn(f"trial {trial.number} ended: {error}")
        raise
    trial.set_user_attr("figures", figures)
    say(
        f"trial {trial.number}: test accuracy {figures['test_accuracy']:.4f}, validation loss "
        f"{figures['valid_loss']:.4f}, {duration(figures['seconds'])}"
    )
    if not math.isfinite(figures["valid_loss"]):
        trial.set_user_attr("diverged", "the validation loss is not a number")
    return float(figures["valid_loss"])
