"""Work on photos in several processes: results in order, few in memory, nothing left behind."""

from __future__ import annotations

import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from competition.errors import KitError
from competition.system import processes

Item = TypeVar("Item")
Result = TypeVar("Result")


def worker_count(wanted: int = -1) -> int:
    """Number of processes: ``wanted``, or for -1 the number of cores this process may use; at least 1."""
    if wanted >= 0:
        return max(1, wanted)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def map_in_order(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int = -1, chunk: int = 32
) -> Iterator[Result]:
    """Yield ``function(item)`` for every item, in order, computed by worker processes.

    Args:
        function: a module-level function (or a partial of one); what it raises is raised here.
        items: the work.
        workers: processes; -1 takes one per core, 0 and 1 work in this process.
        chunk: items sent to a worker at a time.

    Raises:
        KitError: a worker was killed, usually for lack of memory.
    """
    count = worker_count(workers)
    if count == 1 or len(items) <= chunk or not processes.affordable(count):
        yield from map(function, items)
        return
    pool = ProcessPoolExecutor(count, processes.context(), initializer=_start_worker)  # type: ignore[arg-type]
    pending: deque[Future[list[Result]]] = deque()
    try:
        for start in range(0, len(items), chunk):
            pending.append(pool.submit(_do_all, function, items[start : start + chunk]))
            if len(pending) > 2 * count:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()
    except BrokenProcessPool as error:
        raise KitError(
            "a worker process was killed, perhaps for lack of memory: start again with fewer workers"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _do_all(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    return [function(item) for item in items]


def _start_worker() -> None:
    """Leave Ctrl-C to the parent and use one thread."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(0)
