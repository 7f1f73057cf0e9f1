"""The configuration, the schedules, the augmentation and the batches that both frameworks share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from baselines.contract.augment import crop, cutout, flip
from baselines.contract.batches import TrainBatches, in_order
from baselines.contract.config import RATES, SCHEDULES, FitConfig
from baselines.contract.schedules import plateau_drops, rate_at
from baselines.data.datasets import Part
from competition.errors import UsageError


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, "epochs=0 is impossible: expected 1 or more"),
        ({"lr": 0.0}, "lr=0.0 is impossible"),
        ({"optimiser": "adagrad"}, "optimiser='adagrad' is impossible: expected sgd or momentum"),
        ({"schedule": "linear"}, "schedule='linear'"),
        ({"augment": ("crop", "mixup")}, "any of crop, flip, cutout"),
        ({"augment": ("flip", "flip")}, "each once"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"monitor": "loss"}, "monitor='loss'"),
        ({"warmup_epochs": 11.0}, r"at most epochs \(10\)"),
        ({"smoothing": 1.0}, "smoothing=1.0"),
        ({"steps": (0,)}, "steps"),
    ],
)
def test_impossible_values_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        FitConfig(**values)


def test_values_come_back_from_json_and_from_texts() -> None:
    config = FitConfig(augment=("crop", "flip"), steps=(3, 6), lr=0.2)
    assert FitConfig.from_dict({**config.to_dict(), "augment": ["crop", "flip"], "steps": [3, 6]}) == config
    assert FitConfig().override(["augment=crop,flip", "steps=3,6", "lr=0.2"]) == config
    with pytest.raises(UsageError, match="did you mean 'batch_size'"):
        FitConfig.from_dict({"batchsize": 3})


@pytest.mark.parametrize("optimiser", RATES)
def test_each_optimiser_has_a_usual_rate_that_lr_replaces(optimiser: str) -> None:
    assert FitConfig(optimiser=optimiser).rate == RATES[optimiser]
    assert FitConfig(optimiser=optimiser, lr=0.123).rate == 0.123


def test_the_device_is_no_part_of_what_a_run_is() -> None:
    assert FitConfig(device="cpu").identity() == FitConfig(device="cuda", name="x").identity()
    assert FitConfig(lr=0.1).identity() != FitConfig(lr=0.2).identity()


def test_rates_by_hand() -> None:
    step = FitConfig(epochs=8, lr=1.0, schedule="step")
    assert [rate_at(step, done) for done in (0, 3.9, 4, 5.9, 6, 7.9)] == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    named = FitConfig(epochs=8, lr=1.0, schedule="step", steps=(2, 5), step_factor=0.5)
    assert [rate_at(named, done) for done in (1, 2, 5)] == pytest.approx([1, 0.5, 0.25])
    cosine = FitConfig(epochs=10, lr=2.0, schedule="cosine", warmup_epochs=2, final_lr=0.1)
    assert [rate_at(cosine, done) for done in (0, 1, 2, 6, 10)] == pytest.approx([0.2, 1, 2, 1.1, 0.2])
    cycle = FitConfig(epochs=10, lr=1.0, schedule="one_cycle", final_lr=0.01)
    assert [rate_at(cycle, done) for done in (0, 3, 10)] == pytest.approx([1 / 25, 1, 0.01])
    constant = FitConfig(epochs=10, lr=0.3, schedule="constant", warmup_epochs=1)
    assert [rate_at(constant, done) for done in (0.5, 1, 9.9)] == pytest.approx([0.15, 0.3, 0.3])


def test_plateau_follows_the_validation_losses() -> None:
    losses = [1.0, 0.9, 0.95, 0.92, 0.91, 0.8, 0.85, 0.83, 0.82]
    assert [plateau_drops(losses[:count], 3) for count in range(len(losses) + 1)] == [0, 0, 0, 0, 0, 1, 1, 1, 1, 2]
    config = FitConfig(epochs=20, lr=1.0, schedule="plateau", plateau_patience=3, step_factor=0.1, final_lr=0.05)
    assert rate_at(config, 4, losses[:4]) == 1.0
    assert rate_at(config, 5, losses[:5]) == pytest.approx(0.1)
    assert rate_at(config, 9, losses) == pytest.approx(0.05)  # not below its floor


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_rates_stay_between_zero_and_the_peak(schedule: str) -> None:
    config = FitConfig(epochs=7, lr=0.5, schedule=schedule, warmup_epochs=1.5)
    rates = [rate_at(config, done, [1.0] * int(done)) for done in np.linspace(0, 7, 50)]
    assert min(rates) > 0
    assert max(rates) <= 0.5
    assert max(rates) > 0.45


def images_of(rng: np.random.Generator, count: int = 50, side: int = 6, channels: int = 3) -> np.ndarray:
    return rng.integers(1, 256, size=(count, side, side, channels)).astype(np.uint8)


def test_a_crop_is_the_image_shifted_over_zeros(rng) -> None:
    images = images_of(rng)
    out = crop(images, 2, rng)
    shifts = set()
    for image, cut in zip(images, out, strict=True):
        padded = np.pad(image, ((2, 2), (2, 2), (0, 0)))
        places = [(y, x) for y in range(5) for x in range(5) if np.array_equal(padded[y : y + 6, x : x + 6], cut)]
        assert places
        shifts.add(places[0])
    assert len(shifts) > 12


def test_a_flip_mirrors_about_half_and_leaves_the_rest(rng) -> None:
    images = images_of(rng, 200)
    before = images.copy()
    out = flip(images, rng)
    mirrored = (out == before[:, :, ::-1]).all(axis=(1, 2, 3))
    same = (out == before).all(axis=(1, 2, 3))
    assert np.all(mirrored ^ same)
    assert 70 < mirrored.sum() < 130
    np.testing.assert_array_equal(images, before)


def test_cutout_blanks_one_square_and_nothing_else(rng) -> None:
    images = np.full((60, 9, 9, 1), 200, np.uint8)
    images[0] = 50  # the mean is then neither value
    out = cutout(images, 4, rng)
    fill = int(np.rint(images.mean()))
    for image, cut in zip(images, out, strict=True):
        rows, columns = np.nonzero((cut == fill)[..., 0])
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert len(rows) == height * width  # a full rectangle
        assert 2 <= height <= 4
        assert 2 <= width <= 4
        np.testing.assert_array_equal(np.where(cut == fill, image, cut), image)


def part_of(count: int) -> Part:
    return Part(np.arange(count, dtype=np.uint8).reshape(-1, 1, 1, 1).repeat(4, 1).repeat(4, 2), np.arange(count))


def test_an_epoch_shows_every_image_once_but_the_incomplete_batch() -> None:
    batches = TrainBatches(part_of(50), FitConfig(batch_size=16))
    assert (batches.steps, len(batches)) == (3, 3)
    seen = []
    for epoch in range(4):
        batches.go_to(epoch, 0)
        labels = np.concatenate([labels for images, labels in batches])
        assert len(set(labels)) == 48
        seen.append(labels)
    assert not np.array_equal(seen[0], seen[1])
    assert set(np.concatenate(seen)) == set(range(50))


def test_images_keep_their_labels_and_few_images_make_one_batch() -> None:
    batches = TrainBatches(part_of(5), FitConfig(batch_size=16))
    ((images, labels),) = batches
    np.testing.assert_array_equal(images[:, 0, 0, 0], labels)


def test_an_epoch_from_its_middle_and_in_halves_is_the_same_epoch() -> None:
    config = FitConfig(batch_size=8, augment=("crop", "flip", "cutout"), crop_padding=1, cutout_side=2)
    whole, rest = TrainBatches(part_of(50), config), TrainBatches(part_of(50), config)
    whole.go_to(3, 0)
    rest.go_to(3, 2)
    assert rest.halve()
    assert (rest.chunk, rest.chunks_per_step, len(rest)) == (4, 2, 8)
    expected = [np.concatenate(column) for column in zip(*list(whole)[2:], strict=True)]
    found = [np.concatenate(column) for column in zip(*rest, strict=True)]
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_part_in_order_is_whole() -> None:
    parts = list(in_order(part_of(10), 4))
    assert [len(labels) for _, labels in parts] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in parts]), np.arange(10))
