"""A fastai ``Learner`` that counts steps: a position to go on from anywhere, validation by the whole set at once.

``fold_learner.FoldLearner`` fine-tunes timm models with it, ``baselines`` train their own networks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from fastai.callback.core import CancelEpochException, TrainEvalCallback
from fastai.callback.training import GradientAccumulation
from fastai.data.core import DataLoaders
from fastai.imports import noop
from fastai.learner import Learner, Recorder
from fastai.metrics import accuracy as fastai_accuracy
from fastai.optimizer import OptimWrapper, set_item_pg
from torch import nn

from competition.errors import TrainingError
from competition.record.metrics import accuracy, log_loss, softmax
from competition.training.backbones.find import InputSpec
from competition.training.engine.callbacks import (
    Averaging,
    ClipGradient,
    Collect,
    KitCallback,
    Position,
    Precision,
)
from competition.training.engine.fit_state import FitState
from competition.training.engine.half_precision import spare_slow_convolutions
from competition.training.engine.processes import World, copy_from_main, gathered, share_model
from competition.training.photos.loader import Batch
from competition.training.photos.normalise import Normalise


class Steps(Protocol):
    """What decides the batches of an epoch: ``loader.StepSampler`` for photos, ``baselines``' batches in memory."""

    share: int
    chunk: int
    steps: int

    @property
    def chunks_per_step(self) -> int:
        """Forward passes per step."""
        ...

    def go_to(self, epoch: int, step: int, side: int) -> None:
        """Choose what the next iteration yields."""
        ...

    def halve(self) -> bool:
        """Halve the chunk; False when it is a single image already."""
        ...


class Loaders(DataLoaders):
    """fastai's pair of loaders, holding any iterables of batches; nothing is transformed, so nothing normalised."""

    def __init__(self, train: Iterable[Batch], valid: Iterable[Batch], device: torch.device) -> None:
        super().__init__(train, valid)
        self._device = device

    def close(self) -> None:
        """End the processes that read ahead; the next pass starts new ones.

        Left to the interpreter's end, torch 2.11 waits five seconds for each process that feeds pinned memory.
        """
        for loader in self.loaders:
            iterator = getattr(loader, "_iterator", None)
            if iterator is not None:
                loader._iterator = None
                iterator._shutdown_workers()  # what its __del__ calls, which an error's traceback would put off


@dataclass(frozen=True)
class Score:
    """A validation pass: log loss in nats, accuracy in [0, 1], probabilities float64 (n, c), labels int64 (n,)."""

    log_loss: float
    accuracy: float
    probabilities: np.ndarray
    labels: np.ndarray


@dataclass
class Clock:
    """Time of the running epoch, seconds: all of it, and the part spent waiting for photos."""

    start: float = field(default_factory=time.monotonic)
    waiting: float = 0.0
    photos: int = 0

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self.start


class SharedModel(KitCallback):
    """Wraps the model for the training part of an epoch; validation sees the plain one, the same in every process."""

    order = -8

    def before_train(self) -> None:
        """Average gradients from here; what receives gradients is decided by now."""
        self.learn.model = share_model(self.learn.plain_model, self.learn.device)

    def after_train(self) -> None:
        """Back to the plain model, with one set of statistics."""
        self.learn.model = self.learn.plain_model
        copy_from_main(self.learn.plain_model)
        if self.learn.averaging is not None:
            copy_from_main(self.learn.averaging.ema.module)


class Preparation:
    """uint8 (n, h, w, 3) to normalised float (n, 3, h, w) on the device: the one place that normalises a batch.

    A permuted view of NHWC bytes is channels-last already; the other layout is made here.

    Args:
        spec: input statistics.
        device: where to compute.
        channels_last: layout of the floats.
    """

    def __init__(self, spec: InputSpec, device: torch.device, channels_last: bool) -> None:
        self.device, self.normalise = device, Normalise(spec).to(device)
        self.layout = torch.channels_last if channels_last else torch.contiguous_format

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Move and normalise."""
        on_device = images.to(self.device, non_blocking=True)
        floats: torch.Tensor = self.normalise(on_device).contiguous(memory_format=self.layout)
        return floats

    def undone(self, floats: torch.Tensor) -> np.ndarray:
        """The bytes again, uint8 (n, h, w, 3)."""
        pixels = floats.detach().float() * self.normalise.std + self.normalise.mean
        return pixels.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


class Hypers(dict[str, Any]):
    """A group's hyperparameters under fastai's names; what is set goes to the optimiser."""

    def __init__(self, values: Mapping[str, Any], put: Callable[[str, Any], Any]) -> None:
        super().__init__(values)
        self.put = put

    def __setitem__(self, name: str, value: Any) -> None:
        """Set it in both."""
        super().__setitem__(name, value)
        self.put(name, value)


class LiveOptimiser(OptimWrapper):
    """fastai's wrapper hands out copies of its hyperparameters, so that its ``ReduceLROnPlateau`` changes nothing."""

    @property
    def hypers(self) -> list[Hypers]:
        """One for each group; only what is a number, as its loggers expect."""

        def putting(group: dict[str, Any]) -> Callable[[str, Any], Any]:
            return lambda name, value: set_item_pg(group, self.bwd_map[name], value)

        copies = [
            {name: value for name, value in values.items() if isinstance(value, (int, float))}
            for values in OptimWrapper.hypers.fget(self)
        ]
        return [Hypers(values, putting(group)) for values, group in zip(copies, self.opt.param_groups, strict=True)]


