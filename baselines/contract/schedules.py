"""The learning rate at any moment, one pure function for both frameworks.

It depends on the configuration, the position and, for ``plateau``, on the validation losses so far (the history's
column): a resumed training therefore has the very rates of one that was not interrupted.
"""

from __future__ import annotations

from collections.abc import Sequence

from baselines.contract.config import FitConfig
from competition.training.engine.schedule import share_of_peak


def rate_at(config: FitConfig, done: float, valid_losses: Sequence[float] = ()) -> float:
    """The learning rate of the step that begins after ``done`` epochs.

    Args:
        config: the configuration.
        done: epochs so far, with the fraction of the running one (steps done / steps of an epoch).
        valid_losses: of the epochs that are over, oldest first; only ``plateau`` looks at them.
    """
    length = float(config.epochs)
    rise = config.warmup_epochs
    if config.schedule == "one_cycle":
        rise = rise or 0.3 * length
    share = share_of_peak(config.schedule, done, length, rise, config.final_lr)
    if config.schedule == "step":
        share *= config.step_factor ** sum(done >= border for border in _borders(config))
    if config.schedule == "plateau":
        share *= max(config.final_lr, config.step_factor ** plateau_drops(valid_losses, config.plateau_patience))
    return config.rate * share


def _borders(config: FitConfig) -> tuple[float, ...]:
    return tuple(map(float, config.steps)) or (0.5 * config.epochs, 0.75 * config.epochs)


def plateau_drops(valid_losses: Sequence[float], patience: int) -> int:
    """How often the rate was lowered: each time ``patience`` epochs in a row brought no lower loss than before.

    Args:
        valid_losses: of the epochs so far, oldest first.
        patience: epochs to wait.
    """
    best, stale, drops = float("inf"), 0, 0
    for loss in valid_losses:
        best, stale = (loss, 0) if loss < best else (best, stale + 1)
        if stale >= patience:
            drops, stale = drops + 1, 0
    return drops
