"""Locks end with the process that held them, whatever it has forked, and never two hold one."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from competition import files, locks
from competition.errors import ResumeError
from competition.files import atomic_path, remove_leftovers, temporary_folder, write_text
from competition.locks import only_one, only_one_at

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forks and signals")
FORK: Any = multiprocessing.get_context("fork") if sys.platform != "win32" else None


def _hold_for_ever(lock: Path, told: Path, grandchild: bool) -> None:
    with only_one(lock):
        if grandchild and os.fork() == 0:
            time.sleep(60)
            os._exit(0)
        told.touch()
        time.sleep(60)


def _started(target: Any, told: Path, *arguments: Any) -> Any:
    process = FORK.Process(target=target, args=arguments)
    process.start()
    while not told.exists():
        assert process.is_alive()
        time.sleep(0.01)
    return process


@pytest.mark.parametrize("grandchild", [False, True])
def test_a_killed_holder_frees_the_lock_although_its_worker_lives(tmp_path: Path, grandchild: bool) -> None:
    holder = _started(_hold_for_ever, tmp_path / "told", tmp_path / "lock", tmp_path / "told", grandchild)
    with (
        pytest.raises(ResumeError, match="is in use by another process: wait for it or choose"),
        only_one(tmp_path / "lock", otherwise="choose another"),
    ):
        pass
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    with only_one(tmp_path / "lock", otherwise="choose another"):
        pass


def test_one_after_the_other_although_the_lock_is_removed_each_time(tmp_path: Path) -> None:
    inside, most = [0], [0]

    def enter() -> None:
        for _ in range(50):
            with only_one_at(tmp_path / "made"):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0.0005)
                inside[0] -= 1

    threads = [threading.Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert not list(tmp_path.iterdir())


def test_a_file_system_without_locks_is_used_and_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def without(*_: object) -> bool:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks, "_lock", without)
    files._leftovers_at_start.cache_clear()
    (tmp_path / ".a.json.abcdefgh.tmp").mkdir()
    for _ in range(2):
        with only_one(tmp_path / "lock", otherwise="choose another"):
            write_text(tmp_path / "a.json", "{}")
    assert capsys.readouterr().err.count("file system without locks") == 1
    assert (tmp_path / "a.json").read_text() == "{}"
    assert (tmp_path / ".a.json.abcdefgh.tmp").exists()  # perhaps somebody's who lives


def _write_for_ever(path: Path, told: Path) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text("half")
        (temporary.parent / ".tmpSAFETENSORS").touch()  # a library's own
        told.touch()
        time.sleep(60)


def test_what_a_killed_writer_left_goes_at_the_next_start_and_a_living_ones_stays(tmp_path: Path) -> None:
    killed = _started(_write_for_ever, tmp_path / "told", tmp_path / "run" / "members.png", tmp_path / "told")
    living = _started(_write_for_ever, tmp_path / "told2", tmp_path / "run" / "oof.npz", tmp_path / "told2")
    (tmp_path / "run" / ".members.png.k3jx_9ab.tmp").write_text("of a version that had temporary files")
    (tmp_path / "run" / ".other-program.tmp").write_text("not ours")
    os.kill(killed.pid, signal.SIGKILL)
    killed.join()
    assert len(list((tmp_path / "run").iterdir())) == 4
    remove_leftovers(tmp_path / "run")
    left = sorted(path.name[:9] for path in (tmp_path / "run").iterdir())
    assert left == [".oof.npz.", ".other-pr"]
    os.kill(living.pid, signal.SIGKILL)
    living.join()
    files._leftovers_at_start.cache_clear()
    write_text(tmp_path / "run" / "oof.npz", "whole")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [".other-program.tmp", "oof.npz"]


def _fill_for_ever(parent: Path, told: Path) -> None:
    with temporary_folder(parent, ".out.") as folder:
        (folder / "large").write_text("x")
        told.touch()
        time.sleep(60)


def test_folders_of_killed_processes_go_as_well_and_only_those_of_the_same_purpose(tmp_path: Path) -> None:
    (tmp_path / "home" / ".outer.abcdefgh.tmp").mkdir(parents=True)
    killed = _started(_fill_for_ever, tmp_path / "told", tmp_path / "home", tmp_path / "told")
    os.kill(killed.pid, signal.SIGKILL)
    killed.join()
    files._leftovers_at_start.cache_clear()
    with temporary_folder(tmp_path / "home", ".out.") as folder:
        assert {path.name for path in (tmp_path / "home").iterdir()} == {folder.name, ".outer.abcdefgh.tmp"}
