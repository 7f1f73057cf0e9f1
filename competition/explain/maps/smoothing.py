"""Test-time-augmented maps: the mean over mirrored, shifted and brightened copies, each map put back in place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from competition.explain.networks.protocol import Target

Maps = Callable[[np.ndarray, Target], np.ndarray]  # images (n, h, w, c), target -> maps (n, h, w)


@dataclass(frozen=True)
class Change:
    """A change of an image that can be taken back on its map.

    Attributes:
        flip: mirrored left to right.
        down: pixels that the image is moved down, as a share of its height; edge pixels are repeated.
        right: pixels to the right, as a share of its width.
        brightness: factor of the pixel values.
    """

    flip: bool = False
    down: float = 0.0
    right: float = 0.0
    brightness: float = 1.0

    def apply(self, images: np.ndarray) -> np.ndarray:
        """Change images (n, h, w, c)."""
        changed = images[:, :, ::-1] if self.flip else images
        changed = _moved(changed, round(self.down * images.shape[1]), round(self.right * images.shape[2]))
        return np.ascontiguousarray(np.clip(changed * np.float32(self.brightness), 0, 1))

    def undo(self, maps: np.ndarray) -> np.ndarray:
        """Bring maps (n, h, w) of changed images back into place."""
        back = _moved(maps, -round(self.down * maps.shape[1]), -round(self.right * maps.shape[2]))
        return back[:, :, ::-1] if self.flip else back


CHANGES = tuple(
    Change(flip, down, right, brightness)
    for flip in (False, True)
    for down, right, brightness in ((0, 0, 1.0), (0.03, -0.03, 1.0), (-0.03, 0.03, 1.0), (0, 0, 0.9), (0, 0, 1.1))
)


def _moved(arrays: np.ndarray, down: int, right: int) -> np.ndarray:
    """Arrays (n, h, w, ...) moved by whole pixels, edges repeated."""
    rows = np.clip(np.arange(arrays.shape[1]) - down, 0, arrays.shape[1] - 1)
    columns = np.clip(np.arange(arrays.shape[2]) - right, 0, arrays.shape[2] - 1)
    return arrays[:, rows][:, :, columns]


def smooth_maps(maps: Maps, images: np.ndarray, target: Target, changes: Sequence[Change] = CHANGES) -> np.ndarray:
    """Mean map over changed copies, stretched so that each image's strongest point is 1; float32 (n, h, w).

    Args:
        maps: any method, for instance ``lambda images, target: cam(backend, images, target)``.
        images: float32 (n, h, w, c) in [0, 1].
        target: what to explain.
        changes: what is done to the copies; ten of them by default, so it costs ten times as much.
    """
    total = np.mean([change.undo(maps(change.apply(images), target)) for change in changes], axis=0)
    top = total.max(axis=(1, 2), keepdims=True) if len(total) else np.ones((0, 1, 1))
    return np.asarray(total / np.where(top > 0, top, 1), dtype=np.float32)
