"""From a photo to one view of it, uint8."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from competition.data.photos.views import render_view
from competition.types import View


@dataclass(frozen=True)
class Rendering:
    """A square picture cut from a photo: which part, how many pixels, which interpolation."""

    crop: str
    size: int
    crop_pct: float
    interpolation: str

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Cut it from ``image`` uint8 (h, w, 3) as uint8 (size, size, 3)."""
        return render_view(image, View("", crop=self.crop), self.size, self.crop_pct, self.interpolation)
