"""fastai's own callbacks on the kit's learner: each does what it does on a plain fastai ``Learner``."""

from __future__ import annotations

import csv
from types import SimpleNamespace

import pytest
import torch
from fastai.callback.all import (
    ActivationStats,
    BnFreeze,
    CSVLogger,
    CutMix,
    EarlyStoppingCallback,
    GradientAccumulation,
    GradientClip,
    MixUp,
    ParamScheduler,
    ProgressCallback,
    ReduceLROnPlateau,
    SaveModelCallback,
    SchedCos,
    ShortEpochCallback,
    TerminateOnNaNCallback,
)
from fastai.callback.channelslast import ChannelsLast
from fastai.callback.core import Callback
from fastai.callback.tensorboard import TensorBoardCallback

from competition.record.history import History
from competition.record.run_dir import RunDir
from competition.training.finetune.fit_fold import fit_fold
from tests.training.small_fold import SIDE, small_config, small_data, small_fold


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small_data(tmp_path_factory.mktemp("photos"), count=24)


class Look(Callback):
    """What a user's callback sees of a batch, and of the learner at the end."""

    order = 100  # after every schedule

    def __init__(self):
        self.batches, self.rates, self.rows = [], [], []

    def before_batch(self):
        image, label = self.learn.xb[0], self.learn.yb[0]
        self.batches.append((self.training, image.dtype, tuple(image.shape[1:]), image.device.type, label.dtype))
        if self.training:
            self.rates.append(self.learn.opt.hypers[-1]["lr"])

    def after_epoch(self):
        self.rows = [list(map(float, row)) for row in self.recorder.values]

    def after_fit(self):
        self.names = list(self.recorder.metric_names)


def fitted(data, folder, *callbacks, **changes):
    """A fold trained with those callbacks: what they saw, its history, its result."""
    look = Look()
    values = {"epochs": 3, "schedule": "constant", "warmup_epochs": 0, **changes}
    run = RunDir(folder)
    result = fit_fold(data, small_fold(data), small_config(**values), run, weights=None, callbacks=[*callbacks, look])
    rows = History(run.fold(0) / "history.csv").rows
    return SimpleNamespace(look=look, result=result, rows=rows, folder=run.fold(0) / "fastai")


STOCK = {
    "ActivationStats": lambda tmp: ActivationStats(),
    "BnFreeze": lambda tmp: BnFreeze(),
    "CSVLogger": lambda tmp: CSVLogger(),
    "ChannelsLast": lambda tmp: ChannelsLast(),
    "CutMix": lambda tmp: CutMix(1.0),
    "EarlyStoppingCallback": lambda tmp: EarlyStoppingCallback(patience=9),
    "GradientAccumulation": lambda tmp: GradientAccumulation(16),
    "GradientClip": lambda tmp: GradientClip(0.5),
    "MixUp": lambda tmp: MixUp(0.4),
    "ParamScheduler": lambda tmp: ParamScheduler({"lr": SchedCos(1e-2, 1e-4)}),
    "ProgressCallback": lambda tmp: ProgressCallback(),
    "ReduceLROnPlateau": lambda tmp: ReduceLROnPlateau(patience=1),
    "SaveModelCallback": lambda tmp: SaveModelCallback(),
    "ShortEpochCallback": lambda tmp: ShortEpochCallback(pct=0.3),
    "TensorBoardCallback": lambda tmp: TensorBoardCallback(log_dir=tmp / "board", trace_model=False, log_preds=False),
    "TerminateOnNaNCallback": lambda tmp: TerminateOnNaNCallback(),
}


@pytest.mark.parametrize("name", sorted(STOCK))
def test_a_stock_callback_runs_and_sees_floats(name, data, tmp_path):
    seen = fitted(data, tmp_path / "run", STOCK[name](tmp_path), epochs=2)
    expected = {(part, torch.float32, (3, SIDE, SIDE), "cpu", torch.int64) for part in (True, False)}
    assert set(seen.look.batches) == expected
    assert seen.look.names == ["epoch", "train_loss", "valid_loss", "accuracy", "time"]
    # Training that was cut short has no loss in fastai's recorder; the kit's history has that of what was seen.
    assert [len(row) for row in seen.look.rows] == ([2, 2] if name == "ShortEpochCallback" else [3, 3])
    assert len(seen.rows) == 2
    assert 0 < seen.result.log_loss < 10


def test_the_recorder_holds_the_figures_of_the_history(data, tmp_path):
    seen = fitted(data, tmp_path / "run")
    for row, (_, valid_loss, accuracy) in zip(seen.rows, seen.look.rows, strict=True):
        assert float(row["log_loss_raw"]) == pytest.approx(valid_loss, abs=1e-5)
        assert float(row["accuracy_raw"]) == pytest.approx(accuracy, abs=1e-5)


def test_csv_logger_writes_a_row_an_epoch_beside_the_folds_own_history(data, tmp_path):
    seen = fitted(data, tmp_path / "run", CSVLogger())
    with (seen.folder / "history.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert [float(row["valid_loss"]) for row in rows] == pytest.approx([row[1] for row in seen.look.rows])


def test_early_stopping_ends_the_fold_and_it_is_finished_all_the_same(data, tmp_path, capsys):
    # Nothing falls by a million: every epoch after the first one is no better.
    seen = fitted(data, tmp_path / "run", EarlyStoppingCallback(patience=1, min_delta=1e6), epochs=6)
    assert len(seen.rows) == 2
    assert "a callback ended the training after 2 of 6 epochs" in capsys.readouterr().err
    assert len(seen.result.valid.ids) == len(small_fold(data).valid_ids)


def test_a_plateau_lowers_the_rate_of_the_epochs_that_follow(data, tmp_path):
    seen = fitted(data, tmp_path / "run", ReduceLROnPlateau(patience=1, min_delta=1e6, factor=10), epochs=4)
    steps = len(seen.look.rates) // 4
    first, second, third, fourth = (seen.look.rates[steps * epoch] for epoch in range(4))
    assert second == pytest.approx(first)
    assert third == pytest.approx(first / 10)
    assert fourth == pytest.approx(first / 100)


def test_a_users_schedule_decides_the_rate(data, tmp_path):
    seen = fitted(data, tmp_path / "run", ParamScheduler({"lr": SchedCos(1e-2, 1e-4)}))
    assert seen.look.rates[0] == pytest.approx(1e-2)
    assert seen.look.rates[-1] < 1e-3
    assert seen.look.rates == sorted(seen.look.rates, reverse=True)


def test_save_model_keeps_the_trained_weights_of_its_best_epoch(data, tmp_path):
    seen = fitted(data, tmp_path / "run", SaveModelCallback(fname="best"))
    stored = torch.load(seen.folder / "models" / "best.pth", weights_only=True)
    assert all(torch.isfinite(tensor).all() for tensor in stored.values())


def test_mixup_changes_the_training_and_leaves_the_loss_as_it_was(data, tmp_path):
    plain, mixed = fitted(data, tmp_path / "plain"), fitted(data, tmp_path / "mixed", MixUp(5.0))
    assert float(mixed.rows[-1]["train_loss"]) > float(plain.rows[-1]["train_loss"])
