"""PyTorch networks in the learner of ``competition.training``: their groups of weights, loss, rates and callbacks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from baselines.contract.batches import TrainBatches, in_order
from baselines.contract.config import ADAM_BETA2, ADAM_EPSILON, RMSPROP_EPSILON, RMSPROP_RHO, FitConfig
from baselines.contract.schedules import rate_at
from baselines.data.datasets import Dataset, Part
from baselines.specs.googlenet import AUX_LOSS_WEIGHT
from competition.training.backbones.devices import pick_precision
from competition.training.backbones.find import InputSpec
from competition.training.engine.callbacks import ClipGradient, KitCallback
from competition.training.engine.feeding import Loaders, Preparation
from competition.training.engine.step_learner import StepLearner
from competition.training.finetune.mixing import FoldLoss

Batch = tuple[torch.Tensor, torch.Tensor]


class NetLearner(StepLearner):
    """A ``StepLearner`` for one network on one data set in memory.

    Args:
        model: on its device.
        data: the data set.
        config: the configuration.
        device: where to compute.
        precision: float32 or a half precision.
        callbacks: further fastai callbacks.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Dataset,
        config: FitConfig,
        device: torch.device,
        precision: torch.dtype,
        callbacks: Sequence[Any] = (),
    ) -> None:
        batches = TrainBatches(data.train, config)
        penalty = [Penalty(kernels(model), config.l1, config.l2)] if config.l1 or config.l2 else []
        clip = [ClipGradient(config.clip_grad)] if config.clip_grad else []
        own = [Auxiliary(), Right()]
        loaders = Loaders(
            _Tensors(batches),
            _InOrder(data.valid, config.batch_size),
            batches,
            data.valid.labels,
            np.arange(len(data.valid)),
            Preparation(spec_of(data.mean, data.std), device, channels_last(precision)),
        )
        super().__init__(
            model,
            loaders,
            loss=FoldLoss(config.smoothing),
            optimiser=make_optimiser(model, config),
            total_epochs=config.epochs,
            precision=precision,
            callbacks=[*own, *clip, *penalty, Rates(config), *callbacks],
        )
        self.config = config
        self.valid_losses: list[float] = []

    @property
    def rate(self) -> float:
        """The learning rate of the step at hand."""
        return rate_at(self.config, self.state.epoch + self.state.step / self.sampler.steps, self.valid_losses)


class _Tensors:
    """Training batches as tensors; nothing is copied."""

    def __init__(self, batches: TrainBatches) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        for images, labels in self.batches:
            yield torch.from_numpy(images), torch.from_numpy(labels)


