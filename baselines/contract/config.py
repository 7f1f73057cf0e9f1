"""The one configuration of a baseline's training, the same keys and meanings in PyTorch and in Keras.

What both adapters must agree on is written in this folder; no framework is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from competition.config import Config

# Default peak rates, by optimiser, for batches of about 128.
RATES: Mapping[str, float] = {
    "sgd": 0.1,
    "momentum": 0.05,
    "nesterov": 0.05,
    "adam": 1e-3,
    "adamw": 1e-3,
    "rmsprop": 1e-3,
}
# Constants that the frameworks set differently by default; both adapters take these.
ADAM_BETA2 = 0.999
ADAM_EPSILON = 1e-7
RMSPROP_RHO = 0.9
RMSPROP_EPSILON = 1e-7

SCHEDULES = ("constant", "step", "cosine", "one_cycle", "plateau")
AUGMENTATIONS = ("crop", "flip", "cutout")


@dataclass(frozen=True, kw_only=True)
class FitConfig(Config):
    """Training of one network on one data set, in either framework.

    The *kernels* are the weights of convolutions and dense layers: biases, norms and other vectors are neither decayed
    nor penalised.

    Attributes:
        epochs: passes over the training part.
        batch_size: images per step; the incomplete last batch of an epoch is left out, other images in it every epoch.
        optimiser: ``sgd``, ``momentum``, ``nesterov``, ``adam``, ``adamw`` or ``rmsprop``.
        lr: peak rate; None takes the optimiser's usual one (see ``RATES``).
        momentum: of ``momentum`` and ``nesterov``, or Adam's first beta.
        schedule: ``constant``, ``step``, ``cosine``, ``one_cycle`` or ``plateau``; see ``schedules.py``.
        warmup_epochs: epochs in which the rate rises to its peak (of ``one_cycle``: the rise itself; 0 gives it 30 %).
        final_lr: rate at the end of ``cosine`` and ``one_cycle``, and lowest of ``plateau``, as a share of the peak.
        steps: epochs after which ``step`` multiplies the rate; empty takes 50 % and 75 % of the epochs.
        step_factor: what ``step`` and ``plateau`` multiply the rate by.
        plateau_patience: epochs without a lower validation loss before ``plateau`` lowers the rate.
        weight_decay: of the kernels; decoupled in ``adamw`` (Loshchilov and Hutter), added to the gradient in all
            others (as papers write it and PyTorch does).
        l1: the loss gains ``l1 * sum(abs(kernel))``, as Keras' regularisers.
        l2: the loss gains ``l2 * sum(kernel ** 2)``, as Keras' regularisers.
        dropout: rate for every dropout layer that the model has; None leaves them as they were made.
        smoothing: label smoothing in [0, 1), in training only.
        clip_grad: largest norm of the whole gradient; 0 turns clipping off.
        augment: any of ``crop``, ``flip``, ``cutout``, applied in this order.
        crop_padding: pixels of zeros around an image before ``crop``.
        cutout_side: side of the square that ``cutout`` blanks, pixels.
        precision: ``auto`` (half precision on a GPU, float32 on a CPU), ``float32``, ``bfloat16`` or ``float16``.
        monitor: what decides the best epoch and early stopping: ``valid_loss`` or ``valid_accuracy``.
        patience: epochs without a better one before training stops; 0 never stops early.

    Raises:
        UsageError: a value is impossible.
    """

    epochs: int = 10
    batch_size: int = 128
    optimiser: str = "adamw"
    lr: float | None = None
    momentum: float = 0.9
    schedule: str = "cosine"
    warmup_epochs: float = 0.0
    final_lr: float = 0.01
    steps: tuple[int, ...] = ()
    step_factor: float = 0.1
    plateau_patience: int = 3
    weight_decay: float = 0.0
    l1: float = 0.0
    l2: float = 0.0
    dropout: float | None = None
    smoothing: float = 0.0
    clip_grad: float = 0.0
    augment: tuple[str, ...] = ()
    crop_padding: int = 4
    cutout_side: int = 8
    precision: str = "auto"
    monitor: str = "valid_loss"
    patience: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(not self.merge_classes, "merge_classes", "nothing: rename the class folders that are one class")
        self._require(not self.crop_to_boxes, "crop_to_boxes", "false: it is for photos of the competition")
        self._require_choices()
        self._require_ranges()

    @property
    def rate(self) -> float:
        """The peak rate, the optimiser's own where none was given."""
        return RATES[self.optimiser] if self.lr is None else self.lr

    def identity(self) -> dict[str, Any]:
        """The values that decide the result: what a continuation must have in common."""
        return {key: value for key, value in self.to_dict().items() if key not in ("device", "workers", "name")}

    def _require_choices(self) -> None:
        choices: Mapping[str, tuple[str, ...]] = {
            "optimiser": tuple(RATES),
            "schedule": SCHEDULES,
            "precision": ("auto", "float32", "bfloat16", "float16"),
            "monitor": ("valid_loss", "valid_accuracy"),
        }
        for key, known in choices.items():
            self._require(getattr(self, key) in known, key, " or ".join(known))
        known = AUGMENTATIONS
        self._require(
            set(self.augment) <= set(known) and len(set(self.augment)) == len(self.augment),
            "augment",
            f"any of {', '.join(known)}, each once",
        )

    def _require_ranges(self) -> None:
        for key in ("epochs", "batch_size", "plateau_patience", "cutout_side", "crop_padding"):
            self._require(getattr(self, key) >= 1, key, "1 or more")
        for key in ("warmup_epochs", "weight_decay", "l1", "l2", "clip_grad", "patience"):
            self._require(getattr(self, key) >= 0, key, "0 or more")
        for key in ("momentum", "smoothing"):
            self._require(0 <= getattr(self, key) < 1, key, "at least 0 and below 1")
        for key in ("final_lr", "step_factor"):
            self._require(0 < getattr(self, key) <= 1, key, "above 0 and at most 1")
        self._require(self.lr is None or self.lr > 0, "lr", "above 0")
        self._require(self.dropout is None or 0 <= self.dropout < 1, "dropout", "at least 0 and below 1, or none")
        self._require(self.warmup_epochs <= self.epochs, "warmup_epochs", f"at most epochs ({self.epochs})")
        self._require(all(step >= 1 for step in self.steps), "steps", "epochs of 1 or more")
