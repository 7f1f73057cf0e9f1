"""Charts as inline SVG: drawn from numbers, coloured by the page's style sheet for light, dark and print."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape

from competition.record.metrics import Reliability

_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 14, 40


@dataclass(frozen=True)
class Series:
    """One line: its label, points, and style-sheet classes (``s0``..``s3`` colour, ``dash``, ``faint``).

    A faint line has no entry in the legend and no dots.
    """

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    style: str = "s0"


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers (steps of 1, 2 or 5 times a power of ten) inside [low, high], about ``about`` of them."""
    if not high > low:
        return [low]
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * power for unit in (1, 2, 5, 10) if unit * power >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 12) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def number(value: float) -> str:
    """A tick's text: as short as it can be, small and large ones as powers of ten."""
    if value and (abs(value) < 1e-3 or abs(value) >= 1e5):
        mantissa, exponent = f"{value:.0e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{value:g}"


@dataclass(frozen=True)
class _Frame:
    """Maps data to pixels: ranges of x and y, size of the drawing, logarithmic x or not."""

    x: tuple[float, float]
    y: tuple[float, float]
    width: int = 480
    height: int = 300
    log_x: bool = False
    top: int = _TOP

    def px(self, value: float) -> float:
        low, high = map(self._scale, self.x)
        share = (self._scale(value) - low) / (high - low) if high > low else 0.5
        return round(_LEFT + share * (self.width - _LEFT - _RIGHT), 1)

    def py(self, value: float) -> float:
        low, high = self.y
        share = (value - low) / (high - low) if high > low else 0.5
        return round(self.height - _BOTTOM - share * (self.height - self.top - _BOTTOM), 1)

    def _scale(self, value: float) -> float:
        return math.log10(value) if self.log_x else value

    def _x_ticks(self) -> list[float]:
        if not self.log_x:
            return ticks(*self.x)
        first, last = math.ceil(math.log10(self.x[0]) - 1e-9), math.floor(math.log10(self.x[1]) + 1e-9)
        powers = [10.0**power for power in range(first, last + 1)]
        return powers if len(powers) > 1 else sorted({self.x[0], *powers, self.x[1]})

    def axes(self, x_label: str, y_label: str) -> list[str]:
        left, right, bottom = self.px(self.x[0]), self.width - _RIGHT, self.height - _BOTTOM
        parts = []
        for tick in ticks(*self.y):
            y = self.py(tick)
            parts.append(f'<path class="grid" d="M{left} {y}H{right}"/>')
            parts.append(f'<text x="{left - 8}" y="{y + 4}" text-anchor="end">{number(tick)}</text>')
        for tick in self._x_ticks():
            x = self.px(tick)
            parts.append(f'<path class="axis" d="M{x} {bottom}v5"/>')
            parts.append(f'<text x="{x}" y="{bottom + 18}" text-anchor="middle">{number(tick)}</text>')
        middle = (left + right) / 2
        parts.append(f'<path class="axis" d="M{left} {bottom}H{right}"/>')
        parts.append(f'<text x="{middle}" y="{self.height - 4}" text-anchor="middle">{escape(x_label)}</text>')
        centre = (self.top + bottom) / 2
        parts.append(
            f'<text transform="translate(12 {centre}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text>'
        )
        return parts

    def svg(self, parts: Sequence[str], summary: str) -> Markup:
        body = "".join(parts)
        return Markup(  # every text inside went through escape()
            f'<svg viewBox="0 0 {self.width} {self.height}" role="img" aria-label="{escape(summary)}">{body}</svg>'
        )


def _padded(values: Sequence[float], share: float = 0.08) -> tuple[float, float]:
    """The range of ``values`` with a margin; a range of one value gets a margin around it."""
    low, high = min(values), max(values)
    margin = (high - low) * share or abs(high) * share or 1.0
    return low - margin, high + margin


def lines_chart(series: Sequence[Series], x_label: str, y_label: str, *, log_x: bool = False) -> Markup | None:
    """Lines with a legend; points that are not finite are left out. None when nothing is left to draw."""
    kept = [_finite(line) for line in series]
    kept = [line for line in kept if line.x]
    if not kept:
        return None
    xs = [x for line in kept for x in line.x]
    named = [line for line in kept if "faint" not in line.style]
    above = 17 * len(named) + 4 if len(named) > 1 else 0  # the legend stands above the lines, never on them
    y_range = _padded([y for line in kept for y in line.y])
    frame = _Frame((min(xs), max(xs)), y_range, height=300 + above, log_x=log_x, top=_TOP + above)
    parts = frame.axes(x_label, y_label)
    for line in kept:
        points = [(frame.px(x), frame.py(y)) for x, y in zip(line.x, line.y, strict=True)]
        parts.append(f'<path class="line {line.style}" d="M{" L".join(f"{x} {y}" for x, y in points)}"/>')
        if "faint" not in line.style and len(points) <= 40:
            fill = line.style.replace("s", "f", 1).split()[0]
            parts += [f'<circle class="{fill}" cx="{x}" cy="{y}" r="2.6"/>' for x, y in points]
    parts += _legend(named)
    ends = "; ".join(f"{line.label} ends at {line.y[-1]:.4g}" for line in named)
    return frame.svg(parts, f"{y_label} against {x_label}. {ends}")


