"""One writer at a time: locks that the system drops with the process that held them, however that ends.

Locks are ``flock``'s (Windows: ``msvcrt.locking``). Worker processes that were forked while a lock was held let go of
it at once, so a killed parent frees it although a worker may live a moment longer. A network drive that knows no locks
is used without, which is said once; nothing is ever taken for a leftover there.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from competition.console import say, warn
from competition.errors import ResumeError

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF)
_handles: set[int] = set()  # of this process; a forked child must not keep them open


def _forget_in_child() -> None:
    for handle in _handles:
        with contextlib.suppress(OSError):
            os.close(handle)
    _handles.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)


@contextmanager
def only_one(lock: Path, what: Path | str | None = None, otherwise: str | None = None) -> Iterator[None]:
    """Hold ``lock`` for the duration of the block; wait, saying so, while another process holds it.

    Args:
        lock: an empty file; it is made where it is lacking, with its folder, and stays.
        what: what is locked, as people know it; by default the lock's folder.
        otherwise: what to advise instead of waiting, as in "choose another --run-dir"; nothing is waited for then.

    Raises:
        ResumeError: another process holds it, and ``otherwise`` was given.
        StorageError: the lock cannot be made.
    """
    handle = _had(lock, f"{what or lock.parent} is in use by another process", otherwise)
    try:
        yield
    finally:
        release(handle)


def _had(lock: Path, busy: str, otherwise: str | None) -> int:
    """The open lock, held by this process."""
    while True:
        handle = _opened(lock)
        try:
            had = hold(handle)
            if had is None:
                _say_no_locks(lock.parent)
            elif not had:
                if otherwise is not None:
                    raise ResumeError(f"{busy}: wait for it or {otherwise}")
                say(f"{busy}: waiting for it")
                hold(handle, wait=True)
            if had is None or _is_still(handle, lock):
                return handle
        except BaseException:
            release(handle)
            raise
        release(handle)


def _is_still(handle: int, lock: Path) -> bool:
    """Whether the file that was locked is the one that others will try to lock: it may have been removed meanwhile."""
    try:
        return os.path.samestat(os.fstat(handle), lock.stat())
    except FileNotFoundError:
        return False


@contextmanager
def only_one_at(path: Path, otherwise: str | None = None) -> Iterator[None]:
    """``only_one`` for a file or folder that is about to be made: the lock lies beside it, hidden, until the end.

    Raises:
        ResumeError: another process holds it, and ``otherwise`` was given.
        StorageError: the lock cannot be made.
    """
    lock = path.parent / f".{path.name}.lock"
    with only_one(lock, path, otherwise):
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # Windows keeps it where another one waits
                lock.unlink()


def _opened(lock: Path) -> int:
    from competition.system_errors import explain_disk_errors  # which needs this module

    with explain_disk_errors(lock):
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            return os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        except PermissionError:
            if not lock.exists():
                raise
            return os.open(lock, os.O_RDONLY)  # another user's, in a cache that is shared


@lru_cache(maxsize=8)
def _say_no_locks(folder: Path) -> None:
    warn(f"{folder} lies on a file system without locks: do not let two commands write there at the same time")


def hold(handle: int, *, wait: bool = False) -> bool | None:
    """Lock an open file until ``release``, or the end of this process.

    Args:
        handle: of the file or folder.
        wait: until it is free, however long that takes.

    Returns:
        False where another one holds it, None where there are no locks.
    """
    _handles.add(handle)
    try:
        return _lock(handle, wait)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return None
        raise


if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int, wait: bool) -> bool:
        while True:
            try:
                msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
                return True
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EDEADLK):
                    raise
            if not wait:
                return False
            time.sleep(0.2)

else:
    import fcntl

    def _lock(handle: int, wait: bool) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        return True


def release(handle: int) -> None:
    """Let go of what ``hold`` got, and close the file; not in a child that was forked meanwhile, which never had it."""
    if handle in _handles:
        _handles.discard(handle)
        os.close(handle)


@contextmanager
def free(path: Path) -> Iterator[bool]:
    """Hold a file or folder, if nobody else does, and say whether: what a killed writer left may be removed then.

    Where there are no locks, and on Windows (which lets nobody remove an open file anyway), nothing is called free.
    """
    try:
        handle = os.open(path, os.O_RDONLY) if sys.platform != "win32" else None
    except OSError:
        handle = None
    if handle is None:
        yield False
        return
    try:
        yield hold(handle) is True
    finally:
        release(handle)
