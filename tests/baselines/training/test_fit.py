"""PyTorch networks trained through the kit: what is learnt, recorded, continued and refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.nn import functional

import baselines
from baselines import create_model
from baselines.contract.batches import TrainBatches
from baselines.contract.config import FitConfig
from baselines.contract.schedules import rate_at
from baselines.data.datasets import Dataset
from baselines.torch_nets.googlenet import AuxLogits
from baselines.torch_nets.training.adapter import predict
from baselines.training.evaluate import evaluate_run
from baselines.training.fit import fit
from baselines.training.run_folder import FitResult, ModelCard
from competition.errors import DataError, ResumeError, TrainingError, UsageError, WeightsError
from competition.record.board import tag_of
from competition.record.history import History
from competition.record.metrics import accuracy, log_loss, softmax
from competition.training.engine.callbacks import KitCallback
from competition.types import Predictions
from tests.baselines.toys import CLASSES, HISTORY_COLUMNS, quarters


@pytest.fixture(autouse=True)
def _no_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than training here: only the test of the run folder draws."""
    if "whole_run" not in request.node.name:
        monkeypatch.setattr("baselines.training.evaluate.draw_run", lambda *_: None)


@pytest.fixture(scope="module")
def data() -> Dataset:
    return quarters()


def mlp(**options: Any) -> nn.Module:
    torch.manual_seed(3)
    options = {"hidden": (16,), "num_classes": 4, "in_channels": 1, "image_size": 8, **options}
    return create_model("mlp", **options)


def train(model: Any, data: Dataset, folder: Path, **values: Any) -> FitResult:
    extras = {key: values.pop(key) for key in ("callbacks", "epoch_hooks", "save_every") if key in values}
    config = FitConfig(**{"epochs": 3, "batch_size": 32, "lr": 0.01, "device": "cpu", "precision": "float32", **values})
    return fit(model, data, config, folder, **extras)


def logits_of(model: nn.Module, data: Dataset, images: np.ndarray) -> np.ndarray:
    return predict(model, images, data.mean, data.std, batch_size=7, device="cpu")


def test_a_network_learns_and_leaves_a_whole_run(data: Dataset, tmp_path: Path) -> None:
    model, rows = mlp(), []
    result = train(model, data, tmp_path / "run", epoch_hooks=[rows.append])
    assert result.history == tuple(rows)
    assert list(rows[0]) == HISTORY_COLUMNS
    files = {path.name for path in (tmp_path / "run").iterdir()} - {".lock"}
    assert files == {
        "config.json", "manifest.json", "history.csv", "tensorboard", "model.safetensors", "model.json",
        "valid.npz", "test.npz", "metrics.json", "confusion.png", "misclassified.png", "curves.png",
    }  # fmt: skip
    boards = [EventAccumulator(str(path)).Reload() for path in (tmp_path / "run/tensorboard").iterdir()]
    tags = {tag for board in boards for tag in board.Tags()["images"]}
    assert tags == {"batch/augmented", "confused/matrix", "confused/mistakes"}
    assert result.accuracy > 0.9
    logits = logits_of(model, data, data.valid.images)
    best = rows[result.metrics["best_epoch"] - 1]
    assert best["valid_loss"] == min(row["valid_loss"] for row in rows)
    assert best["valid_loss"] == pytest.approx(log_loss(softmax(logits), data.valid.labels), rel=1e-5)
    assert best["valid_accuracy"] == accuracy(softmax(logits), data.valid.labels)
    assert rows[-1]["rate"] == rate_at(FitConfig(epochs=3, lr=0.01), 2 + 6 / 7)


def test_the_metrics_are_those_of_the_stored_network(data: Dataset, tmp_path: Path) -> None:
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    model = mlp()
    metrics = train(model, data, tmp_path, epochs=1).metrics
    assert metrics == json.loads((tmp_path / "metrics.json").read_text())
    probabilities = softmax(logits_of(model, data, data.test.images))
    predicted = probabilities.argmax(axis=1)
    assert metrics["test"]["accuracy"] == accuracy(probabilities, data.test.labels)
    assert metrics["test"]["loss"] == pytest.approx(log_loss(probabilities, data.test.labels))
    assert metrics["test"]["top5"] is None  # of four classes
    assert metrics["confusion"] == confusion_matrix(data.test.labels, predicted).tolist()
    expected = precision_recall_fscore_support(data.test.labels, predicted, zero_division=0)
    for number, key in enumerate(("precision", "recall", "f1", "images")):
        found = [row[key] or 0.0 for row in metrics["per_class"]]
        assert found == pytest.approx(expected[number]), key
    assert metrics["macro"]["f1"] == pytest.approx(expected[2].mean())
    assert metrics["parameters"] == sum(weight.numel() for weight in model.parameters())
    assert metrics["macs"] == 64 * 16 + 16 * 4
    assert metrics["peak_memory_mb"] > 50
    stored = Predictions.load(tmp_path / "test.npz")
    np.testing.assert_allclose(stored.probabilities, probabilities, rtol=1e-6)
    assert stored.classes == CLASSES
    again = evaluate_run(tmp_path, data, device="cpu")
    assert again["test"] == pytest.approx(again["stored"])
    assert again["per_class"] == metrics["per_class"]


