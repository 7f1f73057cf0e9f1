"""GoogLeNet: the inception modules of Szegedy et al. 2015, table 1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from baselines.specs.base import BatchNorm, Spec

AUX_LOSS_WEIGHT = 0.3  # section 5: "the losses of the auxiliary classifiers were weighted by 0.3"


@dataclass(frozen=True)
class LocalNorm:
    """Local response normalisation: ``x / (bias + alpha / size * sum of squares over size channels) ** beta``.

    The paper gives no constants; these are Caffe's defaults, with which its public replication was trained.
    """

    size: int = 5
    alpha: float = 1e-4
    beta: float = 0.75
    bias: float = 1.0


@dataclass(frozen=True)
class Inception:
    """One inception module: filters of the four branches (1x1; 3x3 reduce and 3x3; 5x5 reduce and 5x5; pool proj)."""

    branch1: int
    branch2: tuple[int, int]
    branch3: tuple[int, int]
    branch4: int

    @property
    def filters(self) -> int:
        """Channels of the concatenated output."""
        return self.branch1 + self.branch2[1] + self.branch3[1] + self.branch4


# Table 1 of Szegedy et al. 2015. "pool" rows are the max poolings between the modules: (side, stride).
INCEPTION_TABLE: Mapping[str, Inception | tuple[int, int]] = {
    "inception3a": Inception(64, (96, 128), (16, 32), 32),
    "inception3b": Inception(128, (128, 192), (32, 96), 64),
    "maxpool3": (3, 2),
    "inception4a": Inception(192, (96, 208), (16, 48), 64),
    "inception4b": Inception(160, (112, 224), (24, 64), 64),
    "inception4c": Inception(128, (128, 256), (24, 64), 64),
    "inception4d": Inception(112, (144, 288), (32, 64), 64),
    "inception4e": Inception(256, (160, 320), (32, 128), 128),
    "maxpool4": (3, 2),
    "inception5a": Inception(256, (160, 320), (32, 128), 128),
    "inception5b": Inception(384, (192, 384), (48, 128), 128),
}
# The auxiliary heads hang on the outputs of 4a and 4d: 1 x 1 convolution, then two dense layers (section 5).
AUX_HEADS: Mapping[str, str] = {"inception4a": "aux1", "inception4d": "aux2"}
AUX_FILTERS, AUX_UNITS, AUX_DROPOUT = 128, 1024, 0.7


@dataclass(frozen=True, kw_only=True)
class GoogLeNetSpec(Spec):
    """GoogLeNet, that is Inception v1 (Szegedy et al. 2015).

    Attributes:
        aux_heads: with the two auxiliary classifiers, see ``AUX_LOSS_WEIGHT``.
        wide_kernel: side of the third branch's kernel: 5 as published; 3 in torchvision's weights, by a mistake
            (pytorch/vision issue 906) that is kept for their sake.
        last_pool: side of the max pooling before 5a: 3 as published, 2 in torchvision.
        local_norm: local response normalisation in the stem (as published); batch normalisation takes its place.
        aux_pool: ``5x5/3`` (as published) or ``4x4`` (whatever window leaves a 4 x 4 map; torchvision).
        stem: ``imagenet`` (7 x 7 stride 2 and two poolings) or ``small`` (3 x 3, no stride, no pooling).
    """

    family: ClassVar[str] = "googlenet"
    paper_init: ClassVar[str] = "xavier"
    bn: ClassVar[BatchNorm] = BatchNorm(eps=1e-3)
    dropout: float = 0.4
    aux_heads: bool = False
    wide_kernel: int = 5
    last_pool: int = 3
    local_norm: bool = True
    aux_pool: str = "5x5/3"
    stem: str = "imagenet"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._one_of("aux_pool", ("5x5/3", "4x4"))
        self._one_of("stem", ("imagenet", "small"))

    @property
    def cam_layer(self) -> str:
        """The output of the last module."""
        return "inception5b"

    def pool(self, name: str) -> tuple[int, int]:
        """Side and stride of a max pooling of ``INCEPTION_TABLE``."""
        row = INCEPTION_TABLE[name]
        assert isinstance(row, tuple)
        return (self.last_pool, row[1]) if name == "maxpool4" else row


def googlenet_aux_side(spec: GoogLeNetSpec, image_size: int) -> int:
    """Side of the map after the auxiliary heads' pooling."""
    if spec.aux_pool == "4x4":
        return 4
    side = image_size
    for _ in range(4 if spec.stem == "imagenet" else 1):
        side = (side + 1) // 2
    return (side - 5) // 3 + 1
