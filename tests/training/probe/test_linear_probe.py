"""The probe: designs, the choice out of fold, the prior from the backbone's own classifier, resumption."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from competition.config import ProbeConfig
from competition.errors import DataError
from competition.record.metrics import log_loss, softmax
from competition.training.backbones.find import BackboneRef, InputSpec
from competition.training.probe import linear_probe

SPEC = InputSpec(32, (0.5,) * 3, (0.5,) * 3, "bilinear", 1.0)
REFS = tuple(BackboneRef(name, name, None, name, SPEC, 10) for name in ("a", "b"))
CONFIG = ProbeConfig(views=("identity",), strengths=(1.0, 0.1, 0.01, 0.001, 1e-5), device="cpu", imagenet_prior=False)
CLASSES = ("x", "y", "z")


@pytest.fixture
def drawn(rng: np.random.Generator) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Two blocks, each of which sees part of what decides the label."""
    hidden = rng.normal(size=(240, 20))
    labels = (hidden @ rng.normal(size=(20, 3)) + rng.normal(size=(240, 3))).argmax(1)
    features = {"a/identity": hidden[:, :10], "b/identity": hidden[:, 10:]}
    return {name: part.astype(np.float32) for name, part in features.items()}, labels, np.arange(240) % 4


def test_designs_are_told_apart_and_equal_ones_appear_once() -> None:
    assert len(linear_probe.designs(["a"], ["identity"], "auto")) == 1
    first, second, third = (
        "views averaged, backbones side by side",
        "everything side by side",
        "probes of each backbone averaged",
    )
    expected = {"auto": [first, third], "concat": [first, second], "average": [third]}
    for combine, names in expected.items():
        found = linear_probe.designs(["a", "b"], ["identity", "hflip"], combine)
        assert [design.name for design in found] == names
    assert [len(design.matrices) for design in linear_probe.designs(["a", "b"], ["identity"], "average")] == [2]


def test_both_backbones_together_beat_either_and_the_best_design_is_kept(
    drawn: tuple[dict[str, np.ndarray], np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    features, labels, folds = drawn
    found = linear_probe.fit(features, labels, folds, CLASSES, REFS, CONFIG, tmp_path)
    alone = {row["design"]: row["log_loss"] for row in found.candidates if row["design"].endswith("alone")}
    chosen = found.fitted[0]
    assert found.design.name == "views averaged, backbones side by side"
    assert log_loss(softmax(chosen.oof_logits, chosen.temperature), labels) < min(alone.values())


def test_out_of_fold_is_what_the_folds_own_head_says(
    drawn: tuple[dict[str, np.ndarray], np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    features, labels, folds = drawn
    found = linear_probe.fit(features, labels, folds, CLASSES, REFS, CONFIG, tmp_path)
    per_fold = linear_probe.predict(found.design, found.heads, found.temperatures, features)
    np.testing.assert_allclose(per_fold[folds, np.arange(len(labels))], found.oof, atol=1e-4)


def test_a_second_start_reads_the_path_and_gives_the_same(
    drawn: tuple[dict[str, np.ndarray], np.ndarray, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    features, labels, folds = drawn
    whole = linear_probe.fit(features, labels, folds, CLASSES, REFS, CONFIG, tmp_path / "whole")
    calls = {"n": 0}
    solve = linear_probe.solve

    def dies(*arguments: object) -> object:
        calls["n"] += 1
        if calls["n"] == 4:
            raise KeyboardInterrupt
        return solve(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(linear_probe, "solve", dies)
    with pytest.raises(KeyboardInterrupt):
        linear_probe.fit(features, labels, folds, CLASSES, REFS, CONFIG, tmp_path / "cut")
    again = linear_probe.fit(features, labels, folds, CLASSES, REFS, CONFIG, tmp_path / "cut")
    np.testing.assert_array_equal(again.oof, whole.oof)
    assert again.candidates == whole.candidates


def test_the_path_ends_two_strengths_after_the_best(
    drawn: tuple[dict[str, np.ndarray], np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    features, labels, folds = drawn
    only = {"a/identity": features["a/identity"]}
    tried = linear_probe.fit(only, labels, folds, CLASSES, REFS[:1], CONFIG, tmp_path).candidates
    losses = [row["log_loss"] for row in tried]
    assert len(losses) == len(CONFIG.strengths) or int(np.argmin(losses)) == len(losses) - 1 - linear_probe.PATIENCE


def test_the_own_classifier_is_a_better_start_than_nothing(
    drawn: tuple[dict[str, np.ndarray], np.ndarray, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    features, labels, folds = drawn
    both = {"a/identity": np.concatenate(list(features.values()), axis=1)}
    # A classifier that learnt from many more photos: least squares on all labels, at another scale.
    weight = np.linalg.lstsq(both["a/identity"], np.eye(3)[labels], rcond=None)[0] * 9
    monkeypatch.setattr(linear_probe, "_own_classifiers", lambda *_: {"a": (weight, np.zeros(3))})
    few = ProbeConfig(views=("identity",), strengths=(3.0,), device="cpu", imagenet_prior=True)
    none = few.override(["imagenet_prior=false"])
    with_prior, without = (
        linear_probe.fit(both, labels, folds, CLASSES, REFS[:1], config, tmp_path / str(config.imagenet_prior)).oof
        for config in (few, none)
    )
    assert log_loss(with_prior, labels) < log_loss(without, labels)


def test_features_that_overflowed_are_named(
    drawn: tuple[dict[str, np.ndarray], np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    features, labels, folds = drawn
    features["b/identity"][3, 2] = np.inf
    with pytest.raises(DataError, match="features of b/identity hold NaN or infinity"):
        linear_probe.fit(features, labels, folds, CLASSES, REFS, CONFIG, tmp_path)
