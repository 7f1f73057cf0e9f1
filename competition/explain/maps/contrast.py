"""What speaks for one class rather than another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from competition.explain.maps.cam import METHODS, spread
from competition.explain.networks.protocol import contrast_target

if TYPE_CHECKING:
    from competition.explain.networks.protocol import Backend


def contrast_maps(
    backend: Backend, images: np.ndarray, one: Sequence[str], other: Sequence[str], layer: str | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Where images (n, h, w, c) speak for one class rather than the other, and the reverse: float32 (n, h, w) each.

    Grad-CAM is linear in the gradient, so one pass serves both: the second map is the positive part of minus the first.
    Either is what ``cam`` gives for that contrast, in [0, 1] and stretched to its own maximum.

    Args:
        backend: the network.
        images: float32 in [0, 1].
        one: a class for each image.
        other: the class it is compared with.
        layer: None takes the last spatial one.
    """
    target = contrast_target(backend.classes, one, other)
    weigh = METHODS["gradcam"].weigh
    assert weigh is not None
    raw = weigh(*backend.layer_gradients(images, layer or backend.last_spatial_layer(), target))
    return spread(raw, images.shape[1:3]), spread(-raw, images.shape[1:3])
