"""Working through a study: its trials in Optuna's database, in this process or several, on one machine or many.

Where Optuna is not installed (Colab's image has none) a study that declares its trials is worked through all the same,
see ``search_plain``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from baselines.studies.job import Job
from baselines.studies.study import Study
from competition.errors import UsageError
from competition.record.run_dir import RunDir

if TYPE_CHECKING:
    from baselines.studies.report import Report


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
        study: see ``baselines.studies.catalogue``, or one's own.
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
        KitError: no trial came to its end, or the study needs Optuna, which is not installed.
    """
    from baselines.studies.report import write_report

    if jobs < 1:
        raise UsageError(f"--jobs {jobs} is impossible: expected 1 or more")
    home = Path(folder) if folder else Path("runs/sweeps") / study.name
    run = RunDir(home)
    with run.claimed():
        address = storage or f"sqlite:///{(home / 'study.sqlite3').resolve()}"
        alone = storage is None and jobs == 1
        job = Job(study, home, address, str(where) if where else None, device, alone, storage is not None)
        return write_report(study, _run_trials(job, jobs), home)


def _run_trials(job: Job, jobs: int) -> list[dict[str, Any]]:
    try:
        from baselines.studies.search_optuna import run_trials
    except ImportError as error:
        if (error.name or "").split(".")[0] != "optuna":
            raise
        from baselines.studies.search_plain import run_trials as run_plainly

        return run_plainly(job)
    return run_trials(job, jobs)
