"""Which pixels the target hangs on: gradients, SmoothGrad, integrated gradients, guided backpropagation, occlusion.

The functions return attributions per channel or per pixel as they are; ``attribute`` turns any of them into a map in
[0, 1] for a picture, as ``cam.cam`` gives them. All take a model, images float32 (n, h, w, c) in [0, 1] and what to
explain; everything runs in batches and gives the same each time.

Written by hand although libraries have them: those take a PyTorch module, and these explain Keras models too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import cv2
import numpy as np

from competition.errors import require_known
from competition.explain.maps.cam import cam
from competition.explain.networks.protocol import Backend, Target, batches, check_target

_BATCH = 16
_SAMPLES, _NOISE = 25, 0.1  # SmoothGrad's copies, and their noise as a share of an image's range of values
_STEPS, _MOST_STEPS, _TOLERANCE = 32, 256, 0.05  # points on the path, and the relative gap that asks for more


def gradients(backend: Backend, images: np.ndarray, target: Target) -> np.ndarray:
    """The target's gradient at the images, float32 (n, h, w, c) (Simonyan et al., 2014)."""
    return _in_batches(backend.input_gradients, backend, images, target)


def guided(backend: Backend, images: np.ndarray, target: Target) -> np.ndarray:
    """Guided backpropagation, float32 (n, h, w, c) (Springenberg et al., 2015).

    It draws sharp edges but depends little on the target and the upper layers (Adebayo et al., Sanity checks for
    saliency maps, 2018): a picture, no evidence.
    """
    return _in_batches(backend.guided_gradients, backend, images, target)


def _in_batches(
    method: Callable[[np.ndarray, Target], np.ndarray], backend: Backend, images: np.ndarray, target: Target
) -> np.ndarray:
    check_target(target, images, backend.classes)
    parts = [method(images[rows], target[rows]) for rows in batches(len(images), _BATCH)]
    return np.concatenate(parts) if parts else np.zeros(images.shape, dtype=np.float32)


def smoothgrad(backend: Backend, images: np.ndarray, target: Target) -> np.ndarray:
    """Mean gradient over noisy copies, float32 (n, h, w, c) (Smilkov et al., 2017); an image's noise is its own."""
    total = np.zeros(images.shape, dtype=np.float64)
    scale = _NOISE * np.ptp(images, axis=(1, 2, 3), keepdims=True)
    generators = [np.random.default_rng([0, row]) for row in range(len(images))]
    for _ in range(_SAMPLES):
        drawn = [rng.standard_normal(images.shape[1:], dtype=np.float32) for rng in generators]
        noise = np.reshape(drawn, images.shape)
        total += gradients(backend, (images + scale * noise).astype(np.float32), target)
    return (total / _SAMPLES).astype(np.float32)


def integrated_gradients(backend: Backend, images: np.ndarray, target: Target) -> np.ndarray:
    """Gradients integrated from black to the image, float32 (n, h, w, c) (Sundararajan et al., 2017).

    The integral is a midpoint sum. Completeness is checked: where an image's attributions miss the change of its target
    by more than 5 %, the points are doubled, up to 256.
    """
    change = _scores(backend, images, target) - _scores(backend, np.zeros_like(images), target)
    steps = _STEPS
    while True:
        found = _path_integral(backend, images, target, steps)
        gap = np.abs(found.sum(axis=(1, 2, 3)) - change) / np.maximum(np.abs(change), 1e-6)
        if steps == _MOST_STEPS or not (gap > _TOLERANCE).any():
            return found
        steps *= 2


def _path_integral(backend: Backend, images: np.ndarray, target: Target, steps: int) -> np.ndarray:
    where = ((np.arange(steps) + 0.5) / steps).astype(np.float32)
    result = np.zeros(images.shape, dtype=np.float32)
    for row, image in enumerate(images):
        points = where[:, None, None, None] * image
        found = gradients(backend, points, target[row : row + 1].repeated(steps))
        result[row] = image * found.sum(axis=0, dtype=np.float64) / steps
    return result


def blurred(images: np.ndarray) -> np.ndarray:
    """The images (n, h, w, c) blurred beyond recognition, float32."""
    spread = max(images.shape[1:3]) / 8
    found = [cv2.GaussianBlur(image, (0, 0), spread, borderType=cv2.BORDER_REFLECT) for image in images]
    return np.array(found, dtype=np.float32).reshape(images.shape)


def occlusion(backend: Backend, images: np.ndarray, target: Target) -> np.ndarray:
    """How much the target falls when a grey window covers a pixel, float32 (n, h, w) (Zeiler and Fergus, 2014).

    The window's side is a fifth of the shorter side, it moves by half of that, and the last windows touch the right and
    lower edges. Each pixel has the mean fall over the windows that cover it.
    """
    height, width = images.shape[1:3]
    window = max(1, min(height, width) // 5)
    corners = [(y, x) for y in _starts(height, window) for x in _starts(width, window)]
    counts = np.zeros((height, width), dtype=np.float32)
    for y, x in corners:
        counts[y : y + window, x : x + window] += 1
    maps = np.zeros(images.shape[:3], dtype=np.float32)
    whole = _scores(backend, images, target)
    for row, image in enumerate(images):
        covered = np.repeat(image[None], len(corners), axis=0)
        for copy, (y, x) in zip(covered, corners, strict=True):
            copy[y : y + window, x : x + window] = 0.5
        scores = _scores(backend, covered, target[row : row + 1].repeated(len(corners)))
        for score, (y, x) in zip(scores, corners, strict=True):
            maps[row, y : y + window, x : x + window] += whole[row] - score
    return maps / counts


def _starts(side: int, window: int) -> list[int]:
    return sorted({*range(0, side - window + 1, max(1, window // 2)), side - window})


def _scores(backend: Backend, images: np.ndarray, target: Target) -> np.ndarray:
    check_target(target, images, backend.classes)
    parts = [target[rows].scores(backend.logits(images[rows])) for rows in batches(len(images), _BATCH)]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.float32)


def as_map(attributions: np.ndarray) -> np.ndarray:
    """Attributions (n, h, w, c) or (n, h, w) as maps in [0, 1], float32 (n, h, w): sums of absolute values.

    What lies beyond the percentile 99.5 is cut, so that a few pixels don't darken all others.
    """
    flat = np.abs(attributions)
    flat = flat if flat.ndim == 3 else flat.sum(axis=3)
    top = np.percentile(flat, 99.5, axis=(1, 2), keepdims=True) if len(flat) else np.ones((0, 1, 1))
    highest = flat.max(axis=(1, 2), keepdims=True) if len(flat) else top
    scale = np.where(top > 0, top, np.maximum(highest, 1e-12))  # a map of a few pixels has 0 at the percentile
    return np.asarray(np.minimum(flat / scale, 1), dtype=np.float32)


METHODS: Mapping[str, Callable[[Backend, np.ndarray, Target], np.ndarray]] = {
    "gradients": gradients,
    "smoothgrad": smoothgrad,
    "integrated-gradients": integrated_gradients,
    "guided": guided,
    "guided-gradcam": lambda backend, *shown: guided(backend, *shown) * cam(backend, *shown)[..., None],
    "occlusion": lambda backend, *shown: np.maximum(occlusion(backend, *shown), 0),
}


def attribute(backend: Backend, images: np.ndarray, target: Target, method: str) -> np.ndarray:
    """A map of every image by one of ``METHODS``, float32 (n, h, w) in [0, 1].

    Raises:
        UsageError: an unknown method.
        KitError: gradients are NaN.
    """
    require_known("method", method, METHODS)
    return as_map(METHODS[method](backend, images, target))
