"""Two processes, one cache: whoever is killed whenever, the features are those of one process alone."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from competition.data.source.competition_data import Photo
from competition.files import digest_of_array, read_json, write_json
from competition.locks import only_one
from competition.training.probe import embed as module
from competition.training.probe.feature_store import FeatureStore
from tests.training import racing_embed
from tests.training.small_fold import small_data

# Clean processes that need not import torch one by one.
STARTER = multiprocessing.get_context("forkserver")
STARTER.set_forkserver_preload(["tests.training.racing_embed"])


Alone = tuple[tuple[Photo, ...], dict[str, np.ndarray]]


@pytest.fixture(scope="module")
def alone(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Alone:
    """Photos, and their features as one process makes them."""
    folder = tmp_path_factory.mktemp("alone")
    photos = small_data(folder / "photos", test=0).train
    found = racing_embed.compute(photos, weights, folder / "features")
    return photos, {name: np.array(values) for name, values in found.items()}


def rows_done(folder: Path) -> int:
    """Rows of both blocks that count."""
    return sum(read_json(path)["done"] for path in folder.glob("*/progress.json"))


def wait_for(rows: int, folder: Path, runs: list[Any]) -> None:
    """Until so many rows count, or a process has ended."""
    while rows_done(folder) < rows and all(run.is_alive() for run in runs):
        time.sleep(0.002)


def race(photos: tuple[Photo, ...], weights: Path, folder: Path, seed: int) -> None:
    """Start two processes, the second with its blocks the other way round, and kill one of them some time."""
    draw = random.Random(seed)
    runs: list[Any] = []
    moments = sorted(draw.randrange(-20, 96) for _ in range(2))  # below 0: at once
    for number, views in enumerate((racing_embed.VIEWS, racing_embed.VIEWS[::-1])):
        arguments = (photos, weights, folder / "features", folder / f"{number}.json", views)
        runs.append(STARTER.Process(target=racing_embed.slowly, args=arguments))
        runs[-1].start()
        wait_for(moments[number], folder / "features", runs)
        time.sleep(draw.uniform(0, 0.03))
    victim = draw.randrange(2)
    os.kill(runs[victim].pid, draw.choice((signal.SIGKILL, signal.SIGINT)))
    for run in runs:
        run.join(300)
    assert runs[1 - victim].exitcode == 0


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 20))])
def test_two_processes_of_which_one_is_killed_give_the_features_of_one(
    seed: int, weights: Path, alone: Alone, tmp_path: Path
) -> None:
    photos, wanted = alone
    race(photos, weights, tmp_path, seed)
    digests = {name: digest_of_array(values) for name, values in wanted.items()}
    told = [read_json(path) for path in tmp_path.glob("?.json")]
    assert told
    assert all(each == digests for each in told)
    for name, values in racing_embed.compute(photos, weights, tmp_path / "features").items():
        np.testing.assert_array_equal(values, wanted[name])
    assert not list(tmp_path.rglob("*.tmp"))


def test_the_second_waits_and_says_so_and_reads(
    weights: Path, alone: Alone, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, wanted = alone
    args = (photos, weights, tmp_path / "features", tmp_path / "0.json")
    first = STARTER.Process(target=racing_embed.slowly, args=args)
    first.start()
    while not list(tmp_path.rglob("progress.json")):
        time.sleep(0.01)
    calls = []
    original = module._compute
    module._compute = lambda *a: calls.append(a) or original(*a)  # type: ignore[func-returns-value]
    try:
        found = racing_embed.compute(photos, weights, tmp_path / "features")
    finally:
        module._compute = original
    first.join()
    assert not calls
    assert "features is in use by another process: waiting for it" in capsys.readouterr().err
    for name, values in found.items():
        np.testing.assert_array_equal(values, wanted[name])


def _flip(folder: Path) -> None:
    content = bytearray((folder / "features.npy").read_bytes())
    content[-5] ^= 1
    (folder / "features.npy").write_bytes(content)


def _zero_rows_of_an_old_version(folder: Path) -> None:
    """What two runs left behind: rows of zeros, and a record that calls them complete."""
    array = np.load(folder / "features.npy")
    array[4:40] = 0
    np.save(folder / "features.npy", array)
    progress = read_json(folder / "progress.json")
    del progress["chunks"]
    write_json(folder / "progress.json", progress)


def _cut(folder: Path) -> None:
    with (folder / "features.npy").open("rb+") as stream:
        stream.truncate(1000)


def _lost(folder: Path) -> None:
    (folder / "features.npy").unlink()


def _half_a_record(folder: Path) -> None:
    text = (folder / "progress.json").read_text()
    (folder / "progress.json").write_text(text[: len(text) // 2])


def _no_record(folder: Path) -> None:
    (folder / "progress.json").write_text(json.dumps([1, 2]))


def _other_shape(folder: Path) -> None:
    np.save(folder / "features.npy", np.zeros((48, 3), np.float32))


def _negative_rows(folder: Path) -> None:
    progress = read_json(folder / "progress.json")
    progress["chunks"] = [[48, "0" * 16], [-1, "0" * 16]]
    write_json(folder / "progress.json", progress)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_flip, "damaged (rows 32 to 48 are not those that were written)"),
        (_zero_rows_of_an_old_version, "kept without digests by an older version"),
        (_cut, "damaged ("),
        (_lost, "damaged ("),
        (_half_a_record, "damaged ("),
        (_no_record, "damaged ("),
        (_other_shape, "damaged ("),
        (_negative_rows, "damaged ("),
    ],
)
def test_what_the_digests_do_not_prove_is_computed_again_and_said_once(
    damage: object,
    said: str,
    weights: Path,
    alone: Alone,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    photos, wanted = alone
    before = racing_embed.compute(photos, weights, tmp_path)["tiny/identity"]
    (folder,) = (path for path in tmp_path.iterdir() if "identity" in path.name)
    damage(folder)  # type: ignore[operator]
    capsys.readouterr()
    for name, values in racing_embed.compute(photos, weights, tmp_path).items():
        np.testing.assert_array_equal(values, wanted[name])
    lines = [line for line in capsys.readouterr().err.splitlines() if "computed again" in line]
    assert len(lines) == 1
    assert said in lines[0]
    assert before.shape == wanted["tiny/identity"].shape
    racing_embed.compute(photos, weights, tmp_path)
    assert "computed again" not in capsys.readouterr().err


def test_who_reads_keeps_what_it_has_while_it_is_computed_again(weights: Path, alone: Alone, tmp_path: Path) -> None:
    photos, wanted = alone
    held = racing_embed.compute(photos, weights, tmp_path)["tiny/hflip"]
    for path in tmp_path.glob("*/progress.json"):
        path.write_text("{}")
    racing_embed.compute(photos, weights, tmp_path)
    np.testing.assert_array_equal(held, wanted["tiny/hflip"])


def test_rows_count_once_they_are_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record follows the rows: seen with an ``fsync`` that tells what the record says at that moment."""
    store = FeatureStore(tmp_path / "s", 6, 2, {})
    done: list[int] = []
    original = os.fsync

    def told(handle: int) -> None:
        if "features.npy" in str(Path(f"/proc/self/fd/{handle}").readlink()):
            path = tmp_path / "s" / "progress.json"
            done.append(read_json(path)["done"] if path.is_file() else 0)
        original(handle)

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("no /proc here")
    monkeypatch.setattr(os, "fsync", told)
    (tmp_path / "s").mkdir()
    with store.writing():
        for start in (0, 3):
            store.append(np.full((3, 2), start, np.float32))
            assert store.done == start
            store.record()
    assert done == [0, 3]
    assert FeatureStore(tmp_path / "s", 6, 2, {}).read().tolist() == [[0, 0]] * 3 + [[3, 3]] * 3


def test_the_lock_is_held_only_while_something_is_computed(weights: Path, alone: Alone, tmp_path: Path) -> None:
    """A complete cache is read although somebody holds its lock (or it lies where nothing can be written)."""
    photos, _ = alone
    racing_embed.compute(photos, weights, tmp_path)
    locks = list(tmp_path.glob("*/.lock"))
    assert len(locks) == 2
    with only_one(locks[0]):
        reader = threading.Thread(target=racing_embed.compute, args=(photos, weights, tmp_path), daemon=True)
        reader.start()
        reader.join(30)
        assert not reader.is_alive()
