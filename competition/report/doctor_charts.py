"""Charts that only the doctor's page needs: an interval with scores on it, and shifts of the breeds' shares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from competition.report.html.charts import number, ticks
from competition.report.html.pages import pretty

if TYPE_CHECKING:
    from competition.prediction.doctor.drift import ClassShift, Comparison
    from competition.prediction.expected.expectation import Expectation

_WIDTH, _SIDE = 480, 20


def interval_chart(expected: Expectation, scored: Sequence[tuple[str, float]] = ()) -> Markup:
    """The expected score as a dot, its interval as a bar, public scores of earlier submissions as marks below."""
    values = [expected.low, expected.high, *(score for _, score in scored)]
    margin = 0.12 * (max(values) - min(values)) or 0.01
    low, high = min(values) - margin, max(values) + margin
    height = 96 + 18 * len(scored)

    def x(value: float) -> float:
        return round(_SIDE + (value - low) / (high - low) * (_WIDTH - 2 * _SIDE), 1)

    axis = height - 38
    left, right, middle = x(expected.low), x(expected.high), x(expected.log_loss)
    parts = [f'<rect class="band" x="{left}" y="14" width="{right - left:.1f}" height="{axis - 14}"/>']
    parts += [f'<path class="line s0" d="M{left} 30H{right}M{left} 24v12M{right} 24v12"/>']
    parts += [f'<circle class="f0" cx="{middle}" cy="30" r="5"><title>{expected.log_loss:.4f}</title></circle>']
    for row, (name, score) in enumerate(scored):
        y, anchor = 52 + 18 * row, "start" if x(score) < _WIDTH / 2 else "end"
        shift = 8 if anchor == "start" else -8
        parts.append(f'<circle class="f1" cx="{x(score)}" cy="{y}" r="4"/>')
        parts.append(
            f'<text x="{x(score) + shift}" y="{y + 4}" text-anchor="{anchor}">{escape(name)} {score:.4f}</text>'
        )
    parts.append(f'<path class="axis" d="M{_SIDE} {axis}H{_WIDTH - _SIDE}"/>')
    for tick in ticks(low, high):
        parts.append(f'<path class="axis" d="M{x(tick)} {axis}v5"/>')
        parts.append(f'<text x="{x(tick)}" y="{axis + 18}" text-anchor="middle">{number(tick)}</text>')
    parts.append(f'<text x="{_WIDTH / 2}" y="{height - 4}" text-anchor="middle">log loss on the test photos</text>')
    said = f"Expected log loss {expected.log_loss:.4f}, interval {expected.low:.4f} to {expected.high:.4f}"
    return _svg(parts, height, said)


def histogram_chart(comparison: Comparison, label: str) -> Markup:
    """Two histograms over one axis: training as filled bars, test as an outline."""
    edges, height = comparison.edges, 260
    top, left, axis = max(*comparison.train, *comparison.test) * 1.08, 46, height - 38

    def x(value: float) -> float:
        return round(left + (value - edges[0]) / (edges[-1] - edges[0]) * (_WIDTH - left - _SIDE), 1)

    def y(value: float) -> float:
        return round(axis - value / top * (axis - 10), 1)

    parts = [f'<path class="grid" d="M{left} {y(tick)}H{_WIDTH - _SIDE}"/>' for tick in ticks(0, top)]
    parts += [f'<text x="{left - 8}" y="{y(t) + 4}" text-anchor="end">{100 * t:g} %</text>' for t in ticks(0, top)]
    outline = ""
    for low, high, train, test in zip(edges[:-1], edges[1:], comparison.train, comparison.test, strict=True):
        told = f"<title>{low:.3g} to {high:.3g}: {train:.2%} in training, {test:.2%} in test</title>"
        size = f'width="{x(high) - x(low) - 1:.1f}" height="{axis - y(train):.1f}"'
        parts.append(f'<rect class="train" x="{x(low) + 0.5}" y="{y(train)}" {size}>{told}</rect>')
        outline += f"{'L' if outline else 'M'}{x(low)} {y(test)}H{x(high)}"
    parts.append(f'<path class="line s1" d="{outline}"/><path class="axis" d="M{left} {axis}H{_WIDTH - _SIDE}"/>')
    for tick in ticks(edges[0], edges[-1]):
        parts.append(f'<path class="axis" d="M{x(tick)} {axis}v5"/>')
        parts.append(f'<text x="{x(tick)}" y="{axis + 18}" text-anchor="middle">{number(tick)}</text>')
    middle = (left + _WIDTH - _SIDE) / 2
    parts.append(f'<text x="{middle}" y="{height - 4}" text-anchor="middle">{escape(label)}</text>')
    medians = f"median {comparison.train_median:.3f} in training, {comparison.test_median:.3f} in test"
    return _svg(parts, height, f"{comparison.name}: {medians}")


def shifts_chart(shifts: Sequence[ClassShift], most: int = 10) -> Markup:
    """The breeds whose expected share differs most: training as a ring, test as a dot, joined by a line."""
    shown = list(shifts[:most])
    top = max(max(shift.train_share, shift.test_share) for shift in shown) * 1.08 or 1.0
    names, height = 176, 44 + 24 * len(shown)

    def x(value: float) -> float:
        return round(names + value / top * (_WIDTH - names - _SIDE), 1)

    axis, parts = height - 36, []
    for row, shift in enumerate(shown):
        y = 16 + 24 * row
        a, b = x(shift.train_share), x(shift.test_share)
        told = f"{shift.train_share:.2%} in training, {shift.test_share:.2%} in test, z = {shift.z:+.1f}"
        parts.append(
            f'<text x="{names - 10}" y="{y + 4}" text-anchor="end">{escape(_short(pretty(shift.breed)))}</text>'
        )
        parts.append(f'<path class="grid" d="M{names} {y}H{_WIDTH - _SIDE}"/><path class="line s2" d="M{a} {y}H{b}"/>')
        parts.append(f'<circle class="ring" cx="{a}" cy="{y}" r="4.5"><title>{escape(told)}</title></circle>')
        parts.append(f'<circle class="f1" cx="{b}" cy="{y}" r="4.5"><title>{escape(told)}</title></circle>')
    parts.append(f'<path class="axis" d="M{names} {axis}H{_WIDTH - _SIDE}"/>')
    for tick in ticks(0, top, 4):
        parts.append(f'<path class="axis" d="M{x(tick)} {axis}v5"/>')
        parts.append(f'<text x="{x(tick)}" y="{axis + 18}" text-anchor="middle">{100 * tick:g} %</text>')
    middle = (names + _WIDTH - _SIDE) / 2
    parts.append(f'<text x="{middle}" y="{height - 2}" text-anchor="middle">expected share of the photos</text>')
    first = shown[0]
    return _svg(
        parts, height, f"Largest shift: {pretty(first.breed)}, {first.train_share:.2%} to {first.test_share:.2%}"
    )


def _short(name: str, most: int = 24) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def _svg(parts: Sequence[str], height: int, summary: str) -> Markup:
    body = "".join(parts)
    return Markup(f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(summary)}">{body}</svg>')
