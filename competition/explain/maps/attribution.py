"""Which pixels the target hangs on: gradients, SmoothGrad, integrated gradients, guided backpropagation, occlusion.

The functions return attributions per channel or per pixel as they are; ``attribute`` turns any of them into a map in
[0, 1] for a picture, as ``cam.cam`` gives them. Everything runs in batches and is deterministic given its seed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from competition.errors import UsageError, nearest
from competition.explain.maps.cam import cam
from competition.explain.networks.protocol import Backend, Target, batches, check_target

BASELINES = ("black", "white", "grey", "blurred")


def gradients(backend: Backend, images: np.ndarray, target: Target, *, batch_size: int = 16) -> np.ndarray:
    """The target's gradient at the images, float32 (n, h, w, c) (Simonyan et al., 2014)."""
    check_target(target, images, backend.classes)
    parts = [backend.input_gradients(images[rows], target[rows]) for rows in batches(len(images), batch_size)]
    return _joined(parts, images)


def guided(backend: Backend, images: np.ndarray, target: Target, *, batch_size: int = 16) -> np.ndarray:
    """Guided backpropagation, float32 (n, h, w, c) (Springenberg et al., 2015).

    It draws sharp edges but depends little on the target and the upper layers (Adebayo et al., Sanity checks for
    saliency maps, 2018): a picture, no evidence.
    """
    check_target(target, images, backend.classes)
    parts = [backend.guided_gradients(images[rows], target[rows]) for rows in batches(len(images), batch_size)]
    return _joined(parts, images)


def smoothgrad(
    backend: Backend,
    images: np.ndarray,
    target: Target,
    *,
    samples: int = 25,
    noise: float = 0.1,
    seed: int = 0,
    batch_size: int = 16,
) -> np.ndarray:
    """Mean gradient over noisy copies, float32 (n, h, w, c) (Smilkov et al., 2017).

    Args:
        backend: the model.
        images: float32 (n, h, w, c) in [0, 1].
        target: what to explain.
        samples: noisy copies per image.
        noise: standard deviation of the noise as a share of each image's range of values.
        seed: the same seed gives the same noise, whatever the batch size.
        batch_size: images per pass.

    Raises:
        UsageError: ``samples`` or ``noise`` is impossible.
    """
    check_target(target, images, backend.classes)
    if samples < 1 or not 0 < noise <= 1:
        raise UsageError(f"SmoothGrad with samples={samples}, noise={noise}: at least 1 sample, noise in (0, 1]")
    total = np.zeros(images.shape, dtype=np.float64)
    scale = noise * np.ptp(images, axis=(1, 2, 3), keepdims=True)
    generators = [np.random.default_rng([seed, row]) for row in range(len(images))]
    for _ in range(samples):
        drawn = np.stack([rng.standard_normal(images.shape[1:], dtype=np.float32) for rng in generators])
        total += gradients(backend, (images + scale * drawn).astype(np.float32), target, batch_size=batch_size)
    return (total / samples).astype(np.float32)


@dataclass(frozen=True)
class Integrated:
    """Integrated gradients and how well they add up.

    Attributes:
        attributions: float32 (n, h, w, c).
        change: float32 (n,), target at the image minus target at the baseline.
        gap: float32 (n,), ``sum(attributions) - change``: 0 if the integral were exact (completeness).
        steps: points on the path that were used.
    """

    attributions: np.ndarray
    change: np.ndarray
    gap: np.ndarray
    steps: int

    @property
    def relative_gap(self) -> np.ndarray:
        """``|gap|`` as a share of ``|change|``, float32 (n,)."""
        return np.abs(self.gap) / np.maximum(np.abs(self.change), 1e-6)


