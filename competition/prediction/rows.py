"""The rows of a submission as they stream past: problems by kind with an example each, and running figures."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np

from competition.errors import nearest
from competition.prediction.template import ID_COLUMN, Template, breed_differences, count, few, first_repeated
from competition.types import ROW_SUM_TOLERANCE

_INDEX_NAMES = ("", "unnamed: 0", "index", "level_0", "row", "#")
# Thresholds of the warnings; they refuse nothing.
_OVERCONFIDENT_MEAN = 0.98
_COLLAPSED_SHARE = 0.5
_ENOUGH_ROWS = 20
_EXACT = 1e-9
_ROUNDING = 1e-12


class CsvReader(Protocol):
    """What ``csv.reader`` offers."""

    line_num: int

    def __iter__(self) -> Iterator[list[str]]: ...

    def __next__(self) -> list[str]: ...


class RowFigures:
    """Running figures over the acceptable rows, and the warnings they give rise to."""

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes = classes
        self._good = self._certain = self._constant = self._zeros = 0
        self._confidence = 0.0
        self._winners = np.zeros(len(classes), dtype=np.int64)
        self._first: np.ndarray | None = None
        self._all_alike = True

    def add(self, values: np.ndarray) -> None:
        """Count a row of probabilities (c,)."""
        top = float(values.max())
        self._good += 1
        self._confidence += top
        self._certain += top >= 1 - _EXACT
        self._zeros += bool((values == 0).any())
        self._constant += top - float(values.min()) < _EXACT
        self._winners[int(values.argmax())] += 1
        if self._first is None:
            self._first = values
        elif self._all_alike:
            self._all_alike = bool(np.allclose(values, self._first, rtol=0, atol=_EXACT))

    @property
    def mean_confidence(self) -> float:
        """Mean of the rows' largest probability; NaN without a good row."""
        return self._confidence / self._good if self._good else math.nan

    def warnings(self) -> list[str]:
        """What is allowed and looks wrong."""
        return [*self._collapse(), *self._overconfidence()] if self._good else []

    def _collapse(self) -> list[str]:
        told = []
        if self._constant:
            told.append(f"{count(self._constant, 'row')} give every breed the same probability")
        elif self._good > 1 and self._all_alike:
            told.append("collapsed: every row holds the same probabilities")
        share, winner = self._winners.max() / self._good, self._classes[int(self._winners.argmax())]
        if self._good >= _ENOUGH_ROWS and len(self._classes) > 2 and share > _COLLAPSED_SHARE and not self._constant:
            told.append(f"collapsed: {share:.0%} of the photos are called '{winner}'")
        return told

    def _overconfidence(self) -> list[str]:
        told = []
        if self.mean_confidence > _OVERCONFIDENT_MEAN:
            told.append(
                f"overconfident, unless as many are right: the mean largest probability is {self.mean_confidence:.3f}; "
                "'dogbreed submission doctor' says whether a temperature would help"
            )
        if self._certain or self._zeros:
            rows = count(max(self._certain, self._zeros), "row")
            told.append(f"{rows} with a probability of exactly 0 or 1: a mistake there costs 34.5 nats; clip them")
        return told


