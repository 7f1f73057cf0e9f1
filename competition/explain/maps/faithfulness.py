"""Does a map tell what the model looked at? Deletion and insertion curves, and random maps to stand beside them.

All figures are of the probability of the target's class (the softmax of the logits; for a contrast of A rather than B
the softmax over the classes it names), so that they can be compared between models.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from competition.errors import UsageError
from competition.explain.maps.attribution import blurred
from competition.explain.networks.protocol import Backend, Target, batches, check_target


@dataclass(frozen=True)
class Curve:
    """Probability of the target's class while pixels change, most relevant first.

    Attributes:
        shares: float64 (s,), share of the pixels that have changed, from 0 to 1.
        values: float32 (n, s), probability of each image's class.
    """

    shares: np.ndarray
    values: np.ndarray

    @property
    def area(self) -> np.ndarray:
        """Area under each image's curve, float64 (n,): small is good for deletion, large for insertion."""
        return np.asarray(np.trapezoid(self.values, self.shares, axis=1))


def probability(logits: np.ndarray, target: Target) -> np.ndarray:
    """Probability of the class that the target argues for, float32 (n,).

    A contrast (weights below 0) is judged among the classes it names: with A and B that is ``p(A) / (p(A) + p(B))``.
    """
    contrast = (target.weights < 0).any(axis=1, keepdims=True)
    named = np.where(contrast & (target.weights == 0), -np.inf, logits)
    powers = np.exp(named - named.max(axis=1, keepdims=True))
    main = target.weights.argmax(axis=1)
    return np.asarray(powers[np.arange(len(logits)), main] / powers.sum(axis=1), dtype=np.float32)


def deletion(backend: Backend, images: np.ndarray, target: Target, maps: np.ndarray, *, steps: int = 20) -> Curve:
    """Grey the most relevant pixels first; a faithful map makes the probability fall early (Petsiuk et al., 2018).

    Args:
        backend: the model.
        images: float32 (n, h, w, c) in [0, 1].
        target: what the maps explain.
        maps: (n, h, w).
        steps: points of the curve after the first.
    """
    return _curve(backend, images, np.full_like(images, 0.5), target, maps, steps)


def insertion(backend: Backend, images: np.ndarray, target: Target, maps: np.ndarray, *, steps: int = 20) -> Curve:
    """Start with a blurred image and bring the most relevant pixels first; arguments as ``deletion``."""
    return _curve(backend, blurred(images), images, target, maps, steps)


def _curve(
    backend: Backend, before: np.ndarray, after: np.ndarray, target: Target, maps: np.ndarray, steps: int
) -> Curve:
    check_target(target, before, backend.classes)
    _check_maps(maps, before)
    shares = np.linspace(0, 1, steps + 1)
    rank = _ranks(maps)
    columns = []
    for share in shares:
        changed = np.where((rank < share)[..., None], after, before)
        columns.append(_probabilities(backend, changed, target))
    return Curve(shares, np.stack(columns, axis=1))


def _ranks(maps: np.ndarray) -> np.ndarray:
    """Share of an image's pixels that are more relevant, float64 (n, h, w) in [0, 1); ties in reading order."""
    flat = maps.reshape(len(maps), -1)
    order = np.argsort(-flat, axis=1, kind="stable")
    ranks = np.empty(flat.shape, dtype=np.float64)
    np.put_along_axis(ranks, order, np.arange(flat.shape[1], dtype=np.float64)[None] / flat.shape[1], axis=1)
    return ranks.reshape(maps.shape)


def _probabilities(backend: Backend, images: np.ndarray, target: Target, batch_size: int = 32) -> np.ndarray:
    parts = [probability(backend.logits(images[rows]), target[rows]) for rows in batches(len(images), batch_size)]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.float32)


def centred_random(count: int, size: tuple[int, int], seed: int = 0, *, spread: float = 0.25) -> np.ndarray:
    """Smooth random maps weighted towards the centre, float32 (count, h, w): what any map should beat.

    Args:
        count: how many.
        size: height and width.
        seed: of the noise.
        spread: standard deviation of the Gaussian centre weight as a share of the sides.
    """
    height, width = size
    rng = np.random.default_rng(seed)
    coarse = rng.random((count, 7, 7), dtype=np.float32)
    noise = np.stack([cv2.resize(item, (width, height), interpolation=cv2.INTER_CUBIC) for item in coarse])
    y, x = (np.arange(side, dtype=np.float32) / max(side - 1, 1) - 0.5 for side in size)
    centre = np.exp(-(y[:, None] ** 2 + x[None] ** 2) / (2 * spread**2))
    return np.asarray(np.clip(noise, 0, 1) * centre, dtype=np.float32)


def _check_maps(maps: np.ndarray, images: np.ndarray) -> None:
    if maps.shape != images.shape[:3]:
        raise UsageError(f"maps of shape {maps.shape} for images of shape {images.shape}")
