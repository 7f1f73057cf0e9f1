"""Choose how a fine-tuned run's views are merged, out of fold, and merge its predictions that way."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from competition.data.source.competition_data import CompetitionData
from competition.errors import DataError
from competition.files import read_json, read_npz, write_json
from competition.prediction.views.merge import MergeChoice, choose_merge, merge_views
from competition.record.metrics import accuracy, log_loss
from competition.record.run_dir import RunDir
from competition.record.temperature import apply_temperature
from competition.training.cross_validate import with_prior
from competition.training.run.files import write_run
from competition.training.run.prepare import Prepared
from competition.types import CVResult, FoldResult, Predictions


@dataclass(frozen=True)
class MergedRun:
    """A run's predictions under the chosen merge, after its temperature.

    Attributes:
        choice: method, views and the table of what was tried.
        oof: out-of-fold predictions of the folds that ran.
        test: mean over the folds' models, None where no test photos were predicted.
    """

    choice: MergeChoice
    oof: Predictions
    test: Predictions | None


@dataclass(frozen=True)
class _Views:
    ids: tuple[str, ...]
    classes: tuple[str, ...]
    names: tuple[str, ...]
    logits: np.ndarray  # (v, n, c)


def adopt_merge(run: RunDir, result: CVResult, prepared: Prepared) -> CVResult:
    """Replace a fine-tuned run's predictions by those under the merge chosen out of fold.

    A fold's own score uses ``identity`` and ``hflip``; a recipe with further views leaves the choice to all folds'
    validation photos together. The run's files follow. The choice and its temperature are fitted on the photos that
    they are scored on: a few numbers against thousands of photos, which ``dogbreed blend`` measures by nested folds.

    Args:
        run: an open run with predictions per view.
        result: what its folds gave.
        prepared: its data.

    Raises:
        DataError: as ``merge_run``.
    """
    merged = merge_run(run, prepared.usable, [fold.index for fold in result.folds])
    folds = []
    for fold in result.folds:
        valid = merged.oof.aligned_to(fold.valid.ids, merged.oof.classes)
        labels = prepared.usable.labels_of(valid.ids, valid.classes)
        figures = (log_loss(valid.probabilities, labels), accuracy(valid.probabilities, labels))
        folds.append(FoldResult(fold.index, *figures, valid, None, fold.seconds))
    choice = merged.choice
    adopted = dataclasses.replace(
        result,
        folds=tuple(folds),
        oof=merged.oof,
        test=None if merged.test is None else with_prior(merged.test, prepared.everything, prepared.usable),
        log_loss=choice.log_loss,
        accuracy=choice.accuracy,
        temperature=choice.temperature,
    )
    write_run(run, adopted, prepared, {"merge": {"method": choice.method, "views": choice.views}})
    return adopted


def merge_stored(run: RunDir, logits: np.ndarray, views: Sequence[str]) -> np.ndarray:
    """Apply the merge that a run's ``tta.json`` tells to further photos: (v, n, c) to log-probabilities (n, c)."""
    stored = read_json(run / "tta.json")
    return merge_views(logits, views, str(stored["method"]), [str(name) for name in stored["views"]])


def merge_run(run: RunDir, data: CompetitionData, folds: Sequence[int] | None = None) -> MergedRun:
    """Choose method and views on the validation photos of all trained folds; write ``tta.json`` into the run.

    Args:
        run: holds ``fold<k>/valid_views.npz`` (and ``test_views.npz``), as ``fit_fold`` leaves them.
        data: the labels.
        folds: only these; None takes all that are there.

    Raises:
        DataError: no fold has predictions per view, folds have different views, or the data are others.
    """
    valid = _read(run, "valid_views.npz", folds)
    if not valid:
        raise DataError(f"{run.path} has no predictions per view: only runs of recipes that train a network have them")
    ids = tuple(name for fold in valid for name in fold.ids)
    labels = data.labels_of(ids, valid[0].classes)
    logits = np.concatenate([fold.logits for fold in valid], axis=1)
    choice = choose_merge(logits, labels, valid[0].names)
    write_json(run / "tta.json", _described(choice))
    oof = Predictions(ids, valid[0].classes, _merged(logits, valid[0].names, choice))
    tests = _read(run, "test_views.npz", folds)
    return MergedRun(choice, oof, _mean_of_folds(tests, choice) if len(tests) == len(valid) else None)


def _read(run: RunDir, name: str, folds: Sequence[int] | None) -> list[_Views]:
    number_of = {path: int(path.parent.name.removeprefix("fold")) for path in run.path.glob(f"fold*/{name}")}
    chosen = [path for path, number in number_of.items() if folds is None or number in folds]
    paths = sorted(chosen, key=number_of.__getitem__)
    found = [_read_one(path) for path in paths]
    for other, path in zip(found, paths, strict=True):
        if (other.classes, other.names) != (found[0].classes, found[0].names):
            raise DataError(f"{path} has other views or classes than {paths[0]}: they cannot be merged together")
    return found


def _read_one(path: Path) -> _Views:
    stored = read_npz(path)
    ids, classes, names = (tuple(map(str, stored[key])) for key in ("ids", "classes", "views"))
    return _Views(ids, classes, names, stored["logits"])


def _merged(logits: np.ndarray, names: Sequence[str], choice: MergeChoice) -> np.ndarray:
    return apply_temperature(merge_views(logits, names, choice.method, choice.views), choice.temperature)


def _mean_of_folds(tests: Sequence[_Views], choice: MergeChoice) -> Predictions:
    first = tests[0]
    parts = [
        Predictions(fold.ids, fold.classes, _merged(fold.logits, fold.names, choice)).aligned_to(
            first.ids, first.classes
        )
        for fold in tests
    ]
    return parts[0].with_probabilities(np.mean([part.probabilities for part in parts], axis=0))


def _described(choice: MergeChoice) -> dict[str, object]:
    table = [
        {
            "method": row.method,
            "views": row.views,
            "log_loss": row.log_loss,
            "accuracy": row.accuracy,
            "temperature": row.temperature,
            "excess": row.excess,
            "standard_error": row.standard_error,
        }
        for row in choice.table
    ]
    return {
        "method": choice.method,
        "views": choice.views,
        "log_loss": choice.log_loss,
        "accuracy": choice.accuracy,
        "temperature": choice.temperature,
        "best_log_loss": choice.best_log_loss,
        "table": table,
    }