def _finite(line: Series) -> Series:
    pairs = [(x, y) for x, y in zip(line.x, line.y, strict=True) if math.isfinite(x) and math.isfinite(y)]
    return Series(line.label, tuple(x for x, _ in pairs), tuple(y for _, y in pairs), line.style)


def _legend(series: Sequence[Series]) -> list[str]:
    if len(series) < 2:
        return []
    parts = []
    for row, line in enumerate(series):
        y = _TOP + 17 * row
        parts.append(f'<path class="line {line.style}" d="M{_LEFT} {y}h22"/>')
        parts.append(f'<text x="{_LEFT + 30}" y="{y + 4}">{escape(line.label)}</text>')
    return parts


def reliability_chart(diagram: Reliability) -> Markup:
    """Accuracy against confidence, bin by bin, with the number of photos behind each bin."""
    frame = _Frame((0.0, 1.0), (0.0, 1.0), height=340)
    parts = frame.axes("confidence (probability of the first choice)", "share right")
    most, bottom = max(int(diagram.count.max()), 1), frame.py(0)
    for low, high, count in zip(diagram.edges[:-1], diagram.edges[1:], diagram.count, strict=True):
        tall = round(0.22 * (bottom - frame.py(1)) * count / most, 1)
        x, width = frame.px(low) + 1, frame.px(high) - frame.px(low) - 2
        title = f"<title>confidence {low:.2f} to {high:.2f}: {count:,} photos</title>"
        parts.append(
            f'<rect class="bars" x="{x}" y="{bottom - tall}" width="{width:.1f}" height="{tall}">{title}</rect>'
        )
    parts.append(f'<path class="ideal" d="M{frame.px(0)} {bottom}L{frame.px(1)} {frame.py(1)}"/>')
    filled = np.flatnonzero(diagram.count)
    points = [(frame.px(diagram.confidence[i]), frame.py(diagram.accuracy[i])) for i in filled]
    if points:
        parts.append(f'<path class="line s0" d="M{" L".join(f"{x} {y}" for x, y in points)}"/>')
    for (x, y), i in zip(points, filled, strict=True):
        said = f"{diagram.accuracy[i]:.1%} right at {diagram.confidence[i]:.1%}, {diagram.count[i]:,} photos"
        parts.append(f'<circle class="f0" cx="{x}" cy="{y}" r="3.5"><title>{said}</title></circle>')
    return frame.svg(parts, f"Reliability diagram; expected calibration error {diagram.ece:.3f}")


def folds_chart(values: Sequence[float], mean: float, spread: float, label: str, each: str = "fold") -> Markup:
    """One dot per fold (or ``each``) on one axis, the mean as a line and mean ± one standard deviation as a band."""
    frame = _Frame(_padded([*values, mean - spread, mean + spread]), (0.0, 1.0), height=104)
    bottom = frame.height - _BOTTOM
    parts = [f'<path class="axis" d="M{_LEFT} {bottom}H{frame.width - _RIGHT}"/>']
    for tick in ticks(*frame.x):
        x = frame.px(tick)
        parts.append(f'<path class="axis" d="M{x} {bottom}v5"/>')
        parts.append(f'<text x="{x}" y="{bottom + 18}" text-anchor="middle">{number(tick)}</text>')
    left, right = frame.px(mean - spread), frame.px(mean + spread)
    parts.append(f'<rect class="band" x="{left}" y="{_TOP}" width="{right - left:.1f}" height="{bottom - _TOP}"/>')
    parts.append(f'<path class="line s0" d="M{frame.px(mean)} {_TOP}V{bottom}"/>')
    middle = (_TOP + bottom) / 2
    for index, value in enumerate(values):
        y = middle + (index % 3 - 1) * 9
        title = f"<title>{each} {index}: {value:.4f}</title>"
        parts.append(f'<circle class="f1" cx="{frame.px(value)}" cy="{y}" r="4.5">{title}</circle>')
    where = (_LEFT + frame.width - _RIGHT) / 2
    parts.append(f'<text x="{where}" y="{frame.height - 4}" text-anchor="middle">{escape(label)}</text>')
    said = ", ".join(f"{value:.4f}" for value in values)
    return frame.svg(parts, f"{label} per {each}: {said}; mean {mean:.4f}, standard deviation {spread:.4f}")
