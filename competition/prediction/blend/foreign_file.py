"""Predictions that another program saved: CSV (packed too), ``.npz``, ``.npy`` with ids beside it, ``.parquet``.

Nothing is judged here but the file itself; no pickle is read.
"""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from competition.errors import SubmissionError, UsageError, nearest
from competition.prediction.submission.judges import cell_problem, shown
from competition.prediction.submission.template import ID_COLUMN, bounded_lines, explained, few, first_repeated
from competition.prediction.submission.upload import opened

FOLD_COLUMN = "fold"
# What pandas calls a frame's index when it writes it down.
_INDEX_NAMES = ("", "unnamed: 0", "index", "level_0", "__index_level_0__")
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}


@dataclass(frozen=True)
class Table:
    """What a file of predictions holds, as it stands there.

    Attributes:
        where: the file, for messages.
        ids: n photo ids.
        columns: names of the c columns of numbers; empty where the file has none.
        values: float64 (n, c); a cell without a number is NaN.
        half: the numbers were stored as float16.
        folds: the fold column (n,), or None.
    """

    where: str
    ids: tuple[str, ...]
    columns: tuple[str, ...]
    values: np.ndarray
    half: bool = False
    folds: tuple[str, ...] | None = None


def read_table(path: Path, most_bytes: int, fold_column: str = FOLD_COLUMN) -> Table:
    """Read a file of predictions; its ending tells its kind.

    Args:
        path: ``.csv`` (also ``.csv.gz`` and ``.zip``), ``.npz``, ``.npy`` or ``.parquet``.
        most_bytes: no more than this is unpacked.
        fold_column: the column of a CSV or Parquet file that holds folds, where there is one.

    Raises:
        SubmissionError: it is missing, damaged, too large, or holds something else; a pickle too.
        UsageError: another ending, or a Parquet file without pyarrow.
    """
    if not path.is_file():
        raise SubmissionError(f"{path} is {'a folder: give the file in it' if path.is_dir() else 'missing'}")
    reader = _READERS.get(path.suffix.casefold())
    if reader is None:
        raise UsageError(f"{path}: predictions are read from {', '.join(_READERS)}; save it as one of them")
    return reader(path, most_bytes, fold_column)


def _read_csv(path: Path, most_bytes: int, fold_column: str) -> Table:
    with explained(path), opened(path, most_bytes) as (stream, _):
        reader = csv.reader(bounded_lines(stream), strict=True)
        rows = (row for row in reader if len(row) > 1 or "".join(row).strip())
        header = next(rows, [])
        for mark, name in _SEPARATORS.items():
            if len(header) == 1 and mark in header[0]:
                raise SubmissionError(f"{path}: its cells are separated by {name}: save it with commas")
        places = _Places.of(header, str(path), fold_column)
        ids, folds, values = [], [], []
        for row in rows:
            if len(row) != len(header):
                raise SubmissionError(
                    f"{path}, line {reader.line_num}: {len(row)} cells where the header has {len(header)}"
                )
            ids.append(row[places.id])
            folds.append(row[places.fold] if places.fold is not None else "")
            values.append(_numbers([row[place] for place in places.values], f"{path}, line {reader.line_num}"))
    table = np.array(values, dtype=np.float64).reshape(len(ids), len(places.values))
    return Table(str(path), tuple(ids), places.names, table, folds=_folds(folds, places))


def _numbers(cells: Sequence[str], where: str) -> np.ndarray:
    """Float64 (c,); an empty cell and the word nan are NaN.

    Raises:
        SubmissionError: a cell is no number.
    """
    try:
        return np.fromiter((float(cell) if cell.strip() else np.nan for cell in cells), np.float64, len(cells))
    except ValueError:
        found = ((cell, cell_problem(cell)) for cell in cells if cell.strip())
        cell, (kind, hint) = next((cell, problem) for cell, problem in found if problem is not None)
        raise SubmissionError(f"{where}: a row {kind}: '{shown(cell)}'{hint}") from None


@dataclass(frozen=True)
class _Places:
    """Positions of the columns: the id, the fold (or None), the numbers, and the names of these."""

    id: int
    fold: int | None
    values: tuple[int, ...]
    names: tuple[str, ...]

    @classmethod
    def of(cls, header: Sequence[str], where: str, fold_column: str) -> _Places:
        """Find them; an index that pandas wrote is passed over.

        Raises:
            SubmissionError: there is no column of ids, or one is there twice.
        """
        if ID_COLUMN not in header:
            likely = nearest(ID_COLUMN, header).replace("did you mean", "rename").rstrip("?.")
            raise SubmissionError(f"{where}: there is no column 'id'{likely}; the first column is to hold the ids")
        index = {place for place, name in enumerate(header) if name.strip().casefold() in _INDEX_NAMES}
        repeated = first_repeated(name for place, name in enumerate(header) if place not in index)
        if repeated is not None:
            raise SubmissionError(f"{where}: column '{shown(repeated)}' appears more than once")
        named = {name: place for place, name in enumerate(header)}
        others = {named[ID_COLUMN], named.get(fold_column, -1), *index}
        values = tuple(place for place in range(len(header)) if place not in others)
        return cls(named[ID_COLUMN], named.get(fold_column), values, tuple(header[place] for place in values))


def _folds(cells: Sequence[Any], places: _Places) -> tuple[str, ...] | None:
    return None if places.fold is None else tuple(str(cell).strip() for cell in cells)


