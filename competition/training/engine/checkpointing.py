"""Saves a fold's training at step borders and puts it back: the bridge between the learner and its checkpoints."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping

import torch

from competition.console import say
from competition.training.engine.checkpoint import (
    Checkpoint,
    CheckpointStore,
    pack_optimiser,
    rng_state,
    set_rng_state,
    unpack_optimiser,
)
from competition.training.engine.fit_state import Best, FitState
from competition.training.engine.interrupt import Interrupt
from competition.training.engine.step_learner import StepLearner


class Keeper:
    """Writes checkpoints every ``every`` seconds and when asked; only the main process writes.

    Args:
        store: where they go.
        every: seconds between two checkpoints; 0 writes one after every step.
    """

    def __init__(self, store: CheckpointStore, every: float) -> None:
        self.store, self.every = store, every
        self.interrupt = Interrupt()
        self._last = time.monotonic()
        self._since = time.monotonic()

    def after_step(self, learn: StepLearner) -> None:
        """Save when it is time, and stop when the user asked for it.

        Raises:
            KeyboardInterrupt: after Ctrl-C, once the state is on the disk.
        """
        # Processes that train together meet at steps only: they may validate unlike numbers of batches.
        if learn.together is None or (learn.training and learn.waits):
            self.stop_if_asked(learn)
        if learn.training and time.monotonic() - self._last >= self.every:
            self.save(learn)

    def stop_if_asked(self, learn: StepLearner) -> None:
        """Save and stop when the user asked any of the processes for it.

        Raises:
            KeyboardInterrupt: the state is on the disk.
        """
        asked = self.interrupt.asked
        if not (asked if learn.together is None else learn.together.asked(asked)):
            return
        learn.pool_losses()
        self.save(learn)
        state = learn.state
        say(
            f"stopped in epoch {min(state.epoch + 1, learn.total_epochs)} of {learn.total_epochs} after step "
            f"{state.step} of {learn.sampler.steps}; saved, the same command goes on from there"
        )
        raise KeyboardInterrupt

    def save(self, learn: StepLearner) -> None:
        """Write a checkpoint of everything, after making sure that the losses so far are numbers.

        Raises:
            TrainingError: a loss is not a number; the checkpoints there stay as they are.
            StorageError: the disk is full.
        """
        learn.settle_losses()
        self.count_seconds(learn.state)
        if learn.is_main:
            best = learn.state.best
            files = {"best": best.file} if best else {}
            name = f"step-{learn.state.total_steps:07d}-{secrets.token_hex(3)}"
            self.store.save(name, self._checkpoint(learn, files))
        self._last = time.monotonic()

    def _checkpoint(self, learn: StepLearner, files: Mapping[str, str]) -> Checkpoint:
        tensors = {f"raw.{name}": tensor for name, tensor in learn.plain_model.state_dict().items()}
        if learn.averaging is not None:
            tensors |= {f"ema.{name}": tensor for name, tensor in learn.averaging.ema.module.state_dict().items()}
        moments, groups = pack_optimiser(learn.optimiser)
        states, numbers = rng_state(learn.device)
        tensors |= {f"optimiser.{name}": tensor for name, tensor in moments.items()}
        tensors |= {f"rng.{name}": tensor for name, tensor in states.items()}
        facts = {
            "state": learn.state.to_facts(),
            "groups": groups,
            "rng": numbers,
            "scaler": learn.half.kept.state_dict() if learn.half else {},
            "rates": [group["lr"] for group in learn.optimiser.param_groups],
        }
        return Checkpoint({name: tensor.detach().cpu() for name, tensor in tensors.items()}, facts, files)

    def restore(self, learn: StepLearner) -> bool:
        """Put the newest whole checkpoint back; False when there is none.

        Raises:
            ResumeError: the checkpoint is of another training, or damaged together with the one before it.
        """
        stored = self.store.load()
        if stored is None:
            return False
        parts: dict[str, dict[str, torch.Tensor]] = {"raw": {}, "ema": {}, "optimiser": {}, "rng": {}}
        for name, tensor in stored.tensors.items():
            part, rest = name.split(".", 1)
            parts[part][rest] = tensor
        learn.plain_model.load_state_dict(parts["raw"])
        if learn.averaging is not None:
            learn.averaging.ema.module.load_state_dict(parts["ema"])
        unpack_optimiser(learn.optimiser, parts["optimiser"], stored.facts["groups"])
        if learn.half and stored.facts["scaler"]:
            learn.half.kept.load_state_dict(stored.facts["scaler"])
        learn.state = FitState.from_facts(stored.facts["state"])
        if not learn.is_main:  # the main process goes on counting for all
            learn.state.loss_sum, learn.state.seen = 0.0, 0
        learn.sampler.chunk = learn.state.chunk
        set_rng_state(parts["rng"], stored.facts["rng"], learn.device)
        return True

    def keep_best(self, learn: StepLearner, kind: str) -> None:
        """Write the weights of the epoch that has just been validated as the best so far."""
        score, state = learn.scores[kind], learn.state
        name = f"best-{state.epoch + 1:03d}-{kind}-{secrets.token_hex(3)}"
        weights = learn.candidate(kind).state_dict()
        file = self.store.write_file(name, weights) if learn.is_main else f"{name}.safetensors"
        state.best = Best(score.criterion, score.log_loss, score.accuracy, kind, state.epoch + 1, file)

    def count_seconds(self, state: FitState) -> None:
        """Add the time since the last count to the state."""
        now = time.monotonic()
        state.seconds += now - self._since
        self._since = now
