"""Room on the disk and one writer at a time, for the folders that the kit keeps between runs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from competition.errors import StorageError

SPARE_BYTES = 64 * 1024**2


def require_space(folder: Path, wanted: int, purpose: str) -> None:
    """Refuse to start what the disk cannot hold.

    Args:
        folder: where the bytes will go; need not exist yet.
        wanted: bytes to be written.
        purpose: what for, as in "unpack x.zip".

    Raises:
        StorageError: less than ``wanted`` and a small reserve are free.
    """
    existing = next(parent for parent in (folder, *folder.resolve().parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if free < wanted + SPARE_BYTES:
        raise StorageError(
            f"no space to {purpose}: {(wanted + SPARE_BYTES) / 1e6:,.0f} MB needed, {free / 1e6:,.0f} MB free in "
            f"{existing}; free some or set DOGBREED_CACHE to a larger disk"
        )


@contextmanager
def only_one(lock: Path) -> Iterator[None]:
    """Wait until no other process holds ``lock``; the kernel drops it with the process, however that ends."""
    import fcntl

    handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