@contextmanager
def _numpy_errors(path: Path) -> Iterator[None]:
    """What NumPy and zipfile raise for a bad file becomes one line."""
    try:
        yield
    except (ValueError, EOFError, OSError, zipfile.BadZipFile, KeyError, NotImplementedError) as error:
        if "allow_pickle" in str(error):
            told = "it holds pickled objects, which are not read: save ids and breeds as np.array(names, dtype=str)"
            raise SubmissionError(f"{path}: {told}") from error
        raise SubmissionError(f"{path} cannot be read as {path.suffix} ({error}): save it again") from error


def _read_npz(path: Path, most_bytes: int, fold_column: str) -> Table:
    with _numpy_errors(path), zipfile.ZipFile(path) as packed:
        size = sum(info.file_size for info in packed.infolist())
        _require_size(path, size, most_bytes)
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    tables = [name for name, array in arrays.items() if array.ndim == 2 and array.dtype.kind in "fiu"]
    if len(tables) != 1:
        held = f"{len(tables)} tables of numbers ({', '.join(tables)})" if tables else "no table of numbers (n, breeds)"
        raise SubmissionError(f"{path} holds {held}: save the one that counts, with ids and classes")
    ids, columns, folds = (
        _names(arrays, *names) for names in (("ids", "id"), ("classes", "breeds"), ("folds", "fold"))
    )
    if ids is None:
        raise SubmissionError(f"{path} has no ids (it holds {', '.join(arrays)}): save them as ids=...")
    columns, folds = _names(arrays, "classes", "breeds"), _names(arrays, "folds", "fold")
    return _from_arrays(path, ids, columns, arrays[tables[0]], folds)


def _names(arrays: Mapping[str, np.ndarray], *names: str) -> tuple[str, ...] | None:
    """The first array of these names, as texts."""
    found = next((arrays[name] for name in names if name in arrays), None)
    return None if found is None else _texts(found)


def _texts(array: np.ndarray) -> tuple[str, ...]:
    return tuple(item.decode("utf-8") if isinstance(item, bytes) else str(item) for item in array.ravel().tolist())


def _read_npy(path: Path, most_bytes: int, fold_column: str) -> Table:
    """Rows alone; ids, and breeds where they are not in alphabetical order, lie beside it."""
    _require_size(path, path.stat().st_size, most_bytes)
    ids = _beside(path, "ids")
    if ids is None:
        raise SubmissionError(f"{path} has no ids: save them beside it, np.save('{path.stem}_ids.npy', np.array(ids))")
    return _from_arrays(path, ids, _beside(path, "classes"), _load_npy(path), _beside(path, "folds"))


def _beside(path: Path, what: str) -> tuple[str, ...] | None:
    """Names in ``<stem>_<what>.npy``, or ``.txt`` with one a line."""
    array, text = (path.with_name(f"{path.stem}_{what}{ending}") for ending in (".npy", ".txt"))
    if array.is_file():
        return _texts(_load_npy(array))
    with explained(text):
        return tuple(text.read_text(encoding="utf-8-sig").splitlines()) if text.is_file() else None


def _load_npy(path: Path) -> np.ndarray:
    with _numpy_errors(path):
        return np.asarray(np.load(path, allow_pickle=False))


def _from_arrays(
    path: Path,
    ids: tuple[str, ...],
    columns: tuple[str, ...] | None,
    values: np.ndarray,
    folds: tuple[str, ...] | None,
) -> Table:
    wanted = (len(ids), len(columns) if columns else values.shape[-1] if values.ndim else 0)
    if values.shape != wanted or values.dtype.kind not in "fiu":
        raise SubmissionError(
            f"{path} has shape {values.shape} ({values.dtype}), while there are {len(ids):,} ids"
            + (f" and {len(columns)} classes" if columns else "")
        )
    if folds is not None and len(folds) != len(ids):
        raise SubmissionError(f"{path}: {len(folds):,} folds for {len(ids):,} ids")
    return Table(str(path), ids, columns or (), values.astype(np.float64), values.dtype == np.float16, folds)


def _read_parquet(path: Path, most_bytes: int, fold_column: str) -> Table:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise UsageError(f"{path}: reading Parquet needs pyarrow: pip install pyarrow, or save it as CSV") from error
    try:
        stored = pyarrow.parquet.ParquetFile(path)
        _require_size(path, 2 * stored.metadata.num_rows * max(stored.metadata.num_columns, 1), most_bytes)
        read = stored.read()
    except (ValueError, OSError) as error:  # pyarrow's own errors are these
        raise SubmissionError(f"{path} cannot be read as Parquet ({error}): save it again") from error
    places = _Places.of(read.column_names, str(path), fold_column)
    columns = [read.column(place) for place in places.values]
    strange = [
        name
        for name, column in zip(places.names, columns, strict=True)
        if not str(column.type).startswith(("int", "uint", "halffloat", "float", "double"))
    ]
    if strange:
        raise SubmissionError(f"{path}: {few(strange)} hold no numbers: leave out what is no breed's column")
    half = any(str(column.type) == "halffloat" for column in columns)
    values = np.empty((read.num_rows, len(columns)))
    for number, column in enumerate(columns):
        values[:, number] = column.to_numpy()
    folds = read.column(places.fold).to_pylist() if places.fold is not None else []
    ids = tuple(map(str, read.column(places.id).to_pylist()))
    return Table(str(path), ids, places.names, values, half, _folds(folds, places))


def _require_size(path: Path, size: int, most: int) -> None:
    if size > most:
        raise SubmissionError(
            f"{path} holds {size / 1e6:,.0f} MB, while these photos take less than {most / 1e6:,.0f} MB"
        )


_READERS: Mapping[str, Callable[[Path, int, str], Table]] = MappingProxyType(
    {
        ".csv": _read_csv,
        ".gz": _read_csv,
        ".zip": _read_csv,
        ".npz": _read_npz,
        ".npy": _read_npy,
        ".parquet": _read_parquet,
    }
)
