"""Batches of training photos, decided by (seed, epoch, position) alone.

Every photo's place in an epoch and everything that augmentation draws for it follow from the seed, the epoch and that
place: a resumed epoch sees the same squares, with however many processes, and halving the batch after running out of
memory changes neither. An epoch is cut into *steps* (one update of the weights), a step into *chunks* (one forward
pass).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from competition.data.photos.decode import read_photo
from competition.data.photos.views import render_view
from competition.data.source.competition_data import Photo
from competition.errors import UsageError
from competition.system import processes
from competition.training.backbones.find import InputSpec
from competition.training.photos.augment import Augment, make_augment
from competition.types import VIEWS, View

Place = tuple[int, int, int, int]  # row of the photo, epoch, position in the epoch, side in pixels
Batch = tuple[torch.Tensor, torch.Tensor]  # uint8 (n, s, s, 3), int64 (n,)


class PhotoSource(Protocol):
    """Where decoded photos come from by id: ``PhotoCache``, ``PhotoFiles``, or a plain dict of arrays."""

    def __getitem__(self, photo_id: str) -> np.ndarray:
        """uint8 (h, w, 3)."""
        ...


class PhotoFiles:
    """Photos read from their files at each access, JPEGs decoded at a reduced size where that loses nothing."""

    def __init__(self, photos: Sequence[Photo], min_side: int) -> None:
        self._paths = {photo.id: photo.path for photo in photos}
        self.min_side = min_side

    def __getitem__(self, photo_id: str) -> np.ndarray:
        return read_photo(self._paths[photo_id], min_side=self.min_side)


class StepSampler(Sampler[list[Place]]):
    """Chunks of an epoch from a given step on; where several processes train together, this one's part of each.

    Args:
        count: training photos.
        chunk: photos per forward pass, of all processes together.
        chunks: forward passes per step.
        seed: decides the order of every epoch.
        rank: this process among ``world``.
        world: processes that train together.

    Attributes:
        per_step: photos of a step, of all processes together.
        steps: steps of an epoch.

    Raises:
        UsageError: a forward pass has fewer photos than there are processes.
    """

    def __init__(self, count: int, chunk: int, chunks: int, seed: int, rank: int = 0, world: int = 1) -> None:
        super().__init__()
        self.count, self.seed, self.rank, self.world = count, seed, rank, world
        # Fewer photos than a step needs make one small step; otherwise the incomplete last step is left out, with
        # other photos in it every epoch.
        self.per_step = min(chunk * chunks, max(1, count))
        self.chunk = min(chunk, self.per_step)
        self.steps = max(1, count // self.per_step)
        self.epoch = self.start = self.side = 0
        smallest = self.per_step // self.chunks_per_step
        if smallest < world:
            raise UsageError(
                f"{world} processes cannot share batches of {smallest} photos: "
                "set a larger batch_size or start fewer processes"
            )

    @property
    def chunks_per_step(self) -> int:
        """Forward passes per step."""
        return -(-self.per_step // self.chunk)

    @property
    def share(self) -> int:
        """Photos of a step that this process sees."""
        return sum(len(part) for part in self._parts())

    def _parts(self) -> list[range]:
        """Positions within a step that this process sees, pass by pass; passes and parts differ by a photo at most."""
        passes = _cut(range(self.per_step), self.chunks_per_step)
        return [_cut(part, self.world)[self.rank] for part in passes]

    def halve(self) -> bool:
        """Halve the chunk, so that a step takes twice the passes; False when it is a single photo already."""
        if self.chunk == 1:
            return False
        self.chunk = -(-self.chunk // 2)
        return True

    def go_to(self, epoch: int, step: int, side: int) -> None:
        """Choose what the next iteration yields: ``epoch`` from ``step`` on, as squares of ``side`` pixels."""
        self.epoch, self.start, self.side = epoch, step, side

    def __len__(self) -> int:
        return (self.steps - self.start) * self.chunks_per_step

    def __iter__(self) -> Iterator[list[Place]]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.count)
        for step in range(self.start, self.steps):
            for part in self._parts():
                places = (step * self.per_step + position for position in part)
                yield [(int(order[place]), self.epoch, place, self.side) for place in places]


def _cut(positions: range, parts: int) -> list[range]:
    """Consecutive parts of a range, the first ones longer by one where it does not come out even."""
    short, longer = divmod(len(positions), parts)
    borders = [number * short + min(number, longer) for number in range(parts + 1)]
    return [positions[first:last] for first, last in pairwise(borders)]


class TrainPhotos(Dataset[Batch]):
    """Augmented training photos; asked for a list of places, it returns the batch."""

    def __init__(self, source: PhotoSource, ids: Sequence[str], labels: np.ndarray, seed: int, augment: str) -> None:
        self.source, self.ids, self.labels, self.seed, self._augment = source, list(ids), labels, seed, augment
        self._by_side: dict[int, Augment] = {}

    def __len__(self) -> int:
        return len(self.ids)

    def __getitems__(self, places: Sequence[Place]) -> Batch:
        side = places[0][3]
        images = np.empty((len(places), side, side, 3), np.uint8)
        for slot, (row, epoch, position, _) in enumerate(places):
            # The 1 keeps these streams apart from the orders of the epochs, which are seeded by (seed, epoch).
            rng = _generator(self.seed, epoch, position, 1)
            images[slot] = self._augment_for(side)(self.source[self.ids[row]], rng)
        labels = self.labels[[place[0] for place in places]]
        return torch.from_numpy(images), torch.from_numpy(labels)

    def _augment_for(self, side: int) -> Augment:
        if side not in self._by_side:
            self._by_side[side] = make_augment(self._augment, side)
        return self._by_side[side]


def _generator(*seeds: int) -> np.random.Generator:
    """``numpy.random.default_rng(seeds)``, in half its time: a list is taken apart number by number there."""
    entropy = np.array(seeds, np.uint32) if min(seeds) >= 0 and max(seeds) < 2**32 else list(seeds)
    return np.random.Generator(np.random.PCG64(entropy))


class ViewPhotos:
    """Photos as the distinct squares that some views need; each photo is decoded once, however many views want it."""

    def __init__(
        self, source: PhotoSource, ids: Sequence[str], views: Sequence[View], spec: InputSpec, side: int
    ) -> None:
        self.source, self.ids, self.spec, self.side = source, list(ids), spec, side
        self.views = list(views)

    @cached_property
    def renderings(self) -> list[View]:
        """The views without their mirror images, each once."""
        return list(dict.fromkeys(unflipped(view) for view in self.views))

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, row: int) -> list[np.ndarray]:
        image = self.source[self.ids[row]]
        spec = self.spec
        return [render_view(image, view, self.side, spec.crop_pct, spec.interpolation) for view in self.renderings]


def unflipped(view: View) -> View:
    """The same part of the photo, not mirrored; without a name, so that equal pictures compare equal."""
    return View("", view.scale, False, view.crop)


class LabelledView(Dataset[tuple[np.ndarray, int]]):
    """Validation photos as the ``identity`` view, with their labels."""

    def __init__(self, source: PhotoSource, ids: Sequence[str], labels: np.ndarray, spec: InputSpec, side: int) -> None:
        self.pictures = ViewPhotos(source, ids, [VIEWS["identity"]], spec, side)
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[np.ndarray, int]:
        return self.pictures[row][0], int(self.labels[row])


def _as_it_is(batch: Batch) -> Batch:
    return batch


def _stack_labelled(items: list[tuple[np.ndarray, int]]) -> Batch:
    images, labels = zip(*items, strict=True)
    return torch.from_numpy(np.stack(images)), torch.tensor(labels)


def _quiet_worker(_: int) -> None:
    """One thread per process: the processes are the parallelism. Ctrl-C is the main process's affair."""
    import signal

    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


