"""fastai callbacks of the kit, one concern each. They read and change ``learn`` (a ``StepLearner``).

Within a batch fastai calls ``before_batch``, ``after_pred``, ``after_loss``, ``before_backward``, ``before_step``,
``after_step``, ``after_batch``; callbacks of lower ``order`` come first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from fastai.callback.core import Callback as FastaiCallback
from fastai.callback.core import _inner_loop as _BATCH_EVENTS  # noqa: N812 - a constant
from fastai.callback.fp16 import AMPMode, MixedPrecision
from fastai.learner import AvgSmoothLoss, Recorder
from timm.utils import ModelEmaV3
from torch import nn

if TYPE_CHECKING:
    from competition.training.engine.step_learner import StepLearner


class KitCallback(FastaiCallback):
    """A fastai callback whose errors arrive as they were raised (fastai rewrites their text)."""

    learn: Any  # a StepLearner; some callbacks need what only a FoldLearner has

    def __call__(self, event_name: str) -> None:
        """Call the method of that name, where there is one and it concerns this kind of batch."""
        if event_name in _BATCH_EVENTS and not (self.run_train if self.learn.training else self.run_valid):
            return
        handler = getattr(type(self), event_name, None)
        if handler is not None:
            handler(self)


class Precision(MixedPrecision):
    """fastai's mixed precision for any device; the scaler lives as long as the callback, so it can be resumed."""

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__(amp_mode=AMPMode.FP16 if dtype == torch.float16 else AMPMode.BF16)
        self.device, self.dtype = device, dtype
        self.kept = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
        self.entered = False

    def before_fit(self) -> None:
        """Open the scaler; unlike fastai's, the autocast is of the fold's device."""
        self.autocast = torch.autocast(self.device.type, dtype=self.dtype)
        self.learn.scaler = self.kept
        self.scales: list[float] = []

    def before_batch(self) -> None:
        """Compute in half precision from here."""
        self.autocast.__enter__()
        self.entered = True

    def after_loss(self) -> None:
        """Back to full precision."""
        self.release()

    def release(self) -> None:
        """Leave autocast, also after an error in the middle of a batch."""
        if self.entered:
            self.autocast.__exit__(None, None, None)
            self.entered = False

    def after_fit(self) -> None:
        """Keep the scaler."""
        self.learn.scaler = None


class ClipGradient(KitCallback):
    """Measures the gradient's norm at each step and clips it; after the scaler has taken its factor out."""

    order, run_valid = MixedPrecision.order + 1, False

    def __init__(self, largest: float) -> None:
        self.largest = largest if largest > 0 else math.inf
        self.gradient_norm: torch.Tensor | None = None

    def before_step(self) -> None:
        """Clip."""
        parameters = [parameter for parameter in self.learn.plain_model.parameters() if parameter.grad is not None]
        self.gradient_norm = nn.utils.clip_grad_norm_(parameters, self.largest)


class Averaging(KitCallback):
    """Exponential moving average of the weights (timm's ``ModelEmaV3``, its decay warmed up)."""

    order, run_valid = MixedPrecision.order + 5, False

    def __init__(self, model: nn.Module, decay: float) -> None:
        # Power 3/4 is what timm advises for short trainings: the average then spans about the last quarter of them.
        self.ema = ModelEmaV3(model, decay=decay, use_warmup=True, warmup_power=0.75)

    def after_step(self) -> None:
        """Fold the new weights in."""
        self.ema.update(self.learn.plain_model, step=self.learn.state.total_steps + 1)


class Position(KitCallback):
    """Advances the state by whole steps only, so that a step that ran out of memory leaves no trace."""

    order, run_valid = 70, False

    def before_train(self) -> None:
        """Forget what an interrupted step had gathered."""
        self.pending: list[tuple[torch.Tensor, int]] = []

    def after_batch(self) -> None:
        """Count the chunk; after the step's last one, the step."""
        self.pending.append((self.learn.loss.detach(), len(self.learn.xb[0])))
        if not self.learn.last_chunk:
            return
        state = self.learn.state
        for loss, photos in self.pending:
            self.learn.unsettled.append((loss, photos))
            state.seen += photos
        self.pending = []
        state.step += 1
        state.total_steps += 1
        if self.learn.waits:
            self.learn.settle_losses()


class Collect(KitCallback):
    """Logits and labels of a validation pass."""

    order, run_train = 70, False

    def before_validate(self) -> None:
        """Forget the last pass."""
        self.logits: list[np.ndarray] = []

    def after_batch(self) -> None:
        """Keep the batch's logits, float32."""
        self.logits.append(self.learn.pred.detach().float().cpu().numpy())


class StepCaller(KitCallback):
    """Calls a function after every step (training) and every batch (validation): saving, stopping, progress."""

    order = 90

    def __init__(self, function: Callable[[StepLearner], Any]) -> None:
        self.function = function

    def after_batch(self) -> None:
        """Call it."""
        if not self.learn.training or self.learn.last_chunk:
            self.function(self.learn)


class SilentRecorder(Recorder):
    """fastai's, as its trackers and loggers need it: prints nothing, and hears of the trained weights' validation only.

    An epoch validates averaged weights too; a second ``valid_loss`` in a row would shift every column after it.
    Processes that train together hear the same figures, so that a callback that watches one decides alike in each.
    """

    name = "recorder"

    def before_fit(self) -> None:
        """Fastai's, and the folder that ``CSVLogger`` expects."""
        super().before_fit()
        self.learn.path.mkdir(parents=True, exist_ok=True)

    def after_train(self) -> None:
        """Fastai's, over all processes."""
        self._pool(self._train_mets)
        super().after_train()

    def after_validate(self) -> None:
        """Fastai's, once an epoch and over all processes."""
        if self.learn.validated == "raw":
            self._pool(self._valid_mets)
            super().after_validate()

    def _pool(self, figures: Iterable[Any]) -> None:
        together = self.learn.together
        if together is None:
            return
        for figure in figures:
            if isinstance(figure, AvgSmoothLoss):
                (total,) = together.sums(float(figure.val))
                figure.val = torch.tensor(total / together.size)
            else:
                figure.total, figure.count = together.sums(float(figure.total), figure.count)
