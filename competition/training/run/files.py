"""What a cross-validation leaves in its run folder, and how it is read back."""

from __future__ import annotations

from typing import Any

from competition.data.folds import FoldTable
from competition.data.source.competition_data import CompetitionData
from competition.files import read_json, write_json
from competition.record import board
from competition.record.history import History
from competition.record.metrics import accuracy, log_loss
from competition.record.run_dir import RunDir
from competition.record.tensorboard import tensorboard
from competition.training.run.prepare import Prepared
from competition.types import CVResult, FoldResult, Predictions


def write_run(run: RunDir, result: CVResult, prepared: Prepared, extra: dict[str, Any]) -> None:
    """Leave ``oof.npz``, ``test.npz``, ``metrics.json``, ``history.csv`` and the fold summaries in TensorBoard."""
    result.oof.save(run / "oof.npz")
    if result.test is not None:
        result.test.save(run / "test.npz")
    write_json(run / "metrics.json", {**_metrics(result), **_test_metrics(result, prepared.everything), **extra})
    history = History(run / "history.csv")
    history.rows = [dict(row) for row in extra.get("candidates", ())] or _fold_histories(run, result)
    history.save()
    data = prepared.usable
    labels = data.labels_of(result.oof.ids)
    with tensorboard(run / "tensorboard" / "summary") as writer:
        for fold in result.folds:
            writer.add_scalar("fold/log_loss", fold.log_loss, fold.index)
            writer.add_scalar("fold/accuracy", fold.accuracy, fold.index)
        board.log_confused(writer, result.oof.probabilities, labels, data.classes)


def _fold_histories(run: RunDir, result: CVResult) -> list[dict[str, Any]]:
    """The epochs of every fold that ran, with the fold's number in front."""
    return [
        {"fold": fold.index, **row}
        for fold in result.folds
        for row in History(run.fold(fold.index) / "history.csv").rows
    ]


def _metrics(result: CVResult) -> dict[str, Any]:
    folds = [
        {
            "index": fold.index,
            "log_loss": fold.log_loss,
            "accuracy": fold.accuracy,
            "photos": len(fold.valid),
            "seconds": round(fold.seconds, 1),
        }
        for fold in result.folds
    ]
    return {
        "name": result.name,
        "log_loss": result.log_loss,
        "accuracy": result.accuracy,
        "log_loss_spread": result.log_loss_spread,
        "accuracy_spread": result.accuracy_spread,
        "temperature": result.temperature,
        "photos": len(result.oof),
        "folds": folds,
        "notes": result.notes,
    }


def _test_metrics(result: CVResult, everything: CompetitionData) -> dict[str, Any]:
    """The score on the test photos where their classes are known: class folders, not Kaggle's layout.

    The temperature, the strength of the penalty and the best epochs were all chosen out of fold, so this is a score on
    photos that decided nothing.
    """
    if result.test is None or not everything.test or any(photo.breed is None for photo in everything.test):
        return {}
    labels = everything.labels_of(result.test.ids, result.test.classes)
    chances = result.test.probabilities
    return {
        "test": {
            "log_loss": log_loss(chances, labels),
            "accuracy": accuracy(chances, labels),
            "photos": len(labels),
        }
    }


def read_run(run: RunDir) -> CVResult:
    """Read back what ``write_run`` left. Fold results carry their out-of-fold part; test parts are only kept averaged.

    Raises:
        DataError: a file is missing or damaged.
    """
    metrics = read_json(run / "metrics.json")
    oof = Predictions.load(run / "oof.npz")
    test = Predictions.load(run / "test.npz") if (run / "test.npz").is_file() else None
    table = FoldTable.load(run / "folds.csv")
    fold_of = dict(zip(table.ids, table.fold.tolist(), strict=True))
    folds = []
    for row in metrics["folds"]:
        ids = tuple(name for name in oof.ids if fold_of[name] == row["index"])
        valid = oof.aligned_to(ids, oof.classes)
        folds.append(FoldResult(row["index"], row["log_loss"], row["accuracy"], valid, None, row["seconds"]))
    return CVResult(
        name=metrics["name"],
        folds=tuple(folds),
        oof=oof,
        test=test,
        log_loss=metrics["log_loss"],
        accuracy=metrics["accuracy"],
        temperature=metrics["temperature"],
        notes=tuple(metrics["notes"]),
    )
