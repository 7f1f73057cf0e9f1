"""Experiments: what a setting changes, over seeds, in declared grids or searched by Optuna.

    from baselines.studies.run import run_study
    from baselines.studies.catalogue import find_study
    done = run_study(find_study("lenet-variants"), "runs/sweeps/lenet-variants", where="data", jobs=2)
    print(done.text)

A study is a list of variants, each trained with every seed through ``baselines.fit``. Its trials are kept in Optuna's
database (SQLite in the study's folder, or one that many machines share) and its runs in ``trials/``: an interrupted
study goes on with the trials that are missing. Training data are the same for all seeds, so the spread between seeds is
that of initial weights and order of images.
"""

from __future__ import annotations

import dataclasses
import itertools
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from baselines.contract.config import FitConfig
from baselines.registry import find_entry, find_framework
from competition.config import Config
from competition.errors import UsageError, nearest
from competition.files import digest_of
from competition.training.sweep.space import Choice, Range

# What a study may vary beside the keys of FitConfig and the options of its model.
PLACES = ("model", "framework", "dataset", "train_images", "test_images", "seconds", "image_size")
# These are part of a study's identity only where they are used: studies made before they existed go on.
_WHERE_USED = ("test_images", "seconds", "image_size")
_AMOUNTS = ("train_images", "test_images", "seconds", "image_size")
_LOGARITHMIC = ("lr", "weight_decay", "l1", "l2")  # these act by their order of magnitude


@dataclass(frozen=True)
class Study:
    """What is varied and what is held fixed.

    Attributes:
        name: of the study and of its folder.
        question: one line for people.
        grid: values by key; every combination is a variant, the first values make the reference.
        variants: settings of each variant where a grid would be too much; the first is the reference.
        space: ranges and choices that Optuna draws from; then there are no variants and the seed is one.
        trials: how many are drawn from ``space``.
        fixed: settings of all variants.
        seeds: each variant is trained with each of them.
        model: registered name (``mlp`` for the NumPy framework).
        framework: ``pytorch``, ``keras`` or ``numpy``.
        dataset: a name or path for ``load_dataset``.
        train_images: how many training images are used; 0 uses all. Few make over-fitting visible and a study short.
        test_images: how many test images are used; 0 uses all. Large networks on a CPU are tested on fewer.
        seconds: time that each trial trains, in place of a number of epochs: as many epochs as fit, by the time that
            one epoch takes here and now; 0 goes by ``epochs``.
        image_size: side in pixels that images are resized to; 0 keeps their own.

    Raises:
        UsageError: a key is unknown, a value is impossible, or there is nothing to compare.
    """

    name: str
    question: str = ""
    grid: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    variants: Sequence[Mapping[str, Any]] = ()
    space: Mapping[str, Range | Choice] = field(default_factory=dict)
    trials: int = 20
    fixed: Mapping[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    model: str = "lenet5"
    framework: str = "pytorch"
    dataset: str = "mnist"
    train_images: int = 0
    test_images: int = 0
    seconds: float = 0.0
    image_size: int = 0

    def __post_init__(self) -> None:
        if sum(map(bool, (self.grid, self.variants, self.space))) != 1:
            raise UsageError(f"study '{self.name}': give a grid, a list of variants or a space to search, one of them")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds) or min(self.seeds) < 0:
            raise UsageError(f"study '{self.name}': seeds={self.seeds} must be different whole numbers of 0 or more")
        if self.trials < 1:
            raise UsageError(f"study '{self.name}': trials={self.trials} is impossible: expected 1 or more")
        for settings in self._examples():
            self.plan(settings, self.seeds[0])

    @property
    def searched(self) -> bool:
        """Whether Optuna chooses the settings."""
        return bool(self.space)

    def settings(self) -> list[dict[str, Any]]:
        """Settings of every declared variant, the reference first."""
        if self.variants:
            return [dict(variant) for variant in self.variants]
        keys = tuple(self.grid)
        return [dict(zip(keys, values, strict=True)) for values in itertools.product(*self.grid.values())]

    def _examples(self) -> Iterator[dict[str, Any]]:
        """Settings that together touch every value (ends of ranges too), to be checked before hours are spent."""
        if not self.searched:
            yield from self.settings()
            return
        first = {key: entry.edges()[0] for key, entry in self.space.items()}
        for key, entry in self.space.items():
            yield from ({**first, key: value} for value in entry.edges())

    def cells(self) -> list[Cell]:
        """Every variant with every seed; seeds outermost, so that a study cut short compares all variants on fewer."""
        return [Cell(settings, seed) for seed in self.seeds for settings in self.settings()]

    def plan(self, settings: Mapping[str, Any], seed: int) -> Plan:
        """What one trial trains.

        Raises:
            UsageError: a key or value is impossible.
        """
        chosen = {**self.fixed, **settings}
        places = {key: chosen.pop(key, getattr(self, key)) for key in PLACES}
        framework = places["framework"] if places["framework"] == "numpy" else find_framework(places["framework"])
        spec = find_entry(places["model"]).spec
        options = {item.name for item in dataclasses.fields(spec)}
        known = options | set(FitConfig.keys())
        for key in chosen:
            if key not in known:
                raise UsageError(
                    f"study '{self.name}': neither the training nor {places['model']} has a setting '{key}'"
                    f"{nearest(key, [*known, *PLACES])}"
                )
        model = {key: value for key, value in chosen.items() if key in options}
        spec.replace(**model)
        config = FitConfig.from_dict({**{k: v for k, v in chosen.items() if k not in options}, "seed": seed})
        for key in _AMOUNTS:
            if places[key] < 0:
                raise UsageError(f"study '{self.name}': {key}={places[key]} must be 0 or more")
        rest = {key: places[key] for key in PLACES if key not in ("model", "framework")}
        return Plan(model=places["model"], framework=framework, options=model, config=config, **rest)

    def identity(self) -> dict[str, Any]:
        """What must be the same for a continuation, in JSON's types; seeds and trials may be added."""
        keys = [*PLACES, "grid", "variants", "fixed"]
        own = {key: getattr(self, key) for key in keys if key not in _WHERE_USED or getattr(self, key)}
        return _json({**own, "space": {key: str(entry) for key, entry in self.space.items()}})


