"""The checker against a second one, written here from the rules alone: whatever one accepts, the other accepts.

``test_judges`` compares it with Kaggle and with mle-bench's grader.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from competition.prediction.submission.check import check_submission
from competition.prediction.submission.template import Template

NUMBER = re.compile(r"[ \t]*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?[ \t]*")


def split_cells(text: str) -> list[list[str]] | None:
    """A CSV reader of its own: one character at a time, None where quotes are wrong."""
    rows: list[list[str]] = []
    cells: list[str] = [""]
    state = "start"  # of a cell; or "bare", "quoted", "closing"
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    for character in [*text, "\n"]:
        if state == "quoted":
            if character == '"':
                state = "closing"
            else:
                cells[-1] += character
        elif character == '"' and state == "start":
            state = "quoted"
        elif character == '"' and state == "closing":
            cells[-1] += '"'
            state = "quoted"
        elif character == ",":
            cells.append("")
            state = "start"
        elif character == "\n":
            if cells != [""] or state != "start":
                rows.append(cells)
            cells, state = [""], "start"
        elif state == "closing":
            return None
        else:
            cells[-1] += character
            state = "bare"
    return None if state == "quoted" else rows


def reference_accepts(content: bytes, ids: set[str], classes: set[str]) -> bool:
    """The rules: these columns and ids exactly, and numbers that can be meant as probabilities (from -1 to 2)."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    rows = split_cells(text.removeprefix("\ufeff"))
    if not rows:
        return False
    header, body = rows[0], rows[1:]
    if sorted(header) != sorted({"id", *classes}):
        return False
    if any(len(row) != len(header) for row in body):
        return False
    records = [dict(zip(header, row, strict=True)) for row in body]
    if sorted(record["id"] for record in records) != sorted(ids):
        return False
    for record in records:
        cells = [record[name] for name in classes]
        if not all(NUMBER.fullmatch(cell) for cell in cells):
            return False
        numbers = [Decimal(cell.strip()) for cell in cells]
        if min(numbers) < -1 or max(numbers) > 2:
            return False
    return True


Table = list[list[str]]
CELLS = (
    "nan", "inf", "", " ", "1,0", "1_0", "0x1", "-0.1", "1.5", "1e-400", "1e400", "½", "\u0660", "+.5", "0.", "1e-3",
    "--1", "-0", "1e", "5%", "None", "3", "-1.5",
)  # fmt: skip
SHIFTS = ("5e-7", "2e-6", "-0.03")
NAMES = ("", "Unnamed: 0", "ID", "id", "b0 ", "B0", "b0", "zebra", "b_0")


def drop_row(table: Table, row: int, column: int, draw: st.DrawFn) -> None:
    if len(table) > 1:
        del table[1 + row % (len(table) - 1)]


def repeat_row(table: Table, row: int, column: int, draw: st.DrawFn) -> None:
    table.append(list(table[row % len(table)]))


def swap_rows(table: Table, row: int, column: int, draw: st.DrawFn) -> None:
    if len(table) > 2:
        table[1:] = table[2:] + table[1:2]


def swap_columns(table: Table, row: int, column: int, draw: st.DrawFn) -> None:
    for cells in table:
        cells[:] = cells[1:] + cells[:1]


def drop_column(table: Table, row: int, column: int, draw: st.DrawFn) -> None:
    for cells in table:
        del cells[column % len(cells) :][:1]


def add_column(table: Table, row: int, column: int, draw: st.DrawFn) -> None:
    name = draw(st.sampled_from(NAMES))
    for number, cells in enumerate(table):
        cells.insert(column % (len(cells) + 1), str(number) if number else name)


def rename_column(table: Table, row: int, column: int, draw: st.DrawFn) -> None:
    table[0][column % len(table[0])] = draw(st.sampled_from(NAMES))


def change_cell(table: Table, row: int, column: int, draw: st.DrawFn) -> None:
    cells = table[row % len(table)]
    cells[column % len(cells)] = draw(st.sampled_from(CELLS))


def scale_cell(table: Table, row: int, column: int, draw: st.DrawFn) -> None:
    """Move a number by an amount clearly inside or clearly outside the tolerance."""
    cells = table[row % len(table)]
    cell = cells[column % len(cells)]
    if NUMBER.fullmatch(cell):
        cells[column % len(cells)] = str(Decimal(cell.strip()) + Decimal(draw(st.sampled_from(SHIFTS))))


def pad_cell(table: Table, row: int, column: int, draw: st.DrawFn) -> None:
    cells = table[row % len(table)]
    cells[column % len(cells)] += " "


def cut_row(table: Table, row: int, column: int, draw: st.DrawFn) -> None:
    table[row % len(table)].pop()


def lengthen_row(table: Table, row: int, column: int, draw: st.DrawFn) -> None:
    table[row % len(table)].append("0")


CHANGES: tuple[Callable[[Table, int, int, st.DrawFn], None], ...] = (
    drop_row, repeat_row, swap_rows, swap_columns, drop_column, add_column, rename_column, change_cell, scale_cell,
    pad_cell, cut_row, lengthen_row,
)  # fmt: skip


def quoted(cell: str, always: bool) -> str:
    needs = always or any(mark in cell for mark in ',"\n\r') or cell == ""
    return '"' + cell.replace('"', '""') + '"' if needs else cell


@st.composite
def submissions(draw: st.DrawFn) -> tuple[bytes, list[str], list[str]]:
    """A valid submission, then up to three changes to its table and up to one to its bytes."""
    ids = draw(st.lists(st.text('ab1," é', min_size=1, max_size=4), min_size=1, max_size=4, unique=True))
    classes = [f"b{number}" for number in range(draw(st.integers(2, 4)))]
    table: Table = [["id", *classes]]
    for name in ids:
        parts = draw(st.lists(st.integers(0, 1000), min_size=len(classes), max_size=len(classes)))
        total = sum(parts) or 1
        shares = [part / total for part in parts] if sum(parts) else [1 / len(classes)] * len(classes)
        table.append([name, *(draw(st.sampled_from(("%.10g", "%.3e", "%.8f", "%r"))) % share for share in shares)])
    for _ in range(draw(st.integers(0, 3))):
        if not table or not all(table):
            break
        draw(st.sampled_from(CHANGES))(table, draw(st.integers(0, 9)), draw(st.integers(0, 9)), draw)
    always, end = draw(st.booleans()), draw(st.sampled_from(("\n", "\r\n")))
    text = end.join(",".join(quoted(cell, always) for cell in row) for row in table)
    text += draw(st.sampled_from((end, "", end + end)))
    content = draw(st.sampled_from((b"", b"\xef\xbb\xbf"))) + text.encode()
    if draw(st.integers(0, 9)) == 0:
        content = content[: draw(st.integers(0, len(content)))]
    return content, ids, classes


SCRATCH = tempfile.TemporaryDirectory(prefix="dogbreed-reference-")
SEEN = {True: 0, False: 0}


@settings(max_examples=1500, deadline=None)
@given(submissions())
def test_both_checkers_agree(submission: tuple[bytes, list[str], list[str]]) -> None:
    content, ids, classes = submission
    path = Path(SCRATCH.name) / "s.csv"
    path.write_bytes(content)
    report = check_submission(path, Template(tuple(ids), tuple(classes)))
    expected = reference_accepts(content, set(ids), set(classes))
    SEEN[expected] += 1
    assert report.ok == expected, report.errors


def test_the_generator_gave_both_kinds() -> None:
    """Runs after the test above: an agreement over valid files only would show little."""
    assert min(SEEN.values()) >= 100, SEEN
