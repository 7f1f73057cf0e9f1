"""The registered models and ``create_model``; a framework is imported when the first of its models is made."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from baselines.specs.alexnet import ALEXNET_SMALL_CONVS, AlexNetSpec
from baselines.specs.base import Spec
from baselines.specs.googlenet import GoogLeNetSpec, googlenet_aux_side
from baselines.specs.lenet import LeNetSpec
from baselines.specs.mlp import MLPSpec
from baselines.specs.resnet import ResNetSpec, cifar_resnet
from baselines.specs.vgg import VGG_DEPTHS, VGGSpec
from baselines.specs.xception import XceptionSpec
from competition.errors import KitError, UsageError, nearest

FRAMEWORKS = ("pytorch", "keras")
_ALIASES = {"torch": "pytorch", "tensorflow": "keras", "tf": "keras"}
_TORCH_CLASSES = {
    "mlp": "MLP",
    "lenet": "LeNet5",
    "alexnet": "AlexNet",
    "vgg": "VGG",
    "googlenet": "GoogLeNet",
    "resnet": "ResNet",
    "xception": "Xception",
}


@dataclass(frozen=True)
class Entry:
    """A row of the registry.

    Attributes:
        spec: the architecture's numbers.
        about: one line for people.
        image_size: side of the images it is made for, in pixels.
        min_size: smallest side that leaves something of the map.
        in_channels: channels of the images it is made for.
    """

    spec: Spec
    about: str
    image_size: int = 224
    min_size: int = 32
    in_channels: int = 3


def _entries() -> dict[str, Entry]:
    small = {"image_size": 32, "min_size": 8}
    digits = {"image_size": 28, "min_size": 16, "in_channels": 1}
    entries = {
        "mlp": Entry(MLPSpec(), "two hidden layers, 512 and 256 units", **{**digits, "min_size": 1}),
        "lenet5": Entry(LeNetSpec(init="xavier"), "LeNet-5 as taught: tanh, average pooling", **digits),
        "lenet5_relu": Entry(
            LeNetSpec(activation="relu", pooling="max", init="he"), "LeNet-5 with ReLU and max pooling", **digits
        ),
        "lenet5_published": Entry(
            LeNetSpec(activation="scaled_tanh", pooling="subsampling", connections="table", head="gaussian"),
            "LeNet-5 as published in 1998: 60,000 trainable parameters",
            **digits,
        ),
        "alexnet": Entry(AlexNetSpec(), "AlexNet, single tower", min_size=63),
        "alexnet_small": Entry(
            AlexNetSpec(convs=ALEXNET_SMALL_CONVS, hidden=(1024, 1024), init="he"), "AlexNet for 28 to 64 px", **small
        ),
    }
    for name, depths in VGG_DEPTHS.items():
        entries[name] = Entry(VGGSpec(depths=depths), f"VGG-{name[3:]}")
        entries[f"{name}_bn"] = Entry(VGGSpec(depths=depths, batch_norm=True), f"VGG-{name[3:]} with batch norm")
        head: dict[str, Any] = {"depths": depths, "hidden": (512,), "head": "pool", "init": "he"}
        entries[f"{name}_small"] = Entry(VGGSpec(**head), f"VGG-{name[3:]} for 28 to 64 px", **small)
        entries[f"{name}_bn_small"] = Entry(
            VGGSpec(batch_norm=True, **head), f"VGG-{name[3:]} with batch norm for 28 to 64 px", **small
        )
    torchvision: dict[str, Any] = {"batch_norm": True, "wide_kernel": 3, "last_pool": 2, "aux_pool": "4x4"}
    entries["googlenet"] = Entry(GoogLeNetSpec(), "GoogLeNet (Inception v1) as published")
    entries["googlenet_bn"] = Entry(
        GoogLeNetSpec(dropout=0.2, **torchvision), "GoogLeNet with batch norm, torchvision's form"
    )
    entries["googlenet_small"] = Entry(
        GoogLeNetSpec(stem="small", batch_norm=True, aux_pool="4x4"),
        "GoogLeNet with batch norm for 28 to 64 px",
        **small,
    )
    for depth in (8, 14, 20, 32):
        entries[f"resnet{depth}"] = Entry(cifar_resnet(depth), f"ResNet-{depth} of the CIFAR kind (6n + 2)", **small)
    for depth, block, depths in (
        (18, "basic", (2, 2, 2, 2)),
        (34, "basic", (3, 4, 6, 3)),
        (50, "bottleneck", (3, 4, 6, 3)),
    ):
        residual = ResNetSpec(block=block, depths=depths)
        entries[f"resnet{depth}"] = Entry(residual, f"ResNet-{depth}")
        entries[f"resnet{depth}_small"] = Entry(
            residual.replace(stem="small"), f"ResNet-{depth} for 28 to 64 px", **small
        )
    entries["xception"] = Entry(XceptionSpec(), "Xception", image_size=299, min_size=71)
    entries["xception_small"] = Entry(XceptionSpec(small=True), "Xception for 28 to 64 px", **small)
    return entries


MODELS: Mapping[str, Entry] = _entries()


@dataclass(frozen=True)
class ModelInfo:
    """What a model was made from; ``create_model(**info.to_dict())`` makes it again.

    Attributes:
        name: registered name.
        framework: ``pytorch`` or ``keras``.
        num_classes: length of the logits.
        in_channels: channels of the input.
        image_size: side of the input in pixels.
        options: values that differ from the registered specification.
    """

    name: str
    framework: str
    num_classes: int
    in_channels: int
    image_size: int
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def spec(self) -> Spec:
        """The specification with the options."""
        return MODELS[self.name].spec.replace(**self.options)

    def to_dict(self) -> dict[str, Any]:
        """Keyword arguments of ``create_model``, as JSON stores them."""
        values = {item.name: getattr(self, item.name) for item in dataclasses.fields(self) if item.name != "options"}
        return {**values, **self.options}


def list_models(pattern: str = "*") -> list[str]:
    """Names of the registered models that match a shell pattern, in the order of the registry."""
    from fnmatch import fnmatch

    return [name for name in MODELS if fnmatch(name, pattern)]


def create_model(
    name: str,
    framework: str = "pytorch",
    num_classes: int = 10,
    in_channels: int | None = None,
    image_size: int | None = None,
    **options: Any,
) -> Any:
    """Make a network with new weights (seed the framework first for the same ones again).

    Args:
        name: see ``list_models``.
        framework: ``pytorch`` (a ``torch.nn.Module``) or ``keras`` (a flat functional ``keras.Model``).
        num_classes: length of the logits.
        in_channels: channels of the images; left out, those the model is made for.
        image_size: side of the images in pixels; left out, that the model is made for.
        options: values of its specification to change: ``init``, ``dropout``, ``batch_norm`` or the family's own.

    Returns:
        The model. It maps float32 (n, c, h, w) in PyTorch, (n, h, w, c) in Keras, to logits (n, num_classes), and its
        attribute ``info`` is a :class:`ModelInfo`.

    Raises:
        UsageError: unknown name, framework or option, or an image size the network cannot take.
        KitError: the framework is not installed.
    """
    info = _describe(name, framework, num_classes, in_channels, image_size, options)
    spec, arguments = info.spec, (info.num_classes, info.in_channels, info.image_size)
    module = _module(info.framework, spec.family)
    if info.framework == "keras":
        model = module.build(spec, *arguments, name=name)
    else:
        model = getattr(module, _TORCH_CLASSES[spec.family])(spec, *arguments)
    model.info = info
    return model


def _describe(
    name: str,
    framework: str,
    num_classes: int,
    in_channels: int | None,
    image_size: int | None,
    options: Mapping[str, Any],
) -> ModelInfo:
    entry = find_entry(name)
    chosen = find_framework(framework)
    channels = entry.in_channels if in_channels is None else in_channels
    size = entry.image_size if image_size is None else image_size
    for key, value in (("num_classes", num_classes), ("in_channels", channels)):
        if value < 1:
            raise UsageError(f"{key}={value} is impossible: expected 1 or more")
    plain = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
    info = ModelInfo(name, chosen, num_classes, channels, size, plain)
    _require_size(name, entry, info.spec, size)
    return info


def find_entry(name: str) -> Entry:
    """Return the row of the registry.

    Raises:
        UsageError: there is none; the nearest name is offered.
    """
    if name not in MODELS:
        raise UsageError(f"unknown model '{name}'{nearest(name, MODELS)} List them with 'baselines list'")
    return MODELS[name]


def find_framework(name: str) -> str:
    """Return ``pytorch`` or ``keras`` for a framework's name or one of its short forms.

    Raises:
        UsageError: there is none; the nearest name is offered.
    """
    chosen = _ALIASES.get(name.casefold(), name.casefold())
    if chosen not in FRAMEWORKS:
        raise UsageError(f"unknown framework '{name}'{nearest(name, FRAMEWORKS)} Known: {', '.join(FRAMEWORKS)}")
    return chosen


def _require_size(name: str, entry: Entry, spec: Spec, size: int) -> None:
    if size < entry.min_size:
        other = f"; {name}_small takes them" if f"{name}_small" in MODELS and size >= 8 else ""
        raise UsageError(f"{name} needs images of at least {entry.min_size} px, not {size} px{other}")
    if isinstance(spec, GoogLeNetSpec) and spec.aux_heads and googlenet_aux_side(spec, size) < 1:
        raise UsageError(
            f"the auxiliary heads of {name} find nothing to pool at {size} px: use aux_pool='4x4' or larger images"
        )


def _module(framework: str, family: str) -> Any:
    if framework == "pytorch":
        return importlib.import_module(f"baselines.torch_nets.{family}")
    require_keras()
    return importlib.import_module(f"baselines.keras_nets.{family}")


def require_keras() -> None:
    """Check that Keras and TensorFlow are there, without importing them.

    Raises:
        KitError: one is missing; the extra that brings it is named.
    """
    missing = [name for name in ("keras", "tensorflow") if importlib.util.find_spec(name) is None]
    if missing:
        raise KitError(
            f"{' and '.join(missing)} not installed: pip install 'dogbreed-kit[keras]' (the PyTorch side works without)"
        )
