"""What a training would cost here: a few steps and passes are timed, the rest is counting."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import nn

from competition.config import TrainConfig
from competition.training.backbones.devices import pick_precision
from competition.training.finetune.mixing import FoldLoss, set_modes, set_trainable
from competition.training.finetune.parameter_groups import make_optimiser, parameter_groups, trainable_names

_PHOTOS = 16  # of a timed pass: more cost no less for each of them on a CPU
_MOST = 5  # timed calls


def best_of(action: Callable[[], object], least: float = 2.0) -> float:
    """Shortest wall time of a call, seconds: whatever else the machine does makes a call longer, never shorter.

    Args:
        action: called once to warm up (memory, kernels chosen at first sight of a shape), then two to five times.
        least: no further call once so many seconds have been spent on timed ones.
    """
    action()
    times: list[float] = []
    while len(times) < 2 or (len(times) < _MOST and sum(times) < least):
        start = time.monotonic()
        action()
        times.append(time.monotonic() - start)
    return min(times)


def seconds_per_photo(model: nn.Module, image_size: int, photos: int = 2) -> float:
    """Wall time of forward and backward pass of all layers, per photo on the CPU, seconds."""
    model.train()
    images = torch.randn(photos, 3, image_size, image_size)
    seconds = best_of(lambda: model(images).sum().backward()) / photos
    for parameter in model.parameters():
        parameter.grad = None
    return seconds


def seconds_of_passes(model: nn.Module, config: TrainConfig) -> tuple[float, float]:
    """Wall time per photo on the CPU of a training step and of a forward pass, seconds; the model is changed.

    A step is what the recipe makes of it: only the layers that it trains get gradients, norms keep their statistics
    where it says so, and the optimiser takes its part.
    """
    photos = min(_PHOTOS, config.batch_size)
    layout = torch.channels_last if config.channels_last else torch.contiguous_format
    model.to(memory_format=layout)  # type: ignore[call-overload]
    images = torch.randn(photos, 3, config.image_size, config.image_size).contiguous(memory_format=layout)
    precision = pick_precision(config.precision, torch.device("cpu"))
    threads = torch.get_num_threads()
    torch.set_num_threads(config.threads or threads)
    try:
        with torch.autocast("cpu", dtype=precision, enabled=precision != torch.float32):
            step = best_of(_training_step(model, config, images))
            model.eval()
            with torch.inference_mode():
                forward = best_of(lambda: model(images))
    finally:
        torch.set_num_threads(threads)
    return step / photos, forward / photos


def _training_step(model: nn.Module, config: TrainConfig, images: torch.Tensor) -> Callable[[], None]:
    """One step of the recipe's training on the same images again and again."""
    set_trainable(model, trainable_names(model, config.unfreeze))
    set_modes(model, freeze_norm=config.freeze_norm)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser, loss = make_optimiser(parameter_groups(model, config), config), FoldLoss(config.smoothing)
    labels = torch.zeros(len(images), dtype=torch.int64)

    def step() -> None:
        loss(model(images).float(), labels).backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        optimiser.zero_grad()

    return step


def seconds_of_a_fold(config: TrainConfig, passes: tuple[float, float], photos: tuple[int, int, int]) -> float:
    """Training, validation of every set of weights after every epoch, and the views at the end; reading not counted.

    Args:
        config: the recipe.
        passes: seconds per photo of a training step and of a forward pass, from ``seconds_of_passes``.
        photos: how many train, validate, and are test photos.
    """
    (step, forward), (train, valid, test) = passes, photos
    sides = config.progressive or (config.image_size,)
    area = sum((side / config.image_size) ** 2 for side in sides) / len(sides)
    # While the head alone trains, the network below it is only passed through.
    training = train * area * (config.epochs * step + config.freeze_epochs * forward)
    return training + forward * (validated(config) * valid + len(config.views) * (valid + test))


def validated(config: TrainConfig) -> int:
    """How often a fold's validation photos are looked at while it trains: sets of weights times epochs."""
    return (1 + (config.ema_decay > 0) + len(config.interpolate)) * config.total_epochs
