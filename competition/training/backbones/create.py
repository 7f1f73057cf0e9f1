"""timm backbones as networks: loaded strictly, with the arguments and input statistics they were trained with.

Only safetensors are read from disk; nothing here unpickles. ``backbones`` finds them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from competition.errors import UsageError, WeightsError
from competition.files import atomic_path, in_utf8
from competition.training.backbones.find import (
    BackboneRef,
    model_arguments,
    pretrained_facts,
)


def create_model(
    ref: BackboneRef,
    num_classes: int | None = None,
    *,
    pretrained: bool = True,
    drop_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    image_size: int | None = None,
) -> nn.Module:
    """Build a plain timm model: (n, 3, h, w) normalised float -> (n, num_classes) logits, or pooled features.

    Args:
        ref: which backbone.
        num_classes: outputs of a new head; 0 gives pooled features, None keeps the backbone's own classifier.
        pretrained: load the weights (strictly); False draws new ones.
        drop_rate: dropout before the head.
        drop_path_rate: stochastic depth.
        image_size: side of the input for backbones with position tables; None keeps their own.

    Raises:
        WeightsError: the weights are missing, damaged or of another architecture.
        UsageError: the backbone refuses the image size.
    """
    import timm
    from safetensors import SafetensorError

    arguments: dict[str, Any] = {} if num_classes is None else {"num_classes": num_classes}
    if drop_rate:
        arguments["drop_rate"] = drop_rate
    if drop_path_rate:
        arguments["drop_path_rate"] = drop_path_rate
    if image_size and image_size != ref.spec.size and has_fixed_size(ref):
        arguments["img_size"] = image_size
    if ref.file:
        # Grey weights are loaded as they are and then spread over three channels.
        arguments["in_chans"] = ref.channels if pretrained else 3
        arguments = {**model_arguments(ref.file), "pretrained_cfg": pretrained_facts(ref.file), **arguments}
    try:
        with _lacking_tensors() as lacking:
            model: nn.Module = timm.create_model(ref.architecture, pretrained=pretrained, **arguments)
        _require_loaded(model, lacking, headless=ref.classes == 0)
        return _in_colour(model, ref) if pretrained and ref.channels == 1 else model
    except (*_REFUSALS, OSError, SafetensorError) as error:
        reason = _reason(error, 240)
        if "img_size" in arguments and image_size:
            raise UsageError(f"{ref.name} cannot take images of {image_size} px: {reason}") from error
        where = ref.file or f"timm's hub ({ref.architecture})"
        raise WeightsError(f"weights of {where} cannot be loaded into '{ref.architecture}': {reason}") from error


def _reason(error: Exception, longest: int) -> str:
    return " ".join(str(error).split())[:longest]


def _alike(first: torch.Tensor, second: torch.Tensor) -> bool:
    """Whether two results are the same but for rounding."""
    return first.shape == second.shape and float((first - second).abs().max()) <= 1e-3 * float(first.abs().max())


# What timm and torch raise for weights, arguments or pictures that do not fit an architecture.
_REFUSALS = (RuntimeError, ValueError, TypeError, AssertionError, KeyError, AttributeError, NotImplementedError)
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow's convert("L")


@torch.no_grad()
def _in_colour(model: nn.Module, ref: BackboneRef) -> nn.Module:
    """The model with its first convolution spread over three channels: a photo gives what its grey version would give.

    Raises:
        ValueError: the first layer does not allow it (it normalises its own weights, or is no plain one).
    """
    named = (getattr(model, "pretrained_cfg", None) or {}).get("first_conv") or ()
    photo = torch.rand(1, 3, ref.spec.size, ref.spec.size, generator=torch.Generator().manual_seed(0))
    share = torch.tensor(_LUMA).view(1, 3, 1, 1)
    was_training = model.training
    expected = model.eval()((photo * share).sum(1, keepdim=True))
    for name in [named] if isinstance(named, str) else named:
        layer = model.get_submodule(name)
        if isinstance(layer, nn.Conv2d) and layer.weight.shape[1] == 1:
            layer.weight = nn.Parameter(layer.weight * share)
            layer.in_channels = 3
    if not _alike(model(photo), expected):
        raise ValueError("they are for grey images, and its first layer cannot be spread over three channels")
    return model.train(was_training)


@contextmanager
def _lacking_tensors() -> Iterator[set[str]]:
    """Names that ``load_state_dict`` finds no tensor for: with a head of another size timm asks for no strictness."""
    lacking: set[str] = set()
    original = nn.Module.load_state_dict

    def load(module: nn.Module, *arguments: Any, **named: Any) -> Any:
        result = original(module, *arguments, **named)
        lacking.update(result.missing_keys)
        return result

    nn.Module.load_state_dict = load  # type: ignore[method-assign, assignment]
    try:
        yield lacking
    finally:
        nn.Module.load_state_dict = original  # type: ignore[method-assign]


def _require_loaded(model: nn.Module, lacking: set[str], headless: bool) -> None:
    """Check that nothing but the head was left as it was drawn; of a file without one, nothing but all of it.

    Raises:
        ValueError: some of the backbone's parameters had no tensor in the file.
    """
    heads = (getattr(model, "pretrained_cfg", None) or {}).get("classifier") or ()
    new = tuple(f"{head}." for head in ([heads] if isinstance(heads, str) else heads))
    whole = {id(parameter) for part in classifiers_of(model) for parameter in part.parameters()} if headless else set()
    left = [
        name
        for name, parameter in model.named_parameters()
        if name in lacking and not name.startswith(new) and id(parameter) not in whole
    ]
    if left:
        raise ValueError(f"{len(left)} of its tensors are not in the file (first: {left[0]})")


def has_fixed_size(ref: BackboneRef) -> bool:
    """Whether a backbone is built for one image size (position tables), as timm's registry says."""
    import timm

    config = timm.get_pretrained_cfg(ref.architecture)
    return bool(config and config.fixed_input_size)


