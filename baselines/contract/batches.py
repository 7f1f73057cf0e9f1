"""Batches cut from one array in memory, the same in both frameworks: decided by (seed, epoch, place) alone.

A resumed epoch sees the same images, augmented the same way, whatever the framework.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from baselines.contract.augment import augment_batch
from baselines.contract.config import FitConfig
from baselines.data.datasets import Part


class TrainBatches:
    """The training part in shuffled, augmented batches.

    The incomplete last batch is left out (other images are in it every epoch); fewer images than a batch make one small
    batch.

    Args:
        part: images uint8 (n, h, w, c) and labels.
        config: batch size, seed, augmentation.

    Attributes:
        per_step: images per step; ``share`` is the same number, no other process has a part of it.
        chunk: images per forward pass; ``halve`` makes it smaller where memory is short.
        steps: steps of an epoch.
    """

    def __init__(self, part: Part, config: FitConfig) -> None:
        self.part, self.config = part, config
        self.per_step = self.share = self.chunk = min(config.batch_size, len(part))
        self.steps = len(part) // self.share
        self.epoch = self.start = 0

    @property
    def chunks_per_step(self) -> int:
        """Forward passes per step."""
        return -(-self.share // self.chunk)

    def halve(self) -> bool:
        """Halve the chunk, so that a step takes twice the passes; False when it is a single image already."""
        if self.chunk == 1:
            return False
        self.chunk = -(-self.chunk // 2)
        return True

    def go_to(self, epoch: int, step: int, side: int = 0) -> None:
        """Choose what the next iteration yields: ``epoch`` (from 0) from ``step`` on; the images have one size only."""
        self.epoch, self.start = epoch, step

    def __len__(self) -> int:
        return (self.steps - self.start) * self.chunks_per_step

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Images uint8 (n, h, w, c) and labels int64 (n,), chunk by chunk."""
        order = np.random.default_rng([self.config.seed, self.epoch]).permutation(len(self.part))
        for step in range(self.start, self.steps):
            rows = order[step * self.share : (step + 1) * self.share]
            images = self.part.images[rows]
            if self.config.augment:
                # The 1 keeps these streams apart from the orders of the epochs, which are seeded by (seed, epoch).
                rng = np.random.default_rng([self.config.seed, self.epoch, step, 1])
                images = augment_batch(images, self.config, rng)
            labels = self.part.labels[rows]
            for first in range(0, self.share, self.chunk):
                yield images[first : first + self.chunk], labels[first : first + self.chunk]


def in_order(part: Part, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """A part in its own order, whole, in batches of at most ``size`` (views, nothing is copied)."""
    for first in range(0, len(part), size):
        yield part.images[first : first + size], part.labels[first : first + size]
