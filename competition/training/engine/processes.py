"""One fold over several processes: ``torchrun`` or ``accelerate launch`` starts them, Accelerate joins them.

Hugging Face Accelerate is what fastai's own ``DistributedTrainer`` goes through, and that trainer wraps the model here.
Only its loaders are left out: they move indices through CUDA, and they fill the last batch up with photos seen twice.
The kit's sampler gives each process its part of every batch instead.
"""

from __future__ import annotations

import atexit
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import InitProcessGroupKwargs, broadcast, broadcast_object_list, gather_object, reduce
from fastai.distributed import DistributedTrainer
from timm.layers import convert_sync_batchnorm
from torch import nn

from competition.errors import UsageError
from competition.training.engine.callbacks import KitCallback

# The others wait while the main process audits photos and computes the features that a head starts from.
PATIENCE = timedelta(hours=2)


class Together(KitCallback, DistributedTrainer):
    """fastai's trainer of several processes, for the training part of an epoch; validation sees the plain model.

    The update of a step is the one that a single process makes of the same photos. Each photo's gradient counts the
    same, however unevenly a batch is shared.

    Args:
        device: the kind of device to train on; on GPUs every process takes its own.

    Raises:
        UsageError: these GPUs cannot talk to one another as they are set up.
    """

    order, run_valid = -8, False

    def __init__(self, device: torch.device) -> None:
        try:
            # Precision is the kit's affair, whatever 'accelerate config' says; and so are the batch norms: fastai's
            # conversion would drop the activation of timm's.
            super().__init__(
                sync_bn=False,
                cpu=device.type == "cpu",
                mixed_precision="no",
                kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)],
            )
        except NotImplementedError as error:
            raise UsageError(" ".join(str(error).split())) from error
        atexit.register(PartialState().destroy_process_group)  # not earlier: the next fold goes through the same group
        self.device: torch.device = self.accelerator.device
        self.rank, self.size = int(self.accelerator.process_index), int(self.accelerator.num_processes)

    def before_fit(self) -> None:
        """Nothing yet: what receives gradients is decided epoch by epoch."""

    def before_train(self) -> None:
        """Average gradients over the processes from here."""
        super().before_fit()

    def after_loss(self) -> None:
        """Accelerate averages over the processes; a photo of a small share must not count more for that."""
        sampler = self.learn.sampler
        self.learn.loss_grad = self.learn.loss_grad * (self.size * sampler.share / sampler.per_step)

    def after_train(self) -> None:
        """Back to the plain model, with one set of statistics."""
        super().after_fit()
        self.copy_from_main(self.learn.plain_model)
        if self.learn.averaging is not None:
            self.copy_from_main(self.learn.averaging.ema.module)

    def before_validate(self) -> None:
        """Nothing: every process validates its part of the photos with the plain model."""

    def after_fit(self) -> None:
        """Nothing: each epoch puts the plain model back."""

    def _wrap_dl(self, dl: object) -> object:
        return dl

    def synced(self, model: nn.Module) -> nn.Module:
        """The model with batch norms that see the whole batch. On CPUs, where torch has none, it is as it was."""
        if self.device.type == "cpu":
            return model
        converted: nn.Module = convert_sync_batchnorm(model)
        return converted

    def copy_from_main(self, model: nn.Module) -> None:
        """Give every process the main one's weights and statistics (on CPUs each saw its own photos in batch norms)."""
        broadcast(list(model.state_dict().values()))

    def sums(self, *numbers: float) -> list[float]:
        """Each number summed over the processes."""
        # GPUs of Apple have no float64, but no process group either.
        total = reduce(torch.tensor(numbers, dtype=torch.float64, device=self.device), reduction="sum")
        return [float(number) for number in total]

    def asked(self, here: bool) -> bool:
        """Whether any process was asked; all must come to this question at the same step."""
        if here:
            self.accelerator.set_trigger()
        return bool(self.accelerator.check_trigger())

    def told(self, task: Any = None) -> Any:
        """What the main process says; the others say nothing and wait for it.

        Raises:
            SystemExit: the main process has ended, and has said why.
        """
        told = [task]
        try:
            broadcast_object_list(told)
        except RuntimeError as error:
            raise SystemExit(1) from error
        return told[0]

    def gathered(self, rows: Sequence[int], values: np.ndarray, axis: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Put the processes' rows together.

        Args:
            rows: numbers of this process's rows among all.
            values: these rows along ``axis``.
            axis: the axis of rows.

        Returns:
            Numbers int64 in rising order, and their values, the same in every process.
        """
        parts = gather_object([(np.asarray(rows, np.int64), values)])
        numbers = np.concatenate([part[0] for part in parts])
        order = np.argsort(numbers)
        return numbers[order], np.take(np.concatenate([part[1] for part in parts], axis), order, axis)
