"""Configurations: frozen dataclasses that validate on construction. An unknown key is an error."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from competition.errors import UsageError, nearest
from competition.files import digest_of
from competition.types import view

DEFAULT_STRENGTHS = (1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 1e-1, 2e-1, 5e-1)


@dataclass(frozen=True, kw_only=True)
class Config:
    """What every recipe has.

    Attributes:
        name: the recipe's name.
        seed: seeds folds, initialisation, sampling and augmentation.
        n_folds: number of folds, at least 2.
        device: ``auto`` (a GPU where there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        workers: processes that read photos; -1 chooses by the number of cores.

    Raises:
        UsageError: a value is impossible.
    """

    name: str = ""
    seed: int = 42
    n_folds: int = 5
    device: str = "auto"
    workers: int = -1

    def __post_init__(self) -> None:
        self._require(self.n_folds >= 2, "n_folds", "at least 2")
        self._require(self.seed >= 0, "seed", "0 or more")

    def _require(self, holds: bool, key: str, expected: str) -> None:
        if not holds:
            raise UsageError(f"{key}={getattr(self, key)!r} is impossible: expected {expected}")

    @classmethod
    def keys(cls) -> tuple[str, ...]:
        """Names of all keys."""
        return tuple(field.name for field in dataclasses.fields(cls))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Make a configuration from plain values (as read from ``config.json``).

        Raises:
            UsageError: a key is unknown or a value is impossible.
        """
        return cls(**{_known(cls, key): _as_tuple(value) for key, value in values.items()})

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``config.json`` stores them."""
        return dataclasses.asdict(self)

    def override(self, assignments: Sequence[str]) -> Self:
        """Apply ``key=value`` texts from the command line; the text is read by the key's type.

        Raises:
            UsageError: no ``=``, unknown key, or a text that is not of the key's type.
        """
        hints = typing.get_type_hints(type(self))
        changes: dict[str, Any] = {}
        for assignment in assignments:
            key, equals, text = assignment.partition("=")
            if not equals:
                raise UsageError(f"'--set {assignment}' lacks '=': write --set key=value")
            changes[_known(type(self), key.strip())] = _parse(
                key.strip(), text.strip(), hints[_known(type(self), key.strip())]
            )
        return dataclasses.replace(self, **changes)

    @property
    def digest(self) -> str:
        """Digest of the values that decide the result; where and with how many workers it runs does not count."""
        values = {key: value for key, value in self.to_dict().items() if key not in ("device", "workers", "name")}
        return digest_of({"type": type(self).__name__, **values})


def _known(config: type[Config], key: str) -> str:
    known = config.keys()
    if key not in known:
        raise UsageError(f"unknown key '{key}'{nearest(key, known)} Known: {', '.join(known)}")
    return key


def _as_tuple(value: Any) -> Any:
    return tuple(_as_tuple(item) for item in value) if isinstance(value, list | tuple) else value


def _parse(key: str, text: str, kind: Any) -> Any:
    """Read ``text`` as the annotated type ``kind``; tuples are comma-separated, None is written ``none``."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if text.casefold() == "none" and type(None) in arguments:
            return None
        return _parse(key, text, next(item for item in arguments if item is not type(None)))
    if origin is tuple:
        return tuple(_parse(key, part.strip(), arguments[0]) for part in text.split(",") if part.strip())
    if kind is bool:
        if text.casefold() in ("true", "yes", "on", "1", "false", "no", "off", "0"):
            return text.casefold() in ("true", "yes", "on", "1")
        raise UsageError(f"{key}={text}: expected true or false")
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError as error:
            raise UsageError(f"{key}={text}: expected {'a whole number' if kind is int else 'a number'}") from error
    return text


@dataclass(frozen=True, kw_only=True)
class ProbeConfig(Config):
    """Logistic regression on frozen features.

    Attributes:
        backbones: timm names or folders in timm's local-directory form; empty takes every folder of ``--weights``.
        views: names from ``competition.types.VIEWS``; each is a block of features per backbone.
        strengths: L2 penalties tried, per photo and standardised feature; the best out of fold is taken.
        combine: ``auto`` (whichever is better out of fold), ``concat`` or ``average``.
        imagenet_logits: let the backbone's own scores for the competition's breeds join as features.
        batch_size: photos per forward pass.
        precision: ``auto`` (half precision on a GPU, float32 on a CPU), ``float32``, ``bfloat16`` or ``float16``.
    """

    backbones: tuple[str, ...] = ()
    views: tuple[str, ...] = ("identity", "hflip")
    strengths: tuple[float, ...] = DEFAULT_STRENGTHS
    combine: str = "auto"
    imagenet_logits: bool = False
    batch_size: int = 64
    precision: str = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.views:
            view(name)
        self._require(bool(self.views), "views", "at least one view")
        self._require(bool(self.strengths) and min(self.strengths) > 0, "strengths", "numbers above 0")
        self._require(self.combine in ("auto", "concat", "average"), "combine", "auto, concat or average")
        self._require(self.batch_size >= 1, "batch_size", "1 or more")
        kinds = ("auto", "float32", "bfloat16", "float16")
        self._require(self.precision in kinds, "precision", " or ".join(kinds))
