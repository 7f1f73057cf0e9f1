"""VGG: the depths of Simonyan and Zisserman 2015, table 1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from baselines.specs.base import Spec
from competition.errors import UsageError

# Table 1 of Simonyan and Zisserman 2015: convolutions (3 x 3) in each of the five blocks.
VGG_DEPTHS: Mapping[str, tuple[int, ...]] = {
    "vgg11": (1, 1, 2, 2, 2),  # column A
    "vgg13": (2, 2, 2, 2, 2),  # column B
    "vgg16": (2, 2, 3, 3, 3),  # column D
    "vgg19": (2, 2, 4, 4, 4),  # column E
}


@dataclass(frozen=True, kw_only=True)
class VGGSpec(Spec):
    """VGG (Simonyan and Zisserman 2015).

    Attributes:
        depths: 3 x 3 convolutions in each block; a 2 x 2 pooling ends a block.
        widths: filters in each block.
        hidden: widths of the dense layers before the logits.
        head: ``flatten`` (the ImageNet head: dense layers over the flattened map) or ``pool`` (over its mean, for small
            images; pooling then rounds up, so that five blocks fit 28 pixels).
    """

    family: ClassVar[str] = "vgg"
    # "It is possible to initialise the weights without pre-training by using the procedure of Glorot & Bengio" (2.1)
    paper_init: ClassVar[str] = "xavier"
    dropout: float = 0.5
    depths: tuple[int, ...] = VGG_DEPTHS["vgg16"]
    widths: tuple[int, ...] = (64, 128, 256, 512, 512)
    hidden: tuple[int, ...] = (4096, 4096)
    head: str = "flatten"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._one_of("head", ("flatten", "pool"))
        if len(self.depths) != len(self.widths):
            raise UsageError(f"depths {self.depths} and widths {self.widths} differ in length")

    @property
    def cam_layer(self) -> str:
        """The last convolution's activation."""
        return f"relu{len(self.depths)}_{self.depths[-1]}"


def vgg_side(spec: VGGSpec, image_size: int) -> int:
    """Side of what ``fc6`` sees."""
    return 1 if spec.head == "pool" else image_size // 2 ** len(spec.depths)