class Loader(DataLoader[Batch]):
    """torch's loader, whose lost processes are one line."""

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        with processes.explain_lost_reader():
            yield from super().__iter__()


def _common(workers: int, pin: bool) -> Mapping[str, object]:
    # The loader draws a number per epoch; from a generator of its own, so that the global one stays untouched.
    return {
        "num_workers": workers,
        "persistent_workers": workers > 0,
        "worker_init_fn": _quiet_worker if workers else None,
        "multiprocessing_context": processes.context() if workers else None,
        "pin_memory": pin,
        "generator": torch.Generator().manual_seed(0),
    }


def train_loader(dataset: TrainPhotos, sampler: StepSampler, workers: int, *, pin: bool) -> DataLoader[Batch]:
    """Loader of augmented batches, in the sampler's order."""
    return Loader(dataset, batch_sampler=sampler, collate_fn=_as_it_is, **_common(workers, pin))  # type: ignore[arg-type]


def valid_loader(
    dataset: LabelledView, batch_size: int, workers: int, rows: Sequence[int], *, pin: bool
) -> DataLoader[Batch]:
    """Loader of validation photos; ``rows`` are the ones this process looks at, in order."""
    return Loader(
        dataset,  # type: ignore[arg-type]
        batch_size=batch_size,
        sampler=list(rows),
        collate_fn=_stack_labelled,  # type: ignore[arg-type]
        **_common(workers, pin),  # type: ignore[arg-type]
    )