def integrated_gradients(
    backend: Backend,
    images: np.ndarray,
    target: Target,
    *,
    baseline: str | np.ndarray = "black",
    steps: int = 32,
    tolerance: float = 0.05,
    max_steps: int = 256,
    batch_size: int = 16,
) -> Integrated:
    """Gradients integrated along the straight path from a baseline to the image (Sundararajan et al., 2017).

    The integral is a midpoint sum. Completeness is checked: where an image's attributions miss the change of its target
    by more than ``tolerance``, the steps are doubled up to ``max_steps``; what gap is left is in the result.

    Args:
        backend: the model.
        images: float32 (n, h, w, c) in [0, 1].
        target: what to explain.
        baseline: one of ``BASELINES``, or images of the same shape.
        steps: points on the path, to begin with.
        tolerance: largest relative gap that is accepted.
        max_steps: most points on the path.
        batch_size: images per pass.

    Raises:
        UsageError: an unknown baseline, or an impossible number of steps.
    """
    check_target(target, images, backend.classes)
    if steps < 1 or max_steps < steps:
        raise UsageError(f"integrated gradients with steps={steps}, max_steps={max_steps}: 1 <= steps <= max_steps")
    start = baseline_of(images, baseline)
    change = _scores(backend, images, target, batch_size) - _scores(backend, start, target, batch_size)
    while True:
        attributions = _path_integral(backend, start, images, target, steps, batch_size)
        found = Integrated(attributions, change, attributions.sum(axis=(1, 2, 3)) - change, steps)
        if steps * 2 > max_steps or not (found.relative_gap > tolerance).any():
            return found
        steps *= 2


def _path_integral(
    backend: Backend, start: np.ndarray, images: np.ndarray, target: Target, steps: int, batch_size: int
) -> np.ndarray:
    where = ((np.arange(steps) + 0.5) / steps).astype(np.float32)
    result = np.zeros(images.shape, dtype=np.float32)
    for row, (image, base) in enumerate(zip(images, start, strict=True)):
        total = np.zeros(image.shape, dtype=np.float64)
        for part in batches(steps, batch_size):
            points = base + where[part, None, None, None] * (image - base)
            total += backend.input_gradients(points, target[row : row + 1].repeated(len(points))).sum(axis=0)
        result[row] = (image - base) * total / steps
    return result


def baseline_of(images: np.ndarray, kind: str | np.ndarray) -> np.ndarray:
    """Images without information, of the shape of ``images``: a colour, or the images blurred beyond recognition.

    Raises:
        UsageError: an unknown kind or another shape.
    """
    if isinstance(kind, np.ndarray):
        if kind.shape != images.shape:
            raise UsageError(f"a baseline of shape {kind.shape} for images of shape {images.shape}")
        return kind.astype(np.float32)
    if kind not in BASELINES:
        raise UsageError(f"unknown baseline '{kind}'{nearest(kind, BASELINES)} Known: {', '.join(BASELINES)}")
    if kind == "blurred":
        spread = max(images.shape[1:3]) / 8
        blurred = [cv2.GaussianBlur(image, (0, 0), spread, borderType=cv2.BORDER_REFLECT) for image in images]
        return np.array(blurred, dtype=np.float32).reshape(images.shape)
    return np.full(images.shape, {"black": 0.0, "white": 1.0, "grey": 0.5}[kind], dtype=np.float32)


