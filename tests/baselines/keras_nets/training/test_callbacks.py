"""The kit's callbacks in a ``model.fit`` of one's own: a model, arrays and an optimiser that the kit did not make."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from baselines.contract.batches import TrainBatches
from baselines.contract.config import FitConfig
from baselines.contract.schedules import rate_at
from competition.errors import KitError, ResumeError, WeightsError
from competition.record.history import History
from tests.baselines.toys import quarters

pytestmark = pytest.mark.usefixtures("keras_installed")
STEPS, BATCH = 6, 10


@pytest.fixture(scope="module")
def arrays() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    images = rng.normal(size=(STEPS * BATCH, 5)).astype(np.float32)
    return images, (images[:, 0] > 0).astype(np.int64)


def own_model(rate: Any = 0.1) -> Any:
    import keras

    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(4, activation="tanh"), keras.layers.Dense(2)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"], jit_compile=False)
    return model


def seen(attribute: str) -> Any:
    """A callback that remembers the optimiser's rate at every step's end."""
    import keras

    class Seen(keras.callbacks.Callback):
        def __init__(self) -> None:
            super().__init__()
            self.values: list[float] = []

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.values.append(float(getattr(self.model.optimizer, attribute)))

    return Seen()


@pytest.mark.parametrize("schedule", ["constant", "step", "cosine", "one_cycle"])
def test_every_step_has_the_rate_of_the_schedule(arrays: Any, schedule: str) -> None:
    from baselines.keras_nets.training.callbacks import Rates

    config = FitConfig(epochs=4, lr=0.2, schedule=schedule, warmup_epochs=0.5)
    told = seen("learning_rate")
    history = own_model().fit(*arrays, batch_size=BATCH, epochs=4, verbose=0, callbacks=[Rates(config), told]).history
    expected = [rate_at(config, step / STEPS) for step in range(4 * STEPS)]
    assert told.values == pytest.approx(expected, rel=1e-6)
    assert history["rate"] == pytest.approx(expected[STEPS - 1 :: STEPS])


def test_plateau_goes_by_the_validation_loss(arrays: Any) -> None:
    from baselines.keras_nets.training.callbacks import Rates

    config = FitConfig(epochs=5, lr=1e-12, schedule="plateau", plateau_patience=2, step_factor=0.1)
    told = seen("learning_rate")
    own_model().fit(
        *arrays, batch_size=BATCH, epochs=5, verbose=0, validation_data=arrays, callbacks=[Rates(config), told]
    )
    # Nothing is learnt at this rate: epochs 2 and 3 are no better, epochs 4 and 5 are slower.
    assert told.values[::STEPS] == pytest.approx([1e-12, 1e-12, 1e-12, 1e-13, 1e-13])


def test_records_board_and_best_weights(arrays: Any, tmp_path: Path) -> None:
    from baselines.keras_nets.training.callbacks import Board, Records, Throughput
    from baselines.keras_nets.training.monitors import BestWeights
    from baselines.keras_nets.training.weights import load_own_weights

    model = own_model()
    best = BestWeights(tmp_path / "best.safetensors", "valid_accuracy")
    callbacks = [Throughput(STEPS * BATCH), best, Records(tmp_path / "history.csv"), Board(tmp_path / "board")]
    theirs = model.fit(
        *arrays, batch_size=BATCH, epochs=6, verbose=0, validation_data=arrays, callbacks=callbacks
    ).history
    rows = History(tmp_path / "history.csv").rows
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row["train_loss"] for row in rows] == pytest.approx(theirs["loss"])
    assert [row["valid_accuracy"] for row in rows] == pytest.approx(theirs["val_accuracy"])
    assert all(row["images_per_second"] > STEPS * BATCH / row["seconds"] for row in rows)
    points = EventAccumulator(str(tmp_path / "board")).Reload().Scalars("loss/valid")
    assert [(point.step, point.value) for point in points] == [
        (row["epoch"], pytest.approx(row["valid_loss"])) for row in rows
    ]
    again = own_model()
    load_own_weights(again, tmp_path / "best.safetensors")
    key = [(-accuracy, loss) for accuracy, loss in zip(theirs["val_accuracy"], theirs["val_loss"], strict=True)]
    assert best.best_epoch == key.index(min(key)) + 1
    logs = again.evaluate(*arrays, verbose=0, return_dict=True)
    assert (-logs["accuracy"], logs["loss"]) == pytest.approx(min(key))


def test_a_fit_of_ones_own_continues_at_its_epoch(arrays: Any, tmp_path: Path) -> None:
    import keras

    from baselines.keras_nets.training.callbacks import Records
    from baselines.keras_nets.training.monitors import EarlyStop
    from baselines.keras_nets.training.resume import Resume

    def run(model: Any, folder: Path, epochs: int, *others: Any) -> Any:
        memory = [EarlyStop(5), Records(folder / "history.csv")]
        callbacks = [*memory, *others, Resume(folder / "checkpoint", {"what": 1}, memory)]
        model.fit(
            *arrays, batch_size=BATCH, epochs=epochs, verbose=0, shuffle=False, validation_data=arrays,
            callbacks=callbacks,
        )  # fmt: skip
        return model

    def fall(epoch: int, logs: Any) -> None:
        if epoch == 2:
            raise RuntimeError("power cut")

    whole = run(own_model(), tmp_path / "whole", 5)
    with pytest.raises(RuntimeError, match="power cut"):
        run(own_model(), tmp_path / "cut", 5, keras.callbacks.LambdaCallback(on_epoch_begin=fall))
    again = run(own_model(), tmp_path / "cut", 5)
    for ours, theirs in zip(again.weights, whole.weights, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    assert History(tmp_path / "cut/history.csv").rows == History(tmp_path / "whole/history.csv").rows
    stored = sorted(path.suffix for path in (tmp_path / "cut/checkpoint").iterdir())
    assert set(stored) == {".json", ".safetensors"}
    with pytest.raises(ResumeError, match="what: 1 -> 2"):
        own_model().fit(*arrays, verbose=0, callbacks=[Resume(tmp_path / "cut/checkpoint", {"what": 2})])


def test_nan_ends_a_fit(arrays: Any) -> None:
    from baselines.keras_nets.training.monitors import StopOnNaN

    images = arrays[0].copy()
    images[30, 0] = np.nan
    with pytest.raises(KitError, match=r"not a number \(step 4\)"):
        own_model().fit(images, arrays[1], batch_size=BATCH, shuffle=False, verbose=0, callbacks=[StopOnNaN(every=2)])
    with pytest.raises(KitError, match=r"not a number \(epoch 1\)"):
        own_model().fit(images, arrays[1], batch_size=BATCH, shuffle=False, verbose=0, callbacks=[StopOnNaN()])


def test_what_cannot_work_is_said(arrays: Any) -> None:
    import keras

    from baselines.keras_nets.training.callbacks import Rates
    from baselines.keras_nets.training.monitors import EarlyStop

    decay = keras.optimizers.schedules.CosineDecay(0.1, 100)
    with pytest.raises(KitError, match="has a schedule of its own"):
        own_model(decay).fit(*arrays, verbose=0, callbacks=[Rates(FitConfig())])

    with pytest.raises(KitError, match="no valid_loss to go by"):
        own_model().fit(*arrays, verbose=0, callbacks=[EarlyStop(1)])


def test_weights_of_another_model_are_refused_whole(tmp_path: Path) -> None:
    import keras

    from baselines.keras_nets.training.weights import load_own_weights, save_own_weights

    save_own_weights(own_model(), tmp_path / "own.safetensors")
    other = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3, name="elsewhere")])
    before = other.get_weights()
    with pytest.raises(WeightsError, match=r"does not fit this model: weights of another architecture: 2 weights"):
        load_own_weights(other, tmp_path / "own.safetensors")
    np.testing.assert_array_equal(before[0], other.get_weights()[0])
    (tmp_path / "own.safetensors").write_bytes(b"\x10broken")
    with pytest.raises(WeightsError, match="no readable safetensors"):
        load_own_weights(other, tmp_path / "own.safetensors")
    with pytest.raises(WeightsError, match="is missing"):
        load_own_weights(other, tmp_path / "none.safetensors")


@pytest.mark.parametrize("block_bytes", [1, 3000, 4 * 2**20])
def test_the_feed_gives_the_kits_batches_normalised(block_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many batches go over at once, and where the last is incomplete."""
    from baselines.keras_nets.training import feed as module
    from baselines.keras_nets.training.feed import Feed, ordered

    monkeypatch.setattr(module, "_BLOCK_BYTES", block_bytes)
    data = quarters(train=50)
    config = FitConfig(batch_size=16, augment=("crop",), crop_padding=1)
    feed, batches = Feed(TrainBatches(data.train, config), data.mean, data.std), TrainBatches(data.train, config)
    for epoch, step in ((0, 0), (3, 0), (3, 2)):
        feed.begin_at(epoch, step)
        feed.on_epoch_begin(epoch)
        batches.go_to(epoch, step)
        got, expected = list(feed.dataset), list(batches)
        assert len(got) == len(expected) == 3 - step
        for (images, labels), (pixels, numbers) in zip(got, expected, strict=True):
            np.testing.assert_allclose(images.numpy(), data.normalised(pixels), atol=1e-5)
            np.testing.assert_array_equal(labels.numpy(), numbers)
    whole = np.concatenate([images.numpy() for images, _ in ordered(data.valid, data.mean, data.std, 16)])
    np.testing.assert_allclose(whole, data.normalised(data.valid.images), atol=1e-5)
