"""Figures of a benchmark: taken in turn, summed up by their medians, with the machine they come from."""

from __future__ import annotations

import dataclasses
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Setup:
    """What a part measures with.

    Attributes:
        data: the competition: folder or archive.
        weights: folder of pretrained weights.
        rounds: how often each way is measured; the ways take turns.
        scale: share of the usual amount of work, in (0, 1]; below 1 only to try the benchmark out.
        threads: threads that compute.
    """

    data: Path
    weights: Path
    rounds: int = 3
    scale: float = 1.0
    threads: int = 2

    def count(self, usual: int, least: int = 8) -> int:
        """So many photos, fewer when only trying out."""
        return max(least, round(usual * self.scale))


@dataclass(frozen=True)
class Figure:
    """One thing measured: the median of its repeats, the smallest and the largest."""

    case: str
    way: str
    unit: str
    median: float
    low: float
    high: float
    repeats: int


@dataclass(frozen=True)
class Claim:
    """A figure that was promised: at least (or at most) ``target``."""

    what: str
    value: float
    target: float
    at_least: bool = True
    unit: str = "x"

    @property
    def met(self) -> bool:
        """Whether the promise is kept."""
        return self.value >= self.target if self.at_least else self.value <= self.target

    def cells(self) -> list[str]:
        """As a row of a table: what, measured, target, met."""
        sign, unit = (">=" if self.at_least else "<="), "" if self.unit == "x" else f" {self.unit}"
        return [self.what, f"{short(self.value)}{unit}", f"{sign} {short(self.target)}{unit}", ("no", "yes")[self.met]]


@dataclass
class Outcome:
    """All that one part found."""

    part: str
    title: str
    figures: list[Figure] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def median(self, case: str, way: str) -> float:
        """The median of one figure."""
        return next(figure.median for figure in self.figures if (figure.case, figure.way) == (case, way))

    def ratio(self, case: str, way: str, other: str) -> float:
        """Median of ``way`` over median of ``other``."""
        return self.median(case, way) / self.median(case, other)

    def plain(self) -> dict[str, Any]:
        """As JSON stores it."""
        claims = [{**dataclasses.asdict(claim), "met": claim.met} for claim in self.claims]
        return {**dataclasses.asdict(self), "claims": claims}


def figure(case: str, way: str, unit: str, values: list[float]) -> Figure:
    """Sum up repeats.

    Raises:
        ValueError: there are none.
    """
    if not values:
        raise ValueError(f"nothing was measured for {case}, {way}")
    return Figure(case, way, unit, statistics.median(values), min(values), max(values), len(values))


def in_turn(ways: Mapping[str, Callable[[], float]], rounds: int, warm: bool = True) -> dict[str, list[float]]:
    """Call every way in every round, so that whatever slows the machine for a while slows all of them.

    Args:
        ways: name to a function that does the work once and returns its rate or its time.
        rounds: repeats.
        warm: call each once before, unmeasured.
    """
    if warm:
        for way in ways.values():
            way()
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            found[name].append(way())
    return found


def seconds_of(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def machine() -> dict[str, Any]:
    """Processor, cores, memory, load and versions."""
    from importlib.metadata import PackageNotFoundError, version

    versions = {}
    for name in ("torch", "torchvision", "fastai", "timm", "albumentations", "numpy", "pillow", "scikit-learn"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return {
        "processor": _line("/proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.system(),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
        "versions": versions,
    }


def _line(path: str, key: str) -> str:
    """What follows ``key :`` in a file of the system, or nothing."""
    file = Path(path)
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")


def short(value: float) -> str:
    """Three digits that matter: ``0.923``, ``6.94``, ``87.1``, ``1,420``."""
    size = abs(value)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3
    return f"{value:,.{digits}f}"
