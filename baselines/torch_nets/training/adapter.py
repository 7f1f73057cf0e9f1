"""PyTorch's side of ``baselines.fit``: training through ``competition.training``'s learner, prediction, storage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from baselines.contract.batches import in_order
from baselines.contract.config import FitConfig
from baselines.contract.lines import epoch_line
from baselines.contract.trainer import EpochHook, Outcome, peak_process_mb, set_dropout
from baselines.data.datasets import Dataset, Part
from baselines.torch_nets.training.learner import NetLearner, channels_last, precision_of, spec_of
from competition.console import progress, say
from competition.errors import TrainingError, WeightsError
from competition.files import atomic_path, digest_of, in_utf8
from competition.record.board import log_batch_images, log_epoch, log_graph
from competition.record.run_dir import RunDir
from competition.record.tensorboard import tensorboard
from competition.training.backbones.devices import pick_device
from competition.training.engine.callbacks import KitCallback, StepCaller
from competition.training.engine.checkpoint import CheckpointStore
from competition.training.engine.checkpointing import Keeper
from competition.training.engine.epoch_records import Bookkeeper, Progress, open_history
from competition.training.engine.fit_state import Best, Score
from competition.training.engine.memory import fit_in_memory
from competition.training.photos.normalise import Normalise

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


def fit_torch(
    model: nn.Module,
    data: Dataset,
    config: FitConfig,
    run: RunDir,
    *,
    save_every: float = 300.0,
    callbacks: Sequence[Any] = (),
    epoch_hooks: Sequence[EpochHook] = (),
) -> Outcome:
    """Train a network, or go on with it; see ``baselines.contract.trainer.Fit``.

    Raises:
        UsageError: the device is not there, or dropout is asked of a model without any.
        ResumeError: the checkpoint is of another training.
        TrainingError: the loss became NaN, or not even one image fits into memory.
    """
    device = pick_device(config.device)
    precision = precision_of(config, device)
    set_dropout([layer for layer in model.modules() if isinstance(layer, nn.Dropout)], "p", config.dropout)
    layout = torch.channels_last if channels_last(precision) else torch.contiguous_format
    model.to(device=device, memory_format=layout)  # type: ignore[call-overload]
    torch.manual_seed(config.seed)
    learn = NetLearner(model, data, config, device, precision, callbacks)
    learn.path = run / "fastai"
    store = CheckpointStore(run / "checkpoint", {**config.identity(), "data": data.digest, "model": signature(model)})
    keeper = Keeper(store, save_every)
    if keeper.restore(learn):
        say(f"going on at epoch {learn.state.epoch + 1}, step {learn.state.step} of {learn.sampler.steps}")
    _train(learn, keeper, run, epoch_hooks)
    best = learn.state.best
    if best is None:
        raise TrainingError("no epoch was validated: there are no weights to choose from")
    model.load_state_dict(store.read_file(best.file))
    keeper.count_seconds(learn.state)
    return Outcome(learn.state.epoch, best.epoch, learn.state.stopped, learn.state.seconds)


def signature(model: nn.Module) -> str:
    """Digest of the names and shapes of a model's weights: another architecture has another."""
    return digest_of([[name, list(tensor.shape)] for name, tensor in model.state_dict().items()])


def _train(learn: NetLearner, keeper: Keeper, run: RunDir, hooks: Sequence[EpochHook]) -> None:
    images = learn.total_epochs * learn.sampler.steps * learn.sampler.share
    history = open_history(run / "history.csv", learn.state.epoch)
    learn.valid_losses = [float(loss) for loss in history.column("valid_loss")]
    with (
        progress("train", images, "images") as ticker,
        tensorboard(run / "tensorboard") as writer,
        keeper.interrupt.listening(),
    ):
        ticker.start_at(learn.state.total_steps * learn.sampler.share)
        bookkeeper = NetBookkeeper(keeper, history, writer, ticker, hooks)
        bookkeeper.monitor = learn.config.monitor
        learn.on_epoch = bookkeeper.close_epoch
        extra = [StepCaller(keeper.after_step), Progress(ticker, None), Pictures(writer)]
        with learn.added_cbs(extra):
            fit_in_memory(learn, ticker, "training", keeper.store.folder)


