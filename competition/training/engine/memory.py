"""A batch that does not fit into memory is halved, and the gradients of its parts are summed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from competition.console import Ticker, say, warn
from competition.errors import TrainingError
from competition.training.engine.step_learner import StepLearner

if TYPE_CHECKING:
    pass


def fit_in_memory(learn: StepLearner, ticker: Ticker, name: str, checkpoints: Path) -> None:
    """Fit; out of memory, halve the batch, double the accumulation, say so and go on with the same step.

    Args:
        learn: the learner, wherever it stands.
        ticker: progress, in images.
        name: of what is trained, for people.
        checkpoints: where they are kept, for people.

    Raises:
        TrainingError: the loss became NaN, or not even one image fits into memory.
    """
    while learn.state.epoch < learn.total_epochs and not learn.state.stopped:
        try:
            learn.run_epochs()
            if learn.state.epoch < learn.total_epochs and not learn.state.stopped:
                learn.state.stopped = "a callback ended it"
                say(f"{name}: a callback ended the training after {learn.state.epoch} of {learn.total_epochs} epochs")
        except TrainingError as error:
            _explain(learn, error, name, checkpoints)
        except RuntimeError as error:
            if not _out_of_memory(error):
                raise
            _shrink(learn, error)
            done = learn.state.total_steps * learn.sampler.per_step
            ticker.start_at(done)


def _explain(learn: StepLearner, error: TrainingError, name: str, checkpoints: Path) -> None:
    rate = max(group["lr"] for group in learn.optimiser.param_groups)
    raise TrainingError(
        f"{name} stopped: {error} (largest rate {rate:.2g}); the last good checkpoint is kept in "
        f"{checkpoints}: start again in another --run-dir with a lower lr, clip_grad=1 or precision=float32"
    ) from error


def _out_of_memory(error: RuntimeError) -> bool:
    text = str(error)
    return isinstance(error, torch.OutOfMemoryError) or "not enough memory" in text or "CUBLAS_STATUS_ALLOC" in text


def _shrink(learn: StepLearner, error: RuntimeError) -> None:
    """Halve the forward pass.

    Raises:
        TrainingError: it is a single photo already, or other processes wait for this one.
    """
    if learn.half is not None:
        learn.half.release()
    for parameter in learn.plain_model.parameters():
        parameter.grad = None
    old = learn.sampler.chunk
    if learn.together is not None:
        half, passes = max(1, old // 2), 2 * learn.sampler.chunks_per_step
        raise TrainingError(
            f"out of memory with batches of {old} shared by {learn.together.size} processes: "
            f"set batch_size={half} and accumulate={passes}"
        ) from error
    if not learn.sampler.halve():
        raise TrainingError("out of memory with a single photo: set a smaller image_size or backbone") from error
    learn.state.chunk = learn.sampler.chunk
    if learn.device.type == "cuda":
        torch.cuda.empty_cache()
    warn(
        f"out of memory: batch {old} -> {learn.sampler.chunk}, now {learn.sampler.chunks_per_step} passes per step; "
        "going on with the same step"
    )
