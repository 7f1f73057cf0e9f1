"""Optuna's database of a study: joined or made, by one machine or several; trials that were lost are queued again."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from competition.errors import KitError, ResumeError, StorageError
from competition.files import differences
from competition.secret_shapes import without_secrets

if TYPE_CHECKING:
    from optuna import Study

STARTUP_TRIALS = 5
_DRIVERS = {"psycopg2": "psycopg2-binary", "MySQLdb": "mysqlclient"}  # what pip calls a module
_HEARTBEAT_SECONDS = 60


def require_optuna() -> None:
    """Check that Optuna is there; Colab's image, for one, has none.

    Raises:
        KitError: it is not.
    """
    if importlib.util.find_spec("optuna") is None:
        raise KitError("a sweep keeps its trials with Optuna, which is not installed: pip install optuna")


def open_study(name: str, address: str, identity: Mapping[str, Any], seed: int | None, pruner: Any = None) -> Study:
    """Create a study that minimises, or join it when it is the same.

    Args:
        name: of the study.
        address: of its database.
        identity: what must be the same, in JSON's types.
        seed: makes its draws repeatable; None where machines share it, for they must not draw the same values.
        pruner: Optuna's.

    Raises:
        ResumeError: a study of that name is of something else.
        StorageError: the database cannot be reached.
    """
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    optuna.logging.set_verbosity(optuna.logging.ERROR)  # the kit tells of trials itself
    try:
        study = optuna.create_study(
            study_name=name, storage=database(address), direction="minimize", load_if_exists=True, pruner=pruner
        )
    except (SQLAlchemyError, ImportError, optuna.exceptions.StorageInternalError) as error:
        raise unusable(address, error) from error
    stored = study.user_attrs.get("identity")
    if stored is None:
        study.set_user_attr("identity", dict(identity))
    elif stored != identity:
        changed = "; ".join(differences(stored, identity)[:4])
        raise ResumeError(f"'{name}' compares something else there ({changed}): choose another --run-dir or --storage")
    drawn = None if seed is None else seed + len(study.get_trials(deepcopy=False))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.sampler = optuna.samplers.TPESampler(
            seed=drawn, n_startup_trials=STARTUP_TRIALS, multivariate=True, constant_liar=seed is None
        )
    return study


def database(address: str) -> Any:
    """Optuna's storage with a heartbeat, by which the trials of a machine that died are noticed.

    Raises:
        StorageError: this is no address of a database.
    """
    import optuna
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        make_url(address)
    except (ArgumentError, ValueError):  # its words may hold a piece of the password
        raise StorageError(
            f"the study's database {without_secrets(address)} is no address: write it as sqlite:///FILE or "
            "postgresql://USER@HOST/NAME; in a password '@' is written %40, ':' %3A, '/' %2F, '%' %25"
        ) from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.storages.RDBStorage(address, heartbeat_interval=_HEARTBEAT_SECONDS)


def unusable(address: str, error: Exception) -> StorageError:
    """What is said of a database that cannot be reached; its password is not."""
    driver = str(error.name) if isinstance(error, ImportError) else ""
    lacking = f"; pip install {_DRIVERS.get(driver, driver)}" if driver else ""
    told = without_secrets(f"{address} cannot be used: {error}".replace(address, without_secrets(address)))
    return StorageError(f"the study's database {told}{lacking}")


def retake_lost_trials(study: Study, alone: bool) -> None:
    """Queue again, once, what was running when its process was interrupted or killed.

    Args:
        study: of which trials may have been lost.
        alone: nobody else works on it, so whatever runs in it is a leftover; else only trials without a heartbeat are.
    """
    import optuna
    from optuna.trial import TrialState

    if alone:  # the run folder is claimed: whatever runs in it is a leftover
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            study.tell(trial.number, state=TrialState.FAIL)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            optuna.storages.fail_stale_trials(study)
    everything = study.get_trials(deepcopy=False)
    retaken = {trial.user_attrs.get("retakes") for trial in everything}
    for trial in everything:
        lost = trial.state == TrialState.FAIL and "diverged" not in trial.user_attrs and trial.params
        if lost and trial.number not in retaken:
            study.enqueue_trial(trial.params, user_attrs={**trial.user_attrs, "retakes": trial.number})
