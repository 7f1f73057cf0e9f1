"""One fold over two processes, and folds spread over devices."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from competition.files import read_npz
from competition.record.history import History
from competition.record.run_dir import RunDir
from competition.training.finetune.fit_fold import fit_fold
from competition.training.finetune.fit_folds import fit_folds
from competition.training.photos.loader import StepSampler
from competition.types import Fold
from tests.training.distributed_fold import SETTINGS
from tests.training.small_fold import small_config, small_data, small_fold

ROOT = Path(__file__).resolve().parents[3]


def test_two_processes_share_each_step_without_overlap():
    def places(rank: int, world: int, chunk: int) -> list[list[int]]:
        sampler = StepSampler(50, chunk, 2, seed=3, rank=rank, world=world)
        sampler.go_to(1, 0, 32)
        return [[place[0] for place in batch] for batch in sampler]

    alone, first, second = places(0, 1, 8), places(0, 2, 4), places(1, 2, 4)
    assert len(alone) == len(first) == len(second) == 6
    for step in range(3):
        chunks = slice(2 * step, 2 * step + 2)
        assert list(chain(*alone[chunks])) == list(chain(*first[chunks], *second[chunks]))


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two") / "run"
    command = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "-m", "tests.training.distributed_fold", str(folder)],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return RunDir(folder), done


def test_both_processes_report_the_same_result_and_one_speaks(two_processes):
    _, done = two_processes
    scores = re.findall(r"rank \d: ([\d.]+)", done.stdout)
    assert len(scores) == 2
    assert scores[0] == scores[1]
    assert done.stderr.count("photos train") == 1


def test_two_processes_leave_what_one_leaves_and_score_alike(two_processes, tmp_path):
    run, done = two_processes
    data = small_data(tmp_path / "photos", count=96)
    alone = RunDir(tmp_path / "run")
    expected = fit_fold(data, small_fold(data), small_config(batch_size=8, **SETTINGS), alone, weights=None)

    def files(run: RunDir) -> set[str]:
        found = {path.relative_to(run.path).as_posix() for path in run.path.rglob("*") if path.is_file()}
        return {name for name in found if "tfevents" not in name}

    assert files(run) == files(alone)
    for name in ("valid_views.npz", "test_views.npz"):
        one, two = read_npz(alone / "fold0" / name), read_npz(run / "fold0" / name)
        assert set(one) == set(two)
        assert (one["ids"] == two["ids"]).all()
        assert one["logits"].shape == two["logits"].shape
        # Row by row alike: rows of the two processes put together in the wrong order would not be.
        assert np.corrcoef(one["logits"].ravel(), two["logits"].ravel())[0, 1] > 0.8
    columns = [list(History(item / "fold0/history.csv").rows[0]) for item in (run, alone)]
    assert columns[0] == columns[1]
    assert float(done.stdout.split()[-1]) == pytest.approx(expected.log_loss, abs=0.15)


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