def test_the_board_has_the_kits_tags(data: Dataset, tmp_path: Path) -> None:
    train(mlp(), data, tmp_path, epochs=2)
    scalars: dict[str, list[Any]] = {}
    images: list[str] = []
    for path in (tmp_path / "tensorboard").iterdir():
        events = EventAccumulator(str(path)).Reload()
        scalars |= {tag: events.Scalars(tag) for tag in events.Tags()["scalars"]}
        images += events.Tags()["images"]
    history = History(tmp_path / "history.csv")
    expected = {tag_of(column) for column in HISTORY_COLUMNS if column != "epoch"}
    assert {tag for tag in scalars if not tag.startswith("final/")} == expected
    assert images == ["batch/augmented"]
    assert tag_of("valid_accuracy") == "score/accuracy"
    for column in ("train_loss", "valid_loss", "rate"):
        points = scalars[tag_of(column)]
        assert [point.step for point in points] == [1, 2]
        assert [point.value for point in points] == pytest.approx(history.column(column))


class KilledError(Exception):
    """Stands for a kill: nothing is tidied up."""


class Kill(KitCallback):
    order, run_valid = 2, False

    def __init__(self, epoch: int, step: int) -> None:
        self.at = (epoch, step)

    def before_batch(self) -> None:
        if (self.learn.epoch, self.learn.state.step) == self.at:
            raise KilledError


RICH: dict[str, Any] = {
    "augment": ("crop", "flip", "cutout"), "crop_padding": 1, "cutout_side": 2, "dropout": 0.3, "l1": 1e-5, "l2": 1e-3,
    "smoothing": 0.1, "optimiser": "adam", "schedule": "plateau", "plateau_patience": 1, "clip_grad": 1.0,
}  # fmt: skip


@pytest.mark.parametrize(("epoch", "step"), [(0, 4), (1, 0), (1, 5), (2, 1)])
def test_a_killed_training_goes_on_as_if_nothing_had_happened(
    data: Dataset, tmp_path: Path, epoch: int, step: int
) -> None:
    whole, broken, again = mlp(dropout=0.1), mlp(dropout=0.1), mlp(dropout=0.1)
    train(whole, data, tmp_path / "whole", **RICH)
    with pytest.raises(KilledError):
        train(broken, data, tmp_path / "broken", save_every=0, callbacks=[Kill(epoch, step)], **RICH)
    train(again, data, tmp_path / "broken", save_every=0, **RICH)
    for name, tensor in whole.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], tensor, rtol=0, atol=0)
    rows, expected = History(tmp_path / "broken/history.csv").rows, History(tmp_path / "whole/history.csv").rows
    for row, wanted in zip(rows, expected, strict=True):
        assert {key: row[key] for key in HISTORY_COLUMNS[:-2]} == {key: wanted[key] for key in HISTORY_COLUMNS[:-2]}
    assert not (tmp_path / "broken/checkpoint").exists()


def test_a_finished_run_is_read_back_not_trained(data: Dataset, tmp_path: Path) -> None:
    first, second = mlp(), mlp()
    result = train(first, data, tmp_path)
    before = (tmp_path / "history.csv").stat().st_mtime_ns
    again = train(second, data, tmp_path)
    assert (tmp_path / "history.csv").stat().st_mtime_ns == before
    assert again.metrics == result.metrics
    torch.testing.assert_close(second.state_dict(), first.state_dict(), rtol=0, atol=0)


def test_a_run_of_another_kind_is_refused(data: Dataset, tmp_path: Path) -> None:
    train(mlp(), data, tmp_path, epochs=1)
    with pytest.raises(ResumeError, match=r"lr: 0\.01 -> 0\.02"):
        train(mlp(), data, tmp_path, epochs=1, lr=0.02)
    with pytest.raises(ResumeError, match=r"hidden=\[16\].* -> .*hidden=\[8\]"):
        train(mlp(hidden=(8,)), data, tmp_path, epochs=1)
    with pytest.raises(ResumeError, match="data_digest"):
        train(mlp(), quarters(train=200), tmp_path, epochs=1)


