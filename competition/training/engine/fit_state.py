"""Where a training stands: scores, and all that must survive a kill, apart from the tensors of model and optimiser."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Score:
    """A validation pass: log loss in nats, accuracy in [0, 1], probabilities float64 (n, c), labels int64 (n,).

    ``calibrated_log_loss`` is that of the probabilities after the temperature that suits them best; None where no sets
    of weights are compared that differ in how sure they are.
    """

    log_loss: float
    accuracy: float
    probabilities: np.ndarray
    labels: np.ndarray
    calibrated_log_loss: float | None = None

    @property
    def criterion(self) -> float:
        """What decides between sets of weights, and between epochs: the lower, the better."""
        return self.log_loss if self.calibrated_log_loss is None else self.calibrated_log_loss


@dataclass
class Best:
    """The best weights so far, by the ``criterion`` of their score.

    ``kind`` is ``raw`` or ``ema``; ``file`` the weights' name among the checkpoints; ``epoch`` counts from 1.
    """

    criterion: float = math.inf
    log_loss: float = math.inf
    accuracy: float = 0.0
    kind: str = ""
    epoch: int = 0
    file: str = ""


@dataclass
class FitState:
    """Position and running figures of one fold's training.

    Attributes:
        epoch: whole epochs done (trained and validated).
        step: steps done in the epoch that runs.
        total_steps: steps done in all epochs.
        chunk: photos per forward pass; memory may have made it smaller than the configuration says.
        loss_sum: sum of the training losses of ``seen`` photos of this epoch, nats.
        seen: photos of this epoch that were trained on.
        right: how many of those were classified rightly, where the trainer counts them.
        stale: epochs since the best one.
        seconds: time spent by earlier processes and this one.
        gradient_norm: of the last step, before clipping.
        stopped: why it ended before its last epoch; empty otherwise.
    """

    epoch: int = 0
    step: int = 0
    total_steps: int = 0
    chunk: int = 0
    loss_sum: float = 0.0
    seen: int = 0
    right: int = 0
    stale: int = 0
    seconds: float = 0.0
    stopped: str = ""
    gradient_norm: float | None = None
    best: Best | None = None

    def begin_epoch(self) -> None:
        """Count one more whole epoch."""
        self.epoch, self.step, self.loss_sum, self.seen, self.right = self.epoch + 1, 0, 0.0, 0, 0

    def to_facts(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return asdict(self)

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> FitState:
        """What ``to_facts`` gave."""
        best = facts.get("best")
        return cls(**{**facts, "best": Best(**best) if best else None})
