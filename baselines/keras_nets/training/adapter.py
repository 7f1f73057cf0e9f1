"""What Keras does for ``baselines.fit``: an ordinary compiled model and its own ``fit``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from baselines.contract.batches import TrainBatches
from baselines.contract.config import FitConfig
from baselines.contract.lines import epoch_line
from baselines.contract.trainer import EpochHook, Outcome, peak_process_mb
from baselines.data.datasets import Dataset, Part
from baselines.keras_nets.training.callbacks import Board, Progress, Rates, Records, StatefulCallback, Throughput
from baselines.keras_nets.training.compile import compile_model, computing_in, outputs_of, seed_everything, set_rate
from baselines.keras_nets.training.feed import Feed, ordered
from baselines.keras_nets.training.monitors import BestWeights, EarlyStop, StopOnNaN
from baselines.keras_nets.training.resume import Resume
from baselines.keras_nets.training.weights import load_own_weights as load
from baselines.keras_nets.training.weights import save_own_weights as save
from competition.console import progress, say
from competition.errors import KitError, UsageError
from competition.record.run_dir import RunDir

__all__ = ["device_name", "fit_keras", "load", "peak_memory_mb", "predict", "save"]


def fit_keras(
    model: keras.Model,
    data: Dataset,
    config: FitConfig,
    run: RunDir,
    *,
    save_every: float = 300.0,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    epoch_hooks: Sequence[EpochHook] = (),
) -> Outcome:
    """Train a Keras model that returns logits, or go on where its run was left; see ``trainer.Fit``.

    Raises:
        KitError: the loss is not a number, or the device has not enough memory.
        ResumeError: ``run`` holds checkpoints of another training.
    """
    half = _half(config)
    seed_everything(model, config.seed)
    set_rate(model, config.dropout)
    batches = TrainBatches(data.train, config)
    feed = Feed(batches, data.mean, data.std, outputs_of(model))
    kit = _Kit(config, batches, run, data.digest, save_every)
    with _device(config.device), computing_in(model, half):
        compile_model(model, config, half)
        began = kit.resume.restore(model)
        if not began:
            kit.board.batch = next(iter(batches))[0]
        with _clear_errors(), progress("training", config.epochs * batches.steps * batches.share, "images") as bar:
            if began:
                bar.start_at((kit.resume.epoch * batches.steps + kit.resume.step) * batches.share)
            listed = [feed, *kit.memory, *kit.others, Progress(bar, batches.share), *callbacks, kit.resume]
            hooks = [lambda row: say(epoch_line(row, config.epochs)), *epoch_hooks]
            listed += [keras.callbacks.LambdaCallback(on_epoch_end=kit.tell(hook)) for hook in hooks]
            try:
                with kit.resume.interrupt.listening():
                    _train(model, data, config, feed, kit, listed)
            finally:
                kit.board.on_train_end()
    load(model, kit.best.path)
    seconds = sum(float(value or 0) for value in kit.records.history.column("seconds"))
    return Outcome(len(kit.records.history.rows), kit.best.best_epoch, kit.early.stopped, seconds)


class _Kit:
    """The kit's callbacks of one training."""

    def __init__(
        self,
        config: FitConfig,
        batches: TrainBatches,
        run: RunDir,
        data_digest: str,
        save_every: float,
    ) -> None:
        self.rates = Rates(config, batches.steps)
        self.best = BestWeights(run / "model.safetensors", config.monitor)
        self.early = EarlyStop(config.patience, config.monitor)
        self.records = Records(run / "history.csv")
        self.board = Board(run / "tensorboard")
        throughput = Throughput(batches.steps * batches.share)
        self.memory: list[StatefulCallback] = [self.rates, throughput, self.best, self.early, self.records]
        self.others = [StopOnNaN(), self.board]
        identity = {**config.identity(), "data": data_digest}
        self.resume = Resume(run / "checkpoint", identity, self.memory, every=save_every, inside=True)

    def tell(self, hook: EpochHook) -> Callable[[int, Any], None]:
        """What gives a hook the epoch's row, once the epoch is saved."""
        return lambda epoch, logs: hook(dict(self.records.history.rows[-1]))


