"""Xception: Chollet 2017, figure 5."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from baselines.specs.base import BatchNorm, Spec
from competition.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class XceptionSpec(Spec):
    """Xception (Chollet 2017), figure 5.

    Attributes:
        stem: filters of the two plain convolutions of the entry flow.
        entry: filters of the entry flow's separable blocks; each halves the map.
        middle: filters and number of the middle flow's blocks.
        exit: filters of the exit flow's block (two) and of the last two separable convolutions.
        small: for images of 28 to 64 pixels: the two plain convolutions are padded and do not stride.
    """

    family: ClassVar[str] = "xception"
    paper_init: ClassVar[str] = "xavier"  # the default of Keras, in which the paper's experiments were written
    bn: ClassVar[BatchNorm] = BatchNorm(eps=1e-3, momentum=0.99)
    dropout: float = 0.5  # "ImageNet experiments: a dropout layer of rate 0.5 before the logistic regression" (4.2)
    batch_norm: bool = True
    stem: tuple[int, int] = (32, 64)
    entry: tuple[int, ...] = (128, 256, 728)
    middle: tuple[int, int] = (728, 8)
    exit: tuple[int, int, int, int] = (728, 1024, 1536, 2048)
    small: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.middle[0] != self.entry[-1]:
            raise UsageError(f"middle={self.middle} must go on with the {self.entry[-1]} filters that entry ends with")

    @property
    def flow(self) -> tuple[tuple[tuple[int, ...], bool], ...]:
        """Blocks from ``block2`` on: filters of their separable convolutions, and whether they halve the map."""
        entry = [((width, width), True) for width in self.entry]
        middle = [((self.middle[0],) * 3, False)] * self.middle[1]
        return (*entry, *middle, (self.exit[:2], True))

    @property
    def cam_layer(self) -> str:
        """The last convolution's activation."""
        return f"block{len(self.entry) + self.middle[1] + 3}_relu2"
