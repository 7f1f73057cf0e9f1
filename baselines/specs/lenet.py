"""LeNet-5: what LeCun et al. 1998 publish, and what courses teach."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from baselines.specs.base import ACTIVATIONS, Spec
from competition.errors import UsageError

# Table I of LeCun et al. 1998: the maps of S2 (rows 0 to 5) that each of the 16 maps of C3 reads.
LENET_C3_TABLE: tuple[tuple[int, ...], ...] = (
    *((0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5)),
    *((0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5)),
    *((0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5), (0, 1, 2, 3, 4, 5)),
)


@dataclass(frozen=True, kw_only=True)
class LeNetSpec(Spec):
    """LeNet-5 (LeCun, Bottou, Bengio, Haffner 1998), as published or as it is taught.

    Attributes:
        activation: ``scaled_tanh`` (1.7159 tanh(2a/3), as published), ``tanh`` or ``relu``.
        pooling: ``subsampling`` (sum, one trainable coefficient and bias a map, then the activation; as published),
            ``average`` or ``max``.
        connections: of C3: ``table`` (60 of 96, as published) or ``full``.
        head: ``gaussian`` (Euclidean radial basis functions with fixed +-1 codes, as published) or ``linear``.
        maps: feature maps of C1, C3 and C5.
        units: of F6.
    """

    family: ClassVar[str] = "lenet"
    paper_init: ClassVar[str] = "lenet"
    activation: str = "tanh"
    pooling: str = "average"
    connections: str = "full"
    head: str = "linear"
    maps: tuple[int, int, int] = (6, 16, 120)
    units: int = 84

    def __post_init__(self) -> None:
        super().__post_init__()
        self._one_of("activation", ACTIVATIONS)
        self._one_of("pooling", ("subsampling", "average", "max"))
        self._one_of("connections", ("table", "full"))
        self._one_of("head", ("gaussian", "linear"))
        if self.connections == "table" and self.maps[:2] != (6, 16):
            raise UsageError(f"connections='table' is made for 6 and 16 maps, not {self.maps[0]} and {self.maps[1]}")

    @property
    def cam_layer(self) -> str:
        """The activation of C3: C5 already sees the whole image."""
        return "act3"


def lenet_padding(image_size: int) -> int:
    """Pixels that C1 pads: the 28 pixels of MNIST become the paper's 32, everything else stays."""
    return 2 if image_size == 28 else 0


def lenet_codes(num_classes: int, units: int) -> np.ndarray:
    """Codes of the Gaussian connections, float32 (classes, units) of +-1, the same on every call."""
    return np.random.default_rng(1998).choice(np.array([-1, 1], dtype=np.float32), size=(num_classes, units))
