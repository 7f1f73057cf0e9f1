"""Training in NumPy: the same steps as PyTorch, the same records, storage."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from baselines import create_model, load_dataset
from baselines.contract.batches import TrainBatches
from baselines.contract.config import FitConfig
from baselines.contract.schedules import rate_at
from baselines.numpy_nets import adapter
from baselines.numpy_nets.mlp import MLP
from baselines.port import load_into, weights_of
from competition.errors import TrainingError, UsageError, WeightsError
from competition.record.history import History
from competition.record.run_dir import RunDir


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


@pytest.mark.parametrize("optimiser", ["sgd", "momentum", "nesterov", "adam", "adamw", "rmsprop"])
def test_an_epoch_is_that_of_a_plain_torch_loop(digits, tmp_path, optimiser: str) -> None:
    config = FitConfig(epochs=1, optimiser=optimiser, lr=0.01, weight_decay=0.05, clip_grad=2.0, l2=1e-3, seed=7)
    ours = MLP((64, 12, 10), seed=1, dtype=np.float64)
    theirs = create_model("mlp", image_size=8, hidden=(12,)).double()
    load_into(theirs, ours.state())
    kinds = {"sgd": 0.0, "momentum": 0.9, "nesterov": 0.9}
    kernels = [weight for name, weight in theirs.named_parameters() if name.endswith("weight")]
    rest = [weight for name, weight in theirs.named_parameters() if name.endswith("bias")]
    groups = [{"params": kernels, "weight_decay": 0.05 if optimiser == "adamw" else 0}, {"params": rest}]
    if optimiser in kinds:
        steps = torch.optim.SGD(groups, 0.01, kinds[optimiser], nesterov=optimiser == "nesterov")
    elif optimiser == "rmsprop":
        steps = torch.optim.RMSprop(groups, 0.01, alpha=0.9, eps=1e-7)
    else:
        kind = torch.optim.AdamW if optimiser == "adamw" else torch.optim.Adam
        steps = kind(groups, 0.01, eps=1e-7, weight_decay=0)
    batches = TrainBatches(digits.train, config)
    for step, (images, labels) in enumerate(batches):
        for group in steps.param_groups:
            group["lr"] = rate_at(config, step / batches.steps)
        x = torch.tensor(digits.normalised(images).astype(np.float64)).permute(0, 3, 1, 2)
        loss = torch.nn.functional.cross_entropy(theirs.train()(x), torch.tensor(labels))
        penalty = 1e-3 + (0 if optimiser == "adamw" else 0.05 / 2)
        loss = loss + penalty * sum(weight.square().sum() for weight in kernels)
        steps.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 2.0)
        steps.step()
    adapter.fit_numpy(ours, digits, config, RunDir(tmp_path))
    for name, array in weights_of(theirs).items():
        np.testing.assert_allclose(ours.state()[name], array, atol=1e-5, err_msg=name)


def test_it_learns_and_records(digits, tmp_path) -> None:
    model = MLP((64, 32, 10))
    config = FitConfig(epochs=8, batch_size=32, optimiser="adam", lr=0.01)
    outcome = adapter.fit_numpy(model, digits, config, RunDir(tmp_path))
    assert outcome.epochs == 8
    assert outcome.stopped == ""
    history = History(tmp_path / "history.csv")
    columns = ["epoch", "train_loss", "train_accuracy", "valid_loss", "valid_accuracy", "rate", "images_per_second"]
    assert list(history.rows[0]) == [*columns, "seconds"]
    assert history.column("epoch") == list(range(1, 9))
    assert outcome.best_epoch == 1 + int(np.argmin(history.column("valid_loss")))
    assert any(path.name.startswith("events") for path in (tmp_path / "tensorboard").iterdir())
    logits = adapter.predict(model, digits.test.images, digits.mean, digits.std)
    assert (logits.argmax(axis=1) == digits.test.labels).mean() > 0.93
    by_batches = adapter.predict(model, digits.test.images, digits.mean, digits.std, batch_size=7)
    np.testing.assert_allclose(by_batches, logits, atol=1e-5)


def test_an_interrupted_training_starts_anew(digits, tmp_path) -> None:
    config = FitConfig(epochs=2, optimiser="adamw", lr=0.01)

    def stop(row) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        adapter.fit_numpy(MLP((64, 8, 10)), digits, config, RunDir(tmp_path), epoch_hooks=[stop])
    assert adapter.fit_numpy(MLP((64, 8, 10)), digits, config, RunDir(tmp_path)).epochs == 2
    assert History(tmp_path / "history.csv").column("epoch") == [1, 2]


def test_patience_ends_a_training_and_the_best_epoch_is_kept(digits, tmp_path) -> None:
    config = FitConfig(epochs=30, optimiser="sgd", lr=1e-9, schedule="constant", patience=2, monitor="valid_accuracy")
    model = MLP((64, 10))
    before = model.theta.copy()
    outcome = adapter.fit_numpy(model, digits, config, RunDir(tmp_path))
    assert (outcome.epochs, outcome.best_epoch) == (3, 1)
    assert outcome.stopped == "no better epoch for 2 epochs"
    np.testing.assert_allclose(model.theta, before, atol=1e-6)


def test_the_one_fit_takes_it_and_leaves_the_usual_files(digits, tmp_path) -> None:
    from baselines import fit
    from competition.types import Predictions

    model = MLP((64, 16, 10))
    result = fit(model, digits, run_dir=tmp_path / "run", epochs=3, optimiser="adam", lr=0.01)
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {
        "config.json",
        "manifest.json",
        "history.csv",
        "model.json",
        "metrics.json",
        "test.npz",
        "curves.png",
    } <= names
    assert result.metrics["framework"] == "numpy"
    assert result.metrics["parameters"] == 64 * 16 + 16 + 160 + 10
    assert result.metrics["macs"] == 64 * 16 + 160
    stored = Predictions.load(tmp_path / "run" / "test.npz")
    assert (stored.probabilities.argmax(axis=1) == digits.test.labels).mean() == pytest.approx(result.accuracy)
    other = MLP((64, 16, 10), seed=9)
    again = fit(other, digits, run_dir=tmp_path / "run", epochs=3, optimiser="adam", lr=0.01)
    assert again.accuracy == result.accuracy
    np.testing.assert_array_equal(other.theta, model.theta)


def test_weights_are_stored_and_read(digits, tmp_path) -> None:
    model, other = MLP((64, 5, 10), seed=1), MLP((64, 5, 10), seed=2)
    adapter.save(model, tmp_path / "m.safetensors")
    adapter.load(other, tmp_path / "m.safetensors")
    np.testing.assert_array_equal(other.theta, model.theta)
    with pytest.raises(WeightsError, match="another network"):
        adapter.load(MLP((64, 6, 10)), tmp_path / "m.safetensors")
    with pytest.raises(WeightsError, match="missing"):
        adapter.load(other, tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"no")
    with pytest.raises(WeightsError, match="no readable"):
        adapter.load(other, tmp_path / "bad.safetensors")


@pytest.mark.parametrize(
    ("sizes", "loss", "change", "match"),
    [
        ((63, 10), "cross_entropy", {}, "63 inputs"),
        ((64, 9), "cross_entropy", {}, "9 outputs"),
        ((64, 10), "mse", {}, "cross_entropy"),
        ((64, 10), "cross_entropy", {"smoothing": 0.1}, "smoothing is not offered"),
        ((64, 10), "cross_entropy", {"dropout": 0.1, "precision": "bfloat16"}, "dropout, precision"),
    ],
)
def test_what_is_not_offered_is_refused(digits, tmp_path, sizes, loss: str, change, match: str) -> None:
    with pytest.raises(UsageError, match=match):
        adapter.fit_numpy(MLP(sizes, loss=loss), digits, FitConfig(**change), RunDir(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_rate_that_is_too_high_is_told(digits, tmp_path) -> None:
    config = FitConfig(epochs=2, optimiser="sgd", lr=1e30, schedule="constant")
    with pytest.raises(TrainingError, match="lower the rate"), np.errstate(all="ignore"):
        adapter.fit_numpy(MLP((64, 16, 10)), digits, config, RunDir(tmp_path))
