"""Attributions: what can be worked out in closed form, and identities that must hold."""

from __future__ import annotations

import numpy as np
import pytest

from competition.errors import UsageError
from competition.explain.maps.attribution import (
    METHODS,
    as_map,
    attribute,
    baseline_of,
    gradients,
    guided,
    integrated_gradients,
    occlusion,
    smoothgrad,
)
from competition.explain.networks.protocol import class_target, contrast_target
from tests.explain.fake_backend import FakeBackend
from tests.explain.nets import CLASSES, images, small

TARGET = class_target(CLASSES, ["pug", "chow"])


def test_gradients_in_batches_are_the_whole() -> None:
    backend = small()
    photos, target = images(backend, 5), class_target(CLASSES, [0, 1, 2, 3, 0])
    for method in (gradients, guided):
        whole = method(backend, photos, target)
        assert np.abs(whole).max() > 0
        assert np.allclose(method(backend, photos, target, batch_size=2), whole, atol=1e-6)


def test_integrated_gradients_of_a_quadratic_are_exact() -> None:
    """The gradient of a squared distance is linear along the path, and the midpoint rule is exact for it."""
    backend = FakeBackend()
    photos = np.random.default_rng(1).random((2, *backend.input_shape), dtype=np.float32)
    target = class_target(backend.classes, ["pug", "chow"])
    found = integrated_gradients(backend, photos, target, baseline="white", steps=3)
    assert found.steps == 3
    template = backend.templates[[2, 0]]
    wanted = (photos - 1) * (template - (photos + 1) / 2)
    assert np.allclose(found.attributions, wanted, atol=1e-5)
    assert found.change == pytest.approx(wanted.sum(axis=(1, 2, 3)), abs=1e-3)
    assert found.relative_gap.max() < 1e-3


def test_integrated_gradients_add_up_or_take_more_steps() -> None:
    backend = small()
    photos = images(backend)
    coarse = integrated_gradients(backend, photos, TARGET, steps=1, max_steps=1)
    fine = integrated_gradients(backend, photos, TARGET, steps=1, tolerance=0.02, max_steps=128)
    assert coarse.relative_gap.max() > 0.02
    assert fine.relative_gap.max() <= 0.02
    assert fine.steps > 1
    assert fine.attributions.sum(axis=(1, 2, 3)) == pytest.approx(fine.change, rel=0.03)
    never = integrated_gradients(backend, photos, TARGET, steps=1, tolerance=0.0, max_steps=4)
    assert never.steps == 4  # what gap is left is told, not hidden
    assert integrated_gradients(
        backend, photos, TARGET, steps=8, max_steps=8, batch_size=3
    ).attributions == pytest.approx(
        integrated_gradients(backend, photos, TARGET, steps=8, max_steps=8).attributions, abs=1e-6
    )


def test_smoothgrad_is_reproducible_and_close_to_the_gradient_of_a_quadratic() -> None:
    backend = FakeBackend()
    photos = np.random.default_rng(1).random((3, *backend.input_shape), dtype=np.float32)
    target = class_target(backend.classes, [0, 1, 2])
    found = smoothgrad(backend, photos, target, samples=16, noise=0.1, seed=4)
    assert np.array_equal(found, smoothgrad(backend, photos, target, samples=16, noise=0.1, seed=4, batch_size=2))
    assert not np.array_equal(found, smoothgrad(backend, photos, target, samples=16, noise=0.1, seed=5))
    # The gradient is linear in the image, so only the noise's mean is left: sigma / sqrt(samples).
    left = found - backend.input_gradients(photos, target)
    assert left.std() == pytest.approx(0.1 * np.ptp(photos) / 4, rel=0.1)
    alone = smoothgrad(backend, photos[:1], target[:1], samples=16, noise=0.1, seed=4)
    assert np.array_equal(alone, found[:1])


def test_occlusion_is_the_mean_fall_over_the_windows_that_cover_a_pixel() -> None:
    backend = FakeBackend(shape=(7, 6, 3))
    photos = np.random.default_rng(2).random((2, 7, 6, 3), dtype=np.float32)
    target = contrast_target(backend.classes, ["pug", "chow"], ["chow", "pug"])
    found = occlusion(backend, photos, target, window=3, stride=2, fill="black", batch_size=2)
    whole = target.scores(backend.logits(photos))
    falls: dict[tuple[int, int], list[np.ndarray]] = {}
    for top in (0, 2, 4):
        for left in (0, 2, 3):  # the last window touches the edge
            covered = photos.copy()
            covered[:, top : top + 3, left : left + 3] = 0
            fall = whole - target.scores(backend.logits(covered))
            for y in range(top, top + 3):
                for x in range(left, left + 3):
                    falls.setdefault((y, x), []).append(fall)
    assert len(falls) == 42
    for (y, x), values in falls.items():
        assert found[:, y, x] == pytest.approx(np.mean(values, axis=0), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_a_map(method: str) -> None:
    backend = small()
    maps = attribute(backend, images(backend), TARGET, method)
    assert maps.shape == (2, 12, 12)
    assert maps.min() >= 0
    assert maps.max() == 1


def test_maps_keep_the_sign_when_asked() -> None:
    given = np.zeros((1, 2, 2, 3), np.float32)
    given[0, 0, 0], given[0, 1, 1] = (1, -3, 0), (1, 0, 0)
    assert as_map(given, percentile=100)[0].tolist() == [[1.0, 0.0], [0.0, 0.25]]
    assert as_map(given, signed=True, percentile=100)[0].tolist() == [[-1.0, 0.0], [0.0, 0.5]]
    assert not as_map(np.zeros((1, 2, 2, 3))).any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda b, x: attribute(b, x, TARGET, "smothgrad"), "did you mean 'smoothgrad'"),
        (
            lambda b, x: integrated_gradients(b, x, TARGET, baseline="gray"),
            "unknown baseline 'gray' - did you mean 'grey'",
        ),
        (lambda b, x: integrated_gradients(b, x, TARGET, steps=0), "1 <= steps"),
        (lambda b, x: smoothgrad(b, x, TARGET, samples=0), "at least 1 sample"),
        (lambda b, x: occlusion(b, x, TARGET, window=99), "stride <= window <= 12"),
        (lambda b, x: baseline_of(x, x[:1]), "a baseline of shape"),
    ],
)
def test_wrong_words_and_numbers(call: object, message: str) -> None:
    backend = small()
    with pytest.raises(UsageError, match=message):
        call(backend, images(backend))  # type: ignore[operator]
