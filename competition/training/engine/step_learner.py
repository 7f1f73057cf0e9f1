"""A fastai ``Learner`` that counts steps: a position to go on from anywhere, validation by the whole set at once.

``fold_learner.FoldLearner`` fine-tunes timm models with it, ``baselines`` train their own networks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from fastai.callback.core import CancelEpochException, TrainEvalCallback
from fastai.callback.training import GradientAccumulation
from fastai.imports import noop
from fastai.learner import Learner
from fastai.metrics import accuracy as fastai_accuracy
from fastai.optimizer import OptimWrapper, set_item_pg
from fastai.torch_core import to_detach
from torch import nn

from competition.errors import TrainingError
from competition.record.metrics import accuracy, log_loss, softmax
from competition.training.engine.callbacks import (
    Averaging,
    ClipGradient,
    Collect,
    KitCallback,
    Position,
    Precision,
    SilentRecorder,
)
from competition.training.engine.feeding import Loaders
from competition.training.engine.fit_state import FitState, Score
from competition.training.engine.half_precision import spare_slow_convolutions
from competition.training.photos.loader import Batch

if TYPE_CHECKING:
    from competition.training.engine.processes import Together


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


class StepLearner(Learner):
    """fastai's ``Learner`` for training that can stop and go on at any step.

    Six of its methods are replaced: ``_set_device`` (floats on the device before any callback sees the batch),
    ``_do_fit`` and ``all_batches`` (begin at the state's epoch and step), ``_do_epoch`` (validates several sets of
    weights), ``to_detach`` (processes meet once an epoch, not at every batch), and ``__call__`` (speed only).
    Callbacks of fastai work as they do there.

    Args:
        model: the plain model on its device.
        loaders: training and validation; they say which device computes.
        loss: of outputs and labels.
        optimiser: with its groups; their rates are the peaks.
        total_epochs: epochs in all.
        precision: float32 or a half precision.
        together: the processes that train together; None where this one is alone.
        callbacks: further callbacks, fastai's or the kit's.
    """

    def __init__(
        self,
        model: nn.Module,
        loaders: Loaders,
        *,
        loss: nn.Module,
        optimiser: torch.optim.Optimizer,
        total_epochs: int,
        precision: torch.dtype,
        together: Together | None = None,
        callbacks: Sequence[Any] = (),
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
        self.plain_model, self.sampler, self.total_epochs = model, loaders.sampler, total_epochs
        self.prepare, self.device, self.together = loaders.prepare, loaders.prepare.device, together
        self.state, self.clock = FitState(chunk=self.sampler.chunk), Clock()
        self.unsettled: list[tuple[torch.Tensor, int]] = []
        self.scores: dict[str, Score] = {}
        self.validates, self.validated = True, ""
        self.on_epoch: Callable[[Any], None] = lambda _: None
        self.averaging: Averaging | None = _first(callbacks, Averaging)
        self.clip: ClipGradient | None = _first(callbacks, ClipGradient)
        self.collect = Collect()
        self.half = Precision(self.device, precision) if precision != torch.float32 else None
        if self.device.type == "cpu" and precision == torch.bfloat16:
            spare_slow_convolutions(model)
        # Only a stranger asks for the recorder, which waits for the device at every step.
        recorder = None if all(isinstance(callback, KitCallback) for callback in callbacks) else SilentRecorder()
        own = [TrainEvalCallback(), Position(), self.collect, self.half, together, recorder]
        self.add_cbs([*(callback for callback in own if callback is not None), *callbacks])
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

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files and speaks."""
        return self.together is None or self.together.rank == 0

    @property
    def scale(self) -> float:
        """Photos of all processes for each one that this process trains on."""
        return self.sampler.per_step / self.sampler.share

    @property
    def waits(self) -> bool:
        """Whether this step waits for the device: a GPU does not like to be waited for."""
        state = self.state
        return self.device.type == "cpu" or state.total_steps % 20 == 0 or state.step == self.sampler.steps

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

    def to_detach(self, b: Any, cpu: bool = True, gather: bool = False) -> Any:
        """Detached, on the CPU; fastai's would meet the other processes here, who may have fewer batches."""
        return to_detach(b, cpu, gather=False)

    def _do_epoch(self) -> None:
        """Train, then validate every set of weights there is."""
        self._do_epoch_train()
        self.settle_losses()
        self.pool_losses()
        self.train_seconds = self.clock.seconds
        if self.validates:
            for kind in self.kinds:
                self.validated = kind
                self.scores[kind] = self.score(self.candidate(kind))
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

    def score(self, model: nn.Module) -> Score:
        """Validate a set of weights; every process gives the score of all photos."""
        trained = self.plain_model
        self.model = model
        try:
            self._do_epoch_validate()
        finally:
            self.model = trained
        logits = np.concatenate(self.collect.logits)
        rows = self.dls.rows[: len(logits)]  # a callback (ShortEpochCallback) may end the pass: what was seen counts
        if self.together is not None:
            rows, logits = self.together.gathered(rows, logits)
        labels, probabilities = self.dls.labels[rows], softmax(logits)
        return Score(log_loss(probabilities, labels), accuracy(probabilities, labels), probabilities, labels)

    def pool_losses(self) -> None:
        """Let the state count the photos of all processes; each counts its own as it goes."""
        if self.together is not None:
            self.state.loss_sum, seen = self.together.sums(self.state.loss_sum, self.state.seen)
            self.state.seen = round(seen)

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


def _first(callbacks: Sequence[Any], kind: type) -> Any:
    return next((callback for callback in callbacks if isinstance(callback, kind)), None)