class _InOrder:
    """A part in order as tensors, copied batch by batch: arrays read from files may be read-only."""

    def __init__(self, part: Part, size: int) -> None:
        self.part, self.size = part, size

    def __len__(self) -> int:
        return -(-len(self.part) // self.size)

    def __iter__(self) -> Iterator[Batch]:
        for images, labels in in_order(self.part, self.size):
            yield torch.tensor(images), torch.tensor(labels)


class Rates(KitCallback):
    """Sets the rate of every step; it depends on the position and the validation losses alone."""

    order, run_valid = 60, False

    def __init__(self, config: FitConfig) -> None:
        self.config = config

    def before_batch(self) -> None:
        """Set the rate of the step that this batch belongs to."""
        rate = self.learn.rate
        for group in self.learn.optimiser.param_groups:
            group["lr"] = rate


class Auxiliary(KitCallback):
    """Training outputs with auxiliary heads (``AuxLogits``): their losses count 0.3 each (GoogLeNet, section 5)."""

    order, run_valid = 3, False  # before mixed precision and gradient accumulation, which know one output

    def before_batch(self) -> None:
        """Forget the last batch's."""
        self.heads: tuple[torch.Tensor, ...] = ()

    def after_pred(self) -> None:
        """Keep the auxiliary logits apart."""
        if isinstance(self.learn.pred, tuple):
            self.learn.pred, *heads = self.learn.pred
            self.heads = tuple(head for head in heads if head is not None)

    def after_loss(self) -> None:
        """Add the auxiliary losses."""
        for head in self.heads:
            add_to_loss(self.learn, AUX_LOSS_WEIGHT * self.learn.loss_func(head, *self.learn.yb))


class Penalty(KitCallback):
    """Adds ``l1 * sum(abs(w)) + l2 * sum(w ** 2)`` of the kernels to the loss."""

    order, run_valid = 4, False

    def __init__(self, weights: Sequence[nn.Parameter], l1: float, l2: float) -> None:
        self.weights, self.l1, self.l2 = list(weights), l1, l2

    def after_loss(self) -> None:
        """Add it."""
        terms = [self.l1 * weight.abs().sum() for weight in self.weights if self.l1]
        terms += [self.l2 * weight.square().sum() for weight in self.weights if self.l2]
        add_to_loss(self.learn, torch.stack(terms).sum())


class Right(KitCallback):
    """Counts the training images that were classified rightly, on the device until someone asks."""

    order, run_valid = 71, False

    def before_train(self) -> None:
        """Forget what an interrupted epoch left."""
        self.counts: list[torch.Tensor] = []

    def after_batch(self) -> None:
        """Count the chunk."""
        self.counts.append((self.learn.pred.detach().argmax(dim=1) == self.learn.yb[0]).sum())
        if len(self.counts) >= 20 or self.learn.device.type == "cpu":
            self.settle()

    def after_train(self) -> None:
        """Count what is left."""
        self.settle()

    def settle(self) -> None:
        """Add the counts to the state."""
        self.learn.state.right += sum(int(count) for count in self.counts)
        self.counts.clear()


def add_to_loss(learn: Any, term: torch.Tensor) -> None:
    """Add a term to the loss of the batch at hand, both to what is minimised and to what is recorded."""
    learn.loss_grad = learn.loss_grad + term
    learn.loss = learn.loss_grad.clone()


def kernels(model: nn.Module) -> list[nn.Parameter]:
    """Trainable weights of convolutions and dense layers: biases, norms and other vectors have one axis."""
    return [weight for weight in model.parameters() if weight.requires_grad and weight.ndim > 1]


def make_optimiser(model: nn.Module, config: FitConfig) -> torch.optim.Optimizer:
    """The configuration's optimiser at its peak rate; kernels decay, nothing else does."""
    decaying = {id(weight) for weight in kernels(model)}
    trainable = [weight for weight in model.parameters() if weight.requires_grad]
    parts = {
        "kernels": [weight for weight in trainable if id(weight) in decaying],
        "others-no-decay": [weight for weight in trainable if id(weight) not in decaying],
    }
    groups = [
        {"params": weights, "name": name, "lr": config.rate, "weight_decay": config.weight_decay * (name == "kernels")}
        for name, weights in parts.items()
        if weights
    ]
    betas = (config.momentum, ADAM_BETA2)
    if config.optimiser == "adamw":
        return torch.optim.AdamW(groups, betas=betas, eps=ADAM_EPSILON)
    if config.optimiser == "adam":
        return torch.optim.Adam(groups, betas=betas, eps=ADAM_EPSILON)
    if config.optimiser == "rmsprop":
        return torch.optim.RMSprop(groups, alpha=RMSPROP_RHO, eps=RMSPROP_EPSILON)
    momentum = 0.0 if config.optimiser == "sgd" else config.momentum
    return torch.optim.SGD(groups, lr=config.rate, momentum=momentum, nesterov=config.optimiser == "nesterov")


def spec_of(mean: np.ndarray, std: np.ndarray) -> InputSpec:
    """Statistics of a data set as the normalising callback takes them."""
    return InputSpec(0, tuple(map(float, mean)), tuple(map(float, std)), "", 1.0)  # type: ignore[arg-type]


def precision_of(config: FitConfig, device: torch.device) -> torch.dtype:
    """The configuration's precision; ``auto`` is float32 on any CPU, so that figures do not depend on which one."""
    if config.precision == "auto" and device.type == "cpu":
        return torch.float32
    return pick_precision(config.precision, device)


def channels_last(precision: torch.dtype) -> bool:
    """Whether channels-last memory pays: in half precision (VGG-16 on a CPU: 100 against 88 images/s a core)."""
    return precision != torch.float32
