"""AlexNet's convolutions, full size and for small images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from baselines.specs.base import Spec


@dataclass(frozen=True)
class Conv:
    """One convolution of a table: filters, kernel side, stride, symmetric padding, and the pooling that follows it."""

    filters: int
    kernel: int
    stride: int = 1
    padding: int = 0
    pool: tuple[int, int] | None = None  # (side, stride)


@dataclass(frozen=True, kw_only=True)
class AlexNetSpec(Spec):
    """AlexNet (Krizhevsky, Sutskever, Hinton 2012) in the single-tower form of Krizhevsky 2014 that torchvision has.

    Attributes:
        convs: the five convolutions.
        hidden: widths of fc6 and fc7.
    """

    family: ClassVar[str] = "alexnet"
    paper_init: ClassVar[str] = "alexnet"
    dropout: float = 0.5
    convs: tuple[Conv, ...] = (
        Conv(64, 11, stride=4, padding=2, pool=(3, 2)),
        Conv(192, 5, padding=2, pool=(3, 2)),
        Conv(384, 3, padding=1),
        Conv(256, 3, padding=1),
        Conv(256, 3, padding=1, pool=(3, 2)),
    )
    hidden: tuple[int, ...] = (4096, 4096)

    @property
    def cam_layer(self) -> str:
        """The last convolution's activation."""
        return f"relu{len(self.convs)}"


# Section 5 of Krizhevsky et al. 2012: these biases start at 1, the others at 0.
ALEXNET_BIASES_OF_ONE = ("conv2", "conv4", "conv5", "fc6", "fc7")

ALEXNET_SMALL_CONVS = (
    Conv(64, 3, padding=1, pool=(2, 2)),
    Conv(192, 3, padding=1, pool=(2, 2)),
    Conv(384, 3, padding=1),
    Conv(256, 3, padding=1),
    Conv(256, 3, padding=1, pool=(2, 2)),
)


def alexnet_side(spec: AlexNetSpec, image_size: int) -> int:
    """Side of the map that ``fc6`` sees."""
    side = image_size
    for conv in spec.convs:
        side = (side + 2 * conv.padding - conv.kernel) // conv.stride + 1
        if conv.pool:
            side = (side - conv.pool[0]) // conv.pool[1] + 1
    return side
