"""Batches come in order, whole and unchanged, however many threads read them; normalisation keeps its bits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from competition.errors import PhotoError
from competition.training.backbones.find import InputSpec
from competition.training.photos.normalise import Normalise
from competition.training.photos.reading import read_batches

CPU = torch.device("cpu")


class Drawn:
    """Two pictures a photo, of two sizes; photo ``broken`` cannot be read."""

    def __init__(self, count: int, broken: int = -1) -> None:
        self.count, self.broken = count, broken

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> list[np.ndarray]:
        if index == self.broken:
            raise PhotoError(f"photo {index} is truncated")
        rng = np.random.default_rng(index)
        return [rng.integers(0, 256, (side, side, 3), dtype=np.uint8) for side in (5, 8)]


@pytest.mark.parametrize("workers", [-1, 0, 1, 3])
def test_batches_are_the_photos_in_order(workers: int) -> None:
    pictures = Drawn(11)
    batches = list(read_batches(pictures, 4, CPU, workers))
    assert [len(batch[0]) for batch in batches] == [4, 4, 3]
    for number, side in enumerate((5, 8)):
        read = torch.cat([batch[number] for batch in batches])
        assert read.dtype == torch.uint8
        assert read.shape == (11, side, side, 3)
        np.testing.assert_array_equal(read.numpy(), np.stack([pictures[row][number] for row in range(11)]))


def test_no_photos_give_no_batches() -> None:
    assert list(read_batches(Drawn(0), 4, CPU)) == []


@pytest.mark.parametrize("broken", [0, 6])
def test_a_photo_that_cannot_be_read_is_told(broken: int) -> None:
    with pytest.raises(PhotoError, match=f"photo {broken} is truncated"):
        list(read_batches(Drawn(8, broken), 4, CPU, 2))


@pytest.mark.parametrize("flip", [False, True])
def test_normalised_pixels_are_those_of_the_plain_formula_to_the_bit(flip: bool) -> None:
    """Stored features depend on it: other bits here would make other features of the same photos."""
    spec = InputSpec(16, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bicubic", 0.9)
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 16, 12, 3), dtype=np.uint8))
    images = images.flip(2) if flip else images
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) * 255 for values in (spec.mean, spec.std))
    found = Normalise(spec)(images)
    assert torch.equal(found, (images.permute(0, 3, 1, 2).float() - mean) / std)
    assert found.is_contiguous(memory_format=torch.channels_last)
