"""Files that appear whole or not at all, digests, and CSV cells that a spreadsheet does not run.

A file is written in a temporary folder beside it, flushed to the disk and renamed: a process killed at any moment
leaves the old file or the new one, never half of one. The temporary folder is locked while its writer lives; what a
killed writer left is removed by the next one that writes there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from competition.errors import DataError, StorageError, WeightsError
from competition.locks import free, hold, release
from competition.system_errors import explain_disk_errors

_TEMPORARY = ".tmp"
_RANDOM = 8  # letters that tempfile puts into a name
_LEFTOVER = re.compile(r"\..+\.[a-z0-9_]{8}\.tmp")
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


@contextlib.contextmanager
def in_utf8(path: Path) -> Iterator[Path]:
    """Yield ``path`` under a name for libraries that take UTF-8 only: itself, or during the block a link to it.

    Args:
        path: a file or folder that is there.
    """
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        with tempfile.TemporaryDirectory(prefix="dogbreed-") as temporary:
            link = Path(temporary) / f"link{'.safetensors' if path.suffix == '.safetensors' else ''}"
            link.symlink_to(path.absolute(), target_is_directory=path.is_dir())
            yield link
    else:
        yield path


def require_writable(path: Path) -> None:
    """Check before long work that a file can be written there in the end; nothing is made.

    Raises:
        StorageError: the path is a folder, lies below a file, or its folder cannot be written.
    """
    if path.is_dir():
        raise StorageError(f"{path} is a folder: give the name of a file in it")
    folder = next((parent for parent in path.absolute().parents if parent.exists()), Path("/"))
    if not folder.is_dir():
        raise StorageError(f"cannot write {path}: {folder} is a file, not a folder; choose another place")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StorageError(f"cannot write {path}: the folder is read-only or not yours; choose another")


@contextlib.contextmanager
def atomic_path(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path for ``path``; on success it is flushed and renamed to ``path``, on error removed.

    Args:
        path: the file; its folder is made where it is lacking.
        durable: wait for the disk. False for thousands of small files that can all be made again.

    Raises:
        StorageError: there is no space, or the folder cannot be written.
    """
    with explain_disk_errors(path):
        with temporary_folder(path.parent, f".{path.name}.") as folder:
            temporary = folder / path.name
            temporary.touch()
            yield temporary
            if durable:
                with temporary.open("rb+") as written:
                    os.fsync(written.fileno())
            temporary.chmod(0o644)
            temporary.replace(path)
        if durable:
            _flush_folder(path.parent)


@contextlib.contextmanager
def temporary_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """Yield a new folder ``<prefix>XXXXXXXX.tmp`` in ``parent``: locked during the block, removed after it.

    Those of killed writers are removed first; only of this prefix, other programs may use such names as well.

    Raises:
        StorageError: there is no space, or ``parent`` cannot be written.
    """
    for name in _leftovers_at_start(parent.absolute()):
        if name.startswith(prefix) and len(name) == len(prefix) + _RANDOM + len(_TEMPORARY):
            _remove_if_dead(parent / name)
    with explain_disk_errors(parent):
        parent.mkdir(parents=True, exist_ok=True)
        folder, handle = _locked_folder(parent, prefix)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if handle is not None:
            release(handle)


def _locked_folder(parent: Path, prefix: str) -> tuple[Path, int | None]:
    """Make it; again where somebody took it for a leftover in the moment before it was locked."""
    while True:
        folder = Path(tempfile.mkdtemp(dir=parent, prefix=prefix, suffix=_TEMPORARY))
        try:
            handle = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            continue
        except PermissionError:  # Windows opens no folders
            return folder, None
        hold(handle, wait=True)
        if folder.is_dir():
            return folder, handle
        release(handle)


def remove_leftovers(folder: Path) -> None:
    """Remove what killed writers left below a folder where only the kit writes; nothing of a writer that lives."""
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            if _LEFTOVER.fullmatch(name):
                _remove_if_dead(Path(place) / name)
        folders[:] = [name for name in folders if not name.endswith(_TEMPORARY)]


@lru_cache(maxsize=256)
def _leftovers_at_start(folder: Path) -> tuple[str, ...]:
    """Temporary names in a folder when this process first wrote there."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        return tuple(entry.name for entry in entries if entry.name.endswith(_TEMPORARY))
    return ()


def _remove_if_dead(path: Path) -> None:
    with free(path) as dead:
        if dead and path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif dead:  # of a version that had temporary files
            path.unlink(missing_ok=True)


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
    r"""Write ``text`` as UTF-8 to ``path`` atomically; a file's name in it that is none appears as ``\udce9``."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


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


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], texts: Mapping[str, str] | None = None) -> None:
    """Write arrays, and texts for the header, as safetensors atomically: the same values give the same bytes.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    from safetensors.numpy import save_file

    with atomic_path(path) as temporary:
        save_file(
            {name: np.ascontiguousarray(array) for name, array in arrays.items()},
            temporary,
            dict(texts) if texts else None,
        )
        if texts and len(texts) > 1:
            _sort_texts(temporary)


def _sort_texts(path: Path) -> None:
    """Put the header's texts into order: the library writes them in another one every time."""
    with path.open("rb+") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(length)
        if len(text) == length:  # the places of the arrays count from the header's end
            stream.seek(8)
            stream.write(text)


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
    """Neutralise a cell that a spreadsheet would run as a formula, by a leading apostrophe (OWASP, CSV injection).

    A text that looks like a neutralised one gets another apostrophe, so that ``text_of_cell`` gives back every text.
    """
    return f"'{text}" if text.lstrip("'").startswith(_FORMULA_STARTS) else text


def text_of_cell(cell: str) -> str:
    """Take back what ``csv_cell`` did."""
    return cell[1:] if cell.startswith("'") and cell.lstrip("'").startswith(_FORMULA_STARTS) else cell


def write_csv(path: Path, header: Iterable[str], rows: Iterable[Iterable[Any]], *, harmless: bool = True) -> None:
    """Write a CSV atomically: UTF-8, newline-terminated, minimal quoting.

    Args:
        path: the file.
        header: names of the columns.
        rows: the cells.
        harmless: make cells harmless to spreadsheets (``csv_cell``); False for files in Kaggle's own form, which other
            programs read as they stand.
    """
    table = ([csv_cell(cell) if isinstance(cell, str) and harmless else cell for cell in row] for row in rows)
    lines = [csv_line(row) for row in (list(header), *table)]
    # Names of files may be no UTF-8: their bytes go through as they are.
    write_bytes(path, "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape"))


def csv_line(row: Iterable[Any]) -> str:
    """A CSV row without its end; line breaks inside cells are quoted, whatever the version of Python."""
    import csv
    import io

    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerow(row)
    return buffer.getvalue()[:-2]


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
