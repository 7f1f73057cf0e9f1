"""A declared study without Optuna: trial after trial in this process, kept in ``trials.json`` of the study's folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from baselines.studies.job import Job, one, row_of
from competition.console import say, warn
from competition.errors import KitError, ResumeError, TrainingError
from competition.files import differences, read_json, write_json


@dataclass
class PlainTrial:
    """A trial's number and what is written down with it."""

    number: int
    user_attrs: dict[str, Any] = field(default_factory=dict)

    def set_user_attr(self, key: str, value: Any) -> None:
        """Keep a value with the trial."""
        self.user_attrs[key] = value


def run_trials(job: Job) -> list[dict[str, Any]]:
    """Train what is missing of the study; the same call continues it.

    Returns:
        The settled trials in the order in which the study declares them, see ``job.row_of``.

    Raises:
        KitError: values are to be drawn, or machines to share the study: Optuna does that.
        ResumeError: the folder holds another study of that name.
    """
    study, path = job.study, job.folder / "trials.json"
    if study.searched or job.shared:
        what = "values are drawn" if study.searched else "machines share a study"
        raise KitError(f"{what} with Optuna, which is not installed: pip install optuna")
    kept: dict[str, Any] = read_json(path) if path.is_file() else {"identity": study.identity(), "trials": []}
    if kept["identity"] != study.identity():
        changed = "; ".join(differences(kept["identity"], study.identity())[:3])
        raise ResumeError(f"'{job.title}' compares something else there ({changed}): choose another --run-dir")
    rows = {row["key"]: row for row in kept["trials"]}
    waiting = [cell for cell in study.cells() if cell.key not in rows]
    if waiting:
        say(
            f"{study.name}: {len(waiting)} trials to go, one at a time and kept in {path.name}: Optuna is not installed"
        )
    for cell in waiting:
        trial = PlainTrial(len(rows))
        try:
            one(job, trial, cell)
        except TrainingError as error:
            trial.set_user_attr("diverged", str(error))
        state = "diverged" if "diverged" in trial.user_attrs else "finished"
        rows[cell.key] = row_of(trial.number, cell.key, trial.user_attrs, state)
        write_json(path, {"identity": kept["identity"], "trials": list(rows.values())})
    if any(row["state"] == "diverged" for row in rows.values()):
        warn(f"{study.name}: a trial that diverged is not tried again")
    return [rows[cell.key] for cell in study.cells() if cell.key in rows]
