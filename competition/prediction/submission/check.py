"""Three verdicts on a submission before one of the day's is spent: refused, accepted with warnings, fine.

An error is what Kaggle refuses. A warning is what another judge refuses or what probably costs score. ``judges`` says
who they are; every finding ends with the one that applies it. The file is streamed: memory grows with the number of
test ids, never with the size of the file.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from competition.errors import SubmissionError
from competition.files import digest_of_file
from competition.prediction.submission.judges import BOTH, KIT, MLE_BENCH, cited
from competition.prediction.submission.rows import SubmissionTable
from competition.prediction.submission.template import LineTooLongError, Template, bounded_lines, template_for
from competition.prediction.submission.upload import NoCsvError, opened, packed_as

if TYPE_CHECKING:
    from competition.data.source.competition_data import CompetitionData


@dataclass(frozen=True)
class SubmissionReport:
    """What the checker found.

    Attributes:
        path: the file.
        errors: why Kaggle would refuse it; empty when it is valid.
        warnings: what Kaggle takes but another judge refuses (rows that do not sum to 1), or what looks wrong (constant
            rows, collapse, overconfidence).
        notes: what was accepted and is worth saying (another order of rows or columns, BOM, CRLF).
        rows: data rows read.
        checked: rows of which every cell was checked; with fewer than ``rows`` the file is refused.
        digest: of the file's content, 16 hex digits; empty when it could not be read.
        mean_confidence: mean over rows of the largest probability, NaN without a readable row.
        worst_sum: the largest distance of a row's sum from 1.
    """

    path: Path
    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    rows: int = 0
    checked: int = 0
    digest: str = ""
    mean_confidence: float = math.nan
    worst_sum: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether the file would be accepted."""
        return not self.errors

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "path": str(self.path),
            "ok": self.ok,
            "errors": list(self.errors),
            "warnings": list(self.warnings),
            "notes": list(self.notes),
            "rows": self.rows,
            "checked": self.checked,
            "digest": self.digest,
            "mean_confidence": None if math.isnan(self.mean_confidence) else self.mean_confidence,
        }

    def strict(self) -> SubmissionReport:
        """The same report, every warning an error: what each judge takes, and nothing that costs score."""
        return replace(self, errors=(*self.errors, *self.warnings), warnings=())

    def raise_if_invalid(self) -> None:
        """Stop with one line that names every kind of error.

        Raises:
            SubmissionError: there is at least one error.
        """
        if self.errors:
            raise SubmissionError(f"{self.path} is not a valid submission: {'; '.join(self.errors)}")


def check_submission(
    path: Path | str,
    sample: CompetitionData | Template | Path | str,
    on_row: Callable[[str, np.ndarray], None] | None = None,
) -> SubmissionReport:
    """Check a submission file against the competition's ``sample_submission.csv``.

    Args:
        path: the CSV.
        sample: the competition, a template, or the path of a ``sample_submission.csv``.
        on_row: called with the id and the probabilities (c,) in the template's order for every acceptable row.

    Returns:
        Errors, warnings and notes; a bad file is reported, not raised.

    Raises:
        SubmissionError: the *sample* cannot be used.
    """
    template, path = template_for(sample), Path(path)
    problem = _unreadable(path, template)
    if problem:
        return SubmissionReport(path, errors=(problem,))
    table = SubmissionTable(template, on_row)
    try:
        with opened(path, template.plausible_bytes) as (stream, start):
            table.read(csv.reader(bounded_lines(stream), strict=True))
    except NoCsvError as error:
        return SubmissionReport(path, errors=(cited(str(error), KIT),))
    except UnicodeDecodeError as error:
        reason = f"it is not a text file in UTF-8 ({error.reason} at {error.start})"
        return SubmissionReport(path, errors=(cited(reason, BOTH),))
    except (csv.Error, LineTooLongError) as error:
        return SubmissionReport(path, errors=(cited(f"it is not a CSV: {error}", BOTH),))
    return SubmissionReport(
        path,
        errors=tuple(table.errors()),
        warnings=(*_packed(path), *table.warnings()),
        notes=(*_byte_notes(start), *table.notes()),
        rows=table.rows,
        checked=table.checked,
        digest=digest_of_file(path),
        mean_confidence=table.figures.mean_confidence,
        worst_sum=table.worst_sum,
    )


def _unreadable(path: Path, template: Template) -> str:
    """Why the file is not worth opening, or an empty string."""
    if not path.exists():
        return "there is no such file"
    if path.is_dir():
        return "it is a folder, not a CSV"
    size = path.stat().st_size
    if size > template.plausible_bytes:
        shape = f"{len(template.ids):,} photos x {len(template.classes)} breeds"
        most = template.plausible_bytes / 1e6
        size_told = f"it has {size / 1e6:,.0f} MB, while {shape} take less than {most:,.0f} MB"
        return cited(size_told, KIT)
    return ""


def _packed(path: Path) -> list[str]:
    kind = packed_as(path)
    return [cited(f"it is packed (.{kind}): Kaggle takes that, others want the CSV itself", MLE_BENCH)] if kind else []


def _byte_notes(start: bytes) -> list[str]:
    bom = start.startswith(b"\xef\xbb\xbf")
    notes = [cited("it starts with a byte order mark (BOM), which is accepted", BOTH)] if bom else []
    if b"\r\n" in start:
        notes.append(cited("its lines end in CRLF, which is accepted", BOTH))
    return notes
