"""Features on the disk: one writer at a time, and believed only as far as their digests agree.

Rows are appended chunk by chunk. A chunk counts once its rows have reached the disk and ``progress.json`` names its
digest; whoever opens the features compares every chunk with it (0.1 s for 10,222 x 1,280). What does not agree, or was
kept without digests by an older version, is computed again, in a new file: who reads the old one keeps what it has.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from competition.console import say
from competition.errors import DataError, StorageError
from competition.files import digest_of_array, read_json, remove_leftovers, write_json
from competition.locks import only_one
from competition.system_errors import explain_disk_errors

# What this process has compared already: a run opens the same features several times.
_proven: dict[Path, tuple[Any, ...]] = {}


class FeatureStore:
    """Features of one block for one list of photos: ``features.npy``, float32 (n, d), and ``progress.json``.

    Args:
        folder: of the two files.
        rows: photos.
        width: features of a photo.
        facts: what the features are of; ``block`` is its name for people.

    Attributes:
        written: rows that were appended, of which the last may not have reached the disk.
        problem: why what lies in the folder cannot be used; empty where it can, or nothing is there.
    """

    def __init__(self, folder: Path, rows: int, width: int, facts: Mapping[str, Any]) -> None:
        self.folder, self.rows, self.width = folder, rows, width
        self._facts = dict(facts)
        self.look()

    @property
    def name(self) -> str:
        """The block's name for people."""
        return str(self._facts.get("block", self.folder.name))

    @property
    def done(self) -> int:
        """Rows that are whole and on the disk."""
        return int(self._chunks[-1][0]) if self._chunks else 0

    @property
    def complete(self) -> bool:
        """Whether every row is there."""
        return self.done == self.rows

    def look(self) -> None:
        """Take in what is on the disk, every chunk compared with its digest."""
        self.problem = ""
        self._chunks: list[tuple[int, str]] = []
        self._array: np.ndarray | None = None
        self._fresh: list[np.ndarray] = []
        if (self.folder / "progress.json").is_file():
            try:
                self._chunks = self._checked(read_json(self.folder / "progress.json"))
            except (DataError, KeyError, TypeError, ValueError, OSError) as error:
                self.problem = "kept without digests by an older version" if _is_old(error) else f"damaged ({error})"
        self.written = self.done

    def _checked(self, progress: Any) -> list[tuple[int, str]]:
        chunks = [(int(end), str(digest)) for end, digest in progress["chunks"]]
        self._array = np.load(self.folder / "features.npy", mmap_mode="r", allow_pickle=False)
        if self._array.shape != (self.rows, self.width) or self._array.dtype != np.float32:
            raise DataError(f"{self._array.dtype} {self._array.shape}, not float32 {(self.rows, self.width)}")
        status = (self.folder / "features.npy").stat()
        facts = (status.st_ino, status.st_mtime_ns, status.st_size, chunks)
        if _proven.get(self.folder.absolute()) != facts:
            self._compare(self._array, chunks)
            _proven[self.folder.absolute()] = facts
        return chunks

    def _compare(self, array: np.ndarray, chunks: Sequence[tuple[int, str]]) -> None:
        start = 0
        for end, digest in chunks:
            if not start < end <= self.rows or digest_of_array(array[start:end]) != digest:
                raise DataError(f"rows {start:,} to {end:,} are not those that were written")
            start = end

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Let rows be appended during the block, which holds the lock (see ``alone``).

        Raises:
            StorageError: the disk is full or the folder cannot be written.
        """
        path = self.folder / "features.npy"
        with explain_disk_errors(path):
            if not self.done:
                self._begin(path)
            self._stream = path.open("rb+")
            self._stream.seek(path.stat().st_size - (self.rows - self.done) * self.width * 4)
        with self._stream:
            yield

    def _begin(self, path: Path) -> None:
        """A new file of the full size, so that a full disk is met now and not later."""
        for old in (self.folder / "progress.json", path):  # not emptied: another process may still read it
            old.unlink(missing_ok=True)
        remove_leftovers(self.folder)
        del self._array
        self._array = None
        np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(self.rows, self.width)).flush()
        with path.open("rb+") as stream, contextlib.suppress(AttributeError):
            os.posix_fallocate(stream.fileno(), 0, path.stat().st_size)

    def append(self, features: np.ndarray) -> None:
        """Take the next rows, float32 (m, d); ``record`` writes them."""
        self._fresh.append(features)
        self.written += len(features)

    def record(self) -> None:
        """Write the rows appended since the last call, wait until they are on the disk, and note that they are whole.

        Raises:
            StorageError: the disk is full.
        """
        if not self._fresh:
            return
        rows = np.concatenate(self._fresh)
        with explain_disk_errors(self.folder):
            self._stream.write(rows.data)
            self._stream.flush()
            os.fsync(self._stream.fileno())
        self._chunks.append((self.written, digest_of_array(rows)))
        self._fresh = []
        facts = {"done": self.done, "rows": self.rows, "chunks": self._chunks, **self._facts}
        write_json(self.folder / "progress.json", facts)

    def read(self) -> np.ndarray:
        """The features, memory-mapped, float32 (n, d).

        Raises:
            StorageError: they are not all there.
        """
        if self._array is None or not self.complete:
            self.look()
        if self._array is None or not self.complete:
            raise StorageError(f"{self.folder} was changed by another program: delete it and start again")
        return np.asarray(self._array)


def _is_old(error: Exception) -> bool:
    return isinstance(error, KeyError) and error.args == ("chunks",)


@contextmanager
def alone(stores: Iterable[FeatureStore]) -> Iterator[None]:
    """Be the only writer of these features, waiting for another one; what it has written meanwhile is taken in.

    Raises:
        StorageError: a folder cannot be written.
    """
    # By name: two processes that want the same ones in another order must not wait for each other.
    by_folder = {store.folder: store for store in stores}
    with ExitStack() as locks:
        for folder, store in sorted(by_folder.items()):
            locks.enter_context(only_one(folder / ".lock", f"the cache of {store.name}'s features"))
        for store in by_folder.values():
            store.look()
            if store.problem:
                say(f"features of {store.name} in {store.folder}: {store.problem}; they are computed again")
        yield
