"""Processes start by any method without running the caller's script again, and end with their parent."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from competition.errors import KitError, PhotoError, UsageError
from competition.record.run_dir import RunDir
from competition.system import processes, workers
from competition.training.engine.interrupt import Interrupt

METHODS = multiprocessing.get_all_start_methods()

# No guard: a worker that imported this script would write a second line, and then start workers of its own.
SCRIPT = """
import math, multiprocessing, os, sys
multiprocessing.set_start_method(sys.argv[1])
with open(sys.argv[2], "a", encoding="utf-8") as stream:
    stream.write("started\\n")
from competition.system.workers import map_in_order
print(list(map_in_order(math.isqrt, range(40), 2, chunk=10)))
"""

LOADER = """
import multiprocessing, sys
multiprocessing.set_start_method(sys.argv[1])
import numpy as np, torch
torch.set_num_threads(1)
from competition.training.photos.loader import StepSampler, TrainPhotos, train_loader
photos = {str(k): np.full((40, 40, 3), k, np.uint8) for k in range(4)}
dataset = TrainPhotos(photos, list(photos), np.arange(4), 0, "none")
sampler = StepSampler(4, 2, 1, 0)
sampler.go_to(0, 0, 32)
loader = train_loader(dataset, sampler, 1, pin=False)
print(sorted(int(image.float().mean()) for images, _ in loader for image in images))
"""


def run_script(folder: Path, text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    script = folder / "snippet.py"
    script.write_text(text, encoding="utf-8")
    command = [sys.executable, str(script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.parametrize("method", METHODS)
def test_a_script_without_guard_runs_once(method: str, tmp_path: Path) -> None:
    done = run_script(tmp_path, SCRIPT, method, str(tmp_path / "starts"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str([int(k**0.5) for k in range(40)])
    assert done.stderr == ""
    assert (tmp_path / "starts").read_text() == "started\n"


@pytest.mark.parametrize("method", ["spawn", *(pytest.param(name, marks=pytest.mark.slow) for name in METHODS[:2])])
def test_photos_are_read_by_processes_of_a_script_without_guard(method: str, tmp_path: Path) -> None:
    done = run_script(tmp_path, LOADER, method)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[0, 1, 2, 3]"


def test_a_script_that_its_own_worker_runs_again_is_told_of_the_guard(tmp_path: Path) -> None:
    text = (
        "import multiprocessing, pathlib, sys\n"
        "from competition.errors import UsageError\n"
        "from competition.record.run_dir import RunDir\n"
        "try:\n"
        "    with RunDir(pathlib.Path(sys.argv[1])).claimed():\n"
        "        worker = multiprocessing.get_context('spawn').Process(target=print)\n"
        "        worker.start(), worker.join()\n"
        "except UsageError as error:\n"
        "    sys.exit(str(error))\n"
    )
    done = run_script(tmp_path, text, str(tmp_path / "run"))
    assert "if __name__ == '__main__'" in done.stderr
    assert "Traceback" not in done.stderr
    assert "in use by another process" not in done.stderr


def test_a_second_main_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(multiprocessing.current_process(), "_inheriting", True, raising=False)
    with pytest.raises(UsageError, match="if __name__ == '__main__'"), RunDir(tmp_path / "run").claimed():
        pass
    with pytest.raises(UsageError, match="if __name__ == '__main__'"):
        processes.context()


@pytest.mark.parametrize("method", METHODS)
def test_workers_end_with_a_killed_parent(method: str) -> None:
    code = (
        "import time\n"
        "from competition.system import processes\n"
        f"worker = processes._CONTEXTS[{method!r}]().Process(target=time.sleep, args=(60,))\n"
        "worker.start()\n"
        "print(worker.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 30
    while _alive(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _alive(worker)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    lines: list[str] = []
    processes._say_once.cache_clear()
    monkeypatch.setattr(processes, "warn", lines.append)
    yield lines
    processes._say_once.cache_clear()


class _NoLocks:
    def Lock(self) -> None:
        raise OSError(30, "Read-only file system")


def test_without_shared_memory_the_work_is_done_here(said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "context", lambda: _NoLocks())
    for _ in range(2):
        assert set(workers.map_in_order(_process, range(40), 2, chunk=2)) == {os.getpid()}
    reason = "no shared memory for worker processes (Read-only file system)"
    assert said == [f"{reason}: photos are read in this process, which is slower"]


def _process(_: int) -> int:
    return os.getpid()


@pytest.mark.parametrize(("free", "count"), [(90, 4), (35, 3), (12, 1), (8, 0)])
def test_as_many_readers_as_the_shared_memory_holds(
    free: int, count: int, said: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=free * 10**6)
    monkeypatch.setattr(processes, "_SHARED_MEMORY", tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert processes.affordable(4, 3 * 10**6) == count
    assert len(said) == (count < 4)
    assert processes.affordable(0, 3 * 10**6) == 0


def test_a_killed_reader_is_one_line() -> None:
    killed = RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error.")
    traceback = "Original Traceback\n  x\ncompetition.errors.PhotoError: a is empty"
    broken = PhotoError(f"Caught PhotoError in DataLoader worker process 0.\n{traceback}")
    for raised, kind, words in (
        (killed, KitError, r"a process that reads photos was killed.*workers=0"),
        (broken, PhotoError, r"^a is empty$"),
        (PhotoError("b is empty"), PhotoError, r"^b is empty$"),
        (RuntimeError("other"), RuntimeError, r"^other$"),
    ):
        with pytest.raises(kind, match=words), processes.explain_lost_reader():
            raise raised


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_sigterm_asks_a_training_to_stop_at_its_next_step(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    interrupt, before = Interrupt(), signal.getsignal(number)
    with interrupt.listening():
        for _ in range(2):
            os.kill(os.getpid(), number)
    assert interrupt.asked
    assert processes.interrupted_status() == 128 + number
    assert signal.getsignal(number) == before
    processes._ended_by.clear()


def test_a_signal_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupt().listening():
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_ctrl_c_in_a_worker_gives_no_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    worker = processes.context().Process(target=_interrupted)  # type: ignore[attr-defined]
    worker.start()
    worker.join()
    assert worker.exitcode == 130
    assert capfd.readouterr().err == ""


def _interrupted() -> None:
    raise KeyboardInterrupt
