"""Attributions: what can be worked out in closed form, and identities that must hold."""

from __future__ import annotations

import numpy as np
import pytest

from competition.errors import UsageError
from competition.explain.maps import attribution
from competition.explain.maps.attribution import (
    METHODS,
    as_map,
    attribute,
    gradients,
    integrated_gradients,
    occlusion,
    smoothgrad,
)
from competition.explain.networks.protocol import class_target, contrast_target
from tests.explain.fake_backend import FakeBackend
from tests.explain.nets import CLASSES, images, small

TARGET = class_target(CLASSES, ["pug", "chow"])


@pytest.mark.parametrize("method", METHODS)
def test_batches_are_the_whole(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = small()
    photos, target = images(backend, 5), class_target(CLASSES, [0, 1, 2, 3, 0])
    whole = METHODS[method](backend, photos, target)
    assert np.abs(whole).max() > 0
    monkeypatch.setattr(attribution, "_BATCH", 2)
    assert np.allclose(METHODS[method](backend, photos, target), whole, atol=1e-6)


def test_integrated_gradients_of_a_quadratic_are_exact() -> None:
    """The gradient of a squared distance is linear along the path, and the midpoint rule is exact for it."""
    backend = FakeBackend()
    photos = np.random.default_rng(1).random((2, *backend.input_shape), dtype=np.float32)
    found = integrated_gradients(backend, photos, class_target(backend.classes, ["pug", "chow"]))
    assert np.allclose(found, photos * (backend.templates[[2, 0]] - photos / 2), atol=1e-5)


def test_integrated_gradients_add_up_or_take_more_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = small()
    photos = images(backend)
    change = [TARGET.scores(backend.logits(shown)) for shown in (photos, np.zeros_like(photos))]
    monkeypatch.setattr(attribution, "_STEPS", 1)
    monkeypatch.setattr(attribution, "_MOST_STEPS", 1)
    coarse = integrated_gradients(backend, photos, TARGET).sum(axis=(1, 2, 3))
    assert coarse != pytest.approx(change[0] - change[1], rel=0.05)
    monkeypatch.setattr(attribution, "_MOST_STEPS", 256)
    assert integrated_gradients(backend, photos, TARGET).sum(axis=(1, 2, 3)) == pytest.approx(
        change[0] - change[1], rel=0.05
    )


def test_smoothgrad_is_the_gradient_of_a_quadratic_up_to_the_mean_of_the_noise() -> None:
    backend = FakeBackend()
    photos = np.random.default_rng(1).random((3, *backend.input_shape), dtype=np.float32)
    target = class_target(backend.classes, [0, 1, 2])
    found = smoothgrad(backend, photos, target)
    # The gradient is linear in the image, so only the noise's mean is left: sigma / sqrt(samples).
    left = found - gradients(backend, photos, target)
    assert left.std() == pytest.approx(0.1 * np.ptp(photos) / 5, rel=0.1)
    assert np.array_equal(smoothgrad(backend, photos[:1], target[:1]), found[:1])


def test_occlusion_is_the_mean_fall_over_the_windows_that_cover_a_pixel() -> None:
    backend = FakeBackend(shape=(16, 15, 3))
    photos = np.random.default_rng(2).random((2, 16, 15, 3), dtype=np.float32)
    target = contrast_target(backend.classes, ["pug", "chow"], ["chow", "pug"])
    found = occlusion(backend, photos, target)
    whole = target.scores(backend.logits(photos))
    falls = np.zeros((2, 16, 15, 2))
    for top in range(14):  # windows of a fifth of 15, moved by half of that
        for left in range(13):
            covered = photos.copy()
            covered[:, top : top + 3, left : left + 3] = 0.5
            fall = whole - target.scores(backend.logits(covered))
            falls[:, top : top + 3, left : left + 3] += np.stack([fall, np.ones(2)], axis=1)[:, None, None]
    assert found == pytest.approx(falls[..., 0] / falls[..., 1], rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_a_map(method: str) -> None:
    backend = small()
    maps = attribute(backend, images(backend), TARGET, method)
    assert maps.shape == (2, 12, 12)
    assert maps.min() >= 0
    assert maps.max() == 1


def test_maps_are_sums_of_absolute_values_scaled_without_the_few_highest() -> None:
    given = np.zeros((1, 40, 40, 3), np.float32)
    given[0, :20, :, :2] = (1, -3)
    given[0, 30, 30, 0] = 99
    assert np.unique(as_map(given)).tolist() == [0.0, 1.0]
    assert as_map(given[..., 0])[0, 0, 0] == 1
    assert not as_map(np.zeros((1, 2, 2, 3))).any()


def test_a_wrong_method_is_told() -> None:
    backend = small()
    with pytest.raises(UsageError, match="did you mean 'smoothgrad'"):
        attribute(backend, images(backend), TARGET, "smothgrad")