class SubmissionTable:
    """What was seen of a submission so far: problems by kind with a few examples, and running sums."""

    def __init__(self, template: Template, on_row: Callable[[str, np.ndarray], None] | None) -> None:
        self._template, self._on_row = template, on_row
        self._rank = {name: position for position, name in enumerate(template.ids)}
        self._structure: list[str] = []
        self._counts: Counter[str] = Counter()
        self._examples: dict[str, str] = {}
        self._seen: set[str] = set()
        self._picked: list[int] = []
        self._reordered_columns = self._reordered_rows = False
        self._last_rank = -1
        self._sizes: tuple[int, int] = (0, 0)
        self.rows = 0
        self.figures = RowFigures(template.classes)

    def read(self, reader: CsvReader) -> None:
        """Read header and rows."""
        header = next((row for row in reader if row), None)
        if header is None:
            self._structure.append("it is empty: there is no header")
            return
        if not self._read_header(header):
            return
        for row in reader:
            if row:
                self._read_row(row, reader.line_num)

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

    def _read_row(self, row: Sequence[str], line: int) -> None:
        self.rows += 1
        width, id_column = self._sizes
        if len(row) != width:
            hint = " (a thousands separator or a decimal comma?)" if len(row) > width else ""
            self._problem("with another number of cells than the header", f"line {line} has {len(row)}{hint}")
            # The id counts as seen, so that the row is not reported as missing on top.
            self._seen.update({row[id_column]} & self._rank.keys() if id_column < len(row) else ())
            return
        name = row[id_column]
        known = self._take_id(name, line)
        values = self._numbers([row[column] for column in self._picked], name, line)
        if values is None or not self._is_distribution(values, name, line):
            return
        self.figures.add(values)
        if known and self._on_row is not None:
            self._on_row(name, values)

    def _take_id(self, name: str, line: int) -> bool:
        """Whether the id is one of the template's, seen for the first time."""
        rank = self._rank.get(name)
        if rank is None:
            self._problem("with an unknown id", f"'{name}' on line {line}{self._likely_id(name)}")
            return False
        if name in self._seen:
            self._problem("with a repeated id", f"'{name}' on line {line}")
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

    def _numbers(self, cells: Sequence[str], name: str, line: int) -> np.ndarray | None:
        joined = "".join(cells)
        try:
            # float() reads '1_0' and digits of other scripts, which no grader does.
            if "_" in joined or not joined.isascii():
                raise ValueError
            return np.fromiter(map(float, cells), dtype=np.float64, count=len(cells))
        except ValueError:
            for column, cell in enumerate(cells):
                trouble = _cell_problem(cell)
                if trouble:
                    where = f"line {line}, '{self._template.classes[column]}': '{cell[:40]}'{trouble[1]}"
                    self._problem(trouble[0], where)
                    break
            return None

    def _is_distribution(self, values: np.ndarray, name: str, line: int) -> bool:
        if not np.isfinite(values).all():
            column = int(np.flatnonzero(~np.isfinite(values))[0])
            example = f"line {line}, '{self._template.classes[column]}': {values[column]}"
            self._problem("with NaN or infinity", example)
            return False
        if values.min() < 0 or values.max() > 1:
            column = int(np.flatnonzero((values < 0) | (values > 1))[0])
            example = f"line {line}, '{self._template.classes[column]}': {values[column]:g}"
            self._problem("with a probability outside [0, 1]", example)
            return False
        total = math.fsum(values)
        # A sum of exactly 1.000001 is refused: in binary it lies beyond the tolerance for some graders.
        if abs(total - 1) > ROW_SUM_TOLERANCE - _ROUNDING:
            self._problem(
                "whose probabilities do not sum to 1 within 1e-6", f"'{name}' on line {line} sums to {total:.7g}"
            )
            return False
        return True

    def errors(self) -> list[str]:
        """Every reason to refuse the file."""
        told = [*self._structure]
        told += [
            f"{count(number, 'row')} {kind}, first: {self._examples[kind]}" for kind, number in self._counts.items()
        ]
        if self._picked:
            lacking = [name for name in self._template.ids if name not in self._seen]
            if lacking:
                told.append(f"{count(len(lacking), 'id')} missing: {few(lacking)}")
        return told

    def notes(self) -> list[str]:
        """What is accepted and worth saying."""
        notes = ["its columns are in another order than the sample's, which is accepted"] * self._reordered_columns
        return notes + ["its rows are in another order than the sample's, which is accepted"] * self._reordered_rows


def _header_problems(header: Sequence[str], classes: Sequence[str]) -> list[str]:
    if len(header) == 1:
        for mark, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
            if mark in header[0]:
                return [f"its cells are separated by {name}, not by commas"]
    problems = []
    index = [name for name in header if name.strip().casefold() in _INDEX_NAMES]
    if index:
        problems.append(f"it has an index column ('{index[0]}'): write it with index=False")
    repeated = first_repeated(name for name in header if name not in index)
    if repeated is not None:
        problems.append(f"column '{repeated}' appears more than once")
    breeds = [name for name in header if name != ID_COLUMN and name not in index]
    if ID_COLUMN not in header:
        near = nearest(ID_COLUMN, [name for name in header if name.strip().casefold() == ID_COLUMN], "")
        likely = near.replace("did you mean", "found") if near else ""
        breeds = [name for name in breeds if name.strip().casefold() != ID_COLUMN]
        problems.append(f"there is no column 'id'{likely.rstrip('?')}")
    return problems + breed_differences(list(dict.fromkeys(breeds)), classes)


def _cell_problem(cell: str) -> tuple[str, str] | None:
    """Kind and hint of a cell that is no number, or None when it is one."""
    text = cell.strip()
    if not text:
        return "with an empty cell", ""
    if "," in text:
        return "with a comma inside a number", " (a thousands separator or a decimal comma: write 0.5)"
    if text.endswith("%"):
        return "with a percentage", " (write 0.5 for 50 %)"
    try:
        if "_" in text or not text.isascii():
            raise ValueError
        float(text)
    except ValueError:
        return "with a cell that is no number", ""
    return None
