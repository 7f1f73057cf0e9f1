"""Widths of the multi-layer perceptron."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from baselines.specs.base import ACTIVATIONS, Spec


@dataclass(frozen=True, kw_only=True)
class MLPSpec(Spec):
    """Multi-layer perceptron: dense layers over the flattened image.

    Attributes:
        hidden: widths of the hidden layers.
        activation: ``relu``, ``tanh`` or ``scaled_tanh``.
    """

    family: ClassVar[str] = "mlp"
    hidden: tuple[int, ...] = (512, 256)
    activation: str = "relu"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._one_of("activation", ACTIVATIONS)