def save_weights(model: nn.Module, path: Path) -> None:
    """Write a model's state as safetensors, atomically."""
    from safetensors.torch import save_file

    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    with atomic_path(path) as temporary:
        save_file(state, str(temporary))


def load_weights(model: nn.Module, path: Path) -> None:
    """Load safetensors into a model, strictly; half precision is cast to the model's own.

    Raises:
        WeightsError: the file is missing, damaged or of another architecture (the first differing name is given).
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        with in_utf8(path) as plain:
            state = load_file(str(plain))
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path} cannot be read as safetensors ({error})") from error
    own = model.state_dict()
    lacking, extra = sorted(set(own) - set(state)), sorted(set(state) - set(own))
    unequal = [name for name in own if name in state and own[name].shape != state[name].shape]
    if lacking or extra or unequal:
        first = (lacking or extra or unequal)[0]
        raise WeightsError(
            f"{path} holds weights of another architecture: {len(lacking)} missing, {len(extra)} unknown, "
            f"{len(unequal)} of another shape (first: {first})"
        )
    model.load_state_dict(state)


@torch.no_grad()
def try_features(ref: BackboneRef, photo: torch.Tensor | None = None) -> torch.Tensor:
    """Pooled features (1, d) of one picture, by default a blank one: whether the weights can be used at all.

    Raises:
        WeightsError: they cannot be loaded, or the network gives no such features.
    """
    shown = torch.zeros(1, 3, ref.spec.size, ref.spec.size) if photo is None else photo
    model = create_model(ref, 0).eval()
    try:
        features = model(shown)
    except _REFUSALS as error:
        raise WeightsError(f"{ref.name} refuses a photo of {ref.spec.size} px: {_reason(error, 160)}") from error
    shape = tuple(features.shape) if isinstance(features, torch.Tensor) else type(features).__name__
    if shape != (1, ref.num_features):
        raise WeightsError(f"{ref.name} gives {shape} for a photo, not one vector of {ref.num_features} features")
    return features  # type: ignore[no-any-return]


def classifiers_of(model: nn.Module) -> tuple[nn.Module, ...]:
    """The layers that timm calls a model's classifier: one, or two where it was trained by distillation."""
    found = model.get_classifier()  # type: ignore[operator]
    return tuple(found) if isinstance(found, tuple | list | nn.ModuleList) else (found,)


def linear_in(classifier: nn.Module) -> nn.Linear | nn.Conv2d | None:
    """The one linear layer (or 1x1 convolution) of a classifier, None where there are more or none."""
    layers = [layer for layer in classifier.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    if len(layers) != 1 or (isinstance(layers[0], nn.Conv2d) and layers[0].kernel_size != (1, 1)):
        return None
    return layers[0]
