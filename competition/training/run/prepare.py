"""What every run does before it trains: audit the photos, set aside the unreadable ones, make or reuse the folds."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from competition.config import Config
from competition.console import duration, say, warn
from competition.data.audit.audit import audit
from competition.data.audit.report import AuditReport
from competition.data.folds import FoldTable, make_folds
from competition.data.source.competition_data import CompetitionData
from competition.record.run_dir import RunDir


@dataclass(frozen=True)
class Prepared:
    """Audited data with folds.

    Attributes:
        everything: the data as they came.
        usable: without train photos that cannot be read and without test photos that cannot be read.
        report: what the audit found.
        table: which fold validates each usable train photo.
    """

    everything: CompetitionData
    usable: CompetitionData
    report: AuditReport
    table: FoldTable


@contextmanager
def timed(run: RunDir, step: str) -> Iterator[None]:
    """Say that a step begins; note its seconds in the manifest when it ends well."""
    say(f"- {step}")
    begun = time.monotonic()
    yield
    seconds = time.monotonic() - begun
    run.update_manifest(steps={**run.manifest.get("steps", {}), step: round(seconds, 1)})
    say(f"  {step}: {duration(seconds)}")


def prepare(data: CompetitionData, config: Config, run: RunDir) -> Prepared:
    """Audit (once per run), quarantine, folds (``folds.csv`` is reused when it is there).

    Raises:
        DataError: ``folds.csv`` does not fit the data.
    """
    report = _audited(data, config, run)
    for split, name, reason in report.unreadable:
        kept = "its row gets the class prior" if split == "test" else "left out of training"
        warn(f"{split} photo {name}: {reason}; {kept}")
    usable = data.without(report.quarantined)
    usable = dataclasses.replace(
        usable, test=tuple(photo for photo in usable.test if photo.id not in report.unreadable_test)
    )
    return Prepared(data, usable, report, _folds(usable, config, run, report))


def _audited(data: CompetitionData, config: Config, run: RunDir) -> AuditReport:
    if (run / "audit.json").is_file():
        return AuditReport.load(run.path)
    with timed(run, "audit"):
        report = audit(data, config.workers)
        report.save(run.path)
    return report


def _folds(data: CompetitionData, config: Config, run: RunDir, report: AuditReport) -> FoldTable:
    path = run / "folds.csv"
    if path.is_file():
        table = FoldTable.load(path)
        table.check(data, report.groups(), config.n_folds)
        return table
    with timed(run, "folds"):
        table = make_folds(data, config.n_folds, config.seed, report.groups())
        table.save(path)
    for note in table.notes:
        warn(note)
    return table
