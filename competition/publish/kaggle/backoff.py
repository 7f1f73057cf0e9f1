"""Asking again after a refusal that passes: exponential pauses with jitter, the server's own wish respected."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from competition.console import duration, warn
from competition.publish.kaggle.errors import KaggleError, Kind

T = TypeVar("T")

_PASSING = (Kind.BUSY, Kind.SERVER, Kind.NETWORK)


@dataclass(frozen=True)
class Patience:
    """How often and how long to try.

    Attributes:
        attempts: requests in all.
        first_seconds: pause after the first failure, doubled after each further one.
        longest_seconds: no pause is longer; a server that asks for more is not asked again.
    """

    attempts: int = 5
    first_seconds: float = 1.0
    longest_seconds: float = 120.0

    def seconds(self, failures: int) -> float:
        """Pause after so many failures, with up to a quarter of jitter so that clients do not march in step."""
        plain = min(self.first_seconds * 2 ** (failures - 1), self.longest_seconds)
        return plain * (1 + random.random() / 4)


def pause(seconds: float) -> None:
    """Wait. Every wait of this room goes through here, so that tests need not wait."""
    time.sleep(seconds)


def persistently(ask: Callable[[], T], patience: Patience, *, repeatable: bool = True) -> T:
    """Call ``ask`` until it succeeds, its error is one that does not pass, or patience ends.

    Args:
        ask: raises KaggleError.
        patience: how often, how long.
        repeatable: False for what must not happen twice (a submission): only asked again when the failed request
            certainly had no effect.

    Raises:
        KaggleError: the last one.
    """
    for attempt in range(1, patience.attempts + 1):
        try:
            return ask()
        except KaggleError as error:
            passing = error.kind in _PASSING and (repeatable or not error.arrived)
            seconds = error.retry_after if error.retry_after is not None else patience.seconds(attempt)
            if not passing or attempt == patience.attempts or seconds > patience.longest_seconds * 1.25:
                raise
            warn(f"{error}; attempt {attempt + 1} of {patience.attempts} in {duration(seconds)}")
            pause(seconds)
    raise AssertionError("a Patience of no attempts")
