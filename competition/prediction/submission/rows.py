"""The rows of a submission as they stream past: problems by kind with an example each, and running figures."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np

from competition.errors import nearest
from competition.prediction.submission.judges import (
    BOTH,
    KAGGLE,
    KIT,
    MLE_BENCH,
    MLE_BENCH_TOLERANCE,
    NUMERIC,
    PLAUSIBLE,
    as_scored,
    cell_problem,
    cited,
    shown,
)
from competition.prediction.submission.row_figures import RowFigures
from competition.prediction.submission.template import (
    ID_COLUMN,
    Template,
    breed_differences,
    count,
    few,
    first_repeated,
)

_INDEX_NAMES = ("", "unnamed: 0", "index", "level_0", "row", "#")
_BLANK = " \t"
_BEYOND = "with a value beyond -1 to 2, which is no probability (logits? percentages?)"
_OUTSIDE = "with a value outside [0, 1], which Kaggle clips"
_UNREAD = "that could not be read"
_KITS_OWN = (_BEYOND, _UNREAD)
_UNSCALED = f"whose probabilities do not sum to 1 within {MLE_BENCH_TOLERANCE:g}: Kaggle rescales them, others refuse"


class CsvReader(Protocol):
    """What ``csv.reader`` offers."""

    line_num: int

    def __iter__(self) -> Iterator[list[str]]: ...

    def __next__(self) -> list[str]: ...


class SubmissionTable:
    """What was seen of a submission so far: problems by kind with a few examples, and running sums."""

    def __init__(self, template: Template, on_row: Callable[[str, np.ndarray], None] | None) -> None:
        self._template, self._on_row = template, on_row
        self._rank = {name: position for position, name in enumerate(template.ids)}
        self._structure: list[str] = []
        self._counts: Counter[str] = Counter()
        self._doubts: Counter[str] = Counter()
        self._examples: dict[str, str] = {}
        self._seen: set[str] = set()
        self._picked: list[int] = []
        self._reordered_columns = self._reordered_rows = False
        self._last_rank = -1
        self._sizes: tuple[int, int] = (0, 0)
        self.rows = self.checked = 0
        self.worst_sum = 0.0
        self.figures = RowFigures(template.classes)

    def read(self, reader: CsvReader) -> None:
        """Read header and rows."""
        # A blank line is read as no cell, or as one of blanks; quotes with nothing in them are a row to the judges.
        rows = (row for row in reader if row and (row == [""] or len(row) > 1 or row[0].strip(_BLANK)))
        header = next(rows, None)
        if header is None:
            self._structure.append(cited("it is empty: there is no header", BOTH))
            return
        if not self._read_header(header):
            return
        for row in rows:
            self._count_row(row, reader.line_num)

    def _read_header(self, header: Sequence[str]) -> bool:
        """Note what is wrong with the header; False when the rows cannot be read because of it."""
        self._structure += _header_problems(header, self._template.classes)
        position = {name: column for column, name in enumerate(header)}
        self._sizes = (len(header), position.get(ID_COLUMN, -1))
        wanted = (ID_COLUMN, *self._template.classes)
        if any(header.count(name) != 1 for name in wanted):
            return False
        self._picked = [position[name] for name in self._template.classes]
        self._reordered_columns = self._picked != sorted(self._picked) or position[ID_COLUMN] != 0
        return True

    def _problem(self, kind: str, example: str) -> None:
        self._counts[kind] += 1
        self._examples.setdefault(kind, example)

    def _doubt(self, kind: str, example: str) -> None:
        self._doubts[kind] += 1
        self._examples.setdefault(kind, example)

    def _count_row(self, row: Sequence[str], line: int) -> None:
        """A row is either accepted or has a problem; one that is neither has slipped through a reader, and is told."""
        self.rows += 1
        before = self._counts.total()
        if self._read_row(row, line) or self._counts.total() > before:
            self.checked += 1

    def _read_row(self, row: Sequence[str], line: int) -> bool:
        """Check a row; whether all of it is acceptable."""
        width, id_column = self._sizes
        if len(row) != width:
            hint = " (a thousands separator or a decimal comma?)" if len(row) > width else ""
            self._problem("with another number of cells than the header", f"line {line} has {len(row)}{hint}")
            # The id counts as seen, so that the row is not reported as missing on top.
            self._seen.update({row[id_column]} & self._rank.keys() if id_column < len(row) else ())
            return False
        name = row[id_column]
        known = self._take_id(name, line)
        values = self._numbers([row[column] for column in self._picked], line)
        if values is None or not self._are_probabilities(values, name, line):
            return False
        self.figures.add(as_scored(values) if values.min() < 0 or values.max() > 1 else values)
        if known and self._on_row is not None:
            self._on_row(name, values)
        return known

    def _take_id(self, name: str, line: int) -> bool:
        """Whether the id is one of the template's, seen for the first time."""
        rank = self._rank.get(name)
        if rank is None:
            self._problem("with an unknown id", f"'{shown(name)}' on line {line}{self._likely_id(name)}")
            return False
        if name in self._seen:
            self._problem("with a repeated id", f"'{shown(name)}' on line {line}")
            return False
        self._seen.add(name)
        self._reordered_rows |= rank < self._last_rank
        self._last_rank = rank
        return True

    def _likely_id(self, name: str) -> str:
        stem = name.strip().removesuffix(".jpg").removesuffix(".jpeg")
        for candidate in (stem, stem.lower(), stem.rpartition("/")[2]):
            if candidate in self._rank:
                return f" - did you mean '{candidate}'?"
        return ""

    def _numbers(self, cells: Sequence[str], line: int) -> np.ndarray | None:
        # float() reads '1_0', digits of other scripts and 0x1f before a number, which no judge does.
        if NUMERIC.fullmatch("".join(cells)):
            try:
                return np.fromiter(map(float, cells), dtype=np.float64, count=len(cells))
            except ValueError:
                pass
        found = ((column, cell_problem(cell)) for column, cell in enumerate(cells))
        column, (kind, hint) = next((each for each in found if each[1]), (0, (_UNREAD, "")))  # type: ignore[misc]
        self._problem(kind, f"{self._place(line, column)}: '{shown(cells[column])}'{hint}")
        return None

    def _place(self, line: int, column: int) -> str:
        return f"line {line}, '{self._template.classes[column]}'"

    def _are_probabilities(self, values: np.ndarray, name: str, line: int) -> bool:
        """Whether the numbers can be scored; what only some judges refuse is noted as a doubt."""
        if not np.isfinite(values).all():
            column = int(np.flatnonzero(~np.isfinite(values))[0])
            self._problem("with NaN or infinity", f"{self._place(line, column)}: '{values[column]}'")
            return False
        low, high = float(values.min()), float(values.max())
        if low < 0 or high > 1:
            column = int(values.argmin() if low < 0 and -low >= high - 1 else values.argmax())
            example = f"{self._place(line, column)}: {values[column]:g}"
            if low < PLAUSIBLE[0] or high > PLAUSIBLE[1]:
                self._problem(_BEYOND, example)
                return False
            self._doubt(_OUTSIDE, example)
        total = math.fsum(values)
        self.worst_sum = max(self.worst_sum, abs(total - 1))
        if abs(total - 1) > MLE_BENCH_TOLERANCE:
            self._doubt(_UNSCALED, f"'{shown(name)}' on line {line} sums to {total:.7g}")
        return True

    def _told(self, counts: Counter[str], judge: str) -> list[str]:
        return [
            cited(f"{count(number, 'row')} {kind}, first: {self._examples[kind]}", KIT if kind in _KITS_OWN else judge)
            for kind, number in counts.items()
        ]

    def errors(self) -> list[str]:
        """Every reason to refuse the file."""
        told = [*self._structure, *self._told(self._counts, BOTH)]
        if self._picked:
            lacking = [name for name in self._template.ids if name not in self._seen]
            if lacking:
                told.append(cited(f"{count(len(lacking), 'id')} missing: {few(lacking)}", BOTH))
        if self.checked < self.rows:
            told.append(cited(f"only {self.checked:,} of {count(self.rows, 'row')} could be checked", KIT))
        return told

    def warnings(self) -> list[str]:
        """What Kaggle takes and another judge refuses, and what probably costs score."""
        return [*self._told(self._doubts, MLE_BENCH), *self.figures.warnings()]

    def notes(self) -> list[str]:
        """What is accepted and worth saying."""
        moved = {"columns": self._reordered_columns, "rows": self._reordered_rows}
        told = "its {} are in another order than the sample's, which is accepted"
        return [cited(told.format(what), BOTH) for what, reordered in moved.items() if reordered]


