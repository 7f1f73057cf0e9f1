from __future__ import annotations

import numpy as np
import pytest

from competition.errors import KitError, UsageError
from competition.explain.inside import activations
from competition.pictures import overlays
from tests.explain.fake_backend import FakeBackend


def test_rgb_filters_are_shown_in_colour_around_grey() -> None:
    kernel = np.zeros((3, 3, 3, 2), np.float32)
    kernel[1, 1, 0, 0] = 4.0  # red in the middle
    kernel[0, 0, :, 1] = -0.5
    tiles = activations.filter_tiles(kernel)
    assert tiles.shape == (2, 3, 3, 3)
    assert tiles[0, 1, 1].tolist() == [1.0, 0.5, 0.5]
    assert tiles[0, 0, 0].tolist() == [0.5, 0.5, 0.5]
    assert tiles[1, 0, 0].tolist() == [0.0, 0.0, 0.0]  # each filter has its own scale


def test_deep_filters_are_shown_channel_by_channel() -> None:
    kernel = np.zeros((1, 1, 4, 3), np.float32)
    kernel[0, 0, 2, 1] = -2.0
    kernel[0, 0, 3, 1] = 1.0
    tiles = activations.filter_tiles(kernel)
    assert tiles.shape == (12, 1, 1, 3)
    np.testing.assert_allclose(tiles[6, 0, 0], [0.08, 0.30, 0.55], atol=1e-6)  # the most negative is blue
    red = tiles[7, 0, 0]
    assert red[0] > red[2]
    np.testing.assert_allclose(np.delete(tiles, [6, 7], axis=0), 1)
    assert activations.filter_columns(kernel) == 4  # a row per filter
    assert len(activations.filter_tiles(kernel, most=5)) == 5


def test_one_channel_filters_are_grey() -> None:
    tiles = activations.filter_tiles(np.array([[-1.0, 1.0]], np.float32).reshape(1, 2, 1, 1))
    np.testing.assert_allclose(tiles[0, 0], [[0, 0, 0], [1, 1, 1]])


def test_nan_filters_are_refused() -> None:
    with pytest.raises(KitError, match="filters"):
        activations.filter_tiles(np.full((1, 1, 3, 1), np.nan, np.float32))


def test_mosaic_places_every_tile() -> None:
    tiles = np.arange(5, dtype=np.float32)[:, None, None].repeat(2, axis=1).repeat(3, axis=2) / 10
    sheet = activations.mosaic(tiles, 3, side=4, ground=1.0)
    assert sheet.shape == (2 * 4 + 1, 3 * 6 + 2, 3)
    for index in range(5):
        row, column = divmod(index, 3)
        block = sheet[row * 5 : row * 5 + 4, column * 7 : column * 7 + 6]
        np.testing.assert_allclose(block, index / 10)
    np.testing.assert_allclose(sheet[4], 1)  # the gap
    np.testing.assert_allclose(sheet[5:, 14:], 1)  # the empty place
    with pytest.raises(UsageError, match="nothing to draw"):
        activations.mosaic(np.zeros((0, 2, 2)))


def test_maps_are_the_activations() -> None:
    backend = FakeBackend()
    image = backend.templates[0]
    maps = activations.activation_maps(backend, image, "mix")
    np.testing.assert_array_equal(maps, np.moveaxis(backend.activations(image[None], "mix")[0], 2, 0))
    order = activations.strongest(maps, 2)
    strength = np.maximum(maps, 0).mean(axis=(1, 2))
    assert list(order) == sorted(range(4), key=lambda k: -strength[k])[:2]
    assert activations.activation_grid(backend, image, "mix", side=6).shape == (13, 11, 3)  # 2 x 2 of 6 x 5, one gap
    assert activations.filter_sheet(backend, "stem").ndim == 3


def test_stretching_each_or_together() -> None:
    maps = np.array([[[0.0, 1.0]], [[2.0, 4.0]], [[3.0, 3.0]]])
    np.testing.assert_allclose(activations.stretched(maps), [[[0, 1]], [[0, 1]], [[0, 0]]])
    np.testing.assert_allclose(activations.stretched(maps, together=True), [[[0, 0.25]], [[0.5, 1]], [[0.75, 0.75]]])


def test_layers_that_cannot_be_drawn() -> None:
    backend = FakeBackend()
    with pytest.raises(UsageError, match="no map over the image"):
        activations.activation_maps(backend, backend.templates[0], "pool")
    with pytest.raises(UsageError, match="near ones"):
        activations.filter_sheet(backend, "stemm")


def test_overlay_leaves_the_bright_and_dims_the_rest() -> None:
    photo = np.full((4, 4, 3), 0.8, np.float32)
    photo[..., 2] = 0.2
    heat = np.zeros((4, 4), np.float32)
    heat[0, 0] = 1.0
    shown = overlays.overlay(photo, heat)
    expected = 0.45 * photo[0, 0] + 0.55 * overlays.coloured(np.array(1.0))
    np.testing.assert_allclose(shown[0, 0], expected, atol=1e-6)
    assert np.ptp(shown[2, 2]) < np.ptp(photo[2, 2])  # less colourful
    assert overlays.overlay(photo[..., :1], heat).shape == (4, 4, 3)


def test_contrast_has_a_colour_for_either_class() -> None:
    towards, against = np.zeros((2, 2)), np.zeros((2, 2))
    towards[0, 0] = against[1, 1] = 1.0
    towards[0, 1] = against[0, 1] = 0.7  # speaks for both: for neither
    shown = overlays.contrast_overlay(np.full((2, 2, 3), 0.5), towards, against)
    assert shown[0, 0, 0] > shown[0, 0, 2] + 0.3
    assert shown[1, 1, 2] > shown[1, 1, 0] + 0.3
    assert np.ptp(shown[0, 1]) == 0
    assert np.ptp(shown[1, 0]) == 0


def test_colours_of_signs_and_bytes() -> None:
    assert overlays.signed_colours(np.array([0.0])).tolist() == [[1.0, 1.0, 1.0]]
    assert overlays.as_uint8(np.array([0.0, 0.5, 1.2])).tolist() == [0, 128, 255]
