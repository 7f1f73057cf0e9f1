"""``labels.csv``: id and breed of every train photo. Byte-order marks and Windows line ends are fine."""

from __future__ import annotations

import csv
from pathlib import Path

from competition.errors import DataError, nearest


def read_csv(path: Path) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a small CSV; cells are stripped, empty lines left out.

    Raises:
        DataError: the file is not UTF-8, not a CSV, or a row has another number of cells than the header.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = [[cell.strip() for cell in row] for row in csv.reader(stream, strict=True)]
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing") from error
    except (UnicodeDecodeError, csv.Error, IsADirectoryError) as error:
        raise DataError(f"{path} is not a CSV in UTF-8 ({error}): take the file from Kaggle's archive") from error
    if not rows or not any(rows[0]):
        raise DataError(f"{path} is empty: take the file from Kaggle's archive")
    header = rows[0]
    for line, row in enumerate(rows[1:], start=2):
        if row and len(row) != len(header):
            raise DataError(f"{path}, line {line}: {len(row)} cells where the header has {len(header)}")
    return header, [row for row in rows[1:] if row]


def read_ids(path: Path) -> tuple[str, ...]:
    """The first column of a ``sample_submission.csv``; empty where it is none, which whoever needs the rest tells."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = [row[0] for row in csv.reader(stream) if row]
    except (OSError, UnicodeDecodeError, csv.Error):
        return ()
    return tuple(rows[1:]) if rows[:1] == ["id"] else ()


def read_labels(path: Path) -> dict[str, str]:
    """Breed by photo id, in the file's order.

    Raises:
        DataError: a column is missing, an id or a breed is empty, an id is repeated, or there are no rows.
    """
    header, rows = read_csv(path)
    for column in ("id", "breed"):
        if column not in header:
            raise DataError(
                f"{path}: the column '{column}' is missing (found: {', '.join(header[:5])}){nearest(column, header)}"
            )
    at_id, at_breed = header.index("id"), header.index("breed")
    breeds: dict[str, str] = {}
    for number, row in enumerate(rows, start=1):
        name, breed = row[at_id], row[at_breed]
        if not name or not breed:
            what = f"the photo '{name}' has an empty breed" if name else "the id is empty"
            raise DataError(f"{path}, row {number}: {what}; fill it in or remove the row")
        if name in breeds:
            other = f"with two breeds ({breeds[name]}, {breed})" if breeds[name] != breed else "twice"
            raise DataError(f"{path}, row {number}: the id '{name}' is listed {other}; keep one row")
        breeds[name] = breed
    if not breeds:
        raise DataError(f"{path} has no rows below its header")
    return breeds
