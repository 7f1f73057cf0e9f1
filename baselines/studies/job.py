"""One cell of a study: its job, and the row that it leaves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from baselines.studies.study import Cell, Study, label_of
from competition.console import duration, say, warn
from competition.errors import TrainingError

if TYPE_CHECKING:
    pass


class Trial(Protocol):
    """What a trial is written down with: Optuna's, or a plain one."""

    @property
    def number(self) -> int:
        """Of the study, from 0."""

    def set_user_attr(self, key: str, value: Any) -> None:
        """Keep a value with the trial."""


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
        shared: other machines may work on it too.
    """

    study: Study
    folder: Path
    address: str = field(repr=False)  # it may hold a password
    where: str | None
    device: str
    alone: bool
    shared: bool = False

    @property
    def title(self) -> str:
        """Name of the study in the database."""
        return f"baselines-{self.study.name}"


def row_of(number: int, key: str, attributes: Mapping[str, Any], state: str) -> dict[str, Any]:
    """A settled trial for the report: ``label``, ``settings``, ``seed``, ``state`` and the figures."""
    return {
        "trial": number,
        "key": key,
        "label": label_of(attributes["settings"]),
        "settings": attributes["settings"],
        "seed": attributes["seed"],
        "state": state,
        "run": attributes.get("run"),
        **attributes.get("figures", {}),
    }


def one(job: Job, trial: Trial, cell: Cell) -> float:
    """Train one cell and write down with the trial what came of it; returns the validation loss."""
    import dataclasses

    from baselines.studies.trial import plain, run_plan

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
