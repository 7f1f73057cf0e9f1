"""What a sweep varies: ranges and choices of a fine-tuning recipe's keys."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from competition.config import TrainConfig
from competition.errors import UsageError, nearest

if TYPE_CHECKING:
    from optuna import Trial

# Rates and decays act by their order of magnitude, so they are drawn on a logarithmic scale.
_LOGARITHMIC = ("lr", "head_lr", "weight_decay")


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``; whole ones where ``whole``, on a logarithmic scale where ``log``."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise UsageError(f"the range {self.low:g}:{self.high:g} is impossible: expected low below high")
        if self.log and self.low <= 0:
            raise UsageError(
                f"the range {self.low:g}:{self.high:g} is impossible: its scale is logarithmic, so above 0"
            )

    def suggest(self, trial: Trial, key: str) -> float | int:
        """Draw a value for this trial."""
        if self.whole:
            return trial.suggest_int(key, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(key, self.low, self.high, log=self.log)

    def edges(self) -> tuple[Any, ...]:
        """Values that the recipe must accept."""
        return (int(self.low), int(self.high)) if self.whole else (self.low, self.high)

    def __str__(self) -> str:
        return f"{self.low:g}:{self.high:g}{' (log)' if self.log else ''}"


@dataclass(frozen=True)
class Choice:
    """One of some values."""

    options: tuple[Any, ...]

    def __post_init__(self) -> None:
        if len(set(self.options)) < 2:
            raise UsageError("a choice to sweep over needs at least two different values: write KEY=A,B")

    def suggest(self, trial: Trial, key: str) -> Any:
        """Draw a value for this trial."""
        return trial.suggest_categorical(key, self.options)

    def edges(self) -> tuple[Any, ...]:
        """Values that the recipe must accept."""
        return self.options

    def __str__(self) -> str:
        return ",".join(map(str, self.options))


DEFAULTS: Mapping[str, Range | Choice] = {
    "lr": Range(1e-5, 1e-3, log=True),
    "head_lr": Range(1e-4, 1e-2, log=True),
    "layer_decay": Range(0.6, 1.0),
    "weight_decay": Range(1e-3, 0.3, log=True),
    "smoothing": Range(0.0, 0.2),
    "mixup": Choice((0.0, 0.1, 0.4)),
    "cutmix": Choice((0.0, 0.5, 1.0)),
    "drop_rate": Range(0.0, 0.4),
    "drop_path_rate": Range(0.0, 0.3),
    "ema_decay": Choice((0.0, 0.99, 0.999)),
    "augment": Choice(("light", "medium", "strong")),
}
# What is varied when nothing is asked for: few enough keys for a few dozen trials.
USUAL = ("lr", "head_lr", "layer_decay", "weight_decay", "smoothing", "augment")


@dataclass(frozen=True)
class Space:
    """Ranges and choices by key of ``TrainConfig``."""

    entries: Mapping[str, Range | Choice]

    def __post_init__(self) -> None:
        if not self.entries:
            raise UsageError("a sweep must vary something: pass --vary KEY")

    @property
    def keys(self) -> tuple[str, ...]:
        """What varies."""
        return tuple(self.entries)

    def describe(self) -> dict[str, str]:
        """The entries as text, for the study's identity."""
        return {key: str(entry) for key, entry in self.entries.items()}

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """Draw a value for each key."""
        return {key: entry.suggest(trial, key) for key, entry in self.entries.items()}

    def check(self, config: TrainConfig) -> None:
        """Try the ends of every range and each choice on the recipe, before hours are spent.

        Raises:
            UsageError: the recipe refuses one of them.
        """
        for key, entry in self.entries.items():
            for value in entry.edges():
                dataclasses.replace(config, **{key: value})


def parse_space(texts: Sequence[str]) -> Space:
    """Read ``--vary`` options: ``KEY`` (its usual range), ``KEY=LOW:HIGH`` or ``KEY=A,B,C``; none means the usual keys.

    Raises:
        UsageError: an unknown key (the nearest is offered), one named twice or without a usual range, or bad values.
    """
    entries: dict[str, Range | Choice] = {}
    for text in texts or USUAL:
        key, equals, values = (part.strip() for part in text.partition("="))
        known = TrainConfig.keys()
        if key not in known:
            raise UsageError(f"--vary {key}: unknown key{nearest(key, known)}")
        if key in entries:
            raise UsageError(f"--vary {key} is given twice")
        entries[key] = _parse_entry(key, values) if equals else _usual(key)
    return Space(entries)


def _usual(key: str) -> Range | Choice:
    if key not in DEFAULTS:
        raise UsageError(f"--vary {key} has no usual range: write --vary {key}=LOW:HIGH or --vary {key}=A,B")
    return DEFAULTS[key]


def _parse_entry(key: str, values: str) -> Range | Choice:
    """Values are read by the key's type, as ``--set`` reads them."""

    def read(text: str) -> Any:
        return getattr(TrainConfig().override([f"{key}={text}"]), key)

    if isinstance(getattr(TrainConfig(), key), tuple):
        raise UsageError(f"--vary {key}: a list cannot be varied")
    low, colon, high = values.partition(":")
    if not colon:
        return Choice(tuple(read(text.strip()) for text in values.split(",") if text.strip()))
    kind = type(getattr(TrainConfig(), key))
    if kind not in (int, float):
        raise UsageError(f"--vary {key}={values}: a range needs a number; write --vary {key}=A,B")
    return Range(read(low), read(high), log=key in _LOGARITHMIC, whole=kind is int)
