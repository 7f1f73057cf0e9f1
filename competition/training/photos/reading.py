"""Batches of pictures for a model that only looks: by threads between passes on a CPU, by processes beside a GPU."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader

from competition.system import processes
from competition.system.workers import worker_count


class Pictures(Protocol):
    """Photos, each as a fixed number of pictures, uint8 (h, w, 3), whose sizes are the same for every photo."""

    def __len__(self) -> int:
        """Number of photos."""
        ...

    def __getitem__(self, index: int) -> list[np.ndarray]:
        """The pictures of one photo."""
        ...


def pick_workers(wanted: int) -> int:
    """Processes that read photos: as asked, or half the cores between 1 and 8 (the other half computes)."""
    return wanted if wanted >= 0 else min(8, max(1, (os.cpu_count() or 2) // 2))


def read_batches(
    pictures: Pictures, batch_size: int, device: torch.device, workers: int = -1
) -> Iterator[list[torch.Tensor]]:
    """Yield batches in order: one uint8 tensor (n, h, w, 3) per picture of a photo, in ordinary or pinned memory.

    Where a GPU computes, processes read ahead. Where the CPU computes, every core is already wanted by the forward
    pass: a process that decodes beside it holds up the thread whose core it takes, and all others wait for that one.
    There the cores take turns: all of them decode a batch, straight into its place, then all of them compute.

    Args:
        pictures: what to read.
        batch_size: photos per batch; the last one may be smaller.
        device: where the batches will be computed on.
        workers: processes or threads; -1 chooses.

    Raises:
        PhotoError: a photo cannot be read.
    """
    if device.type == "cuda":
        yield from _read_ahead(pictures, batch_size, pick_workers(workers))
        return
    threads = max(1, workers) if workers >= 0 else min(worker_count(), torch.get_num_threads())
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(pictures), batch_size):
            yield _read_batch(pictures, range(start, min(start + batch_size, len(pictures))), pool, threads)


def _read_ahead(pictures: Pictures, batch_size: int, wanted: int) -> Iterator[list[torch.Tensor]]:
    """The batches, in pinned memory, read by processes."""
    size = sum(picture.nbytes for picture in pictures[0]) * batch_size if wanted and len(pictures) else 0
    count = processes.affordable(wanted, size)
    with processes.explain_lost_reader():
        yield from DataLoader(
            pictures,  # type: ignore[arg-type]
            batch_size=batch_size,
            num_workers=count,
            collate_fn=_stack,
            pin_memory=True,
            multiprocessing_context=processes.context() if count else None,
        )


def _read_batch(pictures: Pictures, rows: range, pool: ThreadPoolExecutor, threads: int) -> list[torch.Tensor]:
    """One batch; each thread reads a contiguous share of it."""
    first = pictures[rows[0]]
    batch = [np.empty((len(rows), *picture.shape), np.uint8) for picture in first]
    for whole, picture in zip(batch, first, strict=True):
        whole[0] = picture

    def read(slots: np.ndarray) -> None:
        for slot in slots:
            for whole, picture in zip(batch, pictures[rows[slot]], strict=True):
                whole[slot] = picture

    list(pool.map(read, np.array_split(np.arange(1, len(rows)), threads)))  # a list, so that errors are raised
    return [torch.from_numpy(whole) for whole in batch]


def _stack(items: list[list[np.ndarray]]) -> list[torch.Tensor]:
    return [torch.from_numpy(np.stack(column)) for column in zip(*items, strict=True)]
