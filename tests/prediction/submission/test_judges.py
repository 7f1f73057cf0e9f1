"""The checker beside both judges, on 1,000 generated files each; where it differs from one, the difference is listed.

``kaggle`` is what Kaggle's pages SubmissionParser and MultiClassLogLoss say, ``mle_bench`` what the grader of this
competition in openai/mle-bench does, both restated here in a few lines that share nothing with the kit.

The checker differs from Kaggle's pages:

* ``beyond``: values below -1 or above 2. The page says that they are clipped. Nobody means logits or percentages to be
  cut to 0 and 1, and whether the row is divided by its sum before that is not told, so the score is not known. Refused,
  since a submission would be spent on it.
* ``packed``: a ``.7z``, which Kaggle takes and this kit cannot look into.

It differs from mle-bench's grader, always to be as strict as Kaggle, or because pandas guesses:

* ``columns``: columns too many, repeated or without a name. pandas renames or ignores them, Kaggle wants the sample's
  columns exactly.
* ``words``: a column of the words True and False, which pandas takes for 1 and 0.
"""

from __future__ import annotations

import gzip
import io
import random
import re
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from competition.prediction.submission.check import check_submission
from competition.prediction.submission.template import Template
from tests.prediction.submission.test_check_reference import split_cells

FILES = 1000
CLASSES = ("affenpinscher", "basset", "shih-tzu", "west_highland_white_terrier")
NET_NUMBER = re.compile(r"[\t-\r ]*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?[\t-\r ]*")