class SilentRecorder(Recorder):
    """fastai's, as its trackers and loggers need it: prints nothing, and hears of the trained weights' validation only.

    An epoch validates averaged weights too; a second ``valid_loss`` in a row would shift every column after it.
    """

    name = "recorder"

    def before_fit(self) -> None:
        """Fastai's, and the folder that ``CSVLogger`` expects."""
        super().before_fit()
        self.learn.path.mkdir(parents=True, exist_ok=True)

    def after_validate(self) -> None:
        """Fastai's, once an epoch."""
        if self.learn.validated == "raw":
            super().after_validate()


class StepLearner(Learner):
    """fastai's ``Learner`` for training that can stop and go on at any step.

    Replaced are: ``_set_device`` (floats on the device before any callback sees the batch), ``_do_fit`` and
    ``all_batches`` (begin at the state's epoch and step), ``_do_epoch`` (validates several sets of weights), and
    ``__call__`` (speed only). Callbacks of fastai work as they do there.

    Args:
        model: the plain model on its device.
        loaders: training and validation.
        sampler: of the training loader.
        labels: int64 (n_valid,), of all validation images in order.
        rows: which of them this process validates.
        prepare: from a loader's images to the network's input.
        loss: of outputs and labels.
        optimiser: with its groups; their rates are the peaks.
        total_epochs: epochs in all.
        device: where to compute.
        precision: float32 or a half precision.
        clip: measures (and clips) the gradient's norm; None leaves both out.
        averaging: of the weights, or None.
        world: the processes that train together.
        callbacks: further fastai callbacks.
    """

    def __init__(
        self,
        model: nn.Module,
        loaders: Loaders,
        sampler: Steps,
        labels: np.ndarray,
        rows: np.ndarray,
        *,
        prepare: Preparation,
        loss: nn.Module,
        optimiser: torch.optim.Optimizer,
        total_epochs: int,
        device: torch.device,
        precision: torch.dtype,
        clip: ClipGradient | None,
        averaging: Averaging | None,
        world: World,
        callbacks: Sequence[Any],
    ) -> None:
        self.peaks = [float(group["lr"]) for group in optimiser.param_groups]
        self.optimiser = optimiser
        self._heard: dict[tuple[object, ...], list[Any]] = {}
        super().__init__(
            loaders,
            model,
            loss_func=loss,
            opt_func=LiveOptimiser(opt=optimiser),
            # fastai would mark norms and biases itself and let frozen batch norms train; the groups say it all.
            wd_bn_bias=True,
            train_bn=False,
            default_cbs=False,
            metrics=[fastai_accuracy],
        )
        self.logger, self.create_mbar = noop, False
        self.plain_model, self.sampler, self.total_epochs, self.prepare = model, sampler, total_epochs, prepare
        self.device, self.world, self.labels, self.rows = device, world, labels, rows
        self.state, self.clock = FitState(chunk=sampler.chunk), Clock()
        self.unsettled: list[tuple[torch.Tensor, int]] = []
        self.scores: dict[str, Score] = {}
        self.validates, self.validated = True, ""
        self.on_epoch: Callable[[Any], None] = lambda _: None
        self.averaging, self.clip, self.collect = averaging, clip, Collect()
        self.half = Precision(device, precision) if precision != torch.float32 else None
        if device.type == "cpu" and precision == torch.bfloat16:
            spare_slow_convolutions(model)
        own = [TrainEvalCallback(), clip, Position(), self.collect, self.half, averaging]
        shared = [SharedModel()] if world.size > 1 else []
        # Only a stranger asks for the recorder, which waits for the device at every step.
        recorder = [] if all(isinstance(callback, KitCallback) for callback in callbacks) else [SilentRecorder()]
        self.add_cbs([*(callback for callback in own if callback is not None), *shared, *recorder, *callbacks])
        self.create_opt()

    def __call__(self, event_name: str) -> None:
        """Fastai's, but who listens to an event is looked up once: small networks take a step in a few milliseconds."""
        key = (event_name, *map(id, self.cbs))
        if key not in self._heard:
            # All of them after a fit, as fastai needs it.
            listening = [cb for cb in self.cbs if event_name == "after_fit" or hasattr(type(cb), event_name)]
            self._heard[key] = sorted(listening, key=lambda callback: callback.order)
        for callback in self._heard[key]:
            callback(event_name)

    @property
    def last_chunk(self) -> bool:
        """Whether the batch at hand completes a step."""
        return (self.iter + 1) % self.sampler.chunks_per_step == 0

    def side_of(self, epoch: int) -> int:
        """Side of the training squares in an epoch, pixels; 0 where it is the images' own."""
        return 0

    def run_epochs(self) -> None:
        """Fit from the state's position to the end."""
        passes = self.sampler.chunks_per_step
        self.fit(self.total_epochs, lr=self.peaks, cbs=GradientAccumulation(self.sampler.share) if passes > 1 else None)

    def _do_fit(self) -> None:
        """Fastai's loop, beginning at the epoch that the state says.

        Its own ``start_epoch`` sends ``after_epoch`` for every epoch it skips, and its trackers read figures there.
        """
        for epoch in range(self.state.epoch, self.n_epoch):
            self.epoch = epoch
            self._with_events(self._do_epoch, "epoch", CancelEpochException)

    def all_batches(self) -> None:
        """Fastai's loop over batches, beginning at the state's step and measuring the wait for photos."""
        self.n_iter = len(self.dl)
        first = 0
        if self.training:
            self.clock = Clock()
            self.sampler.go_to(self.epoch, self.state.step, self.side_of(self.epoch))
            self.n_iter = self.sampler.steps * self.sampler.chunks_per_step
            first = self.state.step * self.sampler.chunks_per_step
        batches, number = iter(self.dl), first
        while True:
            asked = time.monotonic()
            batch = next(batches, None)
            if batch is None:
                return
            self.clock.waiting += time.monotonic() - asked
            self.clock.photos += len(batch[1]) if self.training else 0
            self.one_batch(number, batch)
            number += 1

    def _set_device(self, b: Batch) -> Batch:
        """Floats on the device, so that callbacks of anybody's see what the network sees."""
        return self.prepare(b[0]), b[1].to(self.device, non_blocking=True)

    def _do_epoch(self) -> None:
        """Train, then validate every set of weights there is."""
        self._do_epoch_train()
        self.settle_losses()
        self.train_seconds = self.clock.seconds
        if self.validates:
            for kind in self.kinds:
                self.validated = kind
                self.scores[kind] = self._score(self.candidate(kind))
        self.on_epoch(self)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Sets of weights that an epoch validates: ``raw``, and ``ema`` where there is an average."""
        return ("raw",) if self.averaging is None else ("raw", "ema")

    def candidate(self, kind: str) -> nn.Module:
        """The model with one of those sets of weights."""
        if kind == "ema" and self.averaging is not None:
            average: nn.Module = self.averaging.ema.module
            return average
        return self.plain_model

    def _score(self, model: nn.Module) -> Score:
        trained = self.plain_model
        self.model = model
        try:
            self._do_epoch_validate()
        finally:
            self.model = trained
        logits = np.concatenate(self.collect.logits)
        labels = self.labels
        if self.world.size > 1:
            logits = gathered(logits, list(self.rows), len(labels))
        elif len(logits) < len(labels):  # a callback (ShortEpochCallback) ended the pass: what was seen counts
            labels = labels[self.rows[: len(logits)]]
        probabilities = softmax(logits)
        return Score(log_loss(probabilities, labels), accuracy(probabilities, labels), probabilities, labels)

    def settle_losses(self) -> None:
        """Add the losses that still lie on the device to the state.

        Raises:
            TrainingError: one of them is not a number.
        """
        for loss, photos in self.unsettled:
            value = float(loss)
            if not np.isfinite(value):
                self.unsettled.clear()
                raise TrainingError(
                    f"the training loss became {value} in epoch {self.epoch + 1}, at or before step "
                    f"{self.state.step} of {self.sampler.steps}"
                )
            self.state.loss_sum += value * photos
        if self.unsettled and self.clip is not None and self.clip.gradient_norm is not None:
            self.state.gradient_norm = float(self.clip.gradient_norm)
        self.unsettled.clear()