class NetBookkeeper(Bookkeeper):
    """Closes an epoch with the baselines' columns."""

    monitor = "valid_loss"

    def close_epoch(self, learn: Any) -> None:
        """Record the epoch that has just been validated, and let ``plateau`` see its loss."""
        learn.valid_losses.append(learn.scores["raw"].log_loss)
        super().close_epoch(learn)

    def _is_better(self, score: Score, best: Best) -> bool:
        """By what the configuration monitors; of equally accurate epochs the one of lower loss."""
        if self.monitor == "valid_accuracy":
            return (score.accuracy, -score.log_loss) > (best.accuracy, -best.log_loss)
        return score.log_loss < best.log_loss

    def _row(self, learn: Any, kind: str) -> dict[str, Any]:
        state, clock, score = learn.state, learn.clock, learn.scores[kind]
        return {
            "epoch": state.epoch + 1,
            "train_loss": state.loss_sum / max(state.seen, 1),
            "train_accuracy": state.right / max(state.seen, 1),
            "valid_loss": score.log_loss,
            "valid_accuracy": score.accuracy,
            "rate": learn.optimiser.param_groups[0]["lr"],
            "images_per_second": clock.photos / max(learn.train_seconds, 1e-9),
            "seconds": clock.seconds,
        }

    def _show(self, learn: Any, row: dict[str, Any]) -> None:
        say(epoch_line(row, learn.total_epochs))
        if self.writer is not None:
            log_epoch(self.writer, row)


class Pictures(KitCallback):
    """Writes the network's graph and a batch after augmentation to TensorBoard, once at the start of a training.

    Args:
        writer: TensorBoard's.
    """

    order, run_valid = 1, False  # before anything mixes them

    def __init__(self, writer: SummaryWriter) -> None:
        self.writer = writer

    def before_train(self) -> None:
        """Draw the network, before the epoch's clock starts."""
        height, width, channels = self.learn.sampler.part.images.shape[1:]
        if not self.learn.state.total_steps and channels in (1, 3):
            log_graph(self.writer, self.learn.plain_model, torch.zeros(1, channels, height, width))

    def before_batch(self) -> None:
        """Show the images as they were cut and augmented."""
        images = self.learn.xb[0]
        if not self.learn.state.total_steps and self.learn.iter == 0 and images.shape[1] in (1, 3):
            log_batch_images(self.writer, self.learn.prepare.undone(images))


@torch.no_grad()
def predict(
    model: nn.Module, images: np.ndarray, mean: np.ndarray, std: np.ndarray, *, batch_size: int, device: str
) -> np.ndarray:
    """Logits float32 (n, classes) of images uint8 (n, h, w, c), computed in float32; the model's mode is put back.

    Args:
        model: moved to the device.
        images: as they come from the data set.
        mean: of the training part, float32 (c,), in units of [0, 1].
        std: standard deviation, likewise.
        batch_size: images at a time.
        device: as in the configuration.
    """
    where, training = pick_device(device), model.training
    normalise = Normalise(spec_of(mean, std)).to(where)
    model.to(where).eval()
    logits = []
    try:
        for batch, _ in in_order(Part(images, np.zeros(len(images), np.int64)), batch_size):
            logits.append(model(normalise(torch.tensor(batch).to(where)).contiguous()).float().cpu().numpy())
    finally:
        model.train(training)
    return np.concatenate(logits)


def save(model: nn.Module, path: Path) -> None:
    """Write all weights and running statistics as safetensors, atomically."""
    from safetensors.torch import save_file

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    with atomic_path(path) as temporary:
        save_file(tensors, str(temporary))


def load(model: nn.Module, path: Path) -> None:
    """Read what ``save`` wrote.

    Raises:
        WeightsError: the file is missing, damaged or of another model.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        with in_utf8(path) as plain:
            tensors: Mapping[str, torch.Tensor] = load_file(str(plain))
        model.load_state_dict(dict(tensors))
    except FileNotFoundError as error:
        raise WeightsError(f"{path} is missing") from error
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is no readable safetensors file ({error}): train again") from error
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(f"{path} does not fit this model: {reason}") from error


def device_name(device: str) -> str:
    """What ``device`` stands for here: ``cpu (2 threads)`` or ``cuda:0 (NVIDIA T4)``."""
    found = pick_device(device)
    if found.type == "cuda":
        return f"cuda:{found.index or 0} ({torch.cuda.get_device_name(found)})"
    threads = torch.get_num_threads()
    return f"cpu ({threads} thread{'s' if threads > 1 else ''})"


def peak_memory_mb(device: str) -> float:
    """Most memory so far, MiB: PyTorch's on the GPU, this process's on a CPU."""
    found = pick_device(device)
    return torch.cuda.max_memory_allocated(found) / 2**20 if found.type == "cuda" else peak_process_mb()
