"""DCGAN: the same steps in both frameworks, figures with known values, warnings when something is wrong."""

from __future__ import annotations

import csv
import dataclasses

import numpy as np
import pytest

from baselines import load_dataset
from baselines.generative.gan import GanConfig, classes_met, create_pair, diversity, fit_gan, warnings_of
from baselines.port import load_into, weights_of
from competition.errors import ResumeError, UsageError

QUICK = GanConfig(epochs=2, batch_size=32, widths=(4, 6), noise=8, train_limit=128)
FINE = {"diversity": 0.2, "diversity_real": 0.25, "classes": 9, "classes_real": 10}
FINE |= {"d_real": 0.6, "d_fake": 0.4, "smoothing": 0.1}


@pytest.fixture
def digits():
    return load_dataset("digits")


def test_both_frameworks_take_the_same_steps(keras_installed, digits, rng) -> None:
    ours, theirs = (create_pair(digits, name, QUICK) for name in ("pytorch", "keras"))
    for name in ("generator", "discriminator"):
        load_into(getattr(theirs, name), weights_of(getattr(ours, name)))
    noise = rng.standard_normal((16, 8), dtype=np.float32)
    np.testing.assert_allclose(ours.generate(noise), theirs.generate(noise), atol=1e-5)
    for number in range(3):
        real = digits.train.images[16 * number : 16 * number + 16].astype(np.float32) / 255
        expected = ours.step(real, noise)
        assert theirs.step(real, noise) == pytest.approx(expected, rel=1e-3)
    assert np.abs(ours.generate(noise) - theirs.generate(noise)).max() < 5e-3
    for name, arrays in ours.weights().items():
        for key, array in theirs.weights()[name].items():
            assert np.abs(array - arrays[key]).mean() < 2e-5, (name, key)


def test_a_step_moves_both_networks_apart_from_one_another(digits, rng) -> None:
    pair = create_pair(digits, "pytorch", dataclasses.replace(QUICK, smoothing=0.0))
    noise, real = rng.standard_normal((32, 8), dtype=np.float32), digits.train.images[:32].astype(np.float32) / 255
    before = pair.weights()
    first = pair.step(real, noise)
    # With fresh weights the logits are near 0: the losses are 2 log 2 and log 2, and nobody knows anything.
    assert first == pytest.approx((2 * np.log(2), np.log(2), 0.5, 0.5), abs=0.1)
    after = pair.weights()
    for name in before:
        moved = [key for key in before[name] if not np.array_equal(before[name][key], after[name][key])]
        assert len(moved) == len(before[name]), name
    for _ in range(60):
        figures = pair.step(real, noise)
    assert figures[2] > figures[3]  # the discriminator has learnt to tell them apart


def test_a_run_is_recorded_and_read_back(digits, tmp_path) -> None:
    found = fit_gan(digits, "pytorch", QUICK, tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"film.png", "losses.png", "generator.safetensors", "history.csv", "metrics.json", "tensorboard"} <= names
    assert sorted(path.name for path in (tmp_path / "samples").iterdir()) == ["epoch_001.png", "epoch_002.png"]
    with (tmp_path / "history.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert found.metrics["parameters"] == {
        "generator": 8 * 24 + 2 * 2 * 6 + 6 * 4 * 16 + 2 * 2 * 4 + 4 * 16 + 1,
        "discriminator": 16 * 4 + 4 + 4 * 6 * 16 + 4 * 6 + 24 + 1,
    }
    again = fit_gan(digits, "pytorch", QUICK, tmp_path)
    assert again.pair is None
    assert again.metrics == found.metrics
    with pytest.raises(ResumeError, match="lr"):
        fit_gan(digits, "pytorch", dataclasses.replace(QUICK, lr=1e-3), tmp_path)


def test_diversity_of_known_sets(rng) -> None:
    same = np.full((5, 4, 4, 1), 0.3)
    assert diversity(same) == pytest.approx(0, abs=1e-6)
    halves = np.concatenate([np.zeros((2, 4, 4, 1)), np.ones((2, 4, 4, 1))])
    assert diversity(halves) == pytest.approx(8 / 12)  # 8 of the 12 ordered pairs differ, by 1
    images = rng.random((6, 3, 3, 2))
    by_hand = [np.sqrt(np.mean((a - b) ** 2)) for i, a in enumerate(images) for j, b in enumerate(images) if i != j]
    assert diversity(images) == pytest.approx(np.mean(by_hand))


def test_classes_met_are_those_of_the_nearest_real_picture(digits) -> None:
    references, labels = digits.train.images[:300] / 255, digits.train.labels[:300]
    chosen = np.flatnonzero(np.isin(labels, (3, 7)))[:20]
    counts = classes_met(references[chosen] + 0.01, references, labels)
    np.testing.assert_array_equal(counts, np.bincount(labels[chosen], minlength=10))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"diversity": 0.05}, "collapsed"),
        ({"classes": 4}, "modes are missing"),
        ({"d_real": 0.93, "d_fake": 0.02}, "little to learn"),
    ],
)
def test_what_goes_wrong_is_said(change, words: str) -> None:
    assert warnings_of(FINE) == []
    found = warnings_of({**FINE, **change})
    assert len(found) == 1
    assert words in found[0]


def test_a_collapsed_generator_is_noticed_in_training(digits, monkeypatch, capsys) -> None:
    from baselines.torch_nets.generative.dcgan import Pair

    monkeypatch.setattr(Pair, "generate", lambda self, noise: np.full((len(noise), 8, 8, 1), 0.2, np.float32))
    found = fit_gan(digits, "pytorch", dataclasses.replace(QUICK, epochs=1))
    assert any("collapsed" in line for line in found.metrics["warnings"])
    assert any("1 of 10 classes" in line for line in found.metrics["warnings"])
    assert "collapsed" in capsys.readouterr().err


def test_mistakes_are_told_in_one_line(digits) -> None:
    for wrong, match in (
        (lambda: fit_gan(digits, "jax", QUICK), "unknown framework"),
        (lambda: fit_gan(digits, config=dataclasses.replace(QUICK, widths=(4, 4, 4, 4))), "no multiple of 16"),
        (lambda: GanConfig(beta1=1.0), "below 1"),
        (lambda: GanConfig(epochs=0), "1 or more"),
    ):
        with pytest.raises(UsageError, match=match):
            wrong()