def _header_problems(header: Sequence[str], classes: Sequence[str]) -> list[str]:
    if len(header) == 1:
        for mark, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
            if mark in header[0]:
                return [cited(f"its cells are separated by {name}, not by commas", BOTH)]
    problems = []
    index = [name for name in header if name.strip().casefold() in _INDEX_NAMES and name not in classes]
    if index and header[-1] == "" and header[0].strip().casefold() not in _INDEX_NAMES:
        problems.append(cited("its lines end in a comma, which makes a column without a name", KAGGLE))
    elif index:
        problems.append(cited(f"it has an index column ('{shown(index[0])}'): write it with index=False", KAGGLE))
    repeated = first_repeated(name for name in header if name not in index)
    if repeated is not None:
        problems.append(cited(f"column '{shown(repeated)}' appears more than once", KAGGLE))
    breeds = [name for name in header if name != ID_COLUMN and name not in index]
    if ID_COLUMN not in header:
        near = nearest(ID_COLUMN, [name for name in header if name.strip().casefold() == ID_COLUMN], "")
        likely = near.replace("did you mean", "found") if near else ""
        breeds = [name for name in breeds if name.strip().casefold() != ID_COLUMN]
        problems.append(cited(f"there is no column 'id'{likely.rstrip('?')}", BOTH))
    differences = breed_differences(list(dict.fromkeys(breeds)), classes)
    # mle-bench only looks whether the breeds are there; Kaggle also refuses a column too many.
    return problems + [cited(line, BOTH if "without a column" in line else KAGGLE) for line in differences]