def occlusion(
    backend: Backend,
    images: np.ndarray,
    target: Target,
    *,
    window: int | None = None,
    stride: int | None = None,
    fill: str | np.ndarray = "grey",
    batch_size: int = 32,
) -> np.ndarray:
    """How much the target falls when a window is covered, float32 (n, h, w) (Zeiler and Fergus, 2014).

    Each pixel has the mean fall over the windows that cover it. The last windows touch the right and lower edges.

    Args:
        backend: the model.
        images: float32 (n, h, w, c) in [0, 1].
        target: what to explain.
        window: side of the square window in pixels; a fifth of the shorter side by default.
        stride: step in pixels; half the window by default.
        fill: what covers: one of ``BASELINES``, or images.
        batch_size: images per pass.

    Raises:
        UsageError: a window larger than the image, a stride that leaves gaps, an unknown fill.
    """
    check_target(target, images, backend.classes)
    height, width = images.shape[1:3]
    window = window or max(1, min(height, width) // 5)
    stride = stride or max(1, window // 2)
    if not (0 < window <= min(height, width) and 0 < stride <= window):
        raise UsageError(f"occlusion with window={window}, stride={stride}: stride <= window <= {min(height, width)}")
    cover = baseline_of(images, fill)
    corners = [(y, x) for y in _starts(height, window, stride) for x in _starts(width, window, stride)]
    counts = np.zeros((height, width), dtype=np.float32)
    for y, x in corners:
        counts[y : y + window, x : x + window] += 1
    maps = np.zeros(images.shape[:3], dtype=np.float32)
    whole = _scores(backend, images, target, batch_size)
    for row in range(len(images)):
        for part in batches(len(corners), batch_size):
            covered = np.repeat(images[row : row + 1], len(corners[part]), axis=0)
            for copy, (y, x) in zip(covered, corners[part], strict=True):
                copy[y : y + window, x : x + window] = cover[row, y : y + window, x : x + window]
            scores = target[row : row + 1].repeated(len(covered)).scores(backend.logits(covered))
            for score, (y, x) in zip(scores, corners[part], strict=True):
                maps[row, y : y + window, x : x + window] += whole[row] - score
    return maps / counts


def _starts(side: int, window: int, stride: int) -> list[int]:
    return sorted({*range(0, side - window + 1, stride), side - window})


def _scores(backend: Backend, images: np.ndarray, target: Target, batch_size: int) -> np.ndarray:
    parts = [target[rows].scores(backend.logits(images[rows])) for rows in batches(len(images), batch_size)]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.float32)


def _joined(parts: list[np.ndarray], images: np.ndarray) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(images.shape, dtype=np.float32)


def as_map(attributions: np.ndarray, *, signed: bool = False, percentile: float = 99.5) -> np.ndarray:
    """Attributions (n, h, w, c) or (n, h, w) as maps for a picture, float32 (n, h, w).

    Args:
        attributions: as the functions here return them.
        signed: keep the sign: maps in [-1, 1]; otherwise the sum of absolute values, in [0, 1].
        percentile: values beyond it are cut, so that a few pixels don't darken all others.
    """
    flat = attributions if attributions.ndim == 3 else (attributions if signed else np.abs(attributions)).sum(axis=3)
    flat = flat if signed else np.abs(flat)
    top = np.percentile(np.abs(flat), percentile, axis=(1, 2), keepdims=True) if len(flat) else np.ones((0, 1, 1))
    highest = np.abs(flat).max(axis=(1, 2), keepdims=True) if len(flat) else top
    scale = np.where(top > 0, top, np.maximum(highest, 1e-12))  # a map of a few pixels has 0 at the percentile
    return np.asarray(np.clip(flat / scale, -1, 1), dtype=np.float32)


def _guided_gradcam(backend: Backend, images: np.ndarray, target: Target) -> np.ndarray:
    return guided(backend, images, target) * cam(backend, images, target)[..., None]


METHODS: Mapping[str, Callable[[Backend, np.ndarray, Target], np.ndarray]] = {
    "gradients": gradients,
    "smoothgrad": smoothgrad,
    "integrated-gradients": lambda backend, images, target: integrated_gradients(backend, images, target).attributions,
    "guided": guided,
    "guided-gradcam": _guided_gradcam,
    "occlusion": lambda backend, images, target: np.maximum(occlusion(backend, images, target), 0),
}


def attribute(backend: Backend, images: np.ndarray, target: Target, method: str) -> np.ndarray:
    """A map of every image by one of ``METHODS`` with its defaults, float32 (n, h, w) in [0, 1].

    Raises:
        UsageError: an unknown method.
        KitError: gradients are NaN.
    """
    if method not in METHODS:
        raise UsageError(f"unknown method '{method}'{nearest(method, METHODS)} Known: {', '.join(METHODS)}")
    return as_map(METHODS[method](backend, images, target))
