"""The learner of one fold: a plain timm model, the kit's loaders, rates by group of layers."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import numpy as np
import torch
from torch import nn

from competition.config import TrainConfig
from competition.record.metrics import FLOOR, log_loss, softmax
from competition.record.temperature import fit_temperature
from competition.training.backbones.find import InputSpec
from competition.training.engine.callbacks import Averaging, ClipGradient
from competition.training.engine.processes import World
from competition.training.engine.step_learner import Loaders, Preparation, Score, StepLearner
from competition.training.finetune.callbacks import Mixing, Phases, Rates
from competition.training.finetune.mixing import FoldLoss, Mixer, set_trainable
from competition.training.finetune.parameter_groups import make_optimiser, parameter_groups, trainable_names
from competition.training.photos.loader import StepSampler


class FoldLearner(StepLearner):
    """A ``StepLearner`` for fine-tuning: phases, rates by layer, mixing, averaged weights.

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
        optimiser = make_optimiser(groups, config)
        mixer = Mixer(config.mixup, config.cutmix, config.mix_probability, labels_count(model))
        own = [
            Phases(config, head, trainable),
            Rates(config, [float(group["lr"]) for group in groups]),
            *([Mixing(mixer, config.seed)] if mixer.active else []),
        ]
        super().__init__(
            model,
            loaders,
            sampler,
            labels,
            rows,
            prepare=Preparation(spec, device, config.channels_last),
            loss=FoldLoss(config.smoothing),
            optimiser=optimiser,
            total_epochs=config.freeze_epochs + config.epochs,
            device=device,
            precision=precision,
            clip=ClipGradient(config.clip_grad),
            averaging=Averaging(model, config.ema_decay) if config.ema_decay else None,
            world=world,
            callbacks=[*own, *callbacks],
        )
        self.config, self.spec = config, spec
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

    def _score(self, model: nn.Module) -> Score:
        """As usual, but with shares of the way the log loss is the one after the temperature.

        The further from the start, the surer the predictions; a run's temperature takes that back before anything is
        submitted, so it must not decide between sets of weights.
        """
        score = super()._score(model)
        if not self.config.interpolate:
            return score
        logits = np.log(np.maximum(score.probabilities, FLOOR))
        cooled = softmax(logits, fit_temperature(logits, score.labels))
        return dataclasses.replace(score, log_loss=log_loss(cooled, score.labels))

    def side_of(self, epoch: int) -> int:
        """Side of the training squares in an epoch, pixels."""
        sides = self.config.progressive
        return sides[epoch * len(sides) // self.total_epochs] if sides else self.config.image_size


def labels_count(model: nn.Module) -> int:
    """Classes of a timm model."""
    return int(model.num_classes)  # type: ignore[arg-type]
