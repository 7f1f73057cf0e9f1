"""Class activation maps, for any model behind the protocol: where in the image the evidence for a target lies.

Every method weighs a spatial layer's activations in its own way and sums over the channels; the rest is shared. For
PyTorch models the ``grad-cam`` package computes the gradient methods, where it is installed; the NumPy code here, which
serves Keras, the other methods, and everything where the package is absent, is held to it by test. The package's
EigenCAM and ScoreCAM are not used: the first takes a full SVD over all channels, the second asks the device for one
number per channel and image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import cv2
import numpy as np

from competition.errors import UsageError, nearest, require_known
from competition.explain.networks.protocol import Backend, Target, batches, check_target, find_layer

Weighing = Callable[[np.ndarray, np.ndarray], np.ndarray]  # activations, gradients (n, h, w, c) -> map (n, h, w)


@runtime_checkable
class PackageEngine(Protocol):
    """A backend that can have a method computed by the ``grad-cam`` package."""

    def package_serves(self, method: str, layer: str) -> bool:
        """Whether the package computes this method at this layer as it should."""

    def package_cam(self, images: np.ndarray, target: Target, method: str, layer: str) -> np.ndarray:
        """Maps as ``cam`` gives them."""


@dataclass(frozen=True)
class Method:
    """A way to make a map.

    Attributes:
        about: one line for people, with the source.
        weigh: the map from activations and gradients; None where the method needs neither in this form.
        gradients: whether the target's gradients are needed.
    """

    about: str
    weigh: Weighing | None
    gradients: bool = True


def _gradcam(activations: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    return np.einsum("nhwc,nc->nhw", activations, gradients.mean(axis=(1, 2)))


def _gradcam_plus_plus(activations: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    square = gradients**2
    total = activations.sum(axis=(1, 2), keepdims=True)
    share = square / (2 * square + total * square * gradients + 1e-6)  # equation 19; 1e-6 as in the package
    weights = (np.maximum(gradients, 0) * np.where(gradients != 0, share, 0)).sum(axis=(1, 2))
    return np.einsum("nhwc,nc->nhw", activations, weights)


def _xgradcam(activations: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    total = activations.sum(axis=(1, 2)) + 1e-7
    return np.einsum("nhwc,nc->nhw", activations, (gradients * activations).sum(axis=(1, 2)) / total)


def _hirescam(activations: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    return (activations * gradients).sum(axis=3)


def _layercam(activations: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    return (activations * np.maximum(gradients, 0)).sum(axis=3)


def _eigencam(activations: np.ndarray, _: np.ndarray) -> np.ndarray:
    """First principal component over positions; its sign is chosen so that the strongest response is positive."""
    maps = []
    for image in activations:
        flat = image.reshape(-1, image.shape[-1])
        centred = flat - flat.mean(axis=0)
        projection = centred @ np.linalg.svd(centred, full_matrices=False)[2][0]
        maps.append((-projection if -projection.min() > projection.max() else projection).reshape(image.shape[:2]))
    return np.stack(maps)


METHODS: Mapping[str, Method] = {
    "gradcam": Method("channels weighted by their mean gradient (Selvaraju et al., 2017)", _gradcam),
    "gradcam++": Method("positions with positive gradient weigh more (Chattopadhay et al., 2018)", _gradcam_plus_plus),
    "xgradcam": Method("mean gradient weighted by activation (Fu et al., 2020)", _xgradcam),
    "hirescam": Method("gradient times activation, position by position (Draelos and Carin, 2020)", _hirescam),
    "layercam": Method("positive gradient times activation; early layers as well (Jiang et al., 2021)", _layercam),
    "eigencam": Method("first principal component, no target (Bany Muhammad and Yeasin, 2020)", _eigencam, False),
    "scorecam": Method("channels weighted by the score of the image they let through (Wang et al., 2020)", None, False),
    "finercam": Method("Grad-CAM of a class against the most similar ones (Zhang et al., 2025)", _gradcam),
}


def cam(
    backend: Backend,
    images: np.ndarray,
    target: Target,
    method: str = "gradcam",
    layer: str | Sequence[str] | None = None,
    *,
    engine: str = "auto",
    batch_size: int = 16,
) -> np.ndarray:
    """Make a class activation map of every image.

    Args:
        backend: the model.
        images: float32 (n, h, w, c) in [0, 1].
        target: what to explain; ``contrast_target`` makes any gradient method answer "why A rather than B".
        method: one of ``METHODS``.
        layer: a spatial layer, or several whose maps are averaged; the last spatial one by default.
        engine: ``numpy``, ``grad-cam`` (the package, PyTorch only), or ``auto``: the package where it serves.
        batch_size: images per pass.

    Returns:
        float32 (n, h, w) in [0, 1] at the images' size; all 0 where nothing speaks for the target.

    Raises:
        UsageError: an unknown method, layer or engine; a layer that is no map over the image.
        KitError: activations or gradients are NaN.
    """
    require_known("method", method, METHODS)
    if engine not in ("auto", "numpy", "grad-cam"):
        raise UsageError(f"unknown engine '{engine}'{nearest(engine, ('auto', 'numpy', 'grad-cam'))}")
    check_target(target, images, backend.classes)
    names = [backend.last_spatial_layer()] if layer is None else [layer] if isinstance(layer, str) else list(layer)
    for name in names:
        find_layer(backend, name)
    if method == "finercam":
        target = finer_target(backend.logits(images), target)
    if not len(images):
        return np.zeros(images.shape[:3], dtype=np.float32)
    parts = []
    for rows in batches(len(images), batch_size):
        maps = [_maps(backend, images[rows], target[rows], method, name, engine) for name in names]
        parts.append(maps[0] if len(maps) == 1 else spread(np.mean(maps, axis=0), images.shape[1:3]))
    return np.concatenate(parts)


def _maps(backend: Backend, images: np.ndarray, target: Target, method: str, layer: str, engine: str) -> np.ndarray:
    if engine != "numpy":
        if isinstance(backend, PackageEngine) and backend.package_serves(method, layer):
            return backend.package_cam(images, target, method, layer)
        if engine == "grad-cam":
            raise UsageError(
                f"the grad-cam package is not installed or does not serve '{method}' here: use engine='numpy'"
            )
    if method == "scorecam":
        return spread(_scorecam(backend, images, target, layer), images.shape[1:3])
    weigh = METHODS[method].weigh
    assert weigh is not None
    if METHODS[method].gradients:
        raw = weigh(*backend.layer_gradients(images, layer, target))
    else:
        activations = backend.activations(images, layer)
        raw = weigh(activations, activations)
    return spread(raw, images.shape[1:3])


def _scorecam(backend: Backend, images: np.ndarray, target: Target, layer: str, batch_size: int = 32) -> np.ndarray:
    """Weigh each channel by the softmax, over channels, of the target's score of the image seen through it."""
    activations = backend.activations(images, layer)
    size = images.shape[1:3]
    maps = []
    for row, (image, channels) in enumerate(zip(images, activations, strict=True)):
        scores = []
        for part in batches(channels.shape[-1], batch_size):
            masks = _enlarged(channels[..., part].transpose(2, 0, 1), size)
            low, high = masks.min(axis=(1, 2), keepdims=True), masks.max(axis=(1, 2), keepdims=True)
            masks = (masks - low) / (high - low + 1e-8)
            logits = backend.logits(image[None] * masks[..., None])
            scores.append(target[row : row + 1].repeated(len(masks)).scores(logits))
        score = np.concatenate(scores)
        weights = np.exp(score - score.max())
        maps.append(channels @ (weights / weights.sum()))
    return np.stack(maps)


