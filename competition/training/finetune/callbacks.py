"""Callbacks of fine-tuning: mixed photos, phases of freezing, rates of every step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from competition.config import TrainConfig
from competition.errors import TrainingError as TrainingError
from competition.training.engine.callbacks import KitCallback
from competition.training.engine.schedule import rate_factor
from competition.training.finetune.mixing import Mixer, set_modes, set_trainable

if TYPE_CHECKING:
    pass


class Mixing(KitCallback):
    """Mixup and CutMix of training batches, decided by (seed, epoch, chunk)."""

    order, run_valid = 6, False

    def __init__(self, mixer: Mixer, seed: int) -> None:
        self.mixer, self.seed = mixer, seed

    def before_batch(self) -> None:
        """Mix images and labels."""
        rng = np.random.default_rng([self.seed, self.learn.epoch, self.learn.iter, 2])
        images, targets = self.mixer(self.learn.xb[0], self.learn.yb[0], rng)
        self.learn.xb, self.learn.yb = (images,), (targets,)


class Phases(KitCallback):
    """Frozen epochs first: only the head trains; then whatever ``unfreeze`` names."""

    order = -9

    def __init__(self, config: TrainConfig, head: set[str], trainable: set[str]) -> None:
        self.config, self.head, self.trainable = config, head, trainable

    def before_train(self) -> None:
        """Set what receives gradients and which norms keep their statistics."""
        frozen = self.learn.epoch < self.config.freeze_epochs
        set_trainable(self.learn.plain_model, self.head if frozen else self.trainable)
        set_modes(self.learn.plain_model, freeze_norm=self.config.freeze_norm)


class Rates(KitCallback):
    """Every group's rate follows the schedule, step by step; it depends on the position alone.

    Where another callback (``ReduceLROnPlateau``) changed a rate between two epochs, its factor stays.
    """

    order, run_valid = 60, False

    def __init__(self, config: TrainConfig, peaks: list[float]) -> None:
        self.config, self.peaks = config, list(peaks)
        self.given: list[float] = []

    def before_train(self) -> None:
        """Keep what was changed since the last step."""
        now = [float(group["lr"]) for group in self.learn.optimiser.param_groups]
        for index, (given, rate) in enumerate(zip(self.given, now, strict=False)):
            if given > 0 and rate != given:
                self.peaks[index] *= rate / given

    def before_fit(self) -> None:
        """A fit starts with the peaks; that is no change."""
        self.given = []

    def before_batch(self) -> None:
        """Set the rates of the step that this batch belongs to."""
        state = self.learn.state
        done = state.epoch + state.step / self.learn.sampler.steps
        factor = rate_factor(self.config, done)
        self.given = [peak * factor for peak in self.peaks]
        for group, rate in zip(self.learn.optimiser.param_groups, self.given, strict=True):
            group["lr"] = rate
