"""What every explained model is given: a photo of any size, cut and resized to the model's input."""

from __future__ import annotations

import numpy as np
import pytest

from competition.explain.networks.protocol import square_input


@pytest.mark.parametrize("side", [64, 224, 299])
def test_photos_of_any_size_fit(side: int) -> None:
    """Sides whose share of the input is rounded upwards, as 29 of 224, made a box that left the photo."""
    photo = np.full((300, 300, 3), 51, np.uint8)
    for short in range(1, 300):
        for height, width in ((short, short + 9), (short + 9, short)):
            found = square_input(np.resize(photo, (height, width, 3)), (side, side, 3))
            np.testing.assert_allclose(found[:: side // 8, :: side // 8], 0.2, atol=1e-6)


def test_the_central_square_is_taken() -> None:
    photo = np.zeros((40, 80, 3), np.uint8)
    photo[:, 20:60] = 255
    np.testing.assert_array_equal(square_input(photo, (40, 40, 3)), 1.0)
