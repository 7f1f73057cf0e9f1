"""Configurations: frozen dataclasses that validate on construction. An unknown key is an error."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from competition.console import say
from competition.errors import UsageError, require_known
from competition.files import as_tuples, digest_of
from competition.types import view

DEFAULT_STRENGTHS = (3.0, 1.5, 0.8, 0.4, 0.2, 0.1, 0.05, 0.025, 0.012, 0.006, 0.003, 0.001)
_SWITCHES = {**dict.fromkeys(("true", "yes", "on", "1"), True), **dict.fromkeys(("false", "no", "off", "0"), False)}
_LATER_KEYS = {"merge_classes": "", "crop_to_boxes": False}


@dataclass(frozen=True, kw_only=True)
class Config:
    """What every recipe has.

    Attributes:
        name: the recipe's name.
        seed: seeds folds, initialisation, sampling and augmentation.
        n_folds: number of folds, at least 2.
        device: ``auto`` (a GPU where there is one), ``cpu``, ``cuda`` or ``cuda:N``; folds are spread over ``all`` GPUs
            or over a list (``cuda:0,cuda:1``).
        workers: processes that read photos; -1 chooses by the number of cores.
        merge_classes: ``true`` joins breeds that differ only in capitals, blanks, hyphens, underscores or accents; or
            the path of a CSV with the columns ``from`` and ``to``.
        crop_to_boxes: cut each photo to the box round its dogs, where people drew one (Stanford Dogs' ``Annotation/``).

    Raises:
        UsageError: a value is impossible.
    """

    name: str = ""
    seed: int = 42
    n_folds: int = 5
    device: str = "auto"
    workers: int = -1
    merge_classes: str = ""
    crop_to_boxes: bool = False

    def __post_init__(self) -> None:
        folded = self.merge_classes.casefold()
        if folded in _SWITCHES:
            object.__setattr__(self, "merge_classes", "true" if _SWITCHES[folded] else "")
        self._require(self.n_folds >= 2, "n_folds", "at least 2")
        self._require(self.seed >= 0, "seed", "0 or more")

    def _require(self, holds: bool, key: str, expected: str) -> None:
        if not holds:
            raise UsageError(f"{key}={getattr(self, key)!r} is impossible: expected {expected}")

    @classmethod
    def keys(cls) -> tuple[str, ...]:
        """Names of all keys."""
        return tuple(field.name for field in dataclasses.fields(cls))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Make a configuration from plain values (as read from ``config.json``).

        Raises:
            UsageError: a key is unknown or a value is impossible.
        """
        return cls(**{_known(cls, key): as_tuples(value) for key, value in values.items()})

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``config.json`` stores them."""
        return dataclasses.asdict(self)

    def override(self, assignments: Sequence[str]) -> Self:
        """Apply ``key=value`` texts from the command line; the text is read by the key's type.

        Raises:
            UsageError: no ``=``, unknown key, or a text that is not of the key's type.
        """
        hints = typing.get_type_hints(type(self))
        changes: dict[str, Any] = {}
        for assignment in assignments:
            key, equals, text = assignment.partition("=")
            if not equals:
                raise UsageError(f"'--set {assignment}' lacks '=': write --set key=value")
            changes[_known(type(self), key.strip())] = _parse(
                key.strip(), text.strip(), hints[_known(type(self), key.strip())]
            )
        return dataclasses.replace(self, **changes)

    @property
    def digest(self) -> str:
        """Digest of the values that decide the result; where and with how many workers it runs does not count."""
        values = {key: value for key, value in self.to_dict().items() if key not in ("device", "workers", "name")}
        # They came later: a configuration that leaves them as they were is still the same.
        values = {key: value for key, value in values.items() if key not in _LATER_KEYS or value != _LATER_KEYS[key]}
        return digest_of({"type": type(self).__name__, **values})


def _known(config: type[Config], key: str) -> str:
    known = config.keys()
    require_known("key", key, known)
    return key


def _parse(key: str, text: str, kind: Any) -> Any:
    """Read ``text`` as the annotated type ``kind``; tuples are comma-separated, None is written ``none``."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if text.casefold() == "none" and type(None) in arguments:
            return None
        return _parse(key, text, next(item for item in arguments if item is not type(None)))
    if origin is tuple:
        return tuple(_parse(key, part.strip(), arguments[0]) for part in text.split(",") if part.strip())
    if kind is bool:
        if text.casefold() in _SWITCHES:
            return _SWITCHES[text.casefold()]
        raise UsageError(f"{key}={text}: expected true or false")
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError as error:
            raise UsageError(f"{key}={text}: expected {'a whole number' if kind is int else 'a number'}") from error
    return text


@dataclass(frozen=True, kw_only=True)
class ProbeConfig(Config):
    """Logistic regression on frozen features.

    Attributes:
        backbones: timm names or folders in timm's local-directory form; empty takes every folder of ``--weights``.
        views: names from ``competition.types.VIEWS``; each is a block of features per backbone.
        strengths: L2 penalties tried, per photo and standardised feature; the best out of fold is taken.
        combine: ``auto`` (backbones side by side or averaged, whichever is better out of fold), ``concat`` (side by
            side, views averaged or not) or ``average``.
        imagenet_prior: where the backbone's own classifier knows the competition's breeds, start from its rows.
        batch_size: photos per forward pass.
        precision: ``auto`` (half precision on a GPU, float32 on a CPU), ``float32``, ``bfloat16`` or ``float16``.
    """

    backbones: tuple[str, ...] = ()
    views: tuple[str, ...] = ("identity", "hflip")
    strengths: tuple[float, ...] = DEFAULT_STRENGTHS
    combine: str = "auto"
    imagenet_prior: bool = True
    batch_size: int = 64
    precision: str = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.views:
            view(name)
        self._require(bool(self.views), "views", "at least one view")
        self._require(bool(self.strengths) and min(self.strengths) > 0, "strengths", "numbers above 0")
        self._require(self.combine in ("auto", "concat", "average"), "combine", "auto, concat or average")
        self._require(self.batch_size >= 1, "batch_size", "1 or more")
        kinds = ("auto", "float32", "bfloat16", "float16")
        self._require(self.precision in kinds, "precision", " or ".join(kinds))


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Config):
    """Fine-tuning of one backbone (or training it from scratch) with ``competition.training.finetune.fold_job``.

    Attributes:
        backbone: timm name or the name of a folder of weights.
        pretrained: start from the backbone's weights; False draws new ones (training from scratch).
        head_from: where the head starts: ``probe`` (the linear probe's solution), ``imagenet`` (the backbone's own
            classifier, for the classes it knows) or ``fresh`` (timm's initialisation).
        unfreeze: what trains after the frozen epochs: ``all``, ``head``, or a number of layer groups before the head.
        freeze_norm: batch-norm layers keep the statistics they came with, also where their neighbours train.
        image_size: side of the input in pixels.
        progressive: sides for equal stretches of the epochs, smallest first, as in EfficientNetV2; empty keeps
            ``image_size`` throughout, and validation is always at ``image_size``.
        epochs: epochs with ``unfreeze`` trainable.
        freeze_epochs: epochs before those in which the head alone trains.
        batch_size: photos per forward pass; processes that train together share them.
        accumulate: forward passes per optimiser step.
        optimiser: ``adamw`` or ``sgd`` (Nesterov).
        lr: peak rate of the layers below the head (the deepest group; ``layer_decay`` lowers it towards the input).
        head_lr: peak rate of the head.
        layer_decay: factor of the rate from one layer group to the next below it, timm's layer decay; 1 turns it off.
        weight_decay: decoupled; never on norms and biases.
        momentum: of SGD, or Adam's first beta.
        schedule: ``one_cycle``, ``cosine`` (with warm-up) or ``constant`` (with warm-up).
        warmup_epochs: epochs of linear warm-up of ``cosine`` and ``constant``; the rise of ``one_cycle``.
        final_lr: rate at the end, as a share of the peak.
        smoothing: label smoothing in [0, 1).
        mixup: alpha of mixup's Beta distribution; 0 turns it off.
        cutmix: alpha of CutMix's; 0 turns it off. With both, each batch draws one of them.
        mix_probability: share of batches that are mixed.
        ema_decay: decay of the moving average of the weights, warmed up; 0 turns it off.
        interpolate: shares of the way from the starting weights to the trained ones (WiSE-FT, Wortsman et al.,
            arXiv:2109.01903) that are validated beside them; the best set of weights is kept, by log loss after
            each set's own temperature. It pays where the start is good already (``head_from=probe``).
        clip_grad: largest norm of the gradient; 0 turns clipping off.
        drop_rate: dropout before the head.
        drop_path_rate: stochastic depth.
        augment: ``none``, ``light``, ``medium`` or ``strong``.
        augment_backend: of older configurations; ``albumentations`` is the only one left.
        precision: ``auto`` (half precision on a GPU, float32 on a CPU), ``float32``, ``bfloat16`` or ``float16``.
        channels_last: memory format of images and convolutions.
        compile: run the model through ``torch.compile``.
        patience: epochs without a better validation log loss before the fold stops; 0 never stops early.
        views: views predicted and kept after training; the fold's score uses ``identity`` and, where listed, ``hflip``.
        cache: keep decoded training photos in one memory-mapped file.
        threads: CPU threads that compute; 0 leaves it to torch. A tiny network on small pictures gains nothing from a
            second thread, and loses much where other programs compute on the same cores.
        needs_gpu: refuse to start on a CPU unless ``device`` says so.
    """

    backbone: str = "tf_efficientnetv2_b0"
    pretrained: bool = True
    head_from: str = "fresh"
    unfreeze: str = "all"
    freeze_norm: bool = False
    image_size: int = 224
    progressive: tuple[int, ...] = ()
    epochs: int = 5
    freeze_epochs: int = 1
    batch_size: int = 32
    accumulate: int = 1
    optimiser: str = "adamw"
    lr: float = 2e-4
    head_lr: float = 1e-3
    layer_decay: float = 0.8
    weight_decay: float = 0.02
    momentum: float = 0.9
    schedule: str = "cosine"
    warmup_epochs: float = 0.5
    final_lr: float = 0.01
    smoothing: float = 0.1
    mixup: float = 0.0
    cutmix: float = 0.0
    mix_probability: float = 1.0
    ema_decay: float = 0.999
    interpolate: tuple[float, ...] = ()
    clip_grad: float = 1.0
    drop_rate: float = 0.0
    drop_path_rate: float = 0.0
    augment: str = "light"
    augment_backend: str = "albumentations"
    precision: str = "auto"
    channels_last: bool = True
    compile: bool = False
    patience: int = 0
    views: tuple[str, ...] = ("identity", "hflip")
    cache: bool = True
    threads: int = 0
    needs_gpu: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.augment_backend != "albumentations":
            say(f"augment_backend={self.augment_backend} is gone and has no effect: albumentations draws")
            object.__setattr__(self, "augment_backend", "albumentations")
        for name in self.views:
            view(name)
        self._require("identity" in self.views, "views", "identity among them")
        self._require_choices()
        self._require_ranges()

    @property
    def total_epochs(self) -> int:
        """Epochs of a fold: those in which the head alone trains, then the others."""
        return self.freeze_epochs + self.epochs

    def _require_choices(self) -> None:
        choices = {
            "head_from": ("probe", "imagenet", "fresh"),
            "optimiser": ("adamw", "sgd"),
            "schedule": ("one_cycle", "cosine", "constant"),
            "augment": ("none", "light", "medium", "strong"),
            "precision": ("auto", "float32", "bfloat16", "float16"),
        }
        for key, known in choices.items():
            self._require(getattr(self, key) in known, key, " or ".join(known))
        names = self.unfreeze in ("all", "head")
        self._require(
            names or (self.unfreeze.isdecimal() and int(self.unfreeze) > 0), "unfreeze", "all, head or a number"
        )
        self._require(self.pretrained or self.head_from == "fresh", "head_from", "fresh when pretrained=False")

    def _require_ranges(self) -> None:
        for key in ("image_size", "batch_size", "accumulate"):
            self._require(getattr(self, key) >= 1, key, "1 or more")
        for key in (
            "epochs",
            "freeze_epochs",
            "warmup_epochs",
            "patience",
            "weight_decay",
            "mixup",
            "cutmix",
            "clip_grad",
        ):
            self._require(getattr(self, key) >= 0, key, "0 or more")
        for key in ("smoothing", "ema_decay", "drop_rate", "drop_path_rate", "momentum"):
            self._require(0 <= getattr(self, key) < 1, key, "at least 0 and below 1")
        for key in ("layer_decay", "final_lr"):
            self._require(0 < getattr(self, key) <= 1, key, "above 0 and at most 1")
        for key in ("lr", "head_lr"):
            self._require(getattr(self, key) > 0, key, "above 0")
        self._require(all(0 < share < 1 for share in self.interpolate), "interpolate", "shares between 0 and 1")
        self._require(0 <= self.mix_probability <= 1, "mix_probability", "between 0 and 1")
        self._require(self.total_epochs >= 1, "epochs", "1 or more (or freeze_epochs)")
        self._require(all(side >= 1 for side in self.progressive), "progressive", "sides in pixels")
