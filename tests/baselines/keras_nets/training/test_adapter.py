"""Keras networks trained through the kit: what is learnt, recorded, continued and refused."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from baselines import create_model
from baselines.contract.config import FitConfig
from baselines.contract.trainer import Outcome
from baselines.data.datasets import Dataset, Part
from competition.errors import KitError, ResumeError, UsageError
from competition.record.history import History
from competition.record.metrics import accuracy, log_loss, softmax
from competition.record.run_dir import RunDir
from tests.baselines.toys import HISTORY_COLUMNS, quarters

pytestmark = pytest.mark.usefixtures("keras_installed")


@pytest.fixture(scope="module")
def data() -> Dataset:
    return quarters()


def mlp(**options: Any) -> Any:
    import keras

    keras.utils.set_random_seed(3)
    options = {"hidden": (16,), "num_classes": 4, "in_channels": 1, "image_size": 8, **options}
    return create_model("mlp", "keras", **options)


def train(model: Any, data: Dataset, folder: Path, save_every: float = 1e9, **values: Any) -> Outcome:
    from baselines.keras_nets.training.adapter import fit_keras

    extras = {key: values.pop(key, ()) for key in ("callbacks", "epoch_hooks")}
    config = FitConfig(**{"epochs": 3, "batch_size": 32, "lr": 0.01, "device": "cpu", **values})
    return fit_keras(model, data, config, RunDir(folder), save_every=save_every, **extras)


def test_a_network_learns_and_leaves_its_records(data: Dataset, tmp_path: Path) -> None:
    from baselines.keras_nets.training.adapter import load, predict

    model = mlp()
    rows: list[dict[str, Any]] = []
    outcome = train(model, data, tmp_path, epoch_hooks=[rows.append])
    history = History(tmp_path / "history.csv")
    assert list(history.rows[0]) == HISTORY_COLUMNS
    assert history.rows == rows
    assert outcome.epochs == 3
    assert outcome.stopped == ""
    logits = predict(model, data.valid.images, data.mean, data.std, batch_size=7, device="cpu")
    assert logits.dtype == np.float32
    best = history.rows[outcome.best_epoch - 1]
    assert best["valid_loss"] == min(history.column("valid_loss"))
    assert best["valid_loss"] == pytest.approx(log_loss(softmax(logits), data.valid.labels), rel=1e-4)
    assert best["valid_accuracy"] == pytest.approx(accuracy(softmax(logits), data.valid.labels))
    assert best["valid_accuracy"] > 0.9
    other = mlp()
    load(other, tmp_path / "model.safetensors")
    np.testing.assert_array_equal(
        predict(other, data.valid.images, data.mean, data.std, batch_size=64, device="auto"), logits
    )


def test_the_board_has_the_kits_tags(data: Dataset, tmp_path: Path) -> None:
    from competition.record.board import tag_of

    train(mlp(), data, tmp_path, epochs=2)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    history = History(tmp_path / "history.csv")
    assert set(events.Tags()["scalars"]) == {tag_of(column) for column in HISTORY_COLUMNS if column != "epoch"}
    assert events.Tags()["images"] == ["batch/augmented"]
    for column in ("train_loss", "valid_loss", "rate"):
        points = events.Scalars(tag_of(column))
        assert [point.step for point in points] == [1, 2]
        assert [point.value for point in points] == pytest.approx(history.column(column))


class KilledError(Exception):
    """Stands for a kill: nothing is tidied up."""


def killed_at(epoch: int, step: int) -> Any:
    import keras

    class Kill(keras.callbacks.Callback):
        now = -1

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.now = epoch

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            if (self.now, batch) == (epoch, step):
                raise KilledError

    return Kill()


RICH: dict[str, Any] = {
    "augment": ("crop", "flip", "cutout"), "crop_padding": 1, "cutout_side": 2, "dropout": 0.3, "l2": 1e-3,
    "smoothing": 0.1, "optimiser": "adam", "schedule": "one_cycle",
}  # fmt: skip


@dataclass(frozen=True)
class Ended:
    """A training that nobody interrupted: its weights, their file, its history."""

    weights: list[np.ndarray]
    file: bytes
    rows: list[dict[str, Any]]


@pytest.fixture(scope="module")
def whole(data: Dataset, keras_installed: None, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    folder, model = tmp_path_factory.mktemp("whole"), mlp()
    train(model, data, folder, **RICH)
    file = (folder / "model.safetensors").read_bytes()
    return Ended([weight.numpy() for weight in model.weights], file, History(folder / "history.csv").rows)


@pytest.mark.parametrize(("epoch", "step"), [(0, 4), (2, 0)])
def test_a_killed_training_goes_on_as_if_nothing_had_happened(
    data: Dataset, whole: Ended, tmp_path: Path, epoch: int, step: int
) -> None:
    with pytest.raises(KilledError):
        train(mlp(), data, tmp_path, save_every=0, callbacks=[killed_at(epoch, step)], **RICH)
    again = mlp()
    outcome = train(again, data, tmp_path, save_every=0, **RICH)
    assert outcome.epochs == 3
    for ours, theirs in zip(again.weights, whole.weights, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs, err_msg=ours.path)
    assert (tmp_path / "model.safetensors").read_bytes() == whole.file
    for row, wanted in zip(History(tmp_path / "history.csv").rows, whole.rows, strict=True):
        for column in HISTORY_COLUMNS[:-2]:
            assert row[column] == pytest.approx(wanted[column], rel=1e-6), (row["epoch"], column)


def test_another_seed_gives_other_weights(data: Dataset, whole: Ended, tmp_path: Path) -> None:
    model = mlp()
    train(model, data, tmp_path, seed=1, **RICH)
    assert np.abs(model.weights[0].numpy() - whole.weights[0]).max() > 1e-3


def test_ctrl_c_saves_and_stops(data: Dataset, whole: Ended, tmp_path: Path) -> None:
    import os
    import signal

    import keras

    class Press(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            if batch == 3:
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(mlp(), data, tmp_path, callbacks=[Press()], **RICH)
    assert [path.name[:22] for path in (tmp_path / "checkpoint").glob("epoch*")] == ["epoch-0000-step-000003"]
    again = mlp()
    train(again, data, tmp_path, **RICH)
    np.testing.assert_array_equal(again.weights[0].numpy(), whole.weights[0])


def test_a_checkpoint_of_another_training_is_refused(data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(KilledError):
        train(mlp(), data, tmp_path, save_every=0, callbacks=[killed_at(1, 1)])
    with pytest.raises(ResumeError, match=r"lr: 0\.01 -> 0\.02"):
        train(mlp(), data, tmp_path, lr=0.02)
    with pytest.raises(ResumeError, match="another model"):
        train(mlp(hidden=(8,)), data, tmp_path)


def test_it_stops_early_and_keeps_the_best_epoch(data: Dataset, tmp_path: Path) -> None:
    from baselines.keras_nets.training.adapter import predict

    # With wrong labels there, what is learnt makes the validation loss worse.
    wrong = Part(data.valid.images, (data.valid.labels + 1) % 4)
    model = mlp()
    outcome = train(model, dataclasses.replace(data, valid=wrong), tmp_path, epochs=30, patience=2)
    losses = History(tmp_path / "history.csv").column("valid_loss")
    assert len(losses) < 30
    assert outcome.stopped == "no better valid_loss for 2 epochs"
    assert outcome.best_epoch == len(losses) - 2 == int(np.argmin(losses)) + 1
    logits = predict(model, wrong.images, data.mean, data.std, batch_size=60, device="cpu")
    assert log_loss(softmax(logits), wrong.labels) == pytest.approx(min(losses), rel=1e-4)


def test_a_loss_that_is_no_number_ends_it_in_one_line(data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(KitError, match=r"training loss is not a number .*lower lr"):
        train(mlp(), data, tmp_path, optimiser="sgd", lr=1e30)


def test_auxiliary_heads_are_trained_and_not_scored(data: Dataset, tmp_path: Path) -> None:
    import keras

    image = keras.Input((8, 8, 1))
    x = keras.layers.Dense(8, activation="relu", name="body")(keras.layers.Flatten()(image))
    heads = [keras.layers.Dense(4, name=name)(x) for name in ("fc", "aux1.fc2", "aux2.fc2")]
    model = keras.Model(image, heads)
    before = {weight.path: weight.numpy() for weight in model.trainable_weights}
    with pytest.raises(KilledError):
        train(model, data, tmp_path, epochs=1, save_every=0, callbacks=[killed_at(0, 3)])
    train(model, data, tmp_path, epochs=1)
    row = History(tmp_path / "history.csv").rows[0]
    assert list(row) == HISTORY_COLUMNS
    moved = {
        weight.path for weight in model.trainable_weights if np.abs(weight.numpy() - before[weight.path]).max() > 0
    }
    assert {"aux1.fc2/kernel", "aux2.fc2/kernel", "fc/kernel"} <= moved
    logits = model.predict((data.valid.images / 255 - data.mean) / data.std, verbose=0)[0]
    assert row["valid_loss"] == pytest.approx(log_loss(softmax(logits), data.valid.labels), rel=1e-4)
    assert row["train_loss"] > 1.3 * row["valid_loss"]  # it counts the heads as well


def test_half_precision_trains(data: Dataset, tmp_path: Path) -> None:
    model = mlp()
    train(model, data, tmp_path, precision="bfloat16")
    assert History(tmp_path / "history.csv").column("valid_accuracy")[-1] > 0.9
    assert model.layers[1].compute_dtype == "float32"
    train(mlp(), data, tmp_path / "float16", precision="float16", epochs=1)
    assert np.isfinite(History(tmp_path / "float16/history.csv").column("train_loss")[0])


def test_a_gpu_that_is_not_there_is_named(data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="TensorFlow sees 0 GPUs"):
        train(mlp(), data, tmp_path, device="cuda:9")
    with pytest.raises(UsageError, match="expected auto, cpu, cuda"):
        train(mlp(), data, tmp_path, device="gpu")
