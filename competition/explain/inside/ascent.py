"""Activation maximisation: a picture, painted from noise, that a filter, a neuron or a class answers to most.

Erhan, Bengio, Courville and Vincent (2009); Simonyan, Vedaldi and Zisserman (2014) for classes; octaves after
Mordvintsev, Olah and Tyka (2015); frequency space and random views after Olah, Mordvintsev and Schubert (2017).
Same seed, same network, same picture.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from competition.console import progress
from competition.errors import UsageError
from competition.explain.inside import painted_picture
from competition.explain.inside.objectives import ClassObjective, Objective, channel_objective
from competition.explain.networks.protocol import check_finite

if TYPE_CHECKING:
    from competition.explain.networks.protocol import Backend

_RECORD_EVERY = 16  # steps between two looks at the value, which costs a forward pass


@dataclass(frozen=True, kw_only=True)
class AscentConfig:
    """How a picture is painted.

    Attributes:
        steps: ascent steps over all octaves together.
        rate: step size of Adam.
        size: longer side of the finished picture in pixels; 0 takes the network's input size.
        octaves: sizes it is painted at, the last being ``size``.
        octave_scale: from one octave to the next.
        jitter: largest shift of a random view, as a share of the picture's sides.
        zoom: a random view shows between 1 - zoom and 1 + zoom times the network's field of view.
        views: random views that each step averages over.
        total_variation: weight of the picture's total variation, subtracted; in units of the gradient's own size.
        decay: pull of the numbers towards grey at every step, as a share of ``rate``; without it the coarsest waves
            grow until all is black or white.
        decorrelate: paint in ImageNet's decorrelated colours (3-channel networks).
        deviation: of the noise it starts from.
        seed: of the noise and the views.

    Raises:
        UsageError: a value is impossible.
    """

    steps: int = 256
    rate: float = 0.05
    size: int = 0
    octaves: int = 3
    octave_scale: float = 1.4
    jitter: float = 0.06
    zoom: float = 0.1
    views: int = 1
    total_variation: float = 0.4
    decay: float = 0.3
    decorrelate: bool = True
    deviation: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        rules = {
            "steps": (self.steps >= self.octaves >= 1, "1 or more, and no fewer than octaves"),
            "rate": (self.rate > 0, "above 0"),
            "size": (self.size >= 0, "0 or more"),
            "octave_scale": (self.octave_scale > 1, "above 1"),
            "jitter": (0 <= self.jitter < 1, "at least 0 and below 1, a share of the sides"),
            "zoom": (0 <= self.zoom < 1, "at least 0 and below 1"),
            "views": (self.views >= 1, "1 or more"),
            "total_variation": (self.total_variation >= 0, "0 or more"),
            "decay": (self.decay >= 0, "0 or more"),
            "deviation": (self.deviation >= 0, "0 or more"),
            "seed": (self.seed >= 0, "0 or more"),
        }
        for key, (holds, expected) in rules.items():
            if not holds:
                raise UsageError(f"{key}={getattr(self, key)!r} is impossible: expected {expected}")


@dataclass(frozen=True)
class Ascent:
    """A painted picture.

    Attributes:
        image: float32 (h, w, c) in [0, 1].
        name: what it was painted for.
        steps: steps at which the value was looked at.
        values: the objective's value of the whole picture at those steps.
        config: how it was painted.
    """

    image: np.ndarray
    name: str
    steps: tuple[int, ...]
    values: tuple[float, ...]
    config: AscentConfig


class Adam:
    """Adam (Kingma and Ba, 2015), upwards, with decoupled decay (Loshchilov and Hutter, 2019)."""

    def __init__(self, rate: float, decay: float = 0.0) -> None:
        self._rate, self._decay, self._step = rate, decay, 0
        self._mean: np.ndarray | float = 0.0
        self._square: np.ndarray | float = 0.0

    def step(self, numbers: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """The numbers after one step along the gradient."""
        self._step += 1
        self._mean = 0.9 * self._mean + 0.1 * gradient
        self._square = 0.999 * self._square + 0.001 * gradient**2
        mean = self._mean / (1 - 0.9**self._step)
        root = np.sqrt(self._square / (1 - 0.999**self._step))
        kept = (1 - self._rate * self._decay) * numbers
        return np.asarray(kept + self._rate * mean / (root + 1e-12), dtype=np.float32)


def ascend(
    backend: Backend, objective: Objective, config: AscentConfig | None = None, *, show_progress: bool = False
) -> Ascent:
    """Paint a picture that raises ``objective``.

    Args:
        backend: the network.
        objective: see ``ClassObjective`` and ``channel_objective``.
        config: how; the defaults suit networks of photos.
        show_progress: count steps on standard error.

    Raises:
        KitError: the network's gradient is not a number somewhere.
    """
    config = config or AscentConfig()
    octaves = _octaves(backend.input_shape, config)
    painter = _Painter(backend, objective, config, octaves[0][:2])
    with progress(objective.name, config.steps if show_progress else 0, "steps") as bar:
        for octave, (height, width, steps) in enumerate(octaves):
            if octave:
                painter.enlarge(height, width)
            for _ in range(steps):
                painter.step()
                bar.advance(int(show_progress))
    painter.record()
    return Ascent(painter.image(), objective.name, tuple(painter.steps), tuple(painter.values), config)


def ascend_class(
    backend: Backend, target: str, versus: str | None = None, config: AscentConfig | None = None
) -> np.ndarray:
    """The picture that a class answers to most, float32 (h, w, c) in [0, 1]: ``ascend`` for notebooks."""
    return ascend(backend, ClassObjective(backend, target, versus), config).image


def ascend_channel(
    backend: Backend, layer: str, channel: int, config: AscentConfig | None = None, *, neuron: bool = False
) -> np.ndarray:
    """The picture that a filter (or its middle neuron) answers to most, float32 (h, w, c) in [0, 1]."""
    return ascend(backend, channel_objective(backend, layer, channel, neuron=neuron), config).image


def _octaves(shape: tuple[int, int, int], config: AscentConfig) -> list[tuple[int, int, int]]:
    """Height, width and steps of every octave, smallest first."""
    height, width, _ = shape
    full = (config.size or max(height, width)) / max(height, width)
    each, rest = divmod(config.steps, config.octaves)
    found = []
    for octave in range(config.octaves):
        scale = full / config.octave_scale ** (config.octaves - 1 - octave)
        sides = max(8, round(height * scale)), max(8, round(width * scale))
        found.append((*sides, each + (rest if octave == config.octaves - 1 else 0)))
    return found


@dataclass
class _Painter:
    """The state of one ascent."""

    backend: Backend
    objective: Objective
    config: AscentConfig
    size: tuple[int, int]
    steps: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.config.seed)
        self._colours = painted_picture.colour_matrix(self.backend.input_shape[2], decorrelate=self.config.decorrelate)
        self._parameters = self._sized(*self.size)
        self._numbers = self._parameters.start(self._rng, self.config.deviation)
        self._adam = Adam(self.config.rate, self.config.decay)
        self._done = 0

    def _sized(self, height: int, width: int) -> painted_picture.Spectrum:
        return painted_picture.Spectrum((height, width, self.backend.input_shape[2]))

    def enlarge(self, height: int, width: int) -> None:
        """Go on at this size with what is painted so far."""
        latent = painted_picture.resize(self._parameters.latent(self._numbers), height, width)
        self._parameters = self._sized(height, width)
        self._numbers = self._parameters.numbers(latent)
        self._adam = Adam(self.config.rate, self.config.decay)

    def image(self) -> np.ndarray:
        """The picture as it is now."""
        return painted_picture.paint(self._parameters.latent(self._numbers), self._colours)

    def record(self) -> None:
        """Note the value of the whole picture."""
        height, width, _ = self.backend.input_shape
        self.steps.append(self._done)
        self.values.append(float(self.objective.value(painted_picture.resize(self.image(), height, width)[None])[0]))

    def step(self) -> None:
        """One step upwards, over random views."""
        if self._done % _RECORD_EVERY == 0:
            self.record()
        latent = self._parameters.latent(self._numbers)
        image = painted_picture.paint(latent, self._colours)
        upwards = self._through_views(image)
        if self.config.total_variation:
            size = np.abs(upwards).mean() * image.size
            upwards = upwards - self.config.total_variation * size * painted_picture.total_variation(image)[1]
        gradient = painted_picture.unpaint(upwards, image, self._colours)
        self._numbers = self._adam.step(self._numbers, self._parameters.pull_back(gradient))
        self._done += 1

    def _through_views(self, image: np.ndarray) -> np.ndarray:
        """The objective's gradient with respect to the image, averaged over random views of it."""
        views = [self._view(image.shape) for _ in range(self.config.views)]
        seen = np.stack([painted_picture.look(image, rows, columns) for rows, columns in views])
        gradients = check_finite(f"gradient of {self.objective.name}", self.objective.gradient(seen))
        back = [
            painted_picture.look_back(g, rows, columns) for g, (rows, columns) in zip(gradients, views, strict=True)
        ]
        return np.asarray(np.mean(back, axis=0), dtype=np.float32)

    def _view(self, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Matrices of a random shift and zoom from the picture to the network's input."""
        zoom = 1.0 + self._rng.uniform(-self.config.zoom, self.config.zoom)
        matrices = []
        for size, side in zip(shape[:2], self.backend.input_shape[:2], strict=True):
            span = size * zoom
            # Whole pixels of the network's input: a fraction would blur.
            shift = round(self._rng.uniform(-self.config.jitter, self.config.jitter) * side) * size / side
            matrices.append(painted_picture.resampling(size, side, (size - span) / 2 + shift, span))
        return matrices[0], matrices[1]
