"""A submission as it is uploaded: the CSV itself, or packed as ``.zip`` or ``.gz``, which Kaggle takes as well."""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_ZIP, _GZIP, _SEVEN = b"PK\x03\x04", b"\x1f\x8b", b"7z\xbc\xaf\x27\x1c"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, gzip.BadGzipFile, RuntimeError, NotImplementedError)


class NoCsvError(ValueError):
    """Why there is no text to read; the message says what to do."""


class _Bounded(io.RawIOBase):
    """A stream that ends with an error after a number of bytes: a small archive may hold a huge file."""

    def __init__(self, inner: IO[bytes], limit: int) -> None:
        self._inner, self._left, self._limit = inner, limit, limit

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Read as ``RawIOBase`` does; a broken archive is told."""
        with memoryview(buffer) as view, view.cast("B") as wanted:
            try:
                found = self._inner.read(len(wanted))
            except _BROKEN as error:
                raise NoCsvError(f"its archive is damaged ({error}): pack it again") from error
            wanted[: len(found)] = found
        self._left -= len(found)
        if self._left < 0:
            raise NoCsvError(
                f"the file in the archive has more than {self._limit / 1e6:,.0f} MB, which no submission has"
            )
        return len(found)


def packed_as(path: Path) -> str:
    """``zip``, ``gz`` or an empty string; by content and name, since Kaggle goes by the name."""
    with path.open("rb") as stream:
        start = stream.read(6)
    kinds = {".zip": _ZIP, ".gz": _GZIP}
    mark = kinds.get(path.suffix.casefold())
    return path.suffix[1:].casefold() if mark is not None and start.startswith(mark) else ""


@contextmanager
def opened(path: Path, limit: int) -> Iterator[tuple[io.TextIOWrapper, bytes]]:
    """Open the CSV for reading as text, and its first bytes.

    Args:
        path: a CSV, or a ``.zip`` or ``.gz`` that holds one.
        limit: bytes that its text has at most.

    Raises:
        NoCsvError: it holds no such text.
    """
    kind = packed_as(path)
    with path.open("rb") as raw:
        try:
            inner = _inside(raw, kind)
        except _BROKEN as error:
            raise NoCsvError(f"its archive is damaged ({error}): pack it again") from error
        with inner:
            buffered = io.BufferedReader(_Bounded(inner, limit), 1 << 16)
            start = buffered.peek(4096)[:4096]
            _require_text(start)
            yield io.TextIOWrapper(buffered, encoding="utf-8-sig", newline=""), start


def _inside(raw: IO[bytes], kind: str) -> IO[bytes]:
    if kind == "zip":
        return _member(raw)
    return cast("IO[bytes]", gzip.GzipFile(fileobj=raw)) if kind == "gz" else raw


def _member(raw: IO[bytes]) -> IO[bytes]:
    """The one file in a zip, beside what macOS adds."""
    packed = zipfile.ZipFile(raw)
    names = [info.filename for info in packed.infolist() if not info.is_dir()]
    if "[Content_Types].xml" in names:
        raise NoCsvError("it is a spreadsheet, not a CSV: export it as CSV")
    names = [name for name in names if not name.startswith("__MACOSX/") and not Path(name).name.startswith(".")]
    if len(names) != 1:
        raise NoCsvError(f"it holds {len(names)} files, expected the CSV alone: pack only the CSV")
    return packed.open(names[0])


def _require_text(start: bytes) -> None:
    if not start:
        raise NoCsvError("it is empty (0 bytes)")
    if start.startswith(_ZIP):
        raise NoCsvError("it is a zip (or a spreadsheet), not a CSV: unpack it, or export it as CSV")
    if start.startswith((_GZIP, _SEVEN)):
        raise NoCsvError("it is an archive that cannot be looked into: unpack it, or pack the CSV as .zip or .csv.gz")
    if start.startswith(_UTF16):
        raise NoCsvError("it is UTF-16 text: save it as UTF-8")
    if b"\x00" in start[:512]:
        raise NoCsvError("it is a binary file, not a CSV")
