"""What every augmentation must keep (size, type, determinism), and that strength grows with the name."""

from __future__ import annotations

import multiprocessing
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from competition.errors import UsageError
from competition.training.photos.augment import CentreSquare, draw_augment_sheet, make_augment
from competition.training.photos.strengths import STRENGTHS, colour_matrix, resized


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """A smooth picture, not mirror-symmetric, wider than high."""
    y, x = np.mgrid[0:72, 0:100]
    return np.stack([x * 2, y * 3, (x + y) % 128], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("name", STRENGTHS)
@pytest.mark.parametrize("size", [32, 96])
def test_a_square_of_uint8_comes_out_and_the_photo_stays(
    photo: np.ndarray, name: str, size: int, rng: np.random.Generator
) -> None:
    before = photo.copy()
    augment = make_augment(name, size)
    assert (augment.name, augment.size) == (name, size)
    for _ in range(10):
        drawn = augment(photo, rng)
        assert drawn.shape == (size, size, 3)
        assert drawn.dtype == np.uint8
        assert drawn.flags.c_contiguous
    np.testing.assert_array_equal(photo, before)


@pytest.mark.parametrize("name", STRENGTHS)
def test_the_generator_decides_everything(photo: np.ndarray, name: str) -> None:
    """The same seed gives the same draws, in a fresh pipeline and after other draws, whatever global chance does."""
    augment = make_augment(name, 48)
    first = [augment(photo, np.random.default_rng([7, i])) for i in range(12)]
    np.random.seed(99)  # noqa: NPY002 - the point is that it does not matter
    worker, parent = multiprocessing.Pipe(duplex=False)  # as it travels to the processes that read photos
    parent.send(make_augment(name, 48))
    again = worker.recv()
    for i in reversed(range(12)):
        np.testing.assert_array_equal(again(photo, np.random.default_rng([7, i])), first[i])


@pytest.mark.parametrize("name", [name for name in STRENGTHS if name != "none"])
def test_draws_differ_and_advance_the_generator(photo: np.ndarray, name: str) -> None:
    augment, rng = make_augment(name, 48), np.random.default_rng(0)
    draws = [augment(photo, rng).tobytes() for _ in range(8)]
    assert len(set(draws)) == len(draws)


def test_each_name_pulls_harder_than_the_one_before() -> None:
    """Mean distance from the photo over many draws of a picture that has structure at every place."""
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
    photo = coarse.repeat(16, axis=0).repeat(16, axis=1)
    distances = []
    for name in STRENGTHS:
        augment = make_augment(name, 96)
        draws = [augment(photo, np.random.default_rng([5, i])).astype(float) for i in range(150)]
        mirrored = photo[:, ::-1]  # a flip alone is in all of them
        distances.append(np.mean([min(abs(d - photo).mean(), abs(d - mirrored).mean()) for d in draws]))
    assert distances[0] == 0
    assert all(softer < harder for softer, harder in pairwise(distances)), distances


def test_none_is_the_centre_square(photo: np.ndarray, rng: np.random.Generator) -> None:
    np.testing.assert_array_equal(CentreSquare(72)(photo, rng), photo[:, 14:86])
    state = rng.bit_generator.state
    half = CentreSquare(36)(photo, rng)
    assert half.shape == (36, 36, 3)
    assert rng.bit_generator.state == state


@pytest.mark.parametrize("sides", [(60, 100), (97, 41), (48, 130)])
def test_pictures_made_smaller_are_those_of_pillow(sides: tuple[int, int]) -> None:
    """The training photos are resampled as the views of validation are, by Pillow's bicubic filter."""
    image = np.random.default_rng(3).integers(0, 256, (*sides, 3), dtype=np.uint8)
    image.flags.writeable = False  # as a photo of the cache is
    size = 40
    expected = np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC)).astype(int)
    found = resized(image, size)
    assert found.flags.c_contiguous
    off = np.abs(found - expected)
    assert off.mean() < 0.5
    assert off.max() <= 8  # on noise, where both round their weights; on a photo 1


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [2, 1, 0, 3], [1, 3, 2, 0]])
@pytest.mark.parametrize("factors", [(1.0, 1.0, 1.0), (1.15, 0.85, 1.0), (0.85, 1.1, 1.15), (0.9, 1.15, 0.85)])
def test_one_matrix_changes_the_colours_as_albumentations_does(
    factors: tuple[float, float, float], order: list[int], rng: np.random.Generator
) -> None:
    """Within rounding where no value leaves the range: the library cuts digits off after each of its steps."""
    import albumentations
    import cv2

    photo = rng.integers(60, 180, (40, 50, 3), dtype=np.uint8)
    matrix = colour_matrix(cv2.mean(photo)[:3], *factors)
    found = cv2.transform(photo, matrix).astype(int)
    expected = albumentations.ColorJitter().apply(photo, *factors, 0.0, order)
    assert np.abs(found - expected).max() <= 3
    assert np.abs(found - expected).mean() <= 1.5


def test_colour_factors_of_nought_are_black_mean_grey_and_grey() -> None:
    mean, pixel = (100.0, 50.0, 200.0), np.array([30.0, 90.0, 150.0, 1.0])
    luma = np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(colour_matrix(mean, 1, 1, 1) @ pixel, pixel[:3], rtol=1e-5)
    np.testing.assert_allclose(colour_matrix(mean, 0, 1, 1) @ pixel, 0)
    np.testing.assert_allclose(colour_matrix(mean, 1, 0, 1) @ pixel, [luma @ mean] * 3, rtol=1e-5)
    np.testing.assert_allclose(colour_matrix(mean, 1, 1, 0) @ pixel, [luma @ pixel[:3]] * 3, rtol=1e-5)


def test_borders_are_mirrored_not_blackened() -> None:
    """On a white photo nothing but jitter, noise and the grey holes can darken a pixel."""
    white = np.full((80, 80, 3), 255, np.uint8)
    augment = make_augment("strong", 64)
    darkest = min(augment(white, np.random.default_rng([2, i])).min() for i in range(80))
    assert darkest > 40


@pytest.mark.parametrize("bad", [np.zeros((8, 8, 3)), np.zeros((8, 8), np.uint8), np.zeros((0, 8, 3), np.uint8)])
@pytest.mark.parametrize("name", STRENGTHS)
def test_what_is_no_photo_is_refused(bad: np.ndarray, name: str, rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match="expected a uint8 image"):
        make_augment(name, 32)(bad, rng)


def test_a_photo_of_one_pixel_passes(rng: np.random.Generator) -> None:
    for name in STRENGTHS:
        assert make_augment(name, 32)(np.full((1, 1, 3), 9, np.uint8), rng).shape == (32, 32, 3)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("mediun", 64), "did you mean 'medium'"),
        (("medium", 0), "1 or more"),
    ],
)
def test_typos_are_offered(arguments: tuple, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        make_augment(*arguments)


def test_the_sheet_holds_the_original_and_every_draw(photo: np.ndarray) -> None:
    sheet = draw_augment_sheet(photo, draws=3, size=40)
    original = CentreSquare(40)(photo, np.random.default_rng())
    for row in range(len(STRENGTHS)):
        top = 24 + row * 46
        np.testing.assert_array_equal(sheet[top : top + 40, 96:136], original)
    drawn = make_augment("light", 40)(photo, np.random.default_rng([0, 1]))
    np.testing.assert_array_equal(sheet[70:110, 142:182], drawn)
