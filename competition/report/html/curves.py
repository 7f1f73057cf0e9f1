"""Which curves a run has: score against regularisation strength for a probe, figures over epochs for a fine-tuning."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from competition.report.html.charts import Series, lines_chart

_STEPS = ("epoch", "step")
_FIGURES = {"log loss (nats)": ("loss",), "share right": ("accuracy", "acc")}
_COLOURS = 4


@dataclass(frozen=True)
class Chart:
    """A drawing with the sentence below it."""

    svg: Markup
    caption: str


def strength_chart(candidates: Sequence[Mapping[str, Any]]) -> Chart | None:
    """Out-of-fold log loss against regularisation strength, one line per way of combining; None without such rows.

    Args:
        candidates: rows of ``metrics.json`` with ``strength``, ``log_loss`` and anything that names the line.
    """
    lines: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in candidates:
        if _number(row.get("strength")) and row["strength"] > 0 and _number(row.get("log_loss")):
            named = [str(value) for key, value in sorted(row.items()) if isinstance(value, str)]
            lines[", ".join(named)].append((float(row["strength"]), float(row["log_loss"])))
    if not lines:
        return None
    best = sorted(lines, key=lambda name: min(y for _, y in lines[name]))[:_COLOURS]
    svg = lines_chart(
        [_series(name, lines[name], f"s{i}") for i, name in enumerate(best)],
        "regularisation strength (L2 penalty)",
        "out-of-fold log loss",
        log_x=True,
    )
    if svg is None:
        return None
    strength, score = min((point for points in lines.values() for point in points), key=lambda point: point[1])
    left_out = len(lines) - len(best)
    more = f" {left_out} further combinations are not drawn." if left_out else ""
    return Chart(svg, f"The lowest out-of-fold log loss, {score:.4f}, is at a strength of {strength:g}.{more}")


def history_charts(rows: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """Losses and accuracies over epochs: a faint line per fold, a strong one for the mean over folds."""
    step = next((name for name in _STEPS if any(_number(row.get(name)) for row in rows)), None)
    if step is None:
        return []
    columns = list(dict.fromkeys(key for row in rows for key in row))
    charts = []
    for label, words in _FIGURES.items():
        names = [name for name in columns if any(name.lower().endswith(word) for word in words)][:_COLOURS]
        series = [line for i, name in enumerate(names) for line in _over_folds(rows, step, name, f"s{i}")]
        svg = lines_chart(series, step, label)
        if svg is not None:
            charts.append(Chart(svg, f"{', '.join(name.replace('_', ' ') for name in names).capitalize()} by {step}."))
    return charts


def _over_folds(rows: Iterable[Mapping[str, Any]], step: str, name: str, style: str) -> list[Series]:
    """The mean over folds and, where there are several, each fold."""
    by_fold: dict[Any, list[tuple[float, float]]] = defaultdict(list)
    for row in rows:
        if _number(row.get(step)) and _number(row.get(name)):
            by_fold[row.get("fold")].append((float(row[step]), float(row[name])))
    if len(by_fold) < 2:
        return [_series(name.replace("_", " "), points, style) for points in by_fold.values()]
    at: dict[float, list[float]] = defaultdict(list)
    for points in by_fold.values():
        for x, y in points:
            at[x].append(y)
    # The mean is drawn only where every fold has a value: half-finished folds would bend it.
    whole = [(x, sum(ys) / len(ys)) for x, ys in at.items() if len(ys) >= len(by_fold)]
    folds = [_series(f"fold {fold}", points, f"{style} faint") for fold, points in by_fold.items()]
    return [*folds, _series(f"{name.replace('_', ' ')}, mean", whole, style)]


def _series(label: str, points: Iterable[tuple[float, float]], style: str) -> Series:
    ordered = sorted(points)
    return Series(label, tuple(x for x, _ in ordered), tuple(y for _, y in ordered), style)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
