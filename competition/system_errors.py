"""What the operating system refuses, said in one line: what is wrong and what to do. The only place that knows."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

from competition import system_errors
from competition.errors import KitError, StorageError

_LINES = {
    errno.ENOSPC: "no space left while writing {path}: free some space there and start again",
    errno.EDQUOT: "no space left (quota) while writing {path}: free some space there and start again",
    errno.EFBIG: "{path} became larger than files may be here (ulimit -f, or the file system): raise the limit or "
    "choose another folder",
    errno.EACCES: "cannot write {path}: the folder is read-only or not yours; choose another",
    errno.EPERM: "cannot write {path}: the folder is read-only or not yours; choose another",
    errno.EROFS: "cannot write {path}: the folder is read-only or not yours; choose another",
    errno.EEXIST: "{blocker} is a file where a folder is needed: move it away or choose another path",
    errno.ENOTDIR: "{blocker} is a file where a folder is needed: move it away or choose another path",
    errno.EISDIR: "{path} is a folder where a file is needed: choose another path",
    errno.ENAMETOOLONG: "the path {path} is too long for this file system: choose a shorter one",
    errno.ELOOP: "{path} is a symbolic link that leads back to itself: mend it or choose another path",
    errno.EMFILE: "too many open files, last {path}: raise the limit (ulimit -n 4096) or use fewer workers",
    errno.ENFILE: "too many open files on this machine, last {path}: end other programs or use fewer workers",
    errno.EIO: "the disk failed at {path}: check it and start again",
}
_READING = "cannot read {path}: it is not yours to read; change its permissions or choose another"
_ELSEWHERE = {
    errno.ENOENT: "{path} does not exist: check the path",
    errno.ENXIO: "{path} is a device or a pipe that cannot be opened: give a file or a folder",
    errno.ENODEV: "{path} is a device that cannot be used here: give a file or a folder",
    errno.ENOTEMPTY: "{path} is not empty, perhaps another program writes there: choose another folder",
    errno.EBUSY: "{path} is in use by another program: end that or choose another path",
    errno.ENOMEM: "not enough memory: use fewer workers or a smaller batch, or end other programs",
    errno.EAGAIN: "no further process or thread may be started here (ulimit -u): raise the limit or use fewer workers",
    errno.ESPIPE: "{path} is a pipe: give a file",
}
# What libraries written in other languages, or databases, make of the same errors.
_TEXTS = (
    (re.compile(r"\(os error (\d+)\)"), None),
    (re.compile(r"\d+ requested and \d+ written"), errno.ENOSPC),  # numpy
    (re.compile(r"database or disk is full|No space left on device"), errno.ENOSPC),
    (re.compile(r"attempt to write a readonly database|unable to open database file"), errno.EACCES),
    (re.compile(r"Symlink loop from"), errno.ELOOP),  # Path.resolve, before Python 3.13
    (re.compile(r"Too many open files|received 0 items of ancdata"), errno.EMFILE),
    (re.compile(r"DefaultCPUAllocator: .*memory|can't start new thread"), errno.ENOMEM),
)
_MEANT_BY_FOLDER = (errno.EEXIST, errno.ENOTDIR)


def explain(error: BaseException, path: Path | str | None = None, *, everywhere: bool = False) -> str | None:
    """One line about an error of the system, or None for any other error.

    Args:
        error: what was raised.
        path: what was being written, where the error names no file.
        everywhere: explain errors too that code in between may want to handle (a file that does not exist).
    """
    number = _number_of(error)
    if number is None:
        return _not_from_the_system(error) if everywhere else None
    line = _LINES.get(number) or (_ELSEWHERE.get(number) if everywhere else None)
    named = _named_by(error, path)
    if line is None or (named is None and "{" in line and not everywhere):
        return None
    if number in (errno.EACCES, errno.EPERM) and named is not None and _only_unreadable(named):
        line = _READING
    shown = named if named is not None else "a file"
    return line.format(path=shown, blocker=_blocker(Path(shown)) if number in _MEANT_BY_FOLDER else "")


def _number_of(error: BaseException) -> int | None:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    for pattern, number in _TEXTS:
        found = pattern.search(str(error))
        if found:
            return number if number is not None else int(found[1])
    return errno.ENOMEM if isinstance(error, MemoryError) else None


def _not_from_the_system(error: BaseException) -> str | None:
    if isinstance(error, UnicodeEncodeError):
        text = error.object if len(error.object) <= 120 else f"{error.object[:117]}..."
        if any("\udc80" <= letter <= "\udcff" for letter in error.object):
            return f"the name {text!a} is no UTF-8, which is needed here: rename it"
        return f"the name {text!a} cannot be written in this system's encoding: set PYTHONUTF8=1 or rename it"
    if isinstance(error, OSError) and "AF_UNIX path too long" in str(error):
        return "the folder for temporary files has too long a path for worker processes: set TMPDIR to a shorter one"
    return None


def _named_by(error: BaseException, path: Path | str | None) -> Path | str | None:
    """The file that the error is about: the caller's word goes before a temporary name."""
    named = getattr(error, "filename", None)
    if isinstance(named, bytes):
        named = os.fsdecode(named)
    if not isinstance(named, str | os.PathLike) or (path is not None and ".tmp" in str(named)):
        return path
    return os.fspath(named)


def _only_unreadable(path: Path | str) -> bool:
    """Whether the file is there and cannot be read: then reading was refused, not writing."""
    return os.path.isfile(path) and not os.access(path, os.R_OK)  # noqa: PTH113 - a Path would raise again


def _blocker(path: Path) -> Path:
    """The part of a path that is there and no folder."""
    for part in (*reversed(path.parents), path):
        if os.path.lexists(part) and not os.path.isdir(part):  # noqa: PTH112 - a Path would raise again
            return part
    return path


@contextlib.contextmanager
def explain_disk_errors(path: Path) -> Iterator[None]:
    """Turn a full disk, a refused write or an impossible path into one clear line (``system_errors``).

    Raises:
        StorageError: there is no space, the folder cannot be written, or it is none.
    """
    try:
        yield
    except KitError:
        raise
    except Exception as error:
        line = system_errors.explain(error, path)
        if line is None:
            raise
        raise StorageError(line) from error
