"""Files that appear whole or not at all, digests, and CSV cells that a spreadsheet does not run.

A file is written under a temporary name in its own folder, flushed to the disk and renamed: a process killed at any
moment leaves the old file or the new one, never half of one.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from competition.errors import DataError, StorageError, WeightsError

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


@contextlib.contextmanager
def explain_disk_errors(path: Path) -> Iterator[None]:
    """Turn a full disk or a refused write into one clear line.

    Raises:
        StorageError: there is no space, or the folder cannot be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageError(f"no space left while writing {path}: free some space there and start again") from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise StorageError(f"cannot write {path}: the folder is read-only or not yours; choose another") from error
        raise


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it is flushed and renamed to ``path``, on error removed.

    Raises:
        StorageError: there is no space, or the folder cannot be written.
    """
    with explain_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            with temporary.open("rb+") as written:
                os.fsync(written.fileno())
            temporary.chmod(0o644)
            temporary.replace(path)
            _flush_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    """Make a rename durable; some file systems do not offer it, which is no reason to stop."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8 to ``path`` atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON to ``path`` atomically; NaN is refused, since JSON has none."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False, default=_plain) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        DataError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not valid JSON ({error}); delete it to have it made again") from error


def write_npz(path: Path, **arrays: np.ndarray) -> None:
    """Write arrays as compressed ``.npz`` atomically, never with pickle (object arrays are refused)."""
    for name, array in arrays.items():
        if np.asarray(array).dtype == object:
            raise TypeError(f"array '{name}' holds Python objects, which only pickle could store")
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Read every array of a ``.npz`` without pickle.

    Raises:
        DataError: the file is missing, damaged or holds pickled objects.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing") from error
    except Exception as error:  # numpy and zipfile raise a dozen kinds
        raise DataError(f"{path} cannot be read as .npz ({error}); delete it to have it made again") from error


def read_arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read a safetensors file: its arrays by name, and the texts of its header.

    Raises:
        WeightsError: it is missing, or not readable.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as stored:
            arrays = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - no mapping
            return arrays, dict(stored.metadata() or {})
    except FileNotFoundError as error:
        raise WeightsError(f"{path} is missing") from error
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path} is no readable safetensors file ({error}): delete it and have it written again"
        ) from error


def _plain(value: Any) -> Any:
    """NumPy scalars, paths and tuples as JSON knows them."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def digest_of(value: Any) -> str:
    """SHA-256 of a JSON-able value, first 16 hex digits: the same value gives the same digest on any machine."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=_plain)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]


def digest_of_array(array: np.ndarray) -> str:
    """SHA-256 of an array's type, shape and bytes, first 16 hex digits."""
    contiguous = np.ascontiguousarray(array)
    sha = hashlib.sha256(f"{contiguous.dtype.str}{contiguous.shape}".encode())
    sha.update(contiguous.data)
    return sha.hexdigest()[:16]


def digest_of_file(path: Path) -> str:
    """SHA-256 of a file's content, first 16 hex digits.

    Raises:
        DataError: the file is missing.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()[:16]
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing") from error


def csv_cell(text: str) -> str:
    """Neutralise a cell that a spreadsheet would run as a formula, by a leading apostrophe (OWASP, CSV injection)."""
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def text_of_cell(cell: str) -> str:
    """Take back what ``csv_cell`` did."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_FORMULA_STARTS) else cell


def write_csv(path: Path, header: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write a CSV atomically: UTF-8, newline-terminated, minimal quoting, cells from data made harmless."""
    import csv
    import io

    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(list(header))
    writer.writerows([csv_cell(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
    write_text(path, buffer.getvalue())


def distinct_names(paths: Iterable[Path], meaningless: str = "") -> list[str]:
    """The shortest ends of paths that tell them apart: ``a/probe``, ``b/probe`` for ``runs/a/probe``, ``runs/b/probe``.

    Args:
        paths: links are not followed; equal paths keep equal names.
        meaningless: a pattern of ends that say nothing alone (version numbers): their folder's name is taken along.
    """
    parts = [Path(os.path.normpath(path.absolute())).parts[1:] for path in paths]
    lengths = [1] * len(parts)
    for number, whole in enumerate(parts):
        while meaningless and lengths[number] < len(whole) and re.fullmatch(meaningless, whole[-lengths[number]]):
            lengths[number] += 1
    while True:
        names = ["/".join(whole[-length:]) for whole, length in zip(parts, lengths, strict=True)]
        twins: dict[str, set[tuple[str, ...]]] = {}
        for name, whole in zip(names, parts, strict=True):
            twins.setdefault(name, set()).add(whole)
        if all(len(same) == 1 for same in twins.values()):
            return names
        lengths = [length + (len(twins[name]) > 1) for length, name in zip(lengths, names, strict=True)]


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Name every key whose value differs, as ``key: old -> new``, sorted by key; a list equals its tuple."""
    pairs = {key: (as_tuples(old.get(key)), as_tuples(new.get(key))) for key in sorted(set(old) | set(new))}
    return [f"{key}: {before!r} -> {after!r}" for key, (before, after) in pairs.items() if before != after]


def as_tuples(value: Any) -> Any:
    """Lists, which JSON gives back for tuples, as tuples, at any depth."""
    return tuple(as_tuples(item) for item in value) if isinstance(value, list | tuple) else value
