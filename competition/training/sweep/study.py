"""Search for better hyperparameters of a fine-tuning recipe with Optuna: TPE sampler, pruning on one fold.

Every trial trains the same fold with other values and is stopped early when its validation log loss after an epoch is
worse than the median of the trials before it. The study is a SQLite file in the run folder, or any database that Optuna
takes, so that many machines work on one study. The best log loss of many trials is a little lucky: what a sweep finds
must be run on all folds before its score is believed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from competition.config import TrainConfig
from competition.console import duration, say, warn
from competition.errors import KitError, UsageError
from competition.files import digest_of, write_csv, write_json
from competition.record.run_dir import RunDir
from competition.training.sweep.database import (
    STARTUP_TRIALS,
    open_study,
    require_optuna,
    retake_lost_trials,
)
from competition.training.sweep.space import Space
from competition.types import FoldResult

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

OnEpoch = Callable[[Mapping[str, Any]], None]
# Trains one configuration in a folder of its own, calls back after each epoch with the history's row (``epoch`` and
# ``log_loss`` among its columns), passes on whatever the callback raises.
Fit = Callable[[TrainConfig, RunDir, OnEpoch], FoldResult]

_HOPELESS = 3  # when so many first trials end by an error, the recipe is to blame and not the values


@dataclass(frozen=True)
class SweepResult:
    """What a sweep has found so far.

    Attributes:
        config: the recipe with the best trial's values.
        overrides: the same as ``key=value`` texts for ``--set``.
        log_loss: of the best trial on the sweep's fold, nats.
        finished: trials that ran to their end.
        pruned: trials that were stopped early.
        page: HTML with history, importance and parallel coordinates.
    """

    config: TrainConfig
    overrides: tuple[str, ...]
    log_loss: float
    finished: int
    pruned: int
    page: Path


def run_sweep(
    config: TrainConfig,
    space: Space,
    fit: Fit,
    run: RunDir,
    *,
    trials: int,
    facts: Mapping[str, Any],
    storage: str | None = None,
) -> SweepResult:
    """Work on a study until it has ``trials`` trials, whoever made them; the same call continues it.

    A trial that was interrupted or killed is taken up again in its own folder, at its last checkpoint.

    Args:
        config: the recipe; what the space does not name stays as it is.
        space: what varies.
        fit: trains one configuration on the sweep's fold.
        run: the sweep's folder, claimed by this process.
        trials: finished and pruned trials wanted in the study.
        facts: what else must be the same in every trial (data digest, fold, digest of the weights).
        storage: Optuna's database address; None means ``study.sqlite3`` in the run folder.

    Raises:
        UsageError: ``trials`` is below 1, or the space names a key or value the recipe refuses.
        ResumeError: the study is of another recipe, other data or another space.
        StorageError: the database cannot be reached.
        KitError: no trial came to its end.
    """
    if trials < 1:
        raise UsageError(f"--trials {trials} is impossible: expected 1 or more")
    require_optuna()
    space.check(config)
    study = _open_study(config, space, run, facts, storage)
    retake_lost_trials(study, alone=storage is None)
    done = len(_settled(study))
    if done < trials:
        say(f"sweep of '{config.name}': {trials - done} trials to go, over {', '.join(space.keys)}")
        _optimise(study, _objective(config, space, fit, run), trials)
    return _conclude(study, config, run)


def _open_study(config: TrainConfig, space: Space, run: RunDir, facts: Mapping[str, Any], storage: str | None) -> Study:
    """Create the study, or join it when it is of the same recipe, data and space."""
    import optuna

    fixed = {key: value for key, value in config.to_dict().items() if key not in ("device", "workers", *space.keys)}
    # Through JSON's types, as the database gives them back.
    identity = {**_listed(fixed), **dict(facts), **{f"space of {key}": text for key, text in space.describe().items()}}
    run.path.mkdir(parents=True, exist_ok=True)
    return open_study(
        f"dogbreed-{config.name}",
        storage or f"sqlite:///{(run / 'study.sqlite3').resolve()}",
        identity,
        config.seed if storage is None else None,
        # the first epoch is warm-up
        optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS - 1, n_warmup_steps=2),
    )


def _listed(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}


def _settled(study: Study) -> list[FrozenTrial]:
    """Trials that need no more work: finished, pruned, or failed for a reason of their own (a loss that is NaN)."""
    from optuna.trial import TrialState

    ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL))
    return [trial for trial in ended if trial.state != TrialState.FAIL or "diverged" in trial.user_attrs]


def _objective(config: TrainConfig, space: Space, fit: Fit, run: RunDir) -> Callable[[Trial], float]:
    import math

    import optuna

    from competition.errors import TrainingError

    def objective(trial: Trial) -> float:
        values = space.suggest(trial)
        chosen = dataclasses.replace(config, **values)
        # Named by its values, so that a retaken trial finds its own checkpoint.
        folder = RunDir(run / "trials" / digest_of(_listed(values)))
        told = ", ".join(f"{key}={_short(value)}" for key, value in values.items())
        say(f"trial {trial.number}: {told}")

        def on_epoch(row: Mapping[str, Any]) -> None:
            trial.report(float(row["log_loss"]), int(row["epoch"]))
            if trial.should_prune():
                raise optuna.TrialPruned(f"log loss {row['log_loss']:.4f} after epoch {row['epoch']}")

        try:
            result = fit(chosen, folder, on_epoch)
        except optuna.TrialPruned as pruned:
            say(f"trial {trial.number}: pruned, {pruned}")
            raise
        except TrainingError as error:
            trial.set_user_attr("diverged", str(error))
            warn(f"trial {trial.number} ended: {error}")
            raise
        if not math.isfinite(result.log_loss):  # Optuna calls it failed; marked, so that it is not tried again
            trial.set_user_attr("diverged", "the log loss is not a number")
        trial.set_user_attr("accuracy", result.accuracy)
        say(f"trial {trial.number}: log loss {result.log_loss:.4f}, {duration(result.seconds)}")
        return result.log_loss

    return objective


def _optimise(study: Study, objective: Callable[[Trial], float], trials: int) -> None:
    from competition.errors import TrainingError

    def enough(study: Study, trial: FrozenTrial) -> None:
        settled = _settled(study)
        hopeless = len(settled) >= _HOPELESS and all("diverged" in other.user_attrs for other in settled)
        if len(settled) >= trials or hopeless:
            study.stop()

    study.optimize(objective, callbacks=[enough], catch=(TrainingError,))


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _word(trial: FrozenTrial) -> str:
    return {"COMPLETE": "finished", "PRUNED": "pruned", "FAIL": "diverged"}[trial.state.name]


def _conclude(study: Study, config: TrainConfig, run: RunDir) -> SweepResult:
    """Write ``trials.csv``, ``best.json`` and ``sweep.html``."""
    from optuna.trial import TrialState

    from competition.training.sweep.page import write_sweep_page

    settled = _settled(study)
    finished = [trial for trial in settled if trial.state == TrialState.COMPLETE]
    if not finished:
        reasons = [str(trial.user_attrs["diverged"]) for trial in settled if "diverged" in trial.user_attrs]
        raise KitError(
            f"none of the {len(settled)} trials came to its end ({reasons[-1] if reasons else 'all were pruned'}): "
            "mend the recipe with --set or narrow the space with --vary"
        )
    best = min(finished, key=lambda trial: (trial.value, trial.number))
    keys = sorted({key for trial in settled for key in trial.params})
    write_csv(
        run / "trials.csv",
        ["trial", "state", "log_loss", "accuracy", *keys],
        [[t.number, _word(t), t.value, t.user_attrs.get("accuracy"), *map(t.params.get, keys)] for t in settled],
    )
    page = write_sweep_page(study, run / "sweep.html", f"Sweep of {config.name}")
    overrides = tuple(f"{key}={value}" for key, value in best.params.items())
    found = config.override(overrides)
    write_json(run / "best.json", {"trial": best.number, "log_loss": best.value, "values": best.params})
    return SweepResult(found, overrides, float(best.value or 0.0), len(finished), len(settled) - len(finished), page)
