"""The submission doctor: what a file will probably score, what its calibration costs, what is odd about it.

Everything is measured on out-of-fold predictions after doing to them what was done to the test predictions on the way
into the file (nothing, a temperature, a clip). For a file that did not come from the run, the run's own calibrated
probabilities stand in for the labels, and the result says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from competition.data.audit.report import AuditReport
from competition.errors import SubmissionError
from competition.prediction.calibrate import METHODS, apply_clip, compare_calibrations, fit_clip, safe_log
from competition.prediction.doctor.diagnosis import Agreement, Diagnosis, Repair, RowFigures, Twin
from competition.prediction.doctor.drift import find_drift
from competition.prediction.doctor.sentences import findings
from competition.prediction.expected.submission_beside_run import Case, expected_score, read_case
from competition.prediction.ledger.ledger import Ledger
from competition.prediction.submission.template import Template
from competition.prediction.submission.write import read_checked
from competition.record.metrics import per_photo_loss, reliability
from competition.record.run_dir import RunDir
from competition.record.temperature import apply_temperature, fit_temperature
from competition.types import Predictions

if TYPE_CHECKING:
    from competition.data.source.competition_data import CompetitionData

_LEAST = 12
_CERTAIN = 0.9
_UNIFORM = 1.5  # largest probability below 1.5 times the uniform one


def examine(
    file: Path | str,
    run: RunDir | Path | str,
    data: CompetitionData | Mapping[str, str],
    *,
    ledger: Ledger | None = None,
    features: tuple[np.ndarray, np.ndarray] | None = None,
) -> Diagnosis:
    """Examine a submission with the run or blend that it came from.

    Args:
        file: the submission; it must be valid.
        run: run folder with out-of-fold and test predictions.
        data: the competition, or breed by photo id.
        ledger: earlier submissions to compare with.
        features: embeddings of train (n, d) and test (t, d) photos from one frozen backbone, in any order.

    Raises:
        SubmissionError: the file is not valid.
        DataError: the run has no test predictions, or a photo has no label.
    """
    case = read_case(Path(file), run if isinstance(run, RunDir) else RunDir(Path(run)), data)
    stack, submitted, theirs = case.stack, case.submitted, case.relation.kind == "other"
    # Rounding and clips leave piles that a test of equal distributions would take for drift.
    comparable = submitted.probabilities if theirs else case.relation.apply(safe_log(case.beliefs))
    found = Diagnosis(
        file=case.report.path.name,
        run=stack.names[0],
        report=case.report,
        relation=case.relation,
        expected=expected_score(case),
        by_beliefs=theirs,
        repair=None if theirs else find_repair(case.oof, stack.labels, stack.folds),
        drift=find_drift(case.oof, comparable, stack.classes, features),
        rows=odd_rows(submitted, np.bincount(stack.labels, minlength=len(stack.classes)) / len(stack.labels)),
        twins=_twins(case.run, submitted),
        agreements=_agreements(case, ledger),
        findings=(),
    )
    return findings(found)


def find_repair(oof: np.ndarray, labels: np.ndarray, folds: np.ndarray) -> Repair:
    """Temperature and clip that lower the log loss of probabilities (n, c) most, and what they gain, nested."""
    log_p = safe_log(oof)
    repaired = np.empty_like(oof)
    for fold in np.unique(folds):
        held = folds == fold
        temperature, clip = _fit_repair(log_p[~held], labels[~held])
        repaired[held] = apply_clip(apply_temperature(log_p[held], temperature), clip)
    gain = per_photo_loss(oof, labels) - per_photo_loss(repaired, labels)
    temperature, clip = _fit_repair(log_p, labels)
    return Repair(
        float(per_photo_loss(oof, labels).mean()),
        temperature,
        clip,
        float(per_photo_loss(repaired, labels).mean()),
        float(gain.std(ddof=1) / np.sqrt(len(gain))),
        tuple((each.method, each.log_loss, each.ece) for each in compare_calibrations(log_p, labels, folds, METHODS)),
        reliability(oof, labels),
        reliability(repaired, labels),
    )


def _fit_repair(log_p: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    temperature = fit_temperature(log_p, labels)
    return temperature, fit_clip(apply_temperature(log_p, temperature), labels)


def odd_rows(submitted: Predictions, prior: np.ndarray) -> RowFigures:
    """Rows that are uniform, hold the class prior (c,), or repeat another row; and the least confident ones."""
    p, ids = submitted.probabilities, submitted.ids
    uniform = p.max(axis=1) < _UNIFORM / p.shape[1]
    is_prior = np.abs(p - prior).max(axis=1) < 1e-4
    _, first, inverse = np.unique(p, axis=0, return_index=True, return_inverse=True)
    # Certain rows agree after a clip without meaning anything.
    repeats = (first[inverse.ravel()] != np.arange(len(ids))) & (p.max(axis=1) < _CERTAIN * p.max())
    best = np.argsort(-p, axis=1)[:, :2]
    least = np.argsort(p.max(axis=1), kind="stable")[:_LEAST]

    def named(mask: np.ndarray) -> tuple[str, ...]:
        return tuple(ids[row] for row in np.flatnonzero(mask))

    return RowFigures(
        named(uniform & ~is_prior),
        named(is_prior),
        named(repeats & ~is_prior & ~uniform),
        tuple(
            (ids[row], *(value for k in best[row] for value in (submitted.classes[k], float(p[row, k]))))  # type: ignore[misc]
            for row in least
        ),
    )


def _twins(run: RunDir, submitted: Predictions) -> tuple[Twin, ...] | None:
    """Test photos that the run's audit found to duplicate training photos, with what the submission says of them."""
    if not (run / "audit.json").is_file():
        return None
    row_of = {name: row for row, name in enumerate(submitted.ids)}
    column_of = {name: column for column, name in enumerate(submitted.classes)}
    twins = []
    for pair in AuditReport.load(run.path).leaks:
        test_id, train_id, breed = (
            (pair.a, pair.b, pair.breed_b) if pair.split_a == "test" else (pair.b, pair.a, pair.breed_a)
        )
        if test_id in row_of and breed in column_of:
            p = submitted.probabilities[row_of[test_id]]
            called = submitted.classes[int(p.argmax())]
            chance = float(p[column_of[breed]])
            twins.append(Twin(test_id, train_id, breed, pair.kind, pair.similarity, called, chance))
    return tuple(twins)


def _agreements(case: Case, ledger: Ledger | None) -> tuple[Agreement, ...]:
    """Other submissions of the ledger that can still be read and cover the same photos, newest first."""
    found, mine = [], case.submitted.probabilities
    for entry in reversed(ledger.entries() if ledger is not None else ()):
        path = ledger.find(entry) if ledger is not None else None
        if path is None or path.resolve() == case.report.path.resolve():
            continue
        other = _read_if_same(path, Template(case.submitted.ids, case.submitted.classes))
        if other is not None:
            alike = float((other.argmax(axis=1) == mine.argmax(axis=1)).mean())
            distance = float(0.5 * np.abs(other - mine).sum(axis=1).mean())
            twin = entry.digest == case.report.digest
            scores = entry.oof_log_loss, entry.public_score
            found.append(Agreement(entry.file, entry.written, alike, distance, twin, *scores))
    return tuple(found)


def _read_if_same(path: Path, template: Template) -> np.ndarray | None:
    """Probabilities of an earlier submission, or None where it is of other photos or breeds."""
    try:
        return read_checked(path, template)[1].probabilities
    except SubmissionError:
        return None
