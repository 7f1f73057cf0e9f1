"""How the kit starts processes and how they end: the one policy for everything that works in several of them.

Processes start as Python's own default says: forked on Linux up to Python 3.13, by a fork server from 3.14, spawned on
Windows and macOS; ``multiprocessing.set_start_method`` in the caller's script changes it. Whichever it is, a worker
never runs the caller's script again, so that a script needs no ``if __name__ == "__main__"`` for the kit's sake; and a
worker ends when the process that started it is gone, however that went.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from multiprocessing import context as contexts
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from competition.console import warn
from competition.errors import KitError, UsageError

ENDINGS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
_SHARED_MEMORY = Path("/dev/shm")
_BATCHES_PER_WORKER = 3  # two read ahead (torch's default), one on its way
_MAIN = threading.Lock()


class _Worker(BaseProcess):
    """Ends with its parent, and by the signals that ask for an end, whatever the parent does with those."""

    def run(self) -> None:
        for number in ENDINGS:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
        parent = multiprocessing.parent_process()
        if parent is not None:
            threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
        try:
            super().run()
        except KeyboardInterrupt:  # the parent tells of it; a traceback of every worker would bury that
            sys.exit(interrupted_status())


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


class _Spawned(_Worker, contexts.SpawnProcess):
    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802 - multiprocessing's name
        return _start_without_main(contexts.SpawnProcess._Popen, process_obj)  # type: ignore[attr-defined]


class _Spawning(contexts.SpawnContext):
    Process = _Spawned  # type: ignore[assignment]


_CONTEXTS: dict[str, Callable[[], contexts.BaseContext]] = {"spawn": _Spawning}

if sys.platform != "win32":

    class _Forked(_Worker, contexts.ForkProcess):
        pass

    class _Served(_Worker, contexts.ForkServerProcess):
        @staticmethod
        def _Popen(process_obj: Any) -> Any:  # noqa: N802 - multiprocessing's name
            return _start_without_main(contexts.ForkServerProcess._Popen, process_obj)  # type: ignore[attr-defined]

    class _Forking(contexts.ForkContext):
        Process = _Forked  # type: ignore[assignment]

    class _Serving(contexts.ForkServerContext):
        Process = _Served  # type: ignore[assignment]

    _CONTEXTS |= {"fork": _Forking, "forkserver": _Serving}


def _start_without_main(start: Callable[[Any], Any], process: Any) -> Any:
    """Start a process that does not import the caller's script, unless what is sent to it is defined there."""
    try:
        with _hidden_main():
            return start(process)
    except (pickle.PicklingError, AttributeError):
        return start(process)


@contextlib.contextmanager
def _hidden_main() -> Iterator[None]:
    """Put an empty module in the place of ``__main__``: what has no file is not imported by a started process."""
    with _MAIN:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


def start_method() -> str:
    """``fork``, ``forkserver`` or ``spawn``: what the caller has set, or Python's default; nothing is fixed by it."""
    return multiprocessing.get_start_method(allow_none=True) or multiprocessing.get_all_start_methods()[0]


def context(*, computing: bool = False) -> contexts.BaseContext:
    """What processes, pools and loaders of the kit are started from.

    Args:
        computing: they use torch or a GPU themselves, beyond reading photos. Those are never forked: a forked process
            inherits locks that threads hold, and cannot use CUDA.

    Raises:
        UsageError: this process is itself a worker that runs the caller's script again.
    """
    refuse_second_main()
    return _CONTEXTS["spawn" if computing else start_method()]()


def refuse_second_main() -> None:
    """Call this where a script's work begins.

    Raises:
        UsageError: a process of the caller's own imports his script, which would do all its work once more.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise UsageError(
            "this script was started again by a worker process: put what it does below if __name__ == '__main__':"
        )


def join_all(workers: Sequence[BaseProcess]) -> None:
    """Wait for processes; when this one is told to end they are told so too, and given the time to save their state."""
    try:
        for worker in workers:
            worker.join()
    except BaseException:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.join()
        raise


def affordable(wanted: int, batch_bytes: int = 0) -> int:
    """As many reading processes as there is memory for between processes; 0 reads in this process, which is said once.

    Args:
        wanted: processes.
        batch_bytes: what one of them hands over at a time through shared memory; 0 where it goes through a pipe.
    """
    if wanted < 1:
        return wanted
    reason = _no_locks()
    if not reason and batch_bytes and _SHARED_MEMORY.is_dir():
        free = shutil.disk_usage(_SHARED_MEMORY).free
        fitting = free // (batch_bytes * _BATCHES_PER_WORKER)
        if fitting >= wanted:
            return wanted
        reason = f"{_SHARED_MEMORY} has {free / 1e6:,.0f} MB free, {wanted} processes need "
        reason += f"{wanted * _BATCHES_PER_WORKER * batch_bytes / 1e6:,.0f} MB"
        if fitting:
            _say_once(f"{reason}: photos are read by {fitting}")
            return int(fitting)
    if reason:
        _say_once(f"{reason}: photos are read in this process, which is slower")
        return 0
    return wanted


@contextlib.contextmanager
def explain_lost_reader() -> Iterator[None]:
    """Tell in one line what went wrong in a process of torch's loader, which adds the traceback of that process.

    Raises:
        KitError: the process was killed, or raised this.
    """
    try:
        yield
    except KitError as error:
        plain = str(error).rpartition(f"{type(error).__name__}: ")[2].strip()
        raise (type(error)(plain) if "in DataLoader worker process" in str(error) else error) from error.__cause__
    except RuntimeError as error:
        if "DataLoader worker (pid" not in str(error):
            raise
        where = f"or {_SHARED_MEMORY} is full" if _SHARED_MEMORY.is_dir() else "perhaps"
        raise KitError(
            f"a process that reads photos was killed for lack of memory {where}: start again with --set workers=0"
        ) from error


def _no_locks() -> str:
    """Why processes cannot share locks here (they lie in shared memory); empty where they can."""
    try:
        context().Lock()
    except (OSError, ImportError) as error:
        return f"no shared memory for worker processes ({getattr(error, 'strerror', None) or error})"
    return ""


@lru_cache
def _say_once(text: str) -> None:
    warn(text)


_ended_by: list[int] = []


def interrupt_on_signals() -> None:
    """Let SIGTERM and SIGHUP end this process as Ctrl-C does: temporary files go, workers end, one line is said."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in ENDINGS:
        if signal.getsignal(number) == signal.SIG_DFL:  # nohup ignores SIGHUP, and that stays so
            signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    note_signal(number)
    raise KeyboardInterrupt


def note_signal(number: int) -> None:
    """Remember what asked for the end: it decides the exit status."""
    if number in ENDINGS:
        _ended_by.append(number)


def interrupted_status() -> int:
    """Exit status after an interruption: 128 and the signal's number; 130 after Ctrl-C."""
    return 128 + (_ended_by[-1] if _ended_by else signal.SIGINT)


def launched() -> tuple[int, int]:
    """This process's number among those that ``torchrun`` or ``accelerate launch`` started, and how many those are."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    return (int(os.environ.get("RANK", "0")), size) if size > 1 else (0, 1)
