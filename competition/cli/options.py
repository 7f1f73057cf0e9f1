"""What several commands ask of their options before they begin."""

from __future__ import annotations

from pathlib import Path


def file_to_write(path: Path | None) -> Path | None:
    """Refuse a file that could not be written at the end of the work, at once (an option's callback).

    Raises:
        StorageError: it is a folder, lies below a file, or its folder cannot be written.
    """
    from competition.files import require_writable

    if path is not None:
        require_writable(path)
    return path


def folder_to_write(path: Path | None) -> Path | None:
    """``file_to_write`` for a folder that files are written into."""
    if path is not None:
        file_to_write(path / "file")
    return path
