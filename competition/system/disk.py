"""Room on the disk, for the folders that the kit keeps between runs."""

from __future__ import annotations

import shutil
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
