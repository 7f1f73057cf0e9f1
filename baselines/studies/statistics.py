"""What the numbers of a study say: means over seeds, differences, and whether they exceed the spread between seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Group:
    """One variant over its seeds.

    Attributes:
        label: its settings in words.
        settings: the same as values.
        values: the metric by seed; diverged trials have none.
        diverged: trials whose loss became NaN.
        rows: the finished trials.
    """

    label: str
    settings: Mapping[str, Any]
    values: Mapping[int, float]
    diverged: int
    rows: tuple[Mapping[str, Any], ...]

    @property
    def mean(self) -> float:
        """Mean over seeds; NaN where every trial diverged."""
        return float(np.mean(list(self.values.values()))) if self.values else math.nan

    @property
    def spread(self) -> float:
        """Standard deviation between seeds (n - 1); NaN for fewer than two."""
        return float(np.std(list(self.values.values()), ddof=1)) if len(self.values) > 1 else math.nan

    def average(self, key: str) -> float:
        """Mean of another figure over the finished trials; NaN where there is none."""
        found = [float(row[key]) for row in self.rows if row.get(key) is not None]
        return float(np.mean(found)) if found else math.nan


def grouped(rows: Rows, metric: str) -> list[Group]:
    """The trials by variant, in the order of their first appearance."""
    by_label: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_label.setdefault(row["label"], []).append(row)
    groups = []
    for label, members in by_label.items():
        done = tuple(row for row in members if row["state"] == "finished")
        values = {int(row["seed"]): float(row[metric]) for row in done}
        groups.append(Group(label, members[0]["settings"], values, len(members) - len(done), done))
    return groups


@dataclass(frozen=True)
class Difference:
    """One variant against another, seed by seed.

    Attributes:
        mean: of the differences ``b - a`` over the seeds that both have.
        seeds: how many those are.
        higher: in how many of them ``b`` is higher.
        spread: between seeds: root of the mean of both variances; NaN for one seed.
        interval: 95 % interval of the mean difference by Student's t on the pairs; None for fewer than three seeds.
    """

    mean: float
    seeds: int
    higher: int
    spread: float
    interval: tuple[float, float] | None

    @property
    def exceeds(self) -> bool:
        """Whether the mean difference is larger than the spread between seeds."""
        return self.seeds > 1 and abs(self.mean) > self.spread

    @property
    def settled(self) -> bool:
        """Whether the interval leaves out 0 as well."""
        return self.exceeds and self.interval is not None and self.interval[0] * self.interval[1] > 0


def difference(a: Mapping[Any, float], b: Mapping[Any, float]) -> Difference | None:
    """Compare values by seed (or by seed and whatever else is held equal); None where no seed is common."""
    from scipy.stats import t

    common = [key for key in a if key in b]
    if not common:
        return None
    gaps = np.array([b[key] - a[key] for key in common])
    mean, count = float(gaps.mean()), len(gaps)
    if count < 2:
        return Difference(mean, count, int((gaps > 0).sum()), math.nan, None)
    both = [np.array([values[key] for key in common]) for values in (a, b)]
    spread = math.sqrt(sum(float(values.var(ddof=1)) for values in both) / 2)
    half = float(t.ppf(0.975, count - 1) * gaps.std(ddof=1) / math.sqrt(count))
    interval = (mean - half, mean + half) if count > 2 else None
    return Difference(mean, count, int((gaps > 0).sum()), spread, interval)


@dataclass(frozen=True)
class Effect:
    """One value of a setting against its first one, whatever the other settings are.

    Attributes:
        key: the setting.
        reference: its first value.
        value: the other one.
        over: combinations of the other settings that have both.
        seeds: seeds that have both in all of them.
        mean: of the differences.
        by_context: difference of means in each combination, by its label.
        spread: between seeds within a combination (pooled); NaN for one seed.
    """

    key: str
    reference: str
    value: str
    over: int
    seeds: int
    mean: float
    by_context: Mapping[str, float]
    spread: float


def effects(groups: Sequence[Group], grid: Mapping[str, Sequence[Any]]) -> list[Effect]:
    """Effects of the settings of a grid with at least two varied settings; empty otherwise."""
    from baselines.studies.study import label_of, text_of

    varied = [key for key, values in grid.items() if len(values) > 1]
    if len(varied) < 2:
        return []
    found = []
    for key in varied:
        first = text_of(grid[key][0])
        for value in map(text_of, grid[key][1:]):
            pairs = []
            for group in groups:
                if text_of(group.settings[key]) != value:
                    continue
                others = {other: group.settings[other] for other in group.settings if other != key}
                twin = next(
                    (
                        each
                        for each in groups
                        if text_of(each.settings[key]) == first
                        and {other: each.settings[other] for other in each.settings if other != key} == others
                    ),
                    None,
                )
                if twin is not None and group.values and twin.values:
                    pairs.append((label_of(others), twin, group))
            if pairs:
                found.append(_effect(key, first, value, pairs))
    return found


def _effect(key: str, reference: str, value: str, pairs: Sequence[tuple[str, Group, Group]]) -> Effect:
    contexts = {label: b.mean - a.mean for label, a, b in pairs}
    variances = [group.spread**2 for _, a, b in pairs for group in (a, b) if not math.isnan(group.spread)]
    spread = math.sqrt(float(np.mean(variances))) if variances else math.nan
    seeds = min(len(set(a.values) & set(b.values)) for _, a, b in pairs)
    return Effect(key, reference, value, len(pairs), seeds, float(np.mean(list(contexts.values()))), contexts, spread)
