"""The rules that Kaggle and an independent grader apply to a submission, checked before one of the day's is spent.

The file is streamed: memory grows with the number of test ids, never with the size of the file.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from competition.errors import SubmissionError
from competition.files import digest_of_file
from competition.prediction.rows import SubmissionTable
from competition.prediction.template import LineTooLongError, Template, bounded_lines, template_for

if TYPE_CHECKING:
    from competition.data.layout import CompetitionData

_UTF16 = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class SubmissionReport:
    """What the checker found.

    Attributes:
        path: the file.
        errors: why Kaggle or a strict grader would refuse it; empty when it is valid.
        warnings: what is allowed but looks wrong (constant rows, collapse, overconfidence).
        notes: what was accepted and is worth saying (another order of rows or columns, BOM, CRLF).
        rows: data rows read.
        digest: of the file's content, 16 hex digits; empty when it could not be read.
        mean_confidence: mean over rows of the largest probability, NaN without a readable row.
    """

    path: Path
    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    rows: int = 0
    digest: str = ""
    mean_confidence: float = math.nan

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
            "digest": self.digest,
            "mean_confidence": None if math.isnan(self.mean_confidence) else self.mean_confidence,
        }

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
        with path.open("rb") as raw:
            start = raw.read(4096)
        with path.open(encoding="utf-8-sig", newline="") as stream:
            table.read(csv.reader(bounded_lines(stream), strict=True))
    except UnicodeDecodeError as error:
        return SubmissionReport(path, errors=(f"it is not a text file in UTF-8 ({error.reason} at {error.start})",))
    except (csv.Error, LineTooLongError) as error:
        return SubmissionReport(path, errors=(f"it is not a CSV: {error}",))
    return SubmissionReport(
        path,
        errors=tuple(table.errors()),
        warnings=tuple(table.figures.warnings()),
        notes=(*_byte_notes(start), *table.notes()),
        rows=table.rows,
        digest=digest_of_file(path),
        mean_confidence=table.figures.mean_confidence,
    )


def _unreadable(path: Path, template: Template) -> str:
    """Why the file is not worth opening, or an empty string."""
    if not path.exists():
        return "there is no such file"
    if path.is_dir():
        return "it is a folder, not a CSV"
    size = path.stat().st_size
    if size == 0:
        return "it is empty (0 bytes)"
    if size > template.plausible_bytes:
        shape = f"{len(template.ids):,} photos x {len(template.classes)} breeds"
        return f"it has {size / 1e6:,.0f} MB, while {shape} take less than {template.plausible_bytes / 1e6:,.0f} MB"
    with path.open("rb") as stream:
        start = stream.read(512)
    if start.startswith(b"PK\x03\x04"):
        return "it is a zip (or a spreadsheet), not a CSV: unpack it, or export it as CSV"
    if start.startswith(_UTF16):
        return "it is UTF-16 text: save it as UTF-8"
    return "it is a binary file, not a CSV" if b"\x00" in start else ""


def _byte_notes(start: bytes) -> list[str]:
    notes = ["it starts with a byte order mark (BOM), which is accepted"] if start.startswith(b"\xef\xbb\xbf") else []
    if b"\r\n" in start:
        notes.append("its lines end in CRLF, which is accepted")
    return notes
