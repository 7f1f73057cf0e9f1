"""The learner of one fold: a plain timm model, the kit's loaders, rates by group of layers."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from competition.record.metrics import FLOOR, log_loss, softmax
from competition.record.temperature import fit_temperature
from competition.training.engine.callbacks import Averaging, ClipGradient
from competition.training.engine.feeding import Loaders
from competition.training.engine.fit_state import Score
from competition.training.engine.step_learner import StepLearner
from competition.training.finetune.callbacks import Mixing, Phases, Rates
from competition.training.finetune.fold_job import Job
from competition.training.finetune.mixing import FoldLoss, Mixer, set_trainable
from competition.training.finetune.parameter_groups import make_optimiser, parameter_groups, trainable_names

if TYPE_CHECKING:
    from competition.training.engine.processes import Together


class FoldLearner(StepLearner):
    """A ``StepLearner`` for fine-tuning: phases, rates by layer, mixing, averaged weights.

    Args:
        job: the fold and its recipe.
        model: plain timm model on its device.
        loaders: training and validation.
        precision: float32 or a half precision.
        together: the processes that train together; None where this one is alone.
        callbacks: further fastai callbacks.
    """

    def __init__(
        self,
        job: Job,
        model: nn.Module,
        loaders: Loaders,
        precision: torch.dtype,
        together: Together | None = None,
        callbacks: Sequence[Any] = (),
    ) -> None:
        config = job.config
        head, trainable = trainable_names(model, "head"), trainable_names(model, config.unfreeze)
        set_trainable(model, trainable)
        groups = parameter_groups(model, config)
        mixer = Mixer(config.mixup, config.cutmix, config.mix_probability, labels_count(model))
        own = [
            Phases(config, head, trainable),
            Rates(config, [float(group["lr"]) for group in groups]),
            ClipGradient(config.clip_grad),
            *([Mixing(mixer, config.seed)] if mixer.active else []),
            *([Averaging(model, config.ema_decay)] if config.ema_decay else []),
        ]
        super().__init__(
            model,
            loaders,
            loss=FoldLoss(config.smoothing),
            optimiser=make_optimiser(groups, config),
            total_epochs=config.total_epochs,
            precision=precision,
            together=together,
            callbacks=[*own, *callbacks],
        )
        self.config = config
        # A resumed fold comes here with the same start, before its checkpoint is put back.
        state = model.state_dict() if config.interpolate else {}
        self.start = {name: tensor.detach().clone() for name, tensor in state.items()}

    @property
    def kinds(self) -> tuple[str, ...]:
        """Raw, averaged, and the interpolations between the start and the averaged (else raw) weights."""
        return (*super().kinds, *(f"start-to-{share:g}" for share in self.config.interpolate))

    def candidate(self, kind: str) -> nn.Module:
        """The model with one of those sets of weights."""
        if not kind.startswith("start-to-"):
            return super().candidate(kind)
        share = float(kind.removeprefix("start-to-"))
        model = copy.deepcopy(super().candidate("raw" if self.averaging is None else "ema"))
        mixed = {
            name: torch.lerp(self.start[name], tensor, share) if tensor.is_floating_point() else tensor
            for name, tensor in model.state_dict().items()
        }
        model.load_state_dict(mixed)
        return model

    def score(self, model: nn.Module) -> Score:
        """As usual; with shares of the way, what decides is the log loss after the temperature.

        The further from the start, the surer the predictions; a run's temperature takes that back before anything is
        submitted, so it must not decide between sets of weights.
        """
        score = super().score(model)
        if not self.config.interpolate:
            return score
        return dataclasses.replace(score, calibrated_log_loss=calibrated_log_loss(score))

    def side_of(self, epoch: int) -> int:
        """Side of the training squares in an epoch, pixels."""
        sides = self.config.progressive
        return sides[epoch * len(sides) // self.total_epochs] if sides else self.config.image_size


def labels_count(model: nn.Module) -> int:
    """Classes of a timm model."""
    return int(model.num_classes)  # type: ignore[arg-type]


def calibrated_log_loss(score: Score) -> float:
    """Log loss, nats, after the temperature that suits these photos best."""
    logits = np.log(np.maximum(score.probabilities, FLOOR))
    return log_loss(softmax(logits, fit_temperature(logits, score.labels)), score.labels)
