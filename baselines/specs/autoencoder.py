"""Tables of the autoencoders and of the DCGAN, read by both frameworks."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from baselines.specs.base import BatchNorm
from competition.errors import UsageError, nearest, require_known

# A 4 x 4 kernel with stride 2 and padding 1 halves or doubles a map exactly, and every output of a transposed one is
# reached by the same number of inputs: no checkerboard from uneven overlap (Odena et al. 2016).
KERNEL, STRIDE, PADDING = 4, 2, 1


@dataclass(frozen=True, kw_only=True)
class AutoencoderSpec:
    """An autoencoder (Hinton and Salakhutdinov 2006); trained on noise it is a denoising one (Vincent et al. 2008).

    Attributes:
        kind: ``dense`` or ``conv`` (convolutions down, transposed convolutions up).
        latent: numbers in the middle.
        hidden: widths of the dense layers before the middle; the way back mirrors them.
        widths: filters of the convolutions, each of which halves the map; the way back mirrors them.
        init: ``he`` or ``xavier``.

    Raises:
        UsageError: a value is impossible.
    """

    kind: str = "conv"
    latent: int = 32
    hidden: tuple[int, ...] = (512, 128)
    widths: tuple[int, ...] = (32, 64)
    init: str = "he"

    def __post_init__(self) -> None:
        if self.kind not in ("dense", "conv"):
            raise UsageError(f"kind={self.kind!r} is unknown{nearest(self.kind, ('dense', 'conv'))} Known: dense, conv")
        if self.latent < 1 or min((*self.hidden, *self.widths), default=1) < 1:
            raise UsageError("latent, hidden and widths of an autoencoder must be 1 or more")

    def replace(self, **options: Any) -> AutoencoderSpec:
        """Return this specification with some values changed.

        Raises:
            UsageError: an option is unknown.
        """
        known = [item.name for item in dataclasses.fields(self)]
        for key in options:
            if key not in known:
                raise UsageError(f"an autoencoder has no option '{key}'{nearest(key, known)} Known: {', '.join(known)}")
        return dataclasses.replace(self, **options)


AUTOENCODERS: Mapping[str, AutoencoderSpec] = {
    "dense": AutoencoderSpec(kind="dense"),
    "conv": AutoencoderSpec(kind="conv"),
}


def find_autoencoder(name: str) -> AutoencoderSpec:
    """Return the row of the table.

    Raises:
        UsageError: there is none; the nearest name is offered.
    """
    require_known("autoencoder", name, AUTOENCODERS)
    return AUTOENCODERS[name]


@dataclass(frozen=True, kw_only=True)
class DCGANSpec:
    """Deep convolutional GAN (Radford, Metz and Chintala 2016), as small as 28 to 64 pixels allow.

    Batch normalisation stands everywhere but in the generator's last and the discriminator's first layer.

    Attributes:
        noise: numbers a picture is made from.
        widths: filters of the discriminator's convolutions, each of which halves the map; the generator mirrors them.
        slope: of the discriminator's leaky ReLU on the negative side.
        deviation: standard deviation of the initial weights.
    """

    bn: ClassVar[BatchNorm] = BatchNorm()

    noise: int = 64
    widths: tuple[int, ...] = (32, 64)
    slope: float = 0.2
    deviation: float = 0.02

    def __post_init__(self) -> None:
        if self.noise < 1 or not self.widths or min(self.widths) < 1:
            raise UsageError("noise and widths of a DCGAN must be 1 or more, and there must be at least one width")


def smallest_side(image_size: int, widths: tuple[int, ...], what: str) -> int:
    """Side of the smallest map after every convolution halved it.

    Raises:
        UsageError: the side cannot be halved that often, so that the way back would miss pixels.
    """
    factor = STRIDE ** len(widths)
    if image_size % factor:
        raise UsageError(
            f"{what} halves its images {len(widths)} times: {image_size} px is no multiple of {factor}; "
            f"load the images at {max(1, round(image_size / factor)) * factor} px"
        )
    return image_size // factor
