"""What a submission must hold: the ids and breeds, in the order of ``sample_submission.csv`` when there is one."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from competition.errors import SubmissionError, nearest
from competition.prediction.submission.upload import NoCsvError, opened

if TYPE_CHECKING:
    from competition.data.source.competition_data import CompetitionData

ID_COLUMN = "id"
_LARGEST_SAMPLE = 1 << 30  # bytes
LONGEST_LINE = 1 << 20  # characters; 120 breeds at full precision take about 3,000
_NAMED = 3


@dataclass(frozen=True)
class Template:
    """The rows and columns that a submission must have.

    Attributes:
        ids: test ids, in the order to be written.
        classes: breeds, in the order to be written.
        notes: what was noticed while it was made (a sample whose columns are not sorted, for example).
    """

    ids: tuple[str, ...]
    classes: tuple[str, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def plausible_bytes(self) -> int:
        """A size in bytes that no submission of this shape exceeds (64 characters per cell and some room)."""
        return 64 * (len(self.ids) + 1) * (len(self.classes) + 1) + (4 << 20)


def template_for(source: Template | CompetitionData | Path | str) -> Template:
    """Return the template that ``source`` stands for: competition data, or the path of a ``sample_submission.csv``.

    Raises:
        SubmissionError: the sample cannot be read, or its columns are not the breeds of ``labels.csv``.
    """
    if isinstance(source, Template):
        return source
    if isinstance(source, str | Path):
        return read_sample(Path(source))
    if source.sample_submission is None:
        if not source.test_ids or not source.classes:
            lacks = "test photos" if source.classes else "breeds (labels.csv)"
            raise SubmissionError(
                f"{source.source} has neither sample_submission.csv nor {lacks}: what a submission must hold is not "
                "known; give --sample sample_submission.csv"
            )
        return Template(tuple(source.test_ids), tuple(sorted(source.classes)))
    sample = read_sample(Path(source.sample_submission))
    if source.classes:
        require_same_breeds(sample.classes, source.classes, str(source.sample_submission))
    return Template(sample.ids, sample.classes, _sample_notes(sample, source))


def template_at(where: Path | None) -> Template:
    """What a submission for the data at ``where`` must hold: by its sample, else by its labels and test photos.

    A sample is enough: neither photos nor labels need to lie beside it.

    Raises:
        DataError: no data are found there.
        SubmissionError: they tell neither ids nor breeds.
    """
    from competition.data.source.layout import find_sample, load_data

    sample = find_sample(where)
    return template_for(sample if sample is not None else load_data(where))


def _sample_notes(sample: Template, data: CompetitionData) -> tuple[str, ...]:
    notes = list(sample.notes)
    if list(sample.classes) != sorted(sample.classes):
        notes.append("the columns of sample_submission.csv are not sorted; its order is kept")
    left_out = set(data.test_ids) - set(sample.ids)
    if left_out:
        notes.append(f"{count(len(left_out), 'test photo')} without a row in sample_submission.csv: {few(left_out)}")
    return tuple(notes)


def read_sample(path: Path) -> Template:
    """Read ids and breeds of a ``sample_submission.csv``; its numbers do not matter.

    Raises:
        SubmissionError: it is missing, empty, no CSV, lacks the id column, or repeats an id or a breed.
    """
    with explained(path), opened(path, _LARGEST_SAMPLE) as (stream, _):
        reader = csv.reader(bounded_lines(stream))
        header = next(reader, [])
        if header[:1] != [ID_COLUMN]:
            raise SubmissionError(f"{path}: the first column is {header[:1] or 'missing'}, expected 'id'")
        ids = tuple(row[0] for row in reader if row)
    classes = tuple(header[1:])
    for what, names in (("id", ids), ("column", classes)):
        repeated = first_repeated(names)
        if repeated is not None:
            raise SubmissionError(f"{path}: {what} '{repeated}' appears more than once")
    if not ids or not classes:
        raise SubmissionError(f"{path} has {len(ids)} rows and {len(classes)} breeds: it is no sample_submission.csv")
    return Template(ids, classes)


def read_header(path: Path) -> list[str]:
    """The first line of a CSV; empty where there is none.

    Raises:
        SubmissionError: it is missing or no CSV.
    """
    with explained(path), opened(path, _LARGEST_SAMPLE) as (stream, _):
        return next((row for row in csv.reader(bounded_lines(stream)) if row), [])


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """A file that cannot be read as CSV becomes one line."""
    try:
        yield
    except FileNotFoundError as error:
        raise SubmissionError(f"{path} is missing") from error
    except IsADirectoryError as error:
        raise SubmissionError(f"{path} is a folder: give the CSV in it") from error
    except (UnicodeDecodeError, csv.Error, LineTooLongError, NoCsvError) as error:
        raise SubmissionError(f"{path} is not a CSV in UTF-8: {error}") from error


def require_same_breeds(have: Sequence[str], want: Sequence[str], where: str) -> None:
    """Refuse columns that are not the breeds of the data; every one is named with its likely match.

    Raises:
        SubmissionError: a breed is lacking or unknown.
    """
    problems = breed_differences(have, want)
    if problems:
        raise SubmissionError(f"{where}: {'; '.join(problems)}. Its columns must be the breeds of labels.csv")


def breed_differences(have: Sequence[str], want: Sequence[str]) -> list[str]:
    """Say which breeds of ``want`` lack a column in ``have`` and which columns are unknown, with the likely match."""
    lacking = [name for name in want if name not in set(have)]
    unknown = [name for name in have if name not in set(want)]
    problems = []
    if unknown:
        told = [f"'{name}'{nearest(name.strip().replace(' ', '_'), lacking or want, ',')}" for name in unknown[:_NAMED]]
        listed = " ".join(told).removesuffix(",")
        problems.append(f"{count(len(unknown), 'unknown column')}: {listed}{more(len(unknown))}")
    if lacking:
        problems.append(f"{count(len(lacking), 'breed')} without a column: {few(lacking)}")
    return problems


class LineTooLongError(ValueError):
    """A line that no submission can have; reading it whole would fill the memory."""


def bounded_lines(stream: TextIO, longest: int = LONGEST_LINE) -> Iterator[str]:
    """Yield the lines of a text stream, never holding more than ``longest`` characters of one.

    Raises:
        LineTooLongError: a line is longer.
    """
    number = 0
    while line := stream.readline(longest + 1):
        number += 1
        if len(line) > longest:
            raise LineTooLongError(f"line {number} is longer than {longest:,} characters")
        yield line


def first_repeated(names: Iterable[str]) -> str | None:
    """The first name that was there before, or None."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def count(number: int, noun: str) -> str:
    """``1 row``, ``2 rows``, ``1,200 rows``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def few(names: Iterable[str]) -> str:
    """The first few names, quoted, in sorted order where the order means nothing (sets)."""
    listed = sorted(names) if isinstance(names, set | frozenset) else list(names)
    return ", ".join(f"'{name}'" for name in listed[:_NAMED]) + more(len(listed))


def more(number: int) -> str:
    """`` and 7 more`` when there are more than were named."""
    return f" and {number - _NAMED:,} more" if number > _NAMED else ""
