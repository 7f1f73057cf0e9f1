"""Optimiser, groups of layers with their rates, and schedules.

Rates fall from the head to the input by *timm's layer decay* (``timm.optim.param_groups_layer_decay``): the model's own
``group_matcher`` numbers its layers, and a layer ``k`` groups below the deepest one trains at ``lr * layer_decay**k``.
Norms, biases and what the model exempts (position tables) have no weight decay. The head has a rate of its own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from competition.config import TrainConfig
from competition.errors import UsageError
from competition.training.backbones.create import classifiers_of

Groups = list[dict[str, Any]]


def layer_numbers(model: nn.Module) -> dict[str, int]:
    """Layer group of every parameter by name, 0 at the input; the classifier's own are left out."""
    numbers = _all_layers(model)
    head = {id(parameter) for part in classifiers_of(model) for parameter in part.parameters()}
    return {
        name: int(numbers.get(name, max(numbers.values())))
        for name, parameter in model.named_parameters()
        if id(parameter) not in head
    }


def _all_layers(model: nn.Module) -> dict[str, int]:
    """Timm's own numbers, head and neck included."""
    from timm.models import group_parameters
    from timm.optim._param_groups import auto_group_layers

    matcher = getattr(model, "group_matcher", None)
    found: dict[str, int] = (
        group_parameters(model, matcher(coarse=False), reverse=True) if matcher else auto_group_layers(model)
    )
    return found


def trainable_names(model: nn.Module, unfreeze: str) -> set[str]:
    """Names of the parameters that train once the frozen epochs are over.

    Raises:
        UsageError: more layer groups were asked for than there are.
    """
    numbers = layer_numbers(model)
    head = {name for name, _ in model.named_parameters() if name not in numbers}
    if unfreeze == "head":
        return head
    if unfreeze == "all":
        return head | set(numbers)
    levels = sorted(set(numbers.values()))
    if int(unfreeze) > len(levels):
        raise UsageError(f"unfreeze={unfreeze} is impossible: this backbone has {len(levels)} layer groups")
    kept = set(levels[-int(unfreeze) :])
    return head | {name for name, number in numbers.items() if number in kept}


def parameter_groups(model: nn.Module, config: TrainConfig) -> Groups:
    """Groups of the parameters that require a gradient: ``params``, peak ``lr``, ``weight_decay``, ``name``.

    Raises:
        UsageError: nothing is left to train.
    """
    from timm.optim import param_groups_layer_decay

    numbers = layer_numbers(model)
    name_of = {id(parameter): name for name, parameter in model.named_parameters()}
    exempt = set(model.no_weight_decay()) if hasattr(model, "no_weight_decay") else set()  # type: ignore[operator]
    theirs = param_groups_layer_decay(model, 1.0, no_weight_decay_list=exempt, layer_decay=config.layer_decay)
    # timm counts the head as a layer; here it has a rate of its own, and the layer before it trains at the full rate.
    full = config.layer_decay ** (max(_all_layers(model).values()) - max(numbers.values(), default=0))
    groups: dict[str, dict[str, Any]] = {}
    for scale, decay, parameter in ((g["lr_scale"], g["weight_decay"], p) for g in theirs for p in g["params"]):
        number = numbers.get(name_of[id(parameter)])
        layer, rate = ("head", config.head_lr) if number is None else (f"layer{number:02d}", config.lr * scale / full)
        key = layer if decay else f"{layer}-no-decay"
        made = {"params": [], "lr": rate, "weight_decay": config.weight_decay * decay, "name": key}
        groups.setdefault(key, made)["params"].append(parameter)
    if not groups:
        raise UsageError("nothing is left to train: check unfreeze")
    return list(groups.values())


def make_optimiser(groups: Groups, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter, arXiv:1711.05101) or SGD with Nesterov momentum, decay as the groups say.

    SGD's decay is coupled to the rate as usual (L2), AdamW's is decoupled.
    """
    if config.optimiser == "sgd":
        momentum = config.momentum
        return torch.optim.SGD(groups, lr=config.lr, momentum=momentum, nesterov=momentum > 0)
    # On a CPU the fused form takes a third of the time (7 million weights, one thread: 6 against 22 ms a step).
    fused = all(parameter.device.type == "cpu" for group in groups for parameter in group["params"])
    return torch.optim.AdamW(groups, lr=config.lr, betas=(config.momentum, 0.999), fused=fused or None)
