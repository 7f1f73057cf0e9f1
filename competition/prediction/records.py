"""Write a submission down in the ledger: which run or blend it came from, and what it is expected to score."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from competition.errors import DataError
from competition.files import digest_of, digest_of_file, read_json
from competition.prediction.expectation import Expectation, expect
from competition.prediction.ledger import Entry, Ledger, now
from competition.prediction.members import Stack, align, load_member
from competition.training.tracking import RunDir, describe_machine

if TYPE_CHECKING:
    from competition.data.layout import CompetitionData


def record_submission(
    file: Path, run: RunDir | Path, data: CompetitionData | Mapping[str, str], ledger: Ledger, note: str = ""
) -> tuple[Entry, tuple[Entry, ...]]:
    """Add the row of a written submission to the ledger.

    Args:
        file: the submission.
        run: the run or blend that it came from.
        data: the competition, or breed by photo id; the interval is computed with its labels.
        ledger: where the row goes.
        note: anything worth remembering.

    Returns:
        The row, and earlier rows that are byte-identical under another name.

    Raises:
        DataError: the file or the run's predictions are missing.
    """
    run = run if isinstance(run, RunDir) else RunDir(Path(run))
    metrics = read_json(run / "metrics.json")
    expected = expected_score(align([load_member(run)], data), _rows(file))
    members = metrics.get("members") or []
    entry = Entry(
        file=ledger.name_of(file),
        digest=digest_of_file(file),
        written=now(),
        rows=expected.test_photos,
        method=str(metrics.get("method", "run")),
        members=tuple(str(each["name"]) for each in members) or (run.path.resolve().name,),
        weights=tuple(float(each["weight"]) for each in members) or (1.0,),
        config_digests=tuple(str(each["config_digest"]) for each in members) or (digest_of(run.config),),
        commit=str(run.manifest.get("commit") or describe_machine()["commit"] or ""),
        oof_log_loss=float(metrics["log_loss"]),
        interval_low=expected.low,
        interval_high=expected.high,
        note=note,
    )
    return entry, ledger.add(entry)


def expected_score(stack: Stack, test_photos: int, **options: Any) -> Expectation:
    """The expected score of a stack's only (or first) member on ``test_photos`` photos; options as for ``expect``."""
    return expect(stack.log_probabilities[0], stack.labels, test_photos, stack.groups, **options)


def _rows(file: Path) -> int:
    """Data rows of a CSV, counted without holding it.

    Raises:
        DataError: the file is missing or has no data row.
    """
    try:
        with file.open("rb") as stream:
            rows = sum(1 for line in stream if line.strip()) - 1
    except FileNotFoundError as error:
        raise DataError(f"{file} is missing") from error
    if rows < 1:
        raise DataError(f"{file} has no data row")
    return rows
