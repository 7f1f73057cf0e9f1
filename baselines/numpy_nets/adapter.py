"""NumPy's side of ``baselines.fit``: training with the same batches, rates and records as the frameworks.

from baselines import fit, load_dataset
from baselines.numpy_nets.mlp import MLP
fit(MLP((784, 128, 10)), load_dataset("mnist"), epochs=5, optimiser="adam", run_dir="runs/numpy")
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from baselines.contract.batches import TrainBatches
from baselines.contract.config import FitConfig
from baselines.contract.schedules import rate_at
from baselines.contract.trainer import EpochHook, Outcome, peak_process_mb
from baselines.data.datasets import Dataset
from baselines.numpy_nets.losses import cross_entropy
from baselines.numpy_nets.mlp import MLP
from baselines.numpy_nets.optimisers import SGD, create_optimiser
from competition.console import duration, progress, say
from competition.errors import TrainingError, UsageError
from competition.files import read_arrays, write_arrays
from competition.record.history import History
from competition.record.run_dir import RunDir
from competition.record.tensorboard import tensorboard

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


def fit_numpy(
    model: MLP,
    data: Dataset,
    config: FitConfig,
    run: RunDir,
    *,
    save_every: float = 300.0,
    callbacks: Sequence[Any] = (),
    epoch_hooks: Sequence[EpochHook] = (),
) -> Outcome:
    """Train an MLP; what was interrupted starts anew, a training takes seconds. See ``baselines.contract.trainer.Fit``.

    ``smoothing``, ``dropout``, callbacks and half precision are not offered here.

    Raises:
        UsageError: something that is not offered, or a model that does not fit the data.
        TrainingError: the loss became NaN.
    """
    _require(model, data, config, callbacks)
    model.l1, model.l2 = config.l1, config.l2
    if config.optimiser != "adamw":
        model.l2 += config.weight_decay / 2  # added to the gradient as ``weight_decay * W``
    optimiser = create_optimiser(config.optimiser, model.theta.size, model.theta.dtype, config.momentum)
    training = _Training(model, data, config, optimiser, run)
    with (
        progress("train", config.epochs * training.batches.steps * training.batches.share, "images") as ticker,
        tensorboard(run / "tensorboard") as writer,
    ):
        while training.state.epoch < config.epochs and not training.stopped:
            row = training.epoch(ticker.advance)
            training.close(row, writer, epoch_hooks)
    model.theta[:] = training.best
    return Outcome(training.state.epoch, training.state.best_epoch, training.stopped, training.state.seconds)


def _require(model: MLP, data: Dataset, config: FitConfig, callbacks: Sequence[Any]) -> None:
    inputs = int(np.prod(data.train.images.shape[1:]))
    if (model.sizes[0], model.sizes[-1]) != (inputs, data.num_classes):
        raise UsageError(
            f"the network has {model.sizes[0]} inputs and {model.sizes[-1]} outputs, {data.name} has {inputs} values "
            f"an image and {data.num_classes} classes"
        )
    if model.loss_name != "cross_entropy":
        raise UsageError(f"images are classified with loss='cross_entropy', not '{model.loss_name}'")
    asked = {"smoothing": config.smoothing, "dropout": config.dropout, "callbacks": list(callbacks)}
    unknown = [name for name, value in asked.items() if value]
    if config.precision not in ("auto", "float32"):
        unknown.append("precision")
    if unknown:
        raise UsageError(
            f"{', '.join(unknown)} is not offered by the NumPy networks: leave it out or use PyTorch or Keras"
        )


@dataclass
class _State:
    """How far a training is."""

    epoch: int = 0
    best_epoch: int = 0
    best_score: float = math.inf
    stale: int = 0
    seconds: float = 0.0


class _Training:
    """One training: its batches, its optimiser, the best weights so far."""

    def __init__(self, model: MLP, data: Dataset, config: FitConfig, optimiser: SGD, run: RunDir) -> None:
        self.model, self.data, self.config, self.optimiser, self.run = model, data, config, optimiser, run
        self.batches = TrainBatches(data.train, config)
        self.state, self.best, self.stopped = _State(), model.theta.copy(), ""
        self.history = History(run / "history.csv")
        self.history.truncate(0)  # of a start that was interrupted
        self._scale, self._shift = _affine(data.mean, data.std)

    def epoch(self, advance: Any) -> dict[str, Any]:
        """Train one epoch, validate, return the history's row."""
        start, state, steps = time.monotonic(), self.state, self.batches.steps
        losses, right, rate = 0.0, 0, self.config.rate
        seen_losses = self.history.column("valid_loss")
        self.batches.go_to(state.epoch, 0)
        for step, (images, labels) in enumerate(self.batches):
            rate = rate_at(self.config, state.epoch + step / steps, seen_losses)
            losses += self.model.loss_and_gradient(as_inputs(images, self._scale, self._shift), labels)
            right += int((self.model.scores.argmax(axis=1) == labels).sum())
            self._update(rate)
            advance(len(labels))
        train_seconds = time.monotonic() - start
        valid_loss, valid_accuracy = self._validate()
        if not math.isfinite(losses + valid_loss):
            raise TrainingError(
                f"the loss became NaN in epoch {state.epoch + 1}: lower the rate (lr={self.config.rate:g})"
            )
        count = steps * self.batches.share
        return {
            "epoch": state.epoch + 1,
            "train_loss": losses / steps,
            "train_accuracy": right / count,
            "valid_loss": valid_loss,
            "valid_accuracy": valid_accuracy,
            "rate": rate,
            "images_per_second": count / train_seconds,
            "seconds": time.monotonic() - start,
        }

    def _update(self, rate: float) -> None:
        gradient, config = self.model.gradient, self.config
        if config.clip_grad:
            norm = float(np.linalg.norm(gradient))
            gradient *= gradient.dtype.type(min(1.0, config.clip_grad / (norm + 1e-6)))
        if config.optimiser == "adamw" and config.weight_decay:
            for matrix in self.model.weights:
                matrix *= matrix.dtype.type(1 - rate * config.weight_decay)
        self.optimiser.update(self.model.theta, gradient, rate)

    def _validate(self) -> tuple[float, float]:
        logits = predict(self.model, self.data.valid.images, self.data.mean, self.data.std, batch_size=1024)
        labels = self.data.valid.labels
        return cross_entropy(logits.astype(np.float64), labels)[0], float((logits.argmax(axis=1) == labels).mean())

    def close(self, row: dict[str, Any], writer: SummaryWriter, hooks: Sequence[EpochHook]) -> None:
        """Keep the best weights, write the records, decide whether to go on."""
        from competition.record.board import log_epoch

        state = self.state
        score = row["valid_loss"] if self.config.monitor == "valid_loss" else -row["valid_accuracy"]
        state.epoch, state.seconds = row["epoch"], state.seconds + row["seconds"]
        if score < state.best_score:
            state.best_score, state.best_epoch, state.stale = score, state.epoch, 0
            self.best = self.model.theta.copy()
        else:
            state.stale += 1
        self.history.append(**row)
        log_epoch(writer, row)
        say(
            f"epoch {state.epoch}/{self.config.epochs}: training loss {row['train_loss']:.4f}, validation loss "
            f"{row['valid_loss']:.4f}, accuracy {row['valid_accuracy']:.4f}, {row['images_per_second']:,.0f} images/s, "
            f"{duration(row['seconds'])}"
        )
        for hook in hooks:
            hook(row)
        if self.config.patience and state.stale >= self.config.patience and state.epoch < self.config.epochs:
            self.stopped = f"no better epoch for {state.stale} epochs"
            say(f"stopped early: {self.stopped}")


