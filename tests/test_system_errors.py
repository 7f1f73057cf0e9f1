"""What the system refuses is one line that says what to do, for every command of both command lines."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors import SafetensorError

from competition import environment, system_errors
from competition.errors import StorageError
from competition.files import write_text
from competition.system_errors import explain_disk_errors

CASES = [
    (OSError(errno.ENOSPC, "x"), "no space left while writing f: free"),
    (OSError(errno.EFBIG, "x"), "ulimit -f"),
    (OSError(errno.EROFS, "x", "other"), "cannot write other: the folder is read-only"),
    (OSError(errno.ENAMETOOLONG, "x", "n" * 300), "too long for this file system"),
    (OSError(errno.EMFILE, "x"), "ulimit -n"),
    (OSError(errno.ELOOP, "x"), "symbolic link"),
    (OSError(errno.EIO, "x"), "the disk failed at f"),
    (OSError("16384 requested and 0 written"), "no space left while writing f"),
    (SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"), "no space left"),
    (sqlite3.OperationalError("database or disk is full"), "no space left while writing f"),
    (sqlite3.OperationalError("attempt to write a readonly database"), "cannot write f"),
    (RuntimeError("Symlink loop from 'a'"), "f is a symbolic link that leads back"),
]


@pytest.mark.parametrize(("error", "words"), CASES)
def test_a_refusal_is_told_once_for_all_writers(error: Exception, words: str) -> None:
    with pytest.raises(StorageError) as told, explain_disk_errors(Path("f")):
        raise error
    assert words in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (FileNotFoundError(errno.ENOENT, "x", "gone.csv"), "gone.csv does not exist"),
        (BlockingIOError(errno.EAGAIN, "x"), "ulimit -u"),
        (MemoryError(), "not enough memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "not enough memory"),
        (UnicodeEncodeError("utf-8", "a\udce9", 1, 2, "x"), r"the name 'a\udce9' is no UTF-8"),
        (UnicodeEncodeError("ascii", "a\u2603", 1, 2, "x"), "PYTHONUTF8=1"),
        (OSError("AF_UNIX path too long"), "set TMPDIR"),
    ],
)
def test_what_others_may_want_to_handle_is_told_only_at_the_end(error: Exception, words: str) -> None:
    assert words in str(system_errors.explain(error, everywhere=True))
    with pytest.raises(type(error)), explain_disk_errors(Path("f")):
        raise error


def test_other_errors_are_not_explained() -> None:
    for error in (ValueError("x"), KeyError("x"), OSError("no number"), BrokenPipeError(errno.EPIPE, "x")):
        assert system_errors.explain(error, everywhere=True) is None


@pytest.fixture
def places(tmp_path: Path) -> Path:
    """A folder with a file, two links that lead to each other, and an empty folder."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "loop").symlink_to(tmp_path / "pool")
    (tmp_path / "pool").symlink_to(tmp_path / "loop")
    (tmp_path / "folder").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("file/x.json", "/file is a file where a folder is needed"),
        ("file/deep/x.json", "/file is a file where a folder is needed"),
        ("folder", "/folder is a folder where a file is needed"),
        ("loop/x.json", "loop"),
        ("n" * 300, "is too long"),
        ("n" * 300 + "/x.json", "is too long"),
    ],
)
def test_an_impossible_path_is_refused(name: str, words: str, places: Path) -> None:
    before = sorted(places.rglob("*"))
    with pytest.raises(StorageError) as told:
        write_text(places / name, "content")
    assert words in str(told.value)
    assert sorted(places.rglob("*")) == before


COMMANDS = [
    ("dogbreed", "run --data SAMPLE --recipe smoke --run-dir BAD"),
    ("dogbreed", "run --data BAD --recipe smoke --run-dir OUT"),
    ("dogbreed", "run --data SAMPLE --recipe smoke --relabel BAD --run-dir OUT"),
    ("dogbreed", "predict BAD --data SAMPLE --out OUT"),
    ("dogbreed", "report BAD --data SAMPLE"),
    ("dogbreed", "explain BAD SUBMISSION"),
    ("dogbreed", "blend BAD BAD --data SAMPLE --out OUT"),
    ("dogbreed", "train smoke --data SAMPLE --run-dir BAD"),
    ("dogbreed", "sweep smoke --data SAMPLE --run-dir BAD --trials 1 --vary lr=0.001,0.002"),
    ("dogbreed", "submission check SUBMISSION --data BAD"),
    ("dogbreed", "submission doctor SUBMISSION --run BAD --data SAMPLE --out OUT"),
    ("dogbreed", "submission split --data SAMPLE --out BAD"),
    ("dogbreed", "data audit --data SAMPLE --out BAD --workers 1"),
    ("dogbreed", "data folds --data SAMPLE --out BAD/x --workers 1"),
    ("dogbreed", "data sample BAD"),
    ("dogbreed", "show tta BAD"),
    ("dogbreed", "kernel check BAD"),
    ("dogbreed", "kernel build probe-cpu --out BAD"),
    ("dogbreed", "kernel dry-run probe-cpu --small --out BAD"),
    ("baselines", "train --run-dir BAD --dataset digits"),
    ("baselines", "train --run-dir OUT --dataset BAD"),
    ("baselines", "evaluate BAD"),
    ("baselines", "compare BAD --out OUT"),
    ("baselines", "summary BAD"),
    ("baselines", "autoencoder --run-dir BAD"),
    ("baselines", "gan --run-dir BAD"),
]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from competition.data.sample.competition import draw_sample

    return draw_sample(tmp_path_factory.mktemp("drawn") / "sample", breeds=3, train_per_breed=4, test_per_breed=1)


@pytest.mark.parametrize("bad", ["file", "file/x", "loop", "n" * 300])
def test_every_command_tells_a_bad_path_in_one_line(
    bad: str, places: Path, sample: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(places)
    before = sorted(places.rglob("*"))
    words = {"BAD": bad, "SAMPLE": str(sample), "OUT": "out", "SUBMISSION": str(sample / "sample_submission.csv")}
    for name, line in COMMANDS:
        for placeholder, value in words.items():
            line = line.replace(placeholder, value)
        told = _told(name, line.split(), capsys)
        assert told.startswith(f"{name}: "), f"{line}: {told}"
        assert "unexpected" not in told, f"{line}: {told}"
    assert sorted(places.rglob("*")) == before


def _told(name: str, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The last line of standard error of a command that must fail."""
    from baselines.cli import app as baselines
    from competition.cli import app as dogbreed
    from competition.system.command_line import run_app

    app: Callable[..., object] = {"dogbreed": dogbreed, "baselines": baselines}[name]
    with pytest.raises(SystemExit) as stop:
        run_app(lambda: app(arguments), name)
    error = capsys.readouterr().err.strip()
    assert stop.value.code in (1, 2), f"{arguments}: {error}"
    return error.splitlines()[-1] if error else ""


def test_a_full_disk_leaves_no_half_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_text(path, "old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"no space left while writing .*file\.json"):
        write_text(path, "new")
    assert [(found.name, found.read_text()) for found in tmp_path.iterdir()] == [("file.json", "old")]


def test_caches_go_elsewhere_where_the_home_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "home").write_text("a file")
    monkeypatch.delenv("DOGBREED_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    environment._usable.cache_clear()
    for _ in range(2):
        assert environment.cache_folder() == tmp_path / f"dogbreed-{os.getuid()}"
    told = capsys.readouterr().err
    assert told.count("cannot be written (Not a directory)") == 1
    assert "DOGBREED_CACHE" in told
    assert environment.cache_folder().stat().st_mode & 0o777 == 0o700
    environment._usable.cache_clear()
