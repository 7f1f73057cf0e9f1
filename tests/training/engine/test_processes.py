"""One fold over two processes, and folds spread over devices."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from competition.errors import UsageError
from competition.files import read_npz
from competition.record.history import History
from competition.record.run_dir import RunDir
from competition.training.finetune.fit_fold import fit_fold
from competition.training.finetune.fit_folds import fit_folds
from competition.training.photos.loader import StepSampler
from competition.types import Fold
from tests.training.distributed_fold import train
from tests.training.small_fold import small_config, small_data, small_fold

ROOT = Path(__file__).resolve().parents[3]


TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc_per_node=2")
ACCELERATE = (
    "accelerate.commands.launch", "--multi_gpu", "--num_processes=2", "--num_machines=1", "--mixed_precision=fp16",
    "--dynamo_backend=no", "--main_process_port=0",
)  # fmt: skip


def places(rank: int, world: int, count: int = 50, chunk: int = 7, chunks: int = 2) -> list[list[int]]:
    sampler = StepSampler(count, chunk, chunks, seed=3, rank=rank, world=world)
    sampler.go_to(1, 0, 32)
    batches = [[place[2] for place in batch] for batch in sampler]
    assert sampler.share * sampler.steps == sum(map(len, batches))
    return batches


@pytest.mark.parametrize(("world", "count"), [(2, 50), (3, 50), (2, 9), (7, 50)])
def test_processes_share_each_forward_pass_without_overlap(world, count):
    alone, together = places(0, 1, count), [places(rank, world, count) for rank in range(world)]
    assert {len(batches) for batches in together} == {len(alone)}
    for number, batch in enumerate(alone):
        parts = [batches[number] for batches in together]
        assert list(chain(*parts)) == batch
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize(("world", "count", "chunk"), [(8, 50, 7), (2, 3, 2), (2, 9, 1)])
def test_a_batch_that_cannot_be_shared_is_refused(world, count, chunk):
    with pytest.raises(UsageError, match=rf"{world} processes cannot share batches of \d photos: set a larger"):
        StepSampler(count, chunk, 2, seed=3, rank=0, world=world)


def launch(
    folder: Path, *settings: str, launcher: Sequence[str] = TORCHRUN, code: int = 0
) -> subprocess.CompletedProcess[str]:
    """Train the fold in two processes; a run that ends otherwise than it should fails the test."""
    command = [sys.executable, "-W", "ignore", "-m", *launcher, "-m", "tests.training.distributed_fold", str(folder)]
    done = subprocess.run(
        [*command, *settings], cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
        check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return done


def files(run: Path) -> set[str]:
    found = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    return {name for name in found if "tfevents" not in name}


def rows(run: Path) -> list[dict[str, Any]]:
    """The history without times."""
    timed = ("images_per_second", "waiting", "seconds")
    return [
        {key: value for key, value in row.items() if key not in timed}
        for row in History(run / "fold0/history.csv").rows
    ]


def assert_equal(one: Path, two: Path) -> None:
    """Predictions and histories that differ by the order of sums only."""
    for name in ("valid_views.npz", "test_views.npz"):
        expected, found = read_npz(one / "fold0" / name), read_npz(two / "fold0" / name)
        assert (expected["ids"] == found["ids"]).all()
        np.testing.assert_allclose(found["logits"], expected["logits"], rtol=0, atol=1e-5)
    assert len(rows(one)) == len(rows(two))
    for expected_row, row in zip(rows(one), rows(two), strict=True):
        assert row == pytest.approx(expected_row, abs=1e-5)


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two") / "run"
    return folder, launch(folder, "accumulate=2", "folds=2")


def test_two_processes_leave_and_predict_what_one_does(two_processes, tmp_path):
    run, done = two_processes
    train(tmp_path / "run", accumulate="2")
    assert files(run) == files(tmp_path / "run")
    assert_equal(tmp_path / "run", run)
    assert_equal(tmp_path / "run", run.with_name("run1"))  # the second fold of the same processes
    scores = re.findall(r"rank \d: ([\d.]+)", done.stdout)
    assert len(scores) == 4
    assert len(set(scores)) == 1
    assert done.stderr.count("photos train") == 2  # one of the two speaks


def test_accelerate_launch_with_frozen_norms_and_a_stock_callback(tmp_path):
    settings = {"backbone": "test_resnet", "freeze_norm": "1", "epochs": "5", "stop-early": "1"}
    launch(tmp_path / "two" / "run", *(f"{key}={value}" for key, value in settings.items()), launcher=ACCELERATE)
    train(tmp_path / "one" / "run", **settings)
    assert len(rows(tmp_path / "one" / "run")) == 2
    assert_equal(tmp_path / "one" / "run", tmp_path / "two" / "run")


def test_ctrl_c_in_one_process_stops_both_and_one_goes_on_alone(tmp_path):
    done = launch(tmp_path / "two" / "run", "ctrl-c=1:13", code=1)
    assert "stopped in epoch 2 of 4 after step 4 of 10; saved, the same command goes on from there" in " ".join(
        done.stderr.split()
    )
    train(tmp_path / "one" / "run")
    train(tmp_path / "two" / "run")
    assert_equal(tmp_path / "one" / "run", tmp_path / "two" / "run")


@contextmanager
def two_hosts() -> Iterator[tuple[str, str]]:
    """Two network namespaces with a cable between them, 10.99.0.1 and 10.99.0.2; gone afterwards."""
    names = (f"dogbreed{os.getpid()}a", f"dogbreed{os.getpid()}b")
    made = []
    try:
        for name in names:
            subprocess.run(["ip", "netns", "add", name], check=True)
            made.append(name)
        cable = ["type", "veth", "peer", "name", "cable", "netns", names[1]]
        subprocess.run(["ip", "-n", names[0], "link", "add", "cable", *cable], check=True)
        for number, name in enumerate(names, 1):
            for line in (f"addr add 10.99.0.{number}/24 dev cable", "link set cable up", "link set lo up"):
                subprocess.run(["ip", "-n", name, *line.split()], check=True)
        yield names
    finally:
        for name in made:
            subprocess.run(["ip", "netns", "del", name], check=False)


@pytest.mark.slow
def test_two_hosts_predict_what_one_process_does(tmp_path):
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("network namespaces need root and the command ip (package iproute2)")
    run = tmp_path / "two" / "run"
    with two_hosts() as hosts:
        started = []
        for number, host in enumerate(hosts):
            nodes = ["--nnodes=2", f"--node_rank={number}", "--nproc_per_node=1"]
            command = [
                sys.executable, "-W", "ignore", "-m", "torch.distributed.run", *nodes, "--master_addr=10.99.0.1",
                "--master_port=29500", "-m", "tests.training.distributed_fold", str(run),
            ]  # fmt: skip
            environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "cable"}
            with (tmp_path / f"{number}.txt").open("w") as log:
                command = ["ip", "netns", "exec", host, *command]
                started.append(subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log))
        try:
            codes = [process.wait(300) for process in started]
        finally:
            for process in started:
                process.terminate()  # its processes end with it
        said = [(tmp_path / f"{number}.txt").read_text() for number in range(2)]
        assert codes == [0, 0], said
        sent = subprocess.run(
            ["ip", "-n", hosts[0], "-s", "-j", "link", "show", "cable"], check=True, capture_output=True, text=True
        )
    # Every step's gradients went through the cable.
    assert json.loads(sent.stdout)[0]["stats64"]["tx"]["bytes"] > 1_000_000
    assert [len(re.findall(rf"rank {number}:", text)) for number, text in enumerate(said)] == [1, 1]
    train(tmp_path / "one" / "run")
    assert_equal(tmp_path / "one" / "run", run)


def test_folds_spread_over_devices_equal_folds_one_after_the_other(tmp_path):
    data = small_data(tmp_path / "photos")
    ids = data.train_ids
    folds = [Fold(k, tuple(name for i, name in enumerate(ids) if i % 3 != k), ids[k::3]) for k in range(3)]
    config = small_config(epochs=1, threads=1)  # sums in as many threads on both sides
    spread = fit_folds(data, folds, config, RunDir(tmp_path / "a"), devices=["cpu", "cpu"], weights=None)
    for fold, result in zip(folds, spread, strict=True):
        expected = fit_fold(data, fold, config, RunDir(tmp_path / "b"), weights=None)
        assert result.index == fold.index
        assert result.log_loss == pytest.approx(expected.log_loss, rel=1e-6)


def test_a_fold_that_fails_elsewhere_is_told(tmp_path):
    data = small_data(tmp_path / "photos")
    fold = small_fold(data)
    with pytest.raises(Exception, match=r"fold 0.*cannot take images of 7 px"):
        fit_folds(
            data, [fold], small_config(backbone="test_vit", image_size=160, progressive=(7,)), RunDir(tmp_path / "a"),
            devices=["cpu"], weights=None,
        )  # fmt: skip
