from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from competition.errors import KitError, PhotoError
from competition.system.workers import map_in_order, worker_count


def double(value: int) -> int:
    time.sleep(0.001 * (value % 3))
    return 2 * value


def fail_at_seven(value: int) -> int:
    if value == 7:
        raise PhotoError("seven")
    return value


def die_at_seven(value: int) -> int:
    if value == 7:
        os._exit(9)
    return value


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
@pytest.mark.parametrize("count", [0, 1, 5, 50])
def test_results_come_in_order(workers, count):
    assert list(map_in_order(double, range(count), workers, chunk=4)) == [2 * k for k in range(count)]


def test_work_is_done_in_other_processes():
    found = set(map_in_order(_process, range(40), 2, chunk=2))
    assert os.getpid() not in found


def _process(_: int) -> int:
    return os.getpid()


@pytest.mark.parametrize("workers", [1, 2])
def test_errors_come_back(workers):
    with pytest.raises(PhotoError, match="seven"):
        list(map_in_order(fail_at_seven, range(20), workers, chunk=2))


def test_a_killed_worker_is_told():
    with pytest.raises(KitError, match="worker process was killed"):
        list(map_in_order(die_at_seven, range(20), 2, chunk=2))


def test_counts():
    assert worker_count(3) == 3
    assert worker_count(0) == 1
    assert worker_count(-1) == len(os.sched_getaffinity(0))


def test_workers_end_with_a_killed_parent():
    code = (
        "import os, time\n"
        "from competition.system.workers import map_in_order\n"
        # One write each: print may write the newline by itself, between the lines of another worker.
        "def f(x):\n    os.write(1, b'%d\\n' % os.getpid()); time.sleep(0.2); return x\n"
        "list(map_in_order(f, range(200), 2, chunk=1))\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pids = {int(parent.stdout.readline()) for _ in range(4)}
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 10
    while any(_alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(_alive(pid) for pid in pids)


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stream:  # noqa: PTH123
            return stream.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
