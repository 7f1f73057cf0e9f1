"""Deletion and insertion curves, random maps and pointing, on a model that is known by heart."""

from __future__ import annotations

import numpy as np
import pytest

from competition.errors import UsageError
from competition.explain.maps.attribution import blurred
from competition.explain.maps.faithfulness import centred_random, deletion, insertion, probability
from competition.explain.networks.protocol import Target, class_target, contrast_target
from tests.explain.fake_backend import FakeBackend
from tests.explain.pointing import pointing, share_inside

CLASSES = ("corner", "rest")


class Corner(FakeBackend):
    """Class ``corner`` sees the brightness of the upper left quarter, ``rest`` that of everything else."""

    def __init__(self) -> None:
        super().__init__(shape=(16, 16, 3), classes=CLASSES)

    def logits(self, images: np.ndarray) -> np.ndarray:
        quarter = images[:, :8, :8].mean(axis=(1, 2, 3))
        return np.stack([8 * quarter, np.zeros_like(quarter)], axis=1).astype(np.float32)


@pytest.fixture
def scene() -> tuple[np.ndarray, Target, np.ndarray]:
    """Photos with a bright quarter that is also textured, the target, and the map that is right."""
    rng = np.random.default_rng(0)
    photos = rng.random((2, 16, 16, 3), dtype=np.float32) * 0.2
    photos[:, :8, :8] += 0.7
    right = np.zeros((2, 16, 16), np.float32)
    right[:, :8, :8] = 1
    return photos, class_target(CLASSES, ["corner", "corner"]), right


def test_curves_of_the_right_map(scene: tuple[np.ndarray, Target, np.ndarray]) -> None:
    photos, target, right = scene
    backend = Corner()
    falls = deletion(backend, photos, target, right, steps=4)
    whole, grey, soft = (
        probability(backend.logits(shown), target) for shown in (photos, np.full_like(photos, 0.5), blurred(photos))
    )
    assert falls.shares.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert falls.values[:, 0] == pytest.approx(whole)
    assert falls.values[:, 1:] == pytest.approx(np.repeat(grey[:, None], 4, axis=1))  # a quarter is all there was
    assert falls.area == pytest.approx(0.25 * (whole + grey) / 2 + 0.75 * grey)
    rises = insertion(backend, photos, target, right, steps=4)
    assert rises.values[:, 0] == pytest.approx(soft)
    assert rises.values[:, 1:] == pytest.approx(np.repeat(whole[:, None], 4, axis=1))
    assert (deletion(backend, photos, target, 1 - right).area > falls.area).all()
    assert (insertion(backend, photos, target, 1 - right).area < rises.area).all()


def test_the_probability_of_a_contrast_is_among_the_two() -> None:
    logits = np.log(np.array([[0.6, 0.3, 0.1]], np.float32))
    names = ("a", "b", "c")
    assert probability(logits, class_target(names, ["a"])) == pytest.approx([0.6])
    assert probability(logits, contrast_target(names, ["a"], ["c"])) == pytest.approx([0.6 / 0.7])


def test_pointing_and_mass() -> None:
    maps = np.zeros((3, 6, 6), np.float32)
    maps[0, 1, 1], maps[1, 4, 4], maps[1, 1, 1] = 1, 1, 0.5
    maps[2, 2:5, 1:4] = 1  # a plateau around 3, 2
    masks = np.zeros((3, 6, 6), bool)
    masks[:2, :3, :3] = True
    masks[2, 3, 2] = True
    assert pointing(maps, masks).tolist() == [True, False, True]
    assert share_inside(maps, masks) == pytest.approx([1, 1 / 3, 1 / 9])
    assert share_inside(np.zeros((1, 6, 6)), masks[:1]) == pytest.approx([0.25])


def test_random_maps_lean_to_the_centre_and_differ() -> None:
    maps = centred_random(200, (20, 30), seed=1)
    assert np.array_equal(maps, centred_random(200, (20, 30), seed=1))
    peaks = np.array([np.unravel_index(item.argmax(), item.shape) for item in maps])
    assert len(np.unique(peaks, axis=0)) > 20
    middle = np.zeros((20, 30), bool)
    middle[5:15, 7:23] = True  # 27 % of the area
    assert 0.6 < pointing(maps, np.repeat(middle[None], 200, axis=0)).mean() <= 1


def test_maps_of_another_size(scene: tuple[np.ndarray, Target, np.ndarray]) -> None:
    photos, target, right = scene
    with pytest.raises(UsageError, match="maps of shape"):
        deletion(Corner(), photos, target, right[:, :8])