def _train(
    model: keras.Model, data: Dataset, config: FitConfig, feed: Feed, kit: _Kit, callbacks: Sequence[Any]
) -> None:
    """``model.fit``, in two calls where the first epoch is only the rest of an interrupted one."""
    epoch, step = kit.resume.epoch, kit.resume.step
    valid = ordered(data.valid, data.mean, data.std, config.batch_size, outputs_of(model))
    options: dict[str, Any] = {"validation_data": valid, "callbacks": list(callbacks), "verbose": 0, "shuffle": False}
    if step:
        _build_metrics(model, data.valid)
        feed.begin_at(epoch, step)
        kit.rates.first_step = step
        model.fit(feed.dataset, initial_epoch=epoch, epochs=epoch + 1, **options)
        epoch += 1
    if epoch < config.epochs and not kit.early.stopped and not (step and model.stop_training):
        model.fit(feed.dataset, initial_epoch=epoch, epochs=config.epochs, **options)


def _build_metrics(model: keras.Model, part: Part) -> None:
    """Let the compiled metrics make their variables, so that saved ones can be put back."""
    images = np.zeros((1, *part.images.shape[1:]), np.float32)
    labels = part.labels[:1]
    count = outputs_of(model)
    model.test_on_batch(images, labels if count == 1 else [labels] * count)
    model.reset_metrics()


def predict(
    model: keras.Model, images: np.ndarray, mean: np.ndarray, std: np.ndarray, *, batch_size: int, device: str
) -> np.ndarray:
    """Logits float32 (n, classes) of images uint8 (n, h, w, c), in evaluation mode, normalised by mean and std."""
    part = Part(images, np.zeros(len(images), np.int64))
    batches = ordered(part, np.asarray(mean), np.asarray(std), batch_size).map(lambda batch, _: batch)
    with _device(device), _clear_errors():
        logits = model.predict(batches, verbose=0)
    first = logits[0] if isinstance(logits, list | tuple) else logits
    return np.asarray(first, dtype=np.float32)


def _half(config: FitConfig) -> str:
    """The half precision that is asked for, or empty."""
    if config.precision == "auto":
        return "bfloat16" if _gpu_number(config.device) is not None else ""
    return "" if config.precision == "float32" else config.precision


def _gpu_number(device: str) -> int | None:
    """Number of the GPU that ``device`` stands for; None for the CPU.

    Raises:
        UsageError: it is none of ``auto``, ``cpu``, ``cuda``, ``cuda:N``, or that GPU is not here.
    """
    gpus = len(tf.config.list_physical_devices("GPU"))
    kind, _, number = device.partition(":")
    if device == "cpu" or (device == "auto" and not gpus):
        return None
    if device not in ("auto", "cuda") and not (kind == "cuda" and number.isdecimal()):
        raise UsageError(f"device={device!r} is unknown: expected auto, cpu, cuda or cuda:N")
    wanted = int(number or 0)
    if wanted >= gpus:
        raise UsageError(f"device={device!r}: TensorFlow sees {gpus} GPUs here; use device=auto or cpu")
    return wanted


@contextmanager
def _device(device: str) -> Iterator[None]:
    """Compute there; where there is no choice nothing is said to TensorFlow, which costs less at every step."""
    number = _gpu_number(device)
    if number is None and not tf.config.list_physical_devices("GPU"):
        yield
        return
    with tf.device("/CPU:0" if number is None else f"/GPU:{number}"):
        yield


@contextmanager
def _clear_errors() -> Iterator[None]:
    """Say what to do where the memory does not suffice."""
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        raise KitError("not enough memory on the device: use a smaller batch_size or image size") from error


def device_name(device: str) -> str:
    """What the configuration's ``device`` stands for here, for people: ``cpu (2 threads)``, ``cuda:0 (NVIDIA T4)``."""
    number = _gpu_number(device)
    if number is None:
        set_by_hand = os.environ.get("TF_NUM_INTRAOP_THREADS", "")
        chosen = tf.config.threading.get_intra_op_parallelism_threads()
        threads = chosen or int(set_by_hand if set_by_hand.isdecimal() else 0) or os.cpu_count() or 1
        return f"cpu ({threads} thread{'s' if threads > 1 else ''})"
    details = tf.config.experimental.get_device_details(tf.config.list_physical_devices("GPU")[number])
    return f"cuda:{number} ({details.get('device_name', 'GPU')})"


def peak_memory_mb(device: str) -> float:
    """Most memory so far in MiB: the device's on a GPU, this process's on a CPU."""
    number = _gpu_number(device)
    if number is None:
        return peak_process_mb()
    return float(tf.config.experimental.get_memory_info(f"GPU:{number}")["peak"]) / 2**20
