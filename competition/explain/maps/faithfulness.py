"""Does a map tell what the model looked at? ROAD, deletion and insertion curves, and pointing at a known mask.

All figures are of the probability of the target's class (the softmax of the logits; for a contrast of A rather than B
the softmax over the classes it names), so that they can be compared between models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from competition.errors import UsageError
from competition.explain.maps.attribution import baseline_of
from competition.explain.networks.protocol import Backend, Target, batches, check_target

# Weights of a pixel's eight neighbours, direct and diagonal, in ROAD's imputation: (rows down, columns right, weight).
_NEIGHBOURS = tuple(
    (down, right, 1 / 6 if 0 in (down, right) else 1 / 12)
    for down in (-1, 0, 1)
    for right in (-1, 0, 1)
    if (down, right) != (0, 0)
)
SHARES = tuple(round(0.1 * step, 1) for step in range(1, 10))


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


def deletion(
    backend: Backend, images: np.ndarray, target: Target, maps: np.ndarray, *, steps: int = 20, fill: str = "grey"
) -> Curve:
    """Replace the most relevant pixels first; a faithful map makes the probability fall early (Petsiuk et al., 2018).

    Args:
        backend: the model.
        images: float32 (n, h, w, c) in [0, 1].
        target: what the maps explain.
        maps: (n, h, w).
        steps: points of the curve after the first.
        fill: what the pixels become, one of ``attribution.BASELINES``.
    """
    return _curve(backend, images, baseline_of(images, fill), target, maps, steps)


def insertion(
    backend: Backend, images: np.ndarray, target: Target, maps: np.ndarray, *, steps: int = 20, fill: str = "blurred"
) -> Curve:
    """Start without information and bring the most relevant pixels first; arguments as ``deletion``."""
    return _curve(backend, baseline_of(images, fill), images, target, maps, steps)


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


@dataclass(frozen=True)
class Road:
    """ROAD: probability of the class after shares of the pixels were imputed.

    Attributes:
        shares: (s,), share of the pixels taken out.
        most: float32 (n, s), the most relevant pixels taken out.
        least: float32 (n, s), the least relevant ones.
    """

    shares: tuple[float, ...]
    most: np.ndarray
    least: np.ndarray

    @property
    def score(self) -> np.ndarray:
        """``(least - most) / 2`` averaged over the shares, float64 (n,): above 0 if the map tells more than chance."""
        return np.asarray((self.least - self.most).mean(axis=1, dtype=np.float64) / 2)


def road(
    backend: Backend,
    images: np.ndarray,
    target: Target,
    maps: np.ndarray,
    *,
    shares: Sequence[float] = SHARES,
    noise: float = 0.01,
    seed: int = 0,
) -> Road:
    """Remove and debias (Rong et al., 2022): take pixels out so that the hole itself tells nothing.

    Args:
        backend: the model.
        images: float32 (n, h, w, c) in [0, 1].
        target: what the maps explain.
        maps: (n, h, w).
        shares: of the pixels to take out, each in (0, 1).
        noise: standard deviation of the noise on imputed pixels.
        seed: of the noise.

    Raises:
        UsageError: maps of another size, or a share outside (0, 1).
    """
    check_target(target, images, backend.classes)
    _check_maps(maps, images)
    if not shares or not all(0 < share < 1 for share in shares):
        raise UsageError(f"ROAD takes shares between 0 and 1 out, not {list(shares)}")
    rng = np.random.default_rng(seed)
    most, least = _ranks(maps), _ranks(-maps)
    columns = [
        _probabilities(
            backend,
            np.stack([impute(image, gone, noise, rng) for image, gone in zip(images, ranks < share, strict=True)]),
            target,
        )
        for share in shares
        for ranks in (most, least)
    ]
    return Road(tuple(shares), np.stack(columns[::2], axis=1), np.stack(columns[1::2], axis=1))


def impute(
    image: np.ndarray, gone: np.ndarray, noise: float = 0.0, rng: np.random.Generator | None = None
) -> np.ndarray:
    """Replace pixels by the weighted mean of their eight neighbours, all at once (ROAD's noisy linear imputation).

    Args:
        image: float32 (h, w, c).
        gone: bool (h, w), the pixels to replace.
        noise: standard deviation of noise added to them.
        rng: source of the noise.

    Returns:
        float32 (h, w, c).
    """
    from scipy.sparse import csc_matrix
    from scipy.sparse.linalg import spsolve

    unknown = np.flatnonzero(gone)
    if not len(unknown) or gone.all():
        return image.copy()
    height, width = gone.shape
    number = np.full(height * width, -1)
    number[unknown] = np.arange(len(unknown))
    flat = image.reshape(height * width, -1).astype(np.float64)
    diagonal, right_side = np.zeros(len(unknown)), np.zeros((len(unknown), flat.shape[1]))
    rows, columns, weights = [], [], []
    y, x = np.divmod(unknown, width)
    for down, right, weight in _NEIGHBOURS:
        inside = (y + down >= 0) & (y + down < height) & (x + right >= 0) & (x + right < width)
        here = np.flatnonzero(inside)
        there = (y[here] + down) * width + x[here] + right
        diagonal[here] += weight
        known = number[there] < 0
        right_side[here[known]] += weight * flat[there[known]]
        rows.append(here[~known])
        columns.append(number[there[~known]])
        weights.append(np.full(int((~known).sum()), -weight))
    every = np.arange(len(unknown))
    matrix = csc_matrix(
        (np.concatenate([*weights, diagonal]), (np.concatenate([*rows, every]), np.concatenate([*columns, every])))
    )
    flat[unknown] = np.asarray(spsolve(matrix, right_side)).reshape(right_side.shape)
    if noise and rng is not None:
        flat[unknown] += noise * rng.standard_normal(right_side.shape)
    return np.asarray(flat.reshape(image.shape), dtype=np.float32)


def pointing(maps: np.ndarray, masks: np.ndarray, *, tolerance: int = 0) -> np.ndarray:
    """Whether each map's highest point lies in its mask, bool (n,) (the pointing game, Zhang et al., 2016).

    Args:
        maps: (n, h, w); of a plateau the centre counts.
        masks: bool (n, h, w).
        tolerance: pixels by which the point may miss.

    Raises:
        UsageError: the shapes differ.
    """
    if maps.shape != masks.shape:
        raise UsageError(f"maps {maps.shape} and masks {masks.shape} differ in shape")
    hits = []
    for image, mask in zip(maps, masks, strict=True):
        y, x = (round(float(values.mean())) for values in np.nonzero(image >= image.max()))
        rows, columns = slice(max(0, y - tolerance), y + tolerance + 1), slice(max(0, x - tolerance), x + tolerance + 1)
        hits.append(bool(mask[rows, columns].any()))
    return np.array(hits, dtype=bool)


def share_inside(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Share of each map's sum that lies in its mask, float64 (n,); a blank map has the mask's share of the area.

    Raises:
        UsageError: the shapes differ.
    """
    if maps.shape != masks.shape:
        raise UsageError(f"maps {maps.shape} and masks {masks.shape} differ in shape")
    total, area = maps.sum(axis=(1, 2), dtype=np.float64), masks.mean(axis=(1, 2))
    inside = (maps * masks).sum(axis=(1, 2), dtype=np.float64)
    return np.where(total > 0, inside / np.where(total > 0, total, 1), area)


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