def _affine(mean: np.ndarray, std: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scale and shift, float32 (c,), that normalise bytes in one go."""
    scale = (1 / (255 * std.astype(np.float64))).astype(np.float32)
    return scale, (-mean / std).astype(np.float32)


def as_inputs(images: np.ndarray, scale: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Images uint8 (n, h, w, c) as normalised float32 (n, c * h * w), flattened as PyTorch does."""
    values = images.astype(np.float32)
    values *= scale
    values += shift
    return values.transpose(0, 3, 1, 2).reshape(len(values), -1)


def predict(
    model: MLP, images: np.ndarray, mean: np.ndarray, std: np.ndarray, *, batch_size: int = 256, device: str = "auto"
) -> np.ndarray:
    """Logits float32 (n, classes) of images uint8 (n, h, w, c); ``device`` is always the processor."""
    scale, shift = _affine(np.asarray(mean), np.asarray(std))
    parts = [images[at : at + batch_size] for at in range(0, len(images), batch_size)]
    return np.concatenate([model.outputs(as_inputs(part, scale, shift)) for part in parts]).astype(np.float32)


def save(model: MLP, path: Path) -> None:
    """Write all weights as safetensors, under PyTorch's names, atomically."""
    write_arrays(path, model.state())


def load(model: MLP, path: Path) -> None:
    """Read what ``save`` wrote.

    Raises:
        WeightsError: missing, damaged or of another network.
    """
    model.load_state(read_arrays(path)[0])


def device_name(device: str) -> str:
    """Where it runs: the processor, whatever is asked."""
    return "cpu"


def peak_memory_mb(device: str) -> float:
    """Most memory of this process so far, MiB."""
    return peak_process_mb()
