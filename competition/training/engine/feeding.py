"""What feeds a learner: steps of an epoch, loaders of batches, and the one place that normalises."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import numpy as np
import torch
from fastai.data.core import DataLoaders

from competition.training.backbones.find import InputSpec
from competition.training.photos.loader import Batch
from competition.training.photos.normalise import Normalise


class Preparation:
    """uint8 (n, h, w, 3) to normalised float (n, 3, h, w) on the device: the one place that normalises a batch.

    A permuted view of NHWC bytes is channels-last already; the other layout is made here.

    Args:
        spec: input statistics.
        device: where to compute.
        channels_last: layout of the floats.
    """

    def __init__(self, spec: InputSpec, device: torch.device, channels_last: bool) -> None:
        self.spec, self.device, self.normalise = spec, device, Normalise(spec).to(device)
        self.layout = torch.channels_last if channels_last else torch.contiguous_format

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Move and normalise."""
        on_device = images.to(self.device, non_blocking=True)
        floats: torch.Tensor = self.normalise(on_device).contiguous(memory_format=self.layout)
        return floats

    def undone(self, floats: torch.Tensor) -> np.ndarray:
        """The bytes again, uint8 (n, h, w, 3)."""
        pixels = floats.detach().float() * self.normalise.std + self.normalise.mean
        return pixels.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


class Steps(Protocol):
    """What decides the batches of an epoch: ``loader.StepSampler`` for photos, ``baselines``' batches in memory."""

    per_step: int
    chunk: int
    steps: int

    @property
    def share(self) -> int:
        """Images of a step that this process sees; ``per_step`` is how many all processes see together."""
        ...

    @property
    def chunks_per_step(self) -> int:
        """Forward passes per step."""
        ...

    def go_to(self, epoch: int, step: int, side: int) -> None:
        """Choose what the next iteration yields."""
        ...

    def halve(self) -> bool:
        """Halve the chunk; False when it is a single image already."""
        ...


class Loaders(DataLoaders):
    """fastai's pair of loaders, holding any iterables of batches, and what belongs to them.

    Args:
        train: batches in the sampler's order.
        valid: batches of the validation images that this process looks at.
        sampler: of the training batches.
        labels: int64 (n_valid,), of all validation images in order.
        rows: int64, which of them this process validates.
        prepare: from a loader's images to the network's input, on the device.
    """

    def __init__(
        self,
        train: Iterable[Batch],
        valid: Iterable[Batch],
        sampler: Steps,
        labels: np.ndarray,
        rows: np.ndarray,
        prepare: Preparation,
    ) -> None:
        super().__init__(train, valid)
        self.sampler, self.labels, self.rows, self.prepare = sampler, labels, rows, prepare
        self._device = prepare.device

    def close(self) -> None:
        """End the processes that read ahead; the next pass starts new ones.

        Left to the interpreter's end, torch 2.11 waits five seconds for each process that feeds pinned memory.
        """
        for loader in self.loaders:
            iterator = getattr(loader, "_iterator", None)
            if iterator is not None:
                loader._iterator = None
                iterator._shutdown_workers()  # what its __del__ calls, which an error's traceback would put off
