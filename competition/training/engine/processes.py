"""One fold over several processes (torchrun), and folds spread over several devices.

fastai's own ``DistributedTrainer`` needs Hugging Face Accelerate and moves its indices through CUDA, so it cannot run
on CPUs; here torch's ``DistributedDataParallel`` hangs on fastai's training events, and the kit's sampler gives each
process its own stretch of every step.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class World:
    """This process among those that train one fold together."""

    rank: int = 0
    size: int = 1

    @property
    def main(self) -> bool:
        """Whether this process writes the files and speaks."""
        return self.rank == 0


def current_world() -> World:
    """The process group, if there is one."""
    if dist.is_available() and dist.is_initialized():
        return World(dist.get_rank(), dist.get_world_size())
    return World()


@contextmanager
def joined(device: torch.device) -> Iterator[World]:
    """Join the process group that torchrun describes (RANK, WORLD_SIZE); a single process needs none."""
    alone = int(os.environ.get("WORLD_SIZE", "1")) == 1 or current_world().size > 1
    if alone:
        yield current_world()
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield current_world()
    finally:
        dist.destroy_process_group()


def local_device(device: torch.device) -> torch.device:
    """Under torchrun each process takes the GPU of its local rank."""
    if device.type == "cuda" and "LOCAL_RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    return device


def share_model(model: nn.Module, device: torch.device) -> nn.Module:
    """Wrap a model so that gradients are averaged over the processes at each backward pass."""
    devices = [device.index] if device.type == "cuda" else None
    return nn.parallel.DistributedDataParallel(model, device_ids=devices)


def copy_from_main(model: nn.Module) -> None:
    """Give every process the main one's weights and statistics (each saw other photos in its batch norms)."""
    for tensor in model.state_dict().values():
        dist.broadcast(tensor, src=0)


def gathered(local: np.ndarray, rows: Sequence[int], total: int, axis: int = 0) -> np.ndarray:
    """Put the processes' rows together.

    Args:
        local: this process's rows along ``axis``.
        rows: where they belong among all.
        total: number of all rows.
        axis: the axis of rows.

    Returns:
        The whole array, the same in every process.
    """
    parts: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(parts, (np.asarray(rows), local))
    shape = list(local.shape)
    shape[axis] = total
    whole = np.empty(shape, local.dtype)
    for places, part in parts:
        whole[(slice(None),) * axis + (places,)] = part
    return whole