@dataclass(frozen=True)
class Cell:
    """One variant with one seed."""

    settings: Mapping[str, Any]
    seed: int

    @property
    def key(self) -> str:
        """The same for the same settings and seed, whatever the order."""
        return digest_of(_json({"settings": dict(self.settings), "seed": self.seed}))

    @property
    def label(self) -> str:
        """The settings in words."""
        return label_of(self.settings)


@dataclass(frozen=True)
class Plan:
    """One training, ready to run.

    Attributes:
        model: registered name.
        framework: ``pytorch``, ``keras`` or ``numpy``.
        dataset: name or path.
        train_images: how many training images are used; 0 uses all.
        test_images: how many test images are used; 0 uses all.
        seconds: budget of time; 0 goes by the configuration's epochs.
        image_size: side in pixels; 0 keeps the images' own.
        options: of the model.
        config: of the training.
    """

    model: str
    framework: str
    dataset: str
    train_images: int
    test_images: int
    seconds: float
    image_size: int
    options: Mapping[str, Any]
    config: FitConfig


def label_of(settings: Mapping[str, Any]) -> str:
    """Settings as ``key=value, key=value``; ``as it is`` for none."""
    return ", ".join(f"{key}={text_of(value)}" for key, value in settings.items()) or "as it is"


def text_of(value: Any) -> str:
    """A value as people write it."""
    if isinstance(value, tuple | list):
        return "+".join(map(text_of, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _json(value: Any) -> Any:
    """Tuples as lists, recursively: what comes back from a database equals what went in."""
    if isinstance(value, Mapping):
        return {str(key): _json(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_json(item) for item in value]
    return value


def _reader(model: str) -> tuple[dict[str, Any], Callable[[str, str], Any]]:
    """Types by key, and a function that reads a text as a key's type."""
    kinds, inherited = _kinds(model), set(Config.keys())
    empty = dataclasses.make_dataclass(
        "Varied", [(key, kind, field(default=None)) for key, kind in kinds.items() if key not in inherited],
        bases=(Config,), frozen=True, kw_only=True,
    )()  # fmt: skip

    def read(key: str, text: str) -> Any:
        """Lists are joined by plus signs, and ``none`` is the empty one."""
        if typing.get_origin(kinds[key]) is tuple:
            text = "" if text == "none" else text.replace("+", ",")
        return getattr(empty.override([f"{key}={text}"]), key)

    return kinds, read


def parse_settings(texts: Sequence[str], model: str) -> dict[str, Any]:
    """Read ``--set KEY=VALUE`` options of a study: of the training, of the model, or what is trained on what.

    Raises:
        UsageError: an unknown key or a value that is not of its type.
    """
    kinds, read = _reader(model)
    found = {}
    for text in texts:
        key, equals, value = (part.strip() for part in text.partition("="))
        if key not in kinds or not equals:
            raise UsageError(f"--set {text}: write --set KEY=VALUE with a known key{nearest(key, kinds)}")
        found[key] = read(key, value)
    return found


def parse_vary(texts: Sequence[str], model: str) -> dict[str, Range | Choice]:
    """Read ``--vary`` options: ``KEY=A,B,C``, or ``KEY=LOW:HIGH`` for numbers, by the key's type.

    A value that is a list itself is joined by plus signs (``augment=none,flip,crop+flip``).

    Args:
        texts: the options.
        model: registered name, whose options may be varied as well.

    Raises:
        UsageError: an unknown key, one named twice, or values that are not of its type.
    """
    kinds, read = _reader(model)
    entries: dict[str, Range | Choice] = {}
    for text in texts:
        key, equals, values = (part.strip() for part in text.partition("="))
        if key not in kinds:
            raise UsageError(f"--vary {key}: unknown key{nearest(key, kinds)} Known: {', '.join(sorted(kinds))}")
        if not equals or key in entries:
            raise UsageError(f"--vary {text}: write each key once, as KEY=A,B or KEY=LOW:HIGH")

        low, colon, high = values.partition(":")
        if not colon:
            entries[key] = Choice(tuple(read(key, part.strip()) for part in values.split(",") if part.strip()))
            continue
        ends = read(key, low), read(key, high)
        if not all(isinstance(end, int | float) and not isinstance(end, bool) for end in ends):
            raise UsageError(f"--vary {text}: a range needs a number; write --vary {key}=A,B")
        entries[key] = Range(*ends, log=key in _LOGARITHMIC, whole=all(isinstance(end, int) for end in ends))
    return entries


def _kinds(model: str) -> dict[str, Any]:
    """Types by key: of FitConfig, of the model's specification, and of the places."""
    config, spec = typing.get_type_hints(FitConfig), typing.get_type_hints(type(find_entry(model).spec))
    own = {key: kind for key, kind in {**config, **spec}.items() if typing.get_origin(kind) is not typing.ClassVar}
    places = {"model": str, "framework": str, "dataset": str, "train_images": int, "test_images": int, "seconds": float}
    places["image_size"] = int
    return {key: kind for key, kind in own.items() if key not in ("seed", "n_folds", "name")} | places
