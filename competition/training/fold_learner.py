"""The fastai ``Learner`` of one fold: a plain timm model, the kit's loaders, a state that can be picked up anywhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from fastai.callback.core import TrainEvalCallback
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.optimizer import OptimWrapper
from torch import nn
from torch.utils.data import DataLoader

from competition.config import TrainConfig
from competition.training.callbacks import (
    Averaging,
    Chunks,
    ClipGradient,
    Collect,
    DeviceBatch,
    KitCallback,
    Mixing,
    Phases,
    Position,
    Precision,
    Rates,
    TrainingError,
)
from competition.training.distributed import World, copy_from_main, gathered, share_model
from competition.training.loader import Batch, StepSampler
from competition.training.metrics import accuracy, log_loss, softmax
from competition.training.models import InputSpec
from competition.training.optim import make_optimiser, parameter_groups, trainable_names
from competition.training.regularise import FoldLoss, Mixer, set_trainable
from competition.training.state import FitState


class Loaders(DataLoaders):
    """fastai's pair of loaders, holding torch's own; nothing is transformed here, so nothing is normalised either."""

    def __init__(self, train: DataLoader[Batch], valid: DataLoader[Batch], device: torch.device) -> None:
        super().__init__(train, valid)
        self._device = device


@dataclass(frozen=True)
class Score:
    """A validation pass: log loss in nats, accuracy in [0, 1], probabilities float64 (n, c)."""

    log_loss: float
    accuracy: float
    probabilities: np.ndarray


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


class FoldLearner(Learner):
    """fastai's ``Learner`` with three methods replaced: where an epoch begins, how an epoch validates, how rates start.

    Args:
        model: plain timm model on its device.
        loaders: training and validation.
        sampler: of the training loader.
        labels: int64 (n_valid,), of all validation photos in order.
        rows: which of them this process validates.
        spec: input statistics.
        config: the recipe.
        device: where to compute.
        precision: float32 or a half precision.
        world: the processes that train together.
        callbacks: further fastai callbacks.
    """

    def __init__(
        self,
        model: nn.Module,
        loaders: Loaders,
        sampler: StepSampler,
        labels: np.ndarray,
        rows: np.ndarray,
        spec: InputSpec,
        config: TrainConfig,
        device: torch.device,
        precision: torch.dtype,
        world: World,
        callbacks: list[Any],
    ) -> None:
        trainable = trainable_names(model, config.unfreeze)
        head = trainable_names(model, "head")
        set_trainable(model, trainable)
        groups = parameter_groups(model, config)
        self.peaks = [float(group["lr"]) for group in groups]
        self.optimiser = make_optimiser(groups, config)
        super().__init__(
            loaders,
            model,
            loss_func=FoldLoss(config.smoothing),
            opt_func=OptimWrapper(opt=self.optimiser),
            # fastai would mark norms and biases itself and let frozen batch norms train; the groups say it all.
            wd_bn_bias=True,
            train_bn=False,
            default_cbs=False,
        )
        self.plain_model, self.sampler, self.config, self.spec = model, sampler, config, spec
        self.device, self.world, self.labels, self.rows = device, world, labels, rows
        self.state, self.clock = FitState(chunk=sampler.chunk), Clock()
        self.unsettled: list[tuple[torch.Tensor, int]] = []
        self.scores: dict[str, Score] = {}
        self.validates = True
        self.on_epoch: Callable[[FoldLearner], None] = lambda _: None
        self.averaging = Averaging(model, config.ema_decay) if config.ema_decay else None
        self.half = Precision(device, precision) if precision != torch.float32 else None
        self.clip, self.collect = ClipGradient(config.clip_grad), Collect()
        mixer = Mixer(config.mixup, config.cutmix, config.mix_probability, labels_count(model))
        self.add_cbs(
            [
                TrainEvalCallback(),
                Phases(config, head, trainable),
                DeviceBatch(spec, device, config.channels_last),
                Rates(config, self.peaks),
                Chunks(),
                self.clip,
                Position(),
                self.collect,
                *([Mixing(mixer, config.seed)] if mixer.active else []),
                *([self.half] if self.half else []),
                *([self.averaging] if self.averaging else []),
                *([SharedModel()] if world.size > 1 else []),
                *callbacks,
            ]
        )
        self.create_opt()

    @property
    def last_chunk(self) -> bool:
        """Whether the batch at hand completes a step."""
        return (self.iter + 1) % self.sampler.chunks_per_step == 0

    @property
    def total_epochs(self) -> int:
        """Frozen and other epochs together."""
        return self.config.freeze_epochs + self.config.epochs

    def side_of(self, epoch: int) -> int:
        """Side of the training squares in an epoch, pixels."""
        sides = self.config.progressive
        return sides[epoch * len(sides) // self.total_epochs] if sides else self.config.image_size

    def run_epochs(self) -> None:
        """Fit from the state's position to the end."""
        self.fit(self.total_epochs, lr=self.peaks)

    def _do_fit(self) -> None:
        """Fastai's loop, beginning at the epoch that the state says."""
        for epoch in range(self.state.epoch, self.n_epoch):
            self.epoch = epoch
            self._with_events(self._do_epoch, "epoch", _cancel_epoch())

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
        return b[0].to(self.device, non_blocking=True), b[1].to(self.device, non_blocking=True)

    def _do_epoch(self) -> None:
        """Train, then validate every set of weights there is."""
        self._do_epoch_train()
        self.settle_losses()
        self.train_seconds = self.clock.seconds
        if self.validates:
            self.scores = {"raw": self._score(self.plain_model)}
            if self.averaging is not None:
                self.scores["ema"] = self._score(self.averaging.ema.module)
        self.on_epoch(self)

    def _score(self, model: nn.Module) -> Score:
        trained = self.plain_model
        self.model = model
        try:
            self._do_epoch_validate()
        finally:
            self.model = trained
        logits = np.concatenate(self.collect.logits)
        if self.world.size > 1:
            logits = gathered(logits, list(self.rows), len(self.labels))
        probabilities = softmax(logits)
        return Score(log_loss(probabilities, self.labels), accuracy(probabilities, self.labels), probabilities)

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
        if self.unsettled and self.clip.gradient_norm is not None:
            self.state.gradient_norm = float(self.clip.gradient_norm)
        self.unsettled.clear()


def labels_count(model: nn.Module) -> int:
    """Classes of a timm model."""
    return int(model.num_classes)  # type: ignore[arg-type]


def _cancel_epoch() -> type[Exception]:
    from fastai.callback.core import CancelEpochException

    return CancelEpochException
