"""What a kernel writes down about its files, and what is checked of it after the fetch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from competition.files import read_json, write_json
from competition.publish.kaggle.errors import KernelError
from competition.publish.kaggle.redact import one_line

RECORD = "outputs.json"
SUBMISSION = "submission.csv"


def write_record(folder: Path, names: Sequence[str] = (SUBMISSION,), **facts: str) -> Path:
    """What a kernel does with each file it leaves: write down size and digest, so that the fetch can check them.

    Args:
        folder: the kernel's working folder.
        names: files to record; those that do not exist are left out.
        **facts: more to remember, as the digest of the code that ran.

    Returns:
        The record, ``outputs.json`` in the folder.
    """
    known = read_json(folder / RECORD) if (folder / RECORD).is_file() else {"files": {}}
    files = {name: _facts(folder / name) for name in names if (folder / name).is_file()}
    write_json(folder / RECORD, {**known, "files": {**known["files"], **files}, **facts})
    return folder / RECORD


def _facts(path: Path) -> dict[str, Any]:
    with path.open("rb") as stream:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(stream, "sha256").hexdigest()}


def check_record(folder: Path, *, required: bool, only: Sequence[str] = ()) -> dict[str, Any]:
    """Compare fetched files with what the kernel wrote down.

    Args:
        folder: where the files lie.
        required: whether a lacking record is an error.
        only: names to look at; all when empty.

    Returns:
        The record; empty when there is none.

    Raises:
        KernelError: a recorded file is missing, or has another size or digest; or the record is lacking or damaged.
    """
    if not (folder / RECORD).is_file():
        if required:
            raise KernelError(
                f"the kernel left no {RECORD}, so its {SUBMISSION} cannot be verified: build the kernel again with "
                "this kit, or pass --no-record to go on without"
            )
        return {}
    record = read_json(folder / RECORD)
    files = record.get("files") if isinstance(record, dict) else None
    if not isinstance(files, dict) or not all(isinstance(value, dict) for value in files.values()):
        raise KernelError(f"the kernel's {RECORD} is damaged: fetch again, or look at the kernel's log")
    for name, told in files.items():
        if only and name not in only:
            continue
        path = folder / safe_name(str(name))
        if not path.is_file():
            raise KernelError(f"the kernel recorded '{one_line(name, 80)}', but Kaggle offers no such file")
        found = _facts(path)
        if found != {"bytes": told.get("bytes"), "sha256": told.get("sha256")}:
            raise KernelError(
                f"'{one_line(name, 80)}' is not the file that the kernel wrote: {found['bytes']:,} bytes, digest "
                f"{found['sha256'][:16]}; recorded {told.get('bytes')} bytes, {str(told.get('sha256'))[:16]}"
            )
    if required and (folder / SUBMISSION).is_file() and SUBMISSION not in files:
        raise KernelError(f"the kernel's {RECORD} says nothing of {SUBMISSION}, so it cannot be verified")
    return dict(record)


def safe_name(name: str) -> PurePosixPath:
    """A name from a server as a path below the folder.

    Raises:
        KernelError: it is empty, absolute, names a drive, leads to a parent, or holds what no file name should.
    """
    path = PurePosixPath(name)
    bad = (
        not path.parts
        or path.is_absolute()
        or name != path.as_posix()
        or ".." in path.parts
        or ":" in path.parts[0]
        or any(letter == "\\" or not letter.isprintable() for letter in name)
        or any(len(part.encode()) > 200 or part != part.strip() for part in path.parts)
        or len(name) > 1000
    )
    if bad:
        raise KernelError(f"Kaggle offers a file with the unsafe name '{one_line(name, 100)}': nothing was fetched")
    return path
