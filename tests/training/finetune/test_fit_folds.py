"""The folds of a run trained by the processes of a launcher, as a user starts them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from competition.data.sample.competition import draw_sample
from competition.types import Predictions

ROOT = Path(__file__).resolve().parents[3]
SETTINGS = ("backbone=test_convnext", "drop_rate=0", "drop_path_rate=0", "epochs=2", "cache=false", "precision=float32")
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")


def train(data: Path, run: Path, *launcher: str, batch: str = "16") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", *launcher, "-m", "competition", "train", "smoke", "--fold", "0,1"]
    changes = [word for setting in (*SETTINGS, f"batch_size={batch}") for word in ("--set", setting)]
    return subprocess.run(
        [*command, *changes, "--data", str(data), "--device", "cpu", "--run-dir", str(run)], cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


def test_torchrun_trains_a_run_together_and_tells_it_once(tmp_path):
    draw_sample(tmp_path / "data", breeds=3, train_per_breed=12, test_per_breed=3)
    two = train(tmp_path / "data", tmp_path / "two", *TORCHRUN)
    one = train(tmp_path / "data", tmp_path / "one")
    assert (one.returncode, two.returncode) == (0, 0), one.stderr + two.stderr
    for name in ("oof.npz", "test.npz"):
        expected, found = (Predictions.load(tmp_path / run / name) for run in ("one", "two"))
        assert expected.ids == found.ids
        np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-4)
    told = [line.rpartition(",")[0] for line in one.stdout.splitlines() if line.startswith("fold")]
    assert [line.rpartition(",")[0] for line in two.stdout.splitlines() if line.startswith("fold")] == told
    assert two.stderr.count("photos train,") == 2


def test_what_cannot_be_shared_is_refused_in_one_line(tmp_path):
    draw_sample(tmp_path / "data", breeds=3, train_per_breed=12, test_per_breed=3)
    done = train(tmp_path / "data", tmp_path / "run", *TORCHRUN, batch="1")
    assert done.returncode != 0
    own = {line for line in done.stderr.splitlines() if line.startswith("dogbreed: ")}
    assert own == {
        "dogbreed: 2 processes cannot share batches of 1 photos: set a larger batch_size or start fewer processes"
    }