def kaggle(path: Path, ids: list[str]) -> bool:
    """The documented behaviour; what is not documented (NaN, empty cells, repeated ids, UTF-16) counts as refused."""
    content = path.read_bytes()
    if path.suffix == ".7z":
        return True  # the generator packs good files only
    if path.suffix == ".gz":
        content = gzip.decompress(content)
    if path.suffix == ".zip":
        packed = zipfile.ZipFile(io.BytesIO(content))
        names = [name for name in packed.namelist() if not name.startswith("__MACOSX")]
        if len(names) != 1:
            return False
        content = packed.read(names[0])
    try:
        rows = split_cells(content.decode("utf-8").removeprefix("\ufeff"))
    except UnicodeDecodeError:
        return False
    rows = [row for row in rows or [] if len(row) > 1 or row[0].strip(" \t")]
    if not rows or sorted(rows[0]) != sorted(["id", *CLASSES]) or any(len(row) != len(rows[0]) for row in rows):
        return False
    records = [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
    cells = [record[name] for record in records for name in CLASSES]
    numbers = all(NET_NUMBER.fullmatch(cell) and np.isfinite(float(cell)) for cell in cells)
    return numbers and sorted(record["id"] for record in records) == sorted(ids)


def mle_bench(path: Path, ids: list[str]) -> bool:
    """pandas reads; the breeds and ``id`` must be there, sums close to 1, values in [0, 1], sorted ids the same."""
    if path.suffix != ".csv":
        return False
    try:
        given = pd.read_csv(path, float_precision="round_trip")
        answers = pd.read_csv(io.StringIO("id\n" + "\n".join(ids)))
        if not {"id", *CLASSES} <= set(given.columns) or len(given) != len(answers):
            return False
        chances = given[list(CLASSES)]
        if (
            not np.all(np.isclose(chances.sum(axis=1), 1, atol=1e-6))
            or not ((chances >= 0) & (chances <= 1)).all().all()
        ):
            return False
        return bool(given["id"].sort_values().tolist() == answers["id"].sort_values().tolist())
    except Exception:  # noqa: BLE001 - the grader takes every exception for a submission without a score
        return False


Table = list[list[str]]
CELLS = (
    "nan", "NaN", "inf", "-Infinity", "", " ", "1,0", "0,5", "1_0", "0x1", "-0.1", "-1e-9", "1.5", "1.0000001", "7.3",
    "-4", "55", "1e-400", "1e400", "\u00bd", "\u0660", "+.5", "0.", "1.", "1", "1e-3", "1E-3", "--1", "-0", "1e", "5%",
    "None", "NA", "null", "True", "0.25\u00a0", "\u30000.25", "0.25\x1f", "\ufeff0.25", "0\u200b.25", "\t0.25", "0.25 ",
    "0. 25", "$1", "1d0", "0.25f", "1;0", "0.5abc", "'0.25",
)  # fmt: skip
NAMES = ("", "Unnamed: 0", "index", "ID", "Id", "id", "Basset", "basset", " basset", "basset ", "zebra", "shih_tzu")
SUMS = (4e-7, 2e-6, 9e-6, 1.2e-5, 3e-5, 1e-3, -5e-6, -2e-5, -0.03, 0.4)


def at_row(change: Callable[[list[str], random.Random], None]) -> Callable[[Table, random.Random], None]:
    def changed(table: Table, rng: random.Random) -> None:
        change(rng.choice(table[1:] or table), rng)

    return changed


def any_cell(row: list[str], rng: random.Random) -> None:
    row[rng.randrange(len(row))] = rng.choice(CELLS)


def shift_sum(row: list[str], rng: random.Random) -> None:
    column = rng.randrange(1, len(row))
    if NET_NUMBER.fullmatch(row[column]):
        row[column] = repr(float(row[column]) + rng.choice(SUMS))


def pad(row: list[str], rng: random.Random) -> None:
    column, space = rng.randrange(len(row)), rng.choice((" ", "\t", "\u00a0", "  "))
    row[column] = rng.choice((row[column] + space, space + row[column]))


def as_logits(table: Table, rng: random.Random) -> None:
    for row in table[1:]:
        row[1:] = [f"{rng.gauss(0, 4):.4f}" for _ in row[1:]]


def scaled(factor: float) -> Callable[[Table, random.Random], None]:
    def change(table: Table, rng: random.Random) -> None:
        for row in table[1:]:
            row[1:] = [f"{float(cell) * factor:g}" if NET_NUMBER.fullmatch(cell) else cell for cell in row[1:]]

    return change


def rounded(digits: int) -> Callable[[Table, random.Random], None]:
    def change(table: Table, rng: random.Random) -> None:
        for row in table[1:]:
            row[1:] = [f"{float(cell):.{digits}f}" if NET_NUMBER.fullmatch(cell) else cell for cell in row[1:]]

    return change


def one_hot(table: Table, rng: random.Random) -> None:
    one, zero = rng.choice((("1", "0"), ("1.", "0."), ("1.0", "0.0"), ("True", "False")))
    for row in table[1:]:
        row[1:] = [zero] * (len(row) - 1)
        row[1 + rng.randrange(len(row) - 1) if len(row) > 1 else 0] = one


def zeros(row: list[str], rng: random.Random) -> None:
    row[1:] = ["0"] * (len(row) - 1)


def insert_column(table: Table, rng: random.Random) -> None:
    name, column = rng.choice(NAMES), rng.randrange(len(table[0]) + 1)
    for number, row in enumerate(table):
        row.insert(column, str(number) if number else name)


def drop_column(table: Table, rng: random.Random) -> None:
    column = rng.randrange(len(table[0]))
    for row in table:
        del row[column : column + 1]


def end_in_comma(table: Table, rng: random.Random) -> None:
    for row in table[rng.choice((0, 0, 1)) :]:
        row.append("")


def rename(table: Table, rng: random.Random) -> None:
    table[0][rng.randrange(len(table[0]))] = rng.choice(NAMES)


def drop_row(table: Table, rng: random.Random) -> None:
    del table[rng.randrange(len(table))]


def repeat_row(table: Table, rng: random.Random) -> None:
    table.append(list(rng.choice(table)))


def other_id(row: list[str], rng: random.Random) -> None:
    row[0] = rng.choice((row[0] + ".jpg", row[0].upper() + "F", row[0] + " ", "test/" + row[0], "", f"{rng.random()}"))


def shuffle_rows(table: Table, rng: random.Random) -> None:
    body = table[1:]
    rng.shuffle(body)
    table[1:] = body


def shuffle_columns(table: Table, rng: random.Random) -> None:
    order = rng.sample(range(len(table[0])), len(table[0]))
    table[:] = [[row[k] if k < len(row) else "" for k in order] for row in table]


CHANGES: tuple[Callable[[Table, random.Random], None], ...] = (
    at_row(any_cell), at_row(any_cell), at_row(shift_sum), at_row(shift_sum), at_row(pad), at_row(zeros),
    at_row(other_id), as_logits, scaled(100), scaled(2.5), scaled(0.1), rounded(3), rounded(4), rounded(6), rounded(8),
    one_hot, insert_column, drop_column, end_in_comma, rename, drop_row, repeat_row, shuffle_rows, shuffle_rows,
    shuffle_columns, shuffle_columns,
    at_row(lambda row, rng: row.append("0")), at_row(lambda row, rng: row.pop() and None),
)  # fmt: skip


def written(table: Table, rng: random.Random, folder: Path) -> Path:
    """The table as a file: separators, quotes, line ends, blank lines, marks, archives."""
    comma = rng.choices((",", ";", "\t", ", "), (40, 1, 1, 1))[0]
    always, end = rng.random() < 0.2, rng.choices(("\n", "\r\n", "\r"), (6, 3, 1))[0]

    def cell(text: str) -> str:
        needs = always or any(mark in text for mark in ',"\n\r')
        return '"' + text.replace('"', '""') + '"' if needs else text

    lines = [comma.join(map(cell, row)) for row in table]
    if rng.random() < 0.15:
        lines.insert(rng.randrange(len(lines) + 1), rng.choice(("", "   ")))
    content = (end.join(lines) + rng.choice((end, "", end * 3))).encode()
    content = b"\xef\xbb\xbf" * (rng.random() < 0.15) + content
    if rng.random() < 0.03:
        content = content[: rng.randrange(len(content) + 1)]
    path = folder / "s.csv"
    kind = rng.choices(("", ".gz", ".zip", "two", "utf-16", "7z"), (80, 2, 2, 1, 1, 1))[0]
    if kind == "utf-16":
        content = content.decode(errors="replace").encode("utf-16")
    elif kind == ".gz":
        path, content = folder / "s.csv.gz", gzip.compress(content)
    elif kind in (".zip", "two"):
        path, buffer = folder / "s.zip", io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as packed:
            packed.writestr("s.csv", content)
            packed.writestr("__MACOSX/._s.csv", b"")
            if kind == "two":
                packed.writestr("t.csv", content)
        content = buffer.getvalue()
    elif kind == "7z":
        path, content = folder / "s.7z", b"7z\xbc\xaf\x27\x1c" + content
    path.write_bytes(content)
    return path


def generated(seed: int, folder: Path) -> tuple[Path, list[str]]:
    """A valid submission of a few photos, then up to three changes, then a way to write it."""
    rng = random.Random(seed)
    ids = [f"{rng.getrandbits(128):032x}" for _ in range(rng.randrange(1, 6))]
    table: Table = [["id", *CLASSES]]
    for name in ids:
        parts = np.array([rng.gammavariate(0.5, 1) + 1e-9 for _ in CLASSES])
        table.append([name, *(rng.choice(("%r", "%.10g", "%.12e", "%.17f")) % float(p) for p in parts / parts.sum())])
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
        if len(table) > 1 and all(table):
            rng.choice(CHANGES)(table, rng)
    return written(table or [[""]], rng, folder), ids


def why_not_kaggle(path: Path, errors: str) -> str:
    return "beyond" if "beyond -1 to 2" in errors else "packed" if path.suffix == ".7z" else "?"


def why_not_mle_bench(path: Path, errors: str) -> str:
    columns = ("unknown column", "appears more than once", "index column", "end in a comma")
    if any(told in errors for told in columns):
        return "columns"
    return "words" if "'True'" in errors or "'False'" in errors else "?"


def test_the_checker_takes_what_kaggle_takes(tmp_path: Path) -> None:
    differences, verdicts = Counter[tuple[str, str]](), Counter[bool]()
    for seed in range(FILES):
        path, ids = generated(seed, tmp_path)
        report, theirs = check_submission(path, Template(tuple(ids), CLASSES)), kaggle(path, ids)
        verdicts[theirs] += 1
        if report.ok != theirs:
            told = why_not_kaggle(path, "; ".join(report.errors))
            assert told != "?", (seed, path.read_bytes(), theirs, report)
            differences["stricter" if theirs else "laxer", told] += 1
    assert min(verdicts.values()) > 300, verdicts
    assert set(differences) == {("stricter", "beyond"), ("stricter", "packed")}, differences


def test_a_file_without_a_warning_of_mle_bench_is_one_that_its_grader_takes(tmp_path: Path) -> None:
    differences, verdicts = Counter[tuple[str, str]](), Counter[bool]()
    for seed in range(FILES, 2 * FILES):
        path, ids = generated(seed, tmp_path)
        report, theirs = check_submission(path, Template(tuple(ids), CLASSES)), mle_bench(path, ids)
        warned = any(line.endswith("[mle-bench]") for line in report.warnings)
        verdicts[theirs] += 1
        if (report.ok and not warned) != theirs:
            told = why_not_mle_bench(path, "; ".join(report.errors))
            assert told != "?", (seed, path.read_bytes(), theirs, report)
            differences["stricter" if theirs else "laxer", told] += 1
    assert min(verdicts.values()) > 250, verdicts
    assert set(differences) == {("stricter", "columns"), ("stricter", "words")}, differences


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.2, 0.3], [0.4, 0.6]),
        ([-0.5, 1.5], [1e-15, 1.0]),
        ([0.0, 0.0], [0.5, 0.5]),
    ],
)
def test_rows_are_clipped_then_divided_by_their_sum(values: list[float], expected: list[float]) -> None:
    from competition.prediction.submission.judges import as_scored

    assert as_scored(np.array(values)) == pytest.approx(expected, rel=1e-9, abs=2e-15)
