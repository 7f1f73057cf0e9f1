"""``labels.csv``: id and breed of every train photo. Byte-order marks and Windows line ends are fine.

Also what ``sample_submission.csv`` lists, and why ids of a table have no photo.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from competition.data.source.names import shown
from competition.errors import DataError, nearest

if TYPE_CHECKING:
    from competition.data.source.competition_data import Photo
    from competition.data.source.listing import LeftOut

_SEPARATORS = ((";", "semicolons"), ("\t", "tabs"), ("|", "bars"))


def read_csv(path: Path, *, strip: bool = True) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a small CSV; cells are stripped (unless told otherwise), empty lines left out.

    Raises:
        DataError: the file is not UTF-8, not a CSV, or a row has another number of cells than the header.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = [[cell.strip() if strip else cell for cell in row] for row in csv.reader(stream, strict=True)]
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not a CSV in UTF-8 ({_encoding(path, error)}): save it as CSV UTF-8") from error
    except (csv.Error, IsADirectoryError) as error:
        raise DataError(f"{path} is not a CSV ({error}): take the file from Kaggle's archive") from error
    if not rows or not any(rows[0]):
        raise DataError(f"{path} is empty: take the file from Kaggle's archive")
    header = rows[0]
    other = next((name for mark, name in _SEPARATORS if len(header) == 1 and mark in header[0]), None)
    if other is not None:
        raise DataError(f"{path}: its cells are separated by {other}, not by commas: save it as CSV with commas")
    for line, row in enumerate(rows[1:], start=2):
        if row and len(row) != len(header):
            raise DataError(f"{path}, line {line}: {len(row)} cells where the header has {len(header)}")
    return header, [row for row in rows[1:] if row]


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


def _encoding(path: Path, error: UnicodeDecodeError) -> str:
    """What the file seems to be instead of UTF-8."""
    with path.open("rb") as stream:
        start = stream.read(4)
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "it is UTF-16, as spreadsheets write 'Unicode text'"
    return f"byte 0x{error.object[error.start]:02x}, an accented letter in another encoding?"


def sample_columns(path: Path) -> tuple[str, ...]:
    """The breeds that ``sample_submission.csv`` has columns for; none where it cannot be read, which others tell."""
    return _first_row(path)[1:]


def _first_row(path: Path) -> tuple[str, ...]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            return tuple(next(csv.reader(stream), ()))
    except (OSError, UnicodeDecodeError, csv.Error):
        return ()


def sample_ids(path: Path) -> tuple[str, ...]:
    """The ids that ``sample_submission.csv`` lists, each once; none where it cannot be read, which others tell."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = csv.reader(stream)
            next(rows, None)
            return tuple(dict.fromkeys(row[0] for row in rows if row and row[0]))
    except (OSError, UnicodeDecodeError, csv.Error):
        return ()


def absent_photos(
    labels: Path, train: Path, absent: Sequence[str], photos: Sequence[Photo], others: Sequence[LeftOut]
) -> str:
    """The sentence on ids that have no photo: how many, the first, and the likeliest cause.

    Args:
        labels: the table that lists them.
        train: the folder that was looked in.
        absent: the ids.
        photos: what lies in the folder.
        others: files in it that are no photos, or lie deeper.
    """
    first = ", ".join(shown(name) for name in absent[:3])
    told = f"{labels}: {len(absent):,} ids have no photo in {train.name}/ (first: {first})"
    without_zeros = {photo.id.lstrip("0") or "0" for photo in photos if photo.id.startswith("0")}
    if not photos:
        kinds = ", ".join(dict.fromkeys(item.reason for item in others)) or "it is empty"
        return f"{told}: {train.name}/ holds no photo at all ({kinds})"
    if sum(name in without_zeros for name in absent) * 2 > len(absent):
        return f"{told}: they lost their leading zeros, as in spreadsheets; take {labels.name} from the archive again"
    deeper = [item.name for item in others if "/" in item.name.removeprefix(f"{train.name}/")]
    if deeper:
        return f"{told}: {len(deeper):,} files lie in folders inside it ({deeper[0]}); put them beside the others"
    example = f"; a photo there is called {shown(photos[0].path.name)}" if len(absent) > 0.9 * len(photos) else ""
    return f"{told}: put these photos there, or remove the rows{example}"