def test_a_checkpoint_of_another_network_is_refused(data: Dataset, tmp_path: Path) -> None:
    def own(units: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(64, units), nn.ReLU(), nn.Linear(units, 4))

    with pytest.raises(KilledError):
        train(own(8), data, tmp_path, save_every=0, callbacks=[Kill(1, 2)])
    with pytest.raises(ResumeError, match=r"holds a training of another kind .model: "):
        train(own(9), data, tmp_path)
    assert train(own(8), data, tmp_path).metrics["epochs"] == 3


def test_it_equals_a_loop_written_by_hand(data: Dataset, tmp_path: Path) -> None:
    ours, bare = mlp(), mlp()
    settings: dict[str, Any] = {"optimiser": "nesterov", "lr": 0.1, "weight_decay": 0.01, "smoothing": 0.1}
    train(ours, data, tmp_path, epochs=1, l2=1e-3, **settings)
    config = FitConfig(epochs=1, batch_size=32, l2=1e-3, **settings)
    decaying = [weight for weight in bare.parameters() if weight.ndim > 1]
    others = [weight for weight in bare.parameters() if weight.ndim == 1]
    optimiser = torch.optim.SGD(
        [{"params": decaying, "weight_decay": 0.01}, {"params": others}], lr=0.1, momentum=0.9, nesterov=True
    )
    batches = TrainBatches(data.train, config)
    for step, (images, labels) in enumerate(batches):
        for group in optimiser.param_groups:
            group["lr"] = rate_at(config, step / batches.steps)
        inputs = torch.from_numpy(data.normalised(images)).permute(0, 3, 1, 2)
        loss = functional.cross_entropy(bare(inputs), torch.from_numpy(labels), label_smoothing=0.1)
        loss = loss + 1e-3 * sum(weight.square().sum() for weight in decaying)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    torch.testing.assert_close(ours.state_dict(), bare.state_dict(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("optimiser", ["sgd", "momentum", "adam", "adamw", "rmsprop"])
def test_every_optimiser_learns(data: Dataset, tmp_path: Path, optimiser: str) -> None:
    rate = {"sgd": 0.3, "momentum": 0.05}.get(optimiser, 0.01)
    result = train(mlp(), data, tmp_path, optimiser=optimiser, lr=rate, weight_decay=1e-4)
    assert result.history[-1]["valid_accuracy"] > 0.9


def test_it_stops_early_and_keeps_the_best_epoch(data: Dataset, tmp_path: Path) -> None:
    model = mlp()
    values: dict[str, Any] = {"epochs": 30, "lr": 0.3, "optimiser": "momentum", "schedule": "constant"}
    result = train(model, data, tmp_path, patience=2, **values)
    losses = [row["valid_loss"] for row in result.history]
    assert len(losses) < 30
    assert result.metrics["stopped"] == "no better epoch for 2 epochs"
    assert result.metrics["best_epoch"] == len(losses) - 2 == int(np.argmin(losses)) + 1
    assert result.metrics["valid"]["loss"] == pytest.approx(min(losses), rel=1e-5)


def test_the_most_accurate_epoch_can_be_the_best(data: Dataset, tmp_path: Path) -> None:
    result = train(mlp(), data, tmp_path, epochs=6, monitor="valid_accuracy", lr=0.05, schedule="constant")
    ranks = [(row["valid_accuracy"], -row["valid_loss"]) for row in result.history]
    assert result.metrics["best_epoch"] == ranks.index(max(ranks)) + 1


class WithHeads(nn.Module):
    """Gives two more logits while it trains, as GoogLeNet does."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(64, 4) for _ in range(3))

    def forward(self, images: torch.Tensor) -> Any:
        logits = [head(images.flatten(1)) for head in self.heads]
        return AuxLogits(*logits) if self.training else logits[0]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_auxiliary_heads_are_trained_and_not_scored(data: Dataset, tmp_path: Path, precision: str) -> None:
    model = WithHeads()
    for weight in model.parameters():
        nn.init.zeros_(weight)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    result = train(model, data, tmp_path, epochs=1, precision=precision, lr=1e-6)
    moved = {name for name, weight in model.named_parameters() if not torch.equal(weight, before[name])}
    assert moved == set(before)
    # Every head knows nothing: log 4 nats each, the auxiliary ones weighing 0.3.
    assert result.history[0]["train_loss"] == pytest.approx(1.6 * np.log(4), rel=2e-3)
    assert result.history[0]["valid_loss"] == pytest.approx(np.log(4), rel=2e-3)


def test_half_precision_trains(data: Dataset, tmp_path: Path) -> None:
    assert train(mlp(), data, tmp_path, precision="bfloat16").accuracy > 0.9


def test_a_network_of_ones_own_trains_too(data: Dataset, tmp_path: Path) -> None:
    def own() -> nn.Module:
        return nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 64, 4))

    result = train(own(), data, tmp_path)
    assert result.accuracy > 0.9
    assert result.metrics["macs"] == 9 * 6 * 64 + 6 * 64 * 4
    assert not ModelCard.load(tmp_path).registered
    with pytest.raises(UsageError, match=r"a network of your own .*model="):
        evaluate_run(tmp_path, data)
    assert evaluate_run(tmp_path, data, model=own())["test"]["accuracy"] == result.accuracy


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mlp(num_classes=7), r"made with num_classes=7, quarters needs create_model\(..., num_classes=4\)"),
        (lambda: mlp(image_size=9), "image_size=8"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 5)), "gives shape .5,. for an image, quarters needs 4"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(60, 4)), r"cannot take quarters's images \(8x8x1\)"),
    ],
)
def test_a_network_that_does_not_fit_the_data_is_refused_before_a_file_is_made(
    data: Dataset, tmp_path: Path, make: Any, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        train(make(), data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_mistakes_are_told(data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown key 'epoch' - did you mean 'epochs'"):
        fit(mlp(), data, run_dir=tmp_path, epoch=3)
    with pytest.raises(UsageError, match="epochs=0"):
        fit(mlp(), data, run_dir=tmp_path, epochs=0)
    with pytest.raises(UsageError, match="no dropout layers"):
        train(nn.Sequential(nn.Flatten(), nn.Linear(64, 4)), data, tmp_path / "a", dropout=0.5)
    assert not (tmp_path / "a").exists()
    with pytest.raises(ResumeError, match="is no run of a baseline"):
        evaluate_run(tmp_path, data)


def test_weights_of_another_model_are_refused(data: Dataset, tmp_path: Path) -> None:
    train(mlp(), data, tmp_path, epochs=1)
    card = json.loads((tmp_path / "model.json").read_text())
    card["arguments"]["hidden"] = [8]
    (tmp_path / "model.json").write_text(json.dumps(card))
    with pytest.raises(WeightsError, match="does not fit this model"):
        evaluate_run(tmp_path, data)
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(WeightsError, match="no readable safetensors"):
        evaluate_run(tmp_path, data)


def test_other_data_are_scored_only_if_they_are_the_same_task(data: Dataset, tmp_path: Path) -> None:
    train(mlp(), data, tmp_path, epochs=1)
    assert evaluate_run(tmp_path, quarters(test=30))["stored"] is None
    with pytest.raises(DataError, match="trained on 8 px images of 1 channels"):
        evaluate_run(tmp_path, quarters(side=10))


def test_a_loss_that_is_no_number_ends_it_in_one_line(data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"training stopped: the training loss became .* lower lr"):
        train(mlp(), data, tmp_path, optimiser="sgd", lr=1e30)


@pytest.mark.filterwarnings("error:.*not writable")
def test_images_that_are_read_only_are_fine(tmp_path: Path) -> None:
    data = quarters()
    for part in (data.train, data.valid, data.test):
        part.images.setflags(write=False)
        part.labels.setflags(write=False)
    train(mlp(), data, tmp_path, epochs=1)


def test_a_new_folder_is_found_for_each_run(data: Dataset, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("mlp-pytorch-quarters", "mlp-pytorch-quarters-2"):
        assert baselines.fit(mlp(), data, epochs=1, device="cpu").run == Path("runs/baselines") / name


def test_the_package_offers_its_verbs() -> None:
    for name in baselines.__all__:
        assert getattr(baselines, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        _ = baselines.fitt


def test_out_of_memory_halves_the_batch_and_changes_nothing(data: Dataset, tmp_path: Path) -> None:
    class Full(KitCallback):
        order, run_valid, raised = 2, False, False

        def before_batch(self) -> None:
            if self.learn.state.total_steps == 3 and not self.raised:
                Full.raised = True
                raise torch.OutOfMemoryError("not enough memory")

    whole, halved = mlp(), mlp()
    train(whole, data, tmp_path / "a")
    train(halved, data, tmp_path / "b", callbacks=[Full()])
    assert Full.raised
    torch.testing.assert_close(halved.state_dict(), whole.state_dict(), rtol=1e-4, atol=1e-5)
