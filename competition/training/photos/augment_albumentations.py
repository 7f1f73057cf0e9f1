"""The augmentations of ``augment.py`` on albumentations 2.0.8, its last MIT release."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from competition.training.photos.strengths import Strength, checked_photo, colour_matrix, resized


@dataclass(frozen=True)
class AlbumentationsAugment:
    """``Strength`` as a list of albumentations transforms, on uint8 throughout."""

    name: str
    size: int
    strength: Strength

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """See ``Augment``."""
        # albumentations keeps random states of its own. Handing it ours costs microseconds; reseeding, far more.
        draws = random.Random(int(rng.integers(2**63)))
        image = checked_photo(image)
        for step in self._steps:
            step.set_random_state(rng, draws)
            # As the library's Compose does, without the checks of boxes, masks and volumes: half of a draw's time.
            if step.should_apply():
                data = {"image": image}
                params = step.update_transform_params(step.get_params(), data)
                params.update(step.get_params_dependent_on_data(params, data))
                image = np.ascontiguousarray(step.apply(image, **params))
        return image

    def __getstate__(self) -> dict[str, Any]:
        """Only the numbers travel to another process; the transforms are made there."""
        return {"name": self.name, "size": self.size, "strength": self.strength}

    @cached_property
    def _steps(self) -> list[Any]:
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # before the import: it would ask a server for updates
        import albumentations as A  # noqa: N812 - its documented short name

        return [*self._geometry(A), *self._colour(A), *self._damage(A)]

    def _geometry(self, A: Any) -> list[Any]:
        import cv2

        s = self.strength
        steps = [_resized_crop(A)((self.size, self.size), scale=s.crop, ratio=s.ratio), A.HorizontalFlip(p=0.5)]
        if s.move:
            steps.append(
                A.Affine(
                    translate_percent=(-s.shift, s.shift),
                    scale=(1 - s.zoom, 1 + s.zoom),
                    keep_ratio=True,
                    rotate=(-s.rotate, s.rotate),
                    border_mode=cv2.BORDER_REFLECT_101,
                    p=s.move,
                )
            )
        return steps

    def _colour(self, A: Any) -> list[Any]:
        s = self.strength
        steps = []
        if s.jitter:
            spans = {"brightness": s.brightness, "contrast": s.contrast, "saturation": s.saturation}
            ranges = {key: (1 - span, 1 + span) for key, span in spans.items()}
            steps.append(_colour_jitter(A)(**ranges, hue=(-s.hue, s.hue), p=s.jitter))
        if s.grey:
            steps.append(A.ToGray(p=s.grey))
        return steps

    def _damage(self, A: Any) -> list[Any]:
        s = self.strength
        steps = []
        if s.blur:
            steps.append(A.GaussianBlur(blur_limit=0, sigma_limit=(0.1, s.blur_sigma), p=s.blur))
        if s.noise:
            # One draw for the three channels: a third of the time, and film grain rather than colour speckle.
            steps.append(A.GaussNoise(std_range=(0.2 * s.noise_std, s.noise_std), per_channel=False, p=s.noise))
        if s.dropout:
            steps.append(
                A.CoarseDropout(
                    num_holes_range=s.holes,
                    hole_height_range=s.hole_side,
                    hole_width_range=s.hole_side,
                    fill=128,
                    p=s.dropout,
                )
            )
        return steps


def _resized_crop(A: Any) -> Any:
    """The random crop of albumentations with the kit's own resize: its area interpolation took longer than decoding."""

    class ResizedCrop(A.RandomResizedCrop):  # type: ignore[misc]
        """The crop's place is drawn as ever."""

        def apply(self, img: np.ndarray, crop_coords: tuple[int, int, int, int], **_: Any) -> np.ndarray:
            """Cut and resize."""
            left, top, right, bottom = crop_coords
            return resized(img[top:bottom, left:right], int(self.size[0]))

    return ResizedCrop


def _colour_jitter(A: Any) -> Any:
    """The library's change of colour, its brightness, contrast and saturation in one pass instead of nine."""

    class Jitter(A.ColorJitter):  # type: ignore[misc]
        """All is drawn as ever; only the order in which values beyond white are cut off is lost."""

        def apply(
            self, img: np.ndarray, brightness: float, contrast: float, saturation: float, hue: float, **_: Any
        ) -> np.ndarray:
            """Change the colours."""
            import cv2

            mean = cv2.mean(img)[:3]
            changed = cv2.transform(img, colour_matrix(mean, brightness, contrast, saturation))
            return self.transforms[3](changed, hue) if hue else changed  # type: ignore[no-any-return]

    return Jitter
