"""Filters: known answers, and the same as SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from baselines.specs.filters import KERNELS, apply_filter, as_picture, edges, gaussian_kernel, kernel
from competition.errors import UsageError


@pytest.fixture
def photos(rng) -> np.ndarray:
    return rng.random((2, 13, 17, 3), dtype=np.float32)


@pytest.mark.parametrize("name", [*KERNELS, "1 2 3; 4 5 6; 7 8 9", "2"])
def test_the_answer_is_that_of_scipy(photos, name: str) -> None:
    expected = ndimage.correlate(photos, kernel(name)[None, :, :, None], mode="mirror")
    np.testing.assert_allclose(apply_filter(photos, kernel(name)), expected, rtol=1e-5, atol=1e-5)


def test_sobel_finds_the_direction_of_a_step() -> None:
    step = np.zeros((1, 7, 8, 1), np.float32)
    step[:, :, 4:] = 1
    across, down = apply_filter(step, KERNELS["sobel_x"]), apply_filter(step, KERNELS["sobel_y"])
    assert np.unique(across[0, :, 3:5]).tolist() == [4.0]
    assert not across[0, :, :3].any()
    assert not down.any()
    assert edges(step)[0, 3, :, 0].tolist() == [0, 0, 0, 1, 1, 0, 0, 0]
    assert np.array_equal(edges(step.transpose(0, 2, 1, 3)), edges(step).transpose(0, 2, 1, 3))
    for family in ("prewitt", "scharr"):
        assert edges(step, family).max() == pytest.approx(1)


def test_kernels_keep_or_lose_the_brightness() -> None:
    grey = np.full((1, 12, 12, 1), 0.4, np.float32)
    for name, weights in KERNELS.items():
        expected = 0.4 * weights.sum()
        np.testing.assert_allclose(apply_filter(grey, weights), expected, atol=1e-6, err_msg=name)
        shown = as_picture(apply_filter(grey, weights), weights)
        np.testing.assert_allclose(shown, 0.5 if abs(weights.sum()) < 1e-6 else expected, atol=1e-6, err_msg=name)
    assert gaussian_kernel(5, 0.8).sum() == pytest.approx(1)
    assert gaussian_kernel(5, 0.8)[2, 1] == gaussian_kernel(5, 0.8)[1, 2]


def test_pictures_stay_in_range(photos) -> None:
    for weights in KERNELS.values():
        shown = as_picture(apply_filter(photos, weights), weights)
        assert shown.min() >= 0
        assert shown.max() <= 1


def test_own_kernels_are_read_and_checked() -> None:
    np.testing.assert_array_equal(kernel("0 -1 0; -1 5 -1; 0,-1,0"), KERNELS["sharpen"])
    for text, match in (
        ("sobelx", "did you mean 'sobel_x'"),
        ("1 2; 3 4", "odd side"),
        ("1 2 3; 4 5 6", "odd side"),
        ("1 2 3; 4 5; 6 7 8", "different length"),
        ("1 a 3; 4 5 6; 7 8 9", "no number"),
        ("1 nan 3; 4 5 6; 7 8 9", "not finite"),
    ):
        with pytest.raises(UsageError, match=match):
            kernel(text)
    with pytest.raises(UsageError, match="needs images larger"):
        apply_filter(np.zeros((1, 4, 20, 1), np.float32), KERNELS["blur_wide"])
