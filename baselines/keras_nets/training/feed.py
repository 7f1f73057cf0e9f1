"""Images in memory as batches for ``model.fit``: made by ``baselines.contract.batches``, normalised in the graph.

Both frameworks therefore see the same images in the same order; a resumed epoch goes on where it was left.

``tests/benchmarks/bench_fit.py`` measures this way of feeding against arrays given to ``model.fit``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from baselines.contract.batches import TrainBatches, in_order
from baselines.data.datasets import Part

_AHEAD = 4
# TensorFlow calls Python for every element of a generator, half a millisecond each: several batches go over at once.
_BLOCK_BYTES = 4 * 2**20


class Feed(keras.callbacks.Callback):
    """The training part for ``model.fit(feed.dataset, callbacks=[feed, ...])``.

    It is a callback as well, because an epoch's order follows from the epoch's number.

    Args:
        batches: what is cut, shuffled and augmented.
        mean: of the training part, float32 (c,), in units of [0, 1].
        std: standard deviation, likewise.
        outputs: of the model; labels are given once for each.

    """

    def __init__(self, batches: TrainBatches, mean: np.ndarray, std: np.ndarray, outputs: int = 1) -> None:
        super().__init__()
        self.batches = batches
        self._first = (0, 0)
        self._endless = _dataset(lambda: iter(batches), batches.part, mean, std, outputs)

    @property
    def dataset(self) -> Any:
        """``tf.data`` of float32 (n, h, w, c), normalised, and int64 (n,): an epoch, or what is left of the first."""
        return _counted(self._endless, self.batches.steps - self._first[1])

    def begin_at(self, epoch: int, step: int) -> None:
        """Let ``dataset`` be the rest of ``epoch`` (from 0) after ``step`` steps: for a ``fit`` of this epoch alone."""
        self._first = (epoch, step)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Choose the epoch's order."""
        self.batches.go_to(epoch, self._first[1] if self._first[0] == epoch else 0)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """The next epochs are whole."""
        self._first = (0, 0)


def ordered(part: Part, mean: np.ndarray, std: np.ndarray, batch_size: int, outputs: int = 1) -> Any:
    """A part in its own order, whole, normalised, for ``model.evaluate`` and ``model.predict``.

    Args:
        part: images and labels.
        mean: of the training part, float32 (c,), in units of [0, 1].
        std: standard deviation, likewise.
        batch_size: images at a time.
        outputs: of the model; labels are given once for each.

    Returns:
        ``tf.data`` as in ``Feed``, of a known number of batches.
    """
    dataset = _dataset(lambda: in_order(part, batch_size), part, mean, std, outputs)
    return _counted(dataset, -(-len(part) // batch_size))


def _counted(dataset: Any, batches: int) -> Any:
    return dataset.apply(tf.data.experimental.assert_cardinality(batches))


def _dataset(batches: Any, part: Part, mean: np.ndarray, std: np.ndarray, outputs: int) -> Any:
    """Batches of uint8 images from a function that gives an iterator, normalised in the graph and made ahead."""
    scale = np.float32(1) / (np.float32(255) * std.astype(np.float32))
    offset = -mean.astype(np.float32) / std.astype(np.float32)

    def normalise(images: Any, labels: Any) -> tuple[Any, Any]:
        return tf.cast(images, tf.float32) * scale + offset, labels if outputs == 1 else (labels,) * outputs

    signature = (
        tf.TensorSpec((None, None, *part.images.shape[1:]), tf.uint8),
        tf.TensorSpec((None, None), tf.int64),
    )
    dataset = tf.data.Dataset.from_generator(lambda: _blocks(batches()), output_signature=signature).unbatch()
    options = tf.data.Options()
    options.deterministic = True
    return dataset.map(normalise).prefetch(_AHEAD).with_options(options)


def _blocks(batches: Iterator[tuple[np.ndarray, np.ndarray]]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Consecutive batches of one size, stacked: uint8 (k, n, h, w, c) and int64 (k, n), a few megabytes at a time."""
    images: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    for batch, target in batches:
        if images and (len(batch) != len(images[0]) or (len(images) + 1) * batch.nbytes > _BLOCK_BYTES):
            yield np.stack(images), np.stack(labels)
            images, labels = [], []
        images.append(batch)
        labels.append(target)
    if images:
        yield np.stack(images), np.stack(labels)
