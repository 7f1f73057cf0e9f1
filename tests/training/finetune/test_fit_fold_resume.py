"""Killed and resumed equals uninterrupted, to the last digit."""

from __future__ import annotations

import csv
import multiprocessing
import signal
from pathlib import Path

import pytest

from competition.errors import ResumeError
from competition.files import digest_of_file
from competition.record.run_dir import RunDir
from competition.training.finetune.fit_fold import fit_fold
from tests.training import interrupted_fold
from tests.training.small_fold import small_config, small_data, small_fold

# Forks from a process that has everything imported and has computed nothing.
STARTER = multiprocessing.get_context("forkserver")
STARTER.set_forkserver_preload(["tests.training.interrupted_fold"])
TIMES = ("images_per_second", "waiting", "seconds")


def train(folder: Path, kill: str, every: float = 0, workers: int = 0) -> tuple[int, str]:
    """Exit status (negative: the signal) and everything that was printed, in one line."""
    log = folder.parent / f"log-{kill}-{workers}.txt"
    process = STARTER.Process(target=interrupted_fold.train, args=(folder, kill, every, workers, log))
    process.start()
    process.join(120)
    assert process.exitcode is not None, "the training hangs"
    return process.exitcode, " ".join(log.read_text().split())


def history(folder: Path) -> list[dict[str, str]]:
    with (folder / "fold0" / "history.csv").open() as stream:
        return [{key: value for key, value in row.items() if key not in TIMES} for row in csv.DictReader(stream)]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    code, output = train(folder, "never", every=1000)
    assert code == 0, output
    return folder, output


def assert_equal_runs(folder: Path, output: str, uninterrupted: tuple[Path, str]) -> None:
    whole, expected = uninterrupted
    assert output.rpartition("result ")[2] == expected.rpartition("result ")[2]
    assert history(folder) == history(whole)
    assert digest_of_file(folder / "fold0/model.safetensors") == digest_of_file(whole / "fold0/model.safetensors")
    assert not (folder / "fold0" / "state").exists()


# 36 photos in steps of 8: four steps an epoch, the first epoch frozen. Saving after every step, then seldom.
@pytest.mark.parametrize(
    ("kill", "every"), [("2", 0), ("7", 0), ("10", 0), ("6", 1000), ("valid:1", 0), ("valid:2", 1000)]
)
def test_killed_and_resumed_equals_uninterrupted(tmp_path, uninterrupted, kill, every):
    folder = tmp_path / "run"
    assert train(folder, kill, every)[0] == -signal.SIGKILL
    code, output = train(folder, "never", every)
    assert code == 0, output
    if every == 0 and kill.isdecimal():
        epoch, step = divmod(int(kill), 4)
        assert f"going on at epoch {epoch + 1}, step {step} of 4" in output
    assert_equal_runs(folder, output, uninterrupted)


def test_killed_at_three_places_in_a_row_and_with_other_workers(tmp_path, uninterrupted):
    folder = tmp_path / "run"
    for kill in ("3", "5", "valid:1"):
        assert train(folder, kill)[0] == -signal.SIGKILL
    code, output = train(folder, "never", workers=2)
    assert code == 0, output
    assert_equal_runs(folder, output, uninterrupted)


def test_ctrl_c_saves_says_so_and_the_next_start_goes_on(tmp_path, uninterrupted):
    folder = tmp_path / "run"
    code, output = train(folder, "ctrl-c:6", every=1000)
    assert code > 0
    assert "saved, the same command goes on from there" in output
    _, output = train(folder, "never", every=1000)
    assert "going on at epoch 2, step 3 of 4" in output
    assert_equal_runs(folder, output, uninterrupted)


def test_a_resume_with_other_settings_or_photos_is_refused(tmp_path):
    data = small_data(tmp_path / "photos")
    fold, run = small_fold(data), RunDir(tmp_path / "run")

    def stop(_: dict[str, object]) -> None:
        raise RuntimeError("stop here")

    with pytest.raises(RuntimeError, match="stop here"):
        fit_fold(data, fold, small_config(), run, weights=None, epoch_hooks=[stop])
    with pytest.raises(ResumeError, match=r"lr: 0\.003 -> 0\.01"):
        fit_fold(data, fold, small_config(lr=0.01), run, weights=None)
    other = small_data(tmp_path / "other", count=51)
    with pytest.raises(ResumeError, match="data: "):
        fit_fold(other, fold, small_config(), run, weights=None)
    fit_fold(data, fold, small_config(workers=1), run, weights=None)
    with pytest.raises(ResumeError, match=r"lr: 0\.003 -> 0\.01"):
        fit_fold(data, fold, small_config(lr=0.01), run, weights=None)