def _enlarged(maps: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Maps (n, h, w) at another size, bilinear."""
    return np.stack([cv2.resize(np.float32(item), (size[1], size[0])) for item in maps])


def spread(maps: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Positive part of maps (n, h, w), stretched to [0, 1] and enlarged, float32 (n, *size)."""
    return _stretched(_enlarged(_stretched(np.maximum(maps, 0)), size))


def _stretched(maps: np.ndarray) -> np.ndarray:
    low = maps.min(axis=(1, 2), keepdims=True)
    stretched = (maps - low) / (1e-7 + (maps - low).max(axis=(1, 2), keepdims=True))
    return np.asarray(stretched, dtype=np.float32)


def finer_target(logits: np.ndarray, target: Target, others: int = 3, alpha: float = 1.0) -> Target:
    """The target's class against the most similar classes, as FinerCAM asks.

    The ``others`` classes with the nearest logits are subtracted, each weighted by its probability among them times
    ``alpha``. The weights are constants here; the package differentiates through them as well.

    Args:
        logits: (n, classes).
        target: whose largest weight names the class of each image; a contrast is returned as it is.
        others: how many similar classes.
        alpha: how strongly they are subtracted.
    """
    if (target.weights < 0).any():
        return target
    main = target.weights.argmax(axis=1)
    rows = np.arange(len(logits))
    distance = np.abs(logits - logits[rows, main][:, None])
    distance[rows, main] = np.inf
    near = np.argsort(distance, axis=1)[:, : min(others, logits.shape[1] - 1)]
    chosen = np.take_along_axis(logits, near, axis=1)
    share = np.exp(chosen - chosen.max(axis=1, keepdims=True))
    weights = np.zeros_like(target.weights)
    np.put_along_axis(weights, near, np.float32(-alpha) * share / share.sum(axis=1, keepdims=True), axis=1)
    weights[rows, main] = 1
    return Target(weights)
