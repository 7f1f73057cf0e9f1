"""Predictions that were made elsewhere become a run folder, to be reported, examined and blended as any other.

They are checked and aligned by id and breed name before anything is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from competition.data.audit.report import AuditReport
from competition.data.folds import FoldTable
from competition.data.source.competition_data import CompetitionData
from competition.data.source.labels import read_csv
from competition.errors import SubmissionError, UsageError
from competition.files import write_json
from competition.prediction.blend.align import label_indices
from competition.prediction.blend.foreign_file import FOLD_COLUMN, Table, read_table
from competition.prediction.blend.foreign_values import (
    fold_numbers,
    require_breeds_in_place,
    rows_of,
    to_probabilities,
)
from competition.prediction.blend.members import UNKNOWN, Member, MemberConfig, crossing, group_numbers
from competition.prediction.submission.check import SubmissionReport
from competition.prediction.submission.template import Template, count, few, require_same_breeds, template_for
from competition.prediction.submission.write import write_submission
from competition.record.metrics import accuracy, log_loss
from competition.record.run_dir import RunDir
from competition.types import Predictions


def add_member(
    run_dir: Path,
    data: CompetitionData,
    *,
    oof: Path | None = None,
    test: Path | None = None,
    folds: str = "",
    scale: str = "probabilities",
    partial: bool = False,
    audit: Path | None = None,
) -> SubmissionReport | None:
    """Read files of predictions and leave a run folder; nothing is written unless everything fits.

    Args:
        run_dir: the folder; its name is the member's.
        data: the competition that they are about.
        oof: out-of-fold predictions of the train photos; without them the others can only be blended by hand.
        test: predictions of the test photos.
        folds: a CSV with the columns id and fold, a column of ``oof``, or ``unknown``; empty: the column ``fold``.
        scale: ``probabilities``, ``logits`` or ``percent``.
        partial: train photos may be lacking, as those of folds that did not run.
        audit: folder of a run or an audit of these data; None looks at the photos now.

    Returns:
        What the checker said of the submission, None without test predictions.

    Raises:
        UsageError: neither file, no word on the folds, or a file that is of no kind that is read.
        SubmissionError: photos, breeds, numbers or folds are not as they must be.
        ResumeError: the folder holds something else.
    """
    if oof is None and test is None:
        raise UsageError("give --oof, --test or both: there is nothing to add")
    column = FOLD_COLUMN if folds == UNKNOWN or not folds or Path(folds).is_file() else folds
    in_train = None if oof is None else _read(oof, data.train_ids, data.classes, scale, column)
    in_test = None if test is None else _read(test, _test_ids(data), data.classes, scale, column)[0]
    which, source = (None, UNKNOWN) if in_train is None else _folds(folds, *in_train)
    seen = AuditReport.load(audit) if audit is not None else _look_at(data)
    seen.require(data)
    if in_train is None:
        run, config = RunDir(run_dir), MemberConfig(name=run_dir.name, scale=scale)
        whole = None if in_test is None else _whole_test(in_test, data, seen, str(test))
        with run.claimed():
            return _write(run, config, data, seen, None, whole)
    predictions = in_train[0]
    in_test = None if in_test is None else in_test.aligned_to(in_test.ids, predictions.classes)
    member = Member.from_arrays(
        predictions.ids,
        predictions.classes,
        predictions.probabilities,
        None if in_test is None else in_test.probabilities,
        None if which is None else which.tolist(),
        test_ids=None if in_test is None else in_test.ids,
        name=run_dir.name,
    )
    return write_member(member, data, run_dir, seen, scale=scale, folds_from=source, partial=partial)


def _look_at(data: CompetitionData) -> AuditReport:
    from competition.data.audit.audit import audit

    return audit(data)


def write_member(
    member: Member,
    data: CompetitionData,
    run_dir: Path,
    audit: AuditReport | None = None,
    *,
    scale: str = "probabilities",
    folds_from: str = "given",
    partial: bool = False,
) -> SubmissionReport | None:
    """Leave a member as a run folder.

    Args:
        member: of ``Member.from_arrays``.
        data: the competition that it is about.
        run_dir: the folder.
        audit: of these data; None looks at the photos now.
        scale: what its numbers were, for the record.
        folds_from: where its folds came from, for the record.
        partial: train photos may be lacking, as those of folds that did not run.

    Returns:
        What the checker said of the submission, None without test predictions.

    Raises:
        SubmissionError: other breeds or photos than the data's, or columns that answer to other breeds.
        ResumeError: the folder holds something else.
    """
    audit = _look_at(data) if audit is None else audit
    require_same_breeds(member.oof.classes, data.classes, member.name)
    there = set(member.oof.ids)
    wanted = [name for name in data.train_ids if name not in audit.quarantined and (name in there or not partial)]
    rows_of(member.oof.ids, wanted, data.train_ids, member.name, "train photo")
    oof = member.oof.aligned_to(wanted, data.classes)
    breed_of = {photo.id: str(photo.breed) for photo in data.train}
    require_breeds_in_place(oof.probabilities, label_indices(oof.ids, oof.classes, breed_of), oof.classes, member.name)
    test = None if member.test is None else _whole_test(member.test, data, audit, member.name)
    run = RunDir(run_dir)
    config = MemberConfig(name=run_dir.name, scale=scale, folds_from=folds_from if member.folds_known else UNKNOWN)
    with run.claimed():
        return _write(run, config, data, audit, replace(member, oof=oof, test=test), test)


def _most_bytes(ids: Sequence[str], classes: Sequence[str]) -> int:
    return Template(tuple(ids), tuple(classes)).plausible_bytes


def _named(table: Table, classes: Sequence[str]) -> tuple[str, ...]:
    """The table's columns as breeds; numbers without names stand in the order of the sorted breeds.

    Raises:
        SubmissionError: they are not the breeds of the data.
    """
    if not table.columns and table.values.shape[1] == len(classes):
        return tuple(classes)
    if not table.columns:
        told = f"{table.values.shape[1]} columns without names, while there are {len(classes)} breeds"
        raise SubmissionError(f"{table.where} has {told}: save the breeds' names with it (classes)")
    require_same_breeds(table.columns, classes, table.where)
    return table.columns


def _read(
    path: Path, known: Sequence[str], classes: Sequence[str], scale: str, fold_column: str
) -> tuple[Predictions, Table]:
    """Predictions of a file, and the table with its fold column; whether photos are lacking is judged later."""
    table = read_table(path, _most_bytes(known, classes), fold_column)
    columns = _named(table, classes)
    rows_of(table.ids, (), known, table.where, "photo")
    if not table.ids:
        raise SubmissionError(f"{path} holds no row: there is nothing to add")
    values = to_probabilities(table.values, table.ids, scale, table.where, table.half)
    return Predictions(table.ids, columns, values), table


def _test_ids(data: CompetitionData) -> tuple[str, ...]:
    return (*data.test_ids, *data.absent_test)


def _whole_test(test: Predictions, data: CompetitionData, audit: AuditReport, where: str) -> Predictions:
    """A row for each test photo, in the order of the data; photos that nobody can read get the class prior."""
    require_same_breeds(test.classes, data.classes, where)
    every = _test_ids(data)
    may_lack = {*audit.unreadable_test, *data.absent_test} - set(test.ids)
    rows_of(test.ids, [name for name in every if name not in may_lack], every, where, "test photo")
    ordered = test.aligned_to(test.ids, data.classes)
    prior = np.bincount(data.labels, minlength=len(data.classes)) / len(data.labels)
    return ordered.completed(every, prior)


def _folds(folds: str, predictions: Predictions, table: Table) -> tuple[np.ndarray | None, str]:
    """Fold of every photo and where it came from; None for unknown ones.

    Raises:
        UsageError: nothing was said.
        SubmissionError: the file or the column does not tell a fold of each photo.
    """
    ids = predictions.ids
    if folds == UNKNOWN:
        return None, UNKNOWN
    if folds and Path(folds).is_file():
        return fold_numbers(_fold_column(Path(folds), ids), ids, folds), Path(folds).name
    if table.folds is not None:
        return fold_numbers(table.folds, ids, f"{table.where}, column '{folds or FOLD_COLUMN}'"), "column"
    if folds:
        raise UsageError(f"--folds {folds}: neither a file nor a column of {table.where}; or say --folds unknown")
    raise UsageError(f"{table.where} does not tell the folds: give --folds folds.csv, a column, or --folds unknown")


def _fold_column(path: Path, ids: Sequence[str]) -> list[str]:
    header, rows = read_csv(path)
    if not {"id", FOLD_COLUMN} <= set(header):
        raise SubmissionError(f"{path} needs the columns id and fold (found: {', '.join(header[:5])})")
    by_id, by_fold = header.index("id"), header.index(FOLD_COLUMN)
    fold_of = {row[by_id]: row[by_fold] for row in rows}
    if len(fold_of) < len(rows):
        raise SubmissionError(f"{path} has more than one row for an id: each photo has one fold")
    lacking = [name for name in ids if name not in fold_of]
    if lacking:
        raise SubmissionError(f"{path}: {count(len(lacking), 'photo')} without a fold: {few(lacking)}")
    return [fold_of[name] for name in ids]


def _write(
    run: RunDir,
    config: MemberConfig,
    data: CompetitionData,
    audit: AuditReport,
    member: Member | None,
    test: Predictions | None,
) -> SubmissionReport | None:
    digests = {"oof": member.oof.digest if member else "", "test": test.digest if test else ""}
    run.open(config, data.digest, predictions=digests)
    audit.save(run.path)
    metrics: dict[str, Any] = {"notes": ["made elsewhere: its numbers are as they were saved"]}
    if member is not None:
        member.oof.save(run / "oof.npz")
        metrics = _write_folds(run, member, audit, data)
    if test is not None:
        test.save(run / "test.npz")
    write_json(run / "metrics.json", metrics)
    return None if test is None else write_submission(test, template_for(data), run / "submission.csv")


def _write_folds(run: RunDir, member: Member, audit: AuditReport, data: CompetitionData) -> dict[str, Any]:
    """Write the folds where they are known; the scores, and what is to be known of them, for ``metrics.json``."""
    oof = member.oof
    breed_of = {photo.id: str(photo.breed) for photo in data.train}
    labels = label_indices(oof.ids, oof.classes, breed_of)
    notes = ["made elsewhere: that no row of oof.npz is by a model that trained on its photo is taken on trust"]
    metrics: dict[str, Any] = {
        "log_loss": log_loss(oof.probabilities, labels),
        "accuracy": accuracy(oof.probabilities, labels),
        "notes": notes,
    }
    found = audit.groups()
    group = group_numbers([found.get(name, name) for name in oof.ids])
    if not member.folds_known:
        duplicates = int((np.bincount(group)[group] > 1).sum())
        notes.append(f"its folds are unknown: they may part {count(duplicates, 'photo')} from their duplicates")
        return metrics
    fold = group_numbers([member.folds[name] for name in oof.ids])
    told = crossing(group, fold)
    if told.any():
        notes.append(
            f"its folds part {count(int(told.sum()), 'photo')} from their duplicates, so its score is too good: the "
            f"log loss of these is {log_loss(oof.probabilities[told], labels[told]):.4f}, of all "
            f"{metrics['log_loss']:.4f}"
        )
    together = group_numbers(list(zip(group.tolist(), fold.tolist(), strict=True)))  # duplicates of one fold
    FoldTable(oof.ids, fold, together).save(run / "folds.csv")
    metrics["folds"] = [
        {
            "index": index,
            "log_loss": log_loss(oof.probabilities[fold == index], labels[fold == index]),
            "accuracy": accuracy(oof.probabilities[fold == index], labels[fold == index]),
            "photos": int((fold == index).sum()),
        }
        for index in range(int(fold.max()) + 1)
    ]
    return metrics
