"""Shapes of learning-rate schedules, as plain functions of the position: the same for every trainer of the kit."""

from __future__ import annotations

import math

from competition.config import TrainConfig


def share_of_peak(schedule: str, at: float, length: float, rise: float, final: float) -> float:
    """Share of the peak rate at a position.

    ``one_cycle`` rises and falls along cosines (Smith, arXiv:1708.07120, as fastai shapes it), ``cosine`` rises
    linearly and falls along one, anything else rises linearly and stays.

    Args:
        schedule: its name.
        at: position, in epochs since the schedule's start.
        length: of the schedule, epochs.
        rise: epochs until the peak.
        final: share at the end; a linear rise never starts lower.
    """
    if at < rise:
        share = at / rise
        if schedule == "one_cycle":
            return 1 / 25 + (1 - 1 / 25) * half_cosine(share)
        return max(share, final)
    if schedule not in ("one_cycle", "cosine"):
        return 1.0
    share = min(1.0, (at - rise) / max(length - rise, 1e-9))
    return 1.0 - (1.0 - final) * half_cosine(share)


def half_cosine(share: float) -> float:
    """0 at 0, 1 at 1, flat at both ends."""
    return (1 - math.cos(math.pi * share)) / 2


def rate_factor(config: TrainConfig, done: float) -> float:
    """Share of the peak rate after ``done`` epochs; frozen and other epochs each have a schedule of their own."""
    frozen = done < config.freeze_epochs
    length = float(config.freeze_epochs if frozen else config.epochs)
    at = done if frozen else done - config.freeze_epochs
    return share_of_peak(config.schedule, at, length, min(config.warmup_epochs, 0.5 * length), config.final_lr)
