"""Residual networks: He et al. 2016, table 1 (ImageNet) and section 4.2 (CIFAR)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from baselines.specs.base import Spec
from competition.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class ResNetSpec(Spec):
    """Residual networks (He, Zhang, Ren, Sun 2016).

    Attributes:
        block: ``basic`` (two 3 x 3) or ``bottleneck`` (1 x 1, 3 x 3, 1 x 1; four times as wide at its end).
        depths: blocks in each stage.
        widths: filters in each stage; every stage but the first halves the map.
        stem: ``imagenet`` (7 x 7 stride 2, max pooling) or ``small`` (3 x 3).
        shortcut: where the shape changes: ``identity`` (option A of section 3.3: every second pixel, missing channels
            zero, no parameters) or ``projection`` (option B: 1 x 1 convolution).
        bottleneck_stride: the convolution that strides in a bottleneck: ``3x3`` (torchvision) or ``1x1`` (the paper).
    """

    family: ClassVar[str] = "resnet"
    batch_norm: bool = True
    block: str = "basic"
    depths: tuple[int, ...] = (2, 2, 2, 2)
    widths: tuple[int, ...] = (64, 128, 256, 512)
    stem: str = "imagenet"
    shortcut: str = "projection"
    bottleneck_stride: str = "3x3"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._one_of("block", ("basic", "bottleneck"))
        self._one_of("stem", ("imagenet", "small"))
        self._one_of("shortcut", ("identity", "projection"))
        self._one_of("bottleneck_stride", ("3x3", "1x1"))
        if len(self.depths) != len(self.widths):
            raise UsageError(f"depths {self.depths} and widths {self.widths} differ in length")
        if self.block == "bottleneck" and self.shortcut == "identity":
            raise UsageError("a bottleneck ResNet needs shortcut='projection': its channels grow fourfold at once")

    @property
    def cam_layer(self) -> str:
        """The output of the last block."""
        return f"layer{len(self.depths)}.{self.depths[-1] - 1}.relu{3 if self.block == 'bottleneck' else 2}"

    @property
    def expansion(self) -> int:
        """Output channels of a block over its width."""
        return 4 if self.block == "bottleneck" else 1


def cifar_resnet(depth: int) -> ResNetSpec:
    """The CIFAR network of section 4.2: ``depth`` = 6n + 2 layers, n blocks in each of three stages.

    Raises:
        UsageError: the depth is not 6n + 2.
    """
    blocks, rest = divmod(depth - 2, 6)
    if rest or blocks < 1:
        raise UsageError(f"a CIFAR ResNet has 6n + 2 layers (8, 14, 20, 32, ...), not {depth}")
    return ResNetSpec(depths=(blocks,) * 3, widths=(16, 32, 64), stem="small", shortcut="identity")
