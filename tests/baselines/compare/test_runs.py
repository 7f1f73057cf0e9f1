"""Two runs of two frameworks overlay: the same files, columns and TensorBoard tags, and one page for both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from baselines import FitResult, create_model, fit
from baselines.compare.page import write_comparison
from competition.files import read_npz
from tests.baselines.toys import quarters

pytestmark = pytest.mark.usefixtures("keras_installed")
FRAMEWORKS = ("pytorch", "keras")


@pytest.fixture(scope="module")
def runs(keras_installed: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, FitResult]:
    """One small network on the same images in both frameworks, from the same weights."""
    from baselines.port import load_into, weights_of

    folder, data = tmp_path_factory.mktemp("overlay"), quarters()
    options: dict[str, Any] = {"hidden": (16,), "num_classes": 4, "in_channels": 1, "image_size": 8}
    models = {framework: create_model("mlp", framework, **options) for framework in FRAMEWORKS}
    load_into(models["keras"], weights_of(models["pytorch"]))
    settings: dict[str, Any] = {
        "epochs": 3,
        "batch_size": 32,
        "lr": 0.05,
        "optimiser": "sgd",
        "augment": ("flip",),
        "device": "cpu",
    }
    return {name: fit(model, data, run_dir=folder / name, **settings) for name, model in models.items()}


def test_both_leave_the_same_files_and_columns(runs: dict[str, FitResult]) -> None:
    ours, theirs = (runs[name] for name in FRAMEWORKS)
    names = [{str(path.relative_to(run.run)) for path in run.run.iterdir()} for run in (ours, theirs)]
    assert names[0] == names[1]
    assert [list(row) for row in ours.history] == [list(row) for row in theirs.history]
    assert set(ours.metrics) == set(theirs.metrics)
    for key in ("parameters", "macs", "epochs"):
        assert ours.metrics[key] == theirs.metrics[key], key


def test_both_have_the_same_tags_and_steps(runs: dict[str, FitResult]) -> None:
    events = {name: EventAccumulator(str(runs[name].run / "tensorboard")).Reload() for name in FRAMEWORKS}
    scalars = {name: set(read.Tags()["scalars"]) for name, read in events.items()}
    assert scalars["pytorch"] == scalars["keras"]
    assert {"loss/train", "loss/valid", "rate/all"} <= scalars["keras"]
    for tag in scalars["keras"]:
        steps = [[point.step for point in events[name].Scalars(tag)] for name in FRAMEWORKS]
        assert steps[0] == steps[1], tag
    assert "batch/augmented" in events["pytorch"].Tags()["images"]
    assert "batch/augmented" in events["keras"].Tags()["images"]


def test_both_learn_the_same_from_the_same_images(runs: dict[str, FitResult]) -> None:
    """Same weights, same order, same flips, plain SGD: what is left is rounding."""
    for ours, theirs in zip(runs["pytorch"].history, runs["keras"].history, strict=True):
        for column in ("train_loss", "valid_loss", "rate"):
            assert theirs[column] == pytest.approx(ours[column], rel=1e-3), (ours["epoch"], column)
        for column in ("train_accuracy", "valid_accuracy"):  # an image on the border may fall to either side
            assert theirs[column] == pytest.approx(ours[column], abs=0.02), (ours["epoch"], column)
    ours_, theirs_ = (read_npz(runs[name].run / "test.npz")["probabilities"] for name in FRAMEWORKS)
    np.testing.assert_allclose(theirs_, ours_, atol=1e-3)


def test_one_page_shows_both(runs: dict[str, FitResult], tmp_path: Path) -> None:
    text = write_comparison([runs[name].run for name in FRAMEWORKS], tmp_path / "compare.html").read_text("utf-8")
    for wanted in ("mlp, PyTorch", "mlp, Keras", "Image by image", "Nothing in their settings"):
        assert wanted in text
