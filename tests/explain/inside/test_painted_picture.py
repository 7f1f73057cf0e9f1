from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from competition.explain.inside import painted_picture

SHAPES = [(6, 8, 3), (7, 5, 1), (5, 6, 3), (8, 7, 4)]


def numerical(function: Callable[[np.ndarray], float], at: np.ndarray, step: float = 1e-2) -> np.ndarray:
    """Central differences of a scalar function, one coordinate at a time."""
    found = np.zeros(at.shape)
    for index in np.ndindex(*at.shape):
        moved = np.zeros(at.shape, np.float32)
        moved[index] = step
        found[index] = (function(at + moved) - function(at - moved)) / (2 * step)
    return found


@pytest.mark.parametrize("shape", SHAPES)
def test_chain_rule_of_the_whole_painting(
    shape: tuple[int, int, int],
    rng: np.random.Generator,
) -> None:
    """Numbers to latent to colours to image to a quadratic loss: the gradient by hand is that of finite differences."""
    parameters, colours = painted_picture.Spectrum(shape), painted_picture.colour_matrix(shape[2])
    numbers = parameters.start(rng, 0.3)
    weights = rng.normal(size=shape)

    def loss(values: np.ndarray) -> float:
        image = painted_picture.paint(parameters.latent(values.astype(np.float32)), colours).astype(np.float64)
        return float((weights * image**2).sum())

    image = painted_picture.paint(parameters.latent(numbers), colours)
    by_hand = parameters.pull_back(painted_picture.unpaint(2 * weights * image, image, colours))
    np.testing.assert_allclose(by_hand, numerical(loss, numbers), atol=3e-3 * np.abs(by_hand).max())


@pytest.mark.parametrize("shape", SHAPES)
def test_spectrum_gives_back_what_it_took(shape: tuple[int, int, int], rng: np.random.Generator) -> None:
    parameters = painted_picture.Spectrum(shape)
    latent = rng.normal(size=shape).astype(np.float32)
    np.testing.assert_allclose(parameters.latent(parameters.numbers(latent)), latent, atol=1e-5)


def test_spectrum_gives_pictures_with_the_spectrum_of_photos() -> None:
    """The same noise in all coefficients is a picture whose amplitude falls as one over the frequency."""
    parameters = painted_picture.Spectrum((64, 64, 1))
    latents = [parameters.latent(parameters.start(np.random.default_rng(seed), 1.0)) for seed in range(20)]
    power = np.mean([np.abs(np.fft.rfft2(latent[:, :, 0])) for latent in latents], axis=0)
    assert power[0, 4] / power[0, 16] == pytest.approx(4, rel=0.25)


def test_painting_stays_inside_and_does_not_overflow() -> None:
    image = painted_picture.paint(np.array([-1e4, 0, 1e4], np.float32)[None, None], np.eye(3, dtype=np.float32))
    assert image.tolist() == [[[0.0, 0.5, 1.0]]]


def test_total_variation(rng: np.random.Generator) -> None:
    image = rng.uniform(size=(5, 6, 2))
    _, derivative = painted_picture.total_variation(image)
    expected = numerical(lambda values: painted_picture.total_variation(values)[0], image, step=1e-5)
    np.testing.assert_allclose(derivative, expected, atol=1e-6)
    assert painted_picture.total_variation(np.full((4, 4, 3), 0.3))[0] == pytest.approx(
        1e-3
    )  # the root of the smoothing
    ramp = np.tile(np.arange(4.0)[:, None, None], (1, 5, 1))
    assert painted_picture.total_variation(ramp)[0] == pytest.approx(3 / 4, abs=1e-3)


def test_resampling_is_exact_where_it_can_be(rng: np.random.Generator) -> None:
    np.testing.assert_allclose(painted_picture.whole(7, 7), np.eye(7), atol=1e-6)
    for size, out in ((5, 13), (13, 5), (4, 4), (100, 7)):
        matrix = painted_picture.whole(size, out)
        np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-5)
        line = 2.0 * np.arange(size) + 3
        inside = matrix @ line
        expected = 2.0 * ((np.arange(out) + 0.5) * size / out - 0.5) + 3
        middle = slice(out // 3, -(out // 3) or None)
        np.testing.assert_allclose(inside[middle], expected[middle], atol=max(1e-3, 0.1 * size / out))
    shifted = painted_picture.resampling(6, 6, 2.0, 6.0) @ np.arange(6.0)
    np.testing.assert_allclose(shifted, [2, 3, 4, 5, 5, 5], atol=1e-6)  # beyond the border the edge is repeated


def test_looking_back_is_the_adjoint(rng: np.random.Generator) -> None:
    rows, columns = painted_picture.resampling(9, 6, -1.3, 8.0), painted_picture.resampling(7, 11, 0.4, 9.1)
    image, gradient = rng.normal(size=(9, 7, 3)), rng.normal(size=(6, 11, 3))
    forwards = float((painted_picture.look(image, rows, columns) * gradient).sum())
    assert forwards == pytest.approx(
        float((image * painted_picture.look_back(gradient, rows, columns)).sum()), rel=1e-4
    )


def test_shrinking_averages(rng: np.random.Generator) -> None:
    stripes = np.tile([0.0, 1.0], 32)[None, :, None].repeat(64, axis=0)
    small = painted_picture.resize(stripes, 8, 8)
    np.testing.assert_allclose(small[:, 1:-1], 0.5, atol=0.01)
