"""DeepDream: a photo in which a layer sees more of what it sees already (Mordvintsev, Olah and Tyka, 2015)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from competition.console import progress
from competition.errors import UsageError
from competition.explain.inside import painted_picture
from competition.explain.inside.objectives import LayerObjective, Objective
from competition.explain.networks.protocol import check_finite, find_layer

if TYPE_CHECKING:
    from competition.explain.networks.protocol import Backend


@dataclass(frozen=True, kw_only=True)
class DreamConfig:
    """How a photo is dreamt on.

    Attributes:
        steps: ascent steps at each octave.
        rate: length of a step: mean change of a pixel, in units of [0, 1].
        octaves: sizes, the last being the photo's own.
        octave_scale: from one octave to the next.
        seed: of the shifts between steps, which hide the seams of the tiles.

    Raises:
        UsageError: a value is impossible.
    """

    steps: int = 12
    rate: float = 0.012
    octaves: int = 4
    octave_scale: float = 1.4
    seed: int = 0

    def __post_init__(self) -> None:
        for key, holds in (
            ("steps", self.steps >= 1),
            ("rate", self.rate > 0),
            ("octaves", self.octaves >= 1),
            ("octave_scale", self.octave_scale > 1),
            ("seed", self.seed >= 0),
        ):
            if not holds:
                raise UsageError(f"{key}={getattr(self, key)!r} is impossible: expected more")


def dream(
    backend: Backend,
    photo: np.ndarray,
    layer: str,
    config: DreamConfig | None = None,
    *,
    weights: np.ndarray | None = None,
    show_progress: bool = False,
) -> np.ndarray:
    """Raise a layer's mean square (or a weighted sum of its activation) on a photo of any size, octave by octave.

    Args:
        backend: the network; the photo is fed in tiles of its input size.
        photo: float32 (h, w, c) in [0, 1].
        layer: name of a layer.
        config: how.
        weights: weights over the layer's activation, as in ``LayerObjective``.
        show_progress: count steps on standard error.

    Returns:
        float32 (h, w, c) in [0, 1], of the photo's size.

    Raises:
        KitError: the network's gradient is not a number somewhere.
    """
    config = config or DreamConfig()
    find_layer(backend, layer, spatial=False)
    objective = LayerObjective(backend, layer, weights)
    rng = np.random.default_rng(config.seed)
    detail = np.zeros((1, 1, photo.shape[2]), dtype=np.float32)
    steps = config.octaves * config.steps
    with progress(f"dream of {layer}", steps if show_progress else 0, "steps") as bar:
        for octave in reversed(range(config.octaves)):
            scale = config.octave_scale**-octave
            sides = [max(8, round(side * scale)) for side in photo.shape[:2]]
            base = painted_picture.resize(photo, sides[0], sides[1])
            image = np.clip(base + painted_picture.resize(detail, sides[0], sides[1]), 0, 1)
            for _ in range(config.steps):
                gradient = tiled_gradient(objective, image, backend.input_shape, rng)
                image = np.clip(image + config.rate * gradient / (np.abs(gradient).mean() + 1e-12), 0, 1)
                bar.advance(int(show_progress))
            detail = image - base  # what was added travels on; the photo's own detail comes anew at every size
    return np.asarray(image, dtype=np.float32)


def tiled_gradient(
    objective: Objective, image: np.ndarray, input_shape: tuple[int, int, int], rng: np.random.Generator
) -> np.ndarray:
    """Gradient of the objective on a picture of any size, tile by tile, from a random offset.

    A picture smaller than the network's input is one enlarged tile; a larger one is rolled by a random shift and cut
    into tiles of equal size that are resized, by less than a factor of two, to the input.
    """
    shift = [int(rng.integers(0, side)) for side in image.shape[:2]]
    rolled = np.roll(image, shift, axis=(0, 1))
    rows = [_cuts(image.shape[0], input_shape[0], i) for i in range(max(1, image.shape[0] // input_shape[0]))]
    columns = [_cuts(image.shape[1], input_shape[1], i) for i in range(max(1, image.shape[1] // input_shape[1]))]
    found = np.zeros_like(rolled)
    for row in rows:
        for column in columns:
            tile = painted_picture.look(rolled, row, column)
            gradient = check_finite(f"gradient of {objective.name}", objective.gradient(tile[None]))[0]
            found += painted_picture.look_back(gradient, row, column)
    return np.roll(found, [-step for step in shift], axis=(0, 1))


def _cuts(size: int, out: int, index: int) -> np.ndarray:
    """The matrix that cuts tile ``index`` out of ``size`` pixels and resizes it to ``out``."""
    span = size / max(1, size // out)
    return painted_picture.resampling(size, out, index * span, span)
