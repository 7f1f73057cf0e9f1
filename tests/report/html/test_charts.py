from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from competition.record.metrics import reliability
from competition.report.html.charts import Series, folds_chart, lines_chart, number, reliability_chart, ticks
from competition.report.html.curves import history_charts, strength_chart

SVG = "{*}"


def drawn(svg: object) -> ElementTree.Element:
    return ElementTree.fromstring(str(svg))  # any name that was not escaped would not parse


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (0.31, 0.47, [0.35, 0.4, 0.45]), (-3, 7, [-2, 0, 2, 4, 6]), (2, 2, [2])],
)
def test_ticks_are_round_and_inside(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def test_numbers_are_short() -> None:
    assert [number(value) for value in (0, 0.25, 1e-4, 5e-5, 12, 200_000)] == ["0", "0.25", "1e-4", "5e-5", "12", "2e5"]


def test_points_that_are_not_finite_are_left_out() -> None:
    svg = lines_chart([Series("a", (1, 2, 3), (1.0, math.nan, 3.0))], "x", "y")
    assert len(drawn(svg).findall(f".//{SVG}circle")) == 2
    assert lines_chart([Series("a", (1.0,), (math.inf,))], "x", "y") is None


def test_labels_are_text() -> None:
    svg = drawn(lines_chart([Series("<a & b>", (1, 2), (1, 2)), Series("c", (1, 2), (2, 1))], "<x>", 'y "z"'))
    words = [element.text for element in svg.findall(f".//{SVG}text")]
    assert "<a & b>" in words
    assert "<x>" in words
    assert svg.get("aria-label") == 'y "z" against <x>. <a & b> ends at 2; c ends at 1'


def test_a_logarithmic_axis_spaces_powers_evenly() -> None:
    svg = drawn(lines_chart([Series("a", (1e-4, 1e-3, 1e-2), (1, 2, 3))], "x", "y", log_x=True))
    x = [float(str(circle.get("cx"))) for circle in svg.findall(f".//{SVG}circle")]
    assert x[1] - x[0] == pytest.approx(x[2] - x[1], abs=0.2)


def test_reliability_points_stand_where_the_bins_are(rng: np.random.Generator) -> None:
    p = rng.dirichlet([0.3] * 4, 300)
    labels = np.array([rng.choice(4, p=row) for row in p])
    diagram = reliability(p, labels)
    svg = drawn(reliability_chart(diagram))
    filled = np.flatnonzero(diagram.count)
    circles = svg.findall(f".//{SVG}circle")
    assert len(circles) == len(filled)
    bottom, top = 300.0, 14.0  # pixels of 0 and 1
    for circle, i in zip(circles, filled, strict=True):
        assert float(str(circle.get("cy"))) == pytest.approx(bottom - diagram.accuracy[i] * (bottom - top), abs=0.1)
    assert f"{diagram.ece:.3f}" in str(svg.get("aria-label"))


def test_fold_dots_keep_their_order() -> None:
    svg = drawn(folds_chart([0.4, 0.2, 0.3], 0.3, 0.1, "log loss"))
    x = [float(str(circle.get("cx"))) for circle in svg.findall(f".//{SVG}circle")]
    assert x[1] < x[2] < x[0]
    assert "mean 0.3000, standard deviation 0.1000" in str(svg.get("aria-label"))


def test_strength_chart_names_the_best() -> None:
    rows = [
        {"design": d, "strength": s, "log_loss": 1 + s + shift} for d, shift in (("a", 0), ("b", 1)) for s in (0.1, 1.0)
    ]
    chart = strength_chart(rows)
    assert chart is not None
    assert chart.caption == "The lowest out-of-fold log loss, 1.1000, is at a strength of 0.1."
    assert strength_chart([]) is None
    assert strength_chart([{"design": "a", "log_loss": 1.0}]) is None
    many = strength_chart([{"design": str(i), "strength": 1.0, "log_loss": 1.0 + i} for i in range(6)])
    assert many is not None
    assert "2 further combinations are not drawn" in many.caption


def test_history_is_averaged_only_over_whole_epochs() -> None:
    rows = [
        {"fold": 0, "epoch": 1, "log_loss": 2.0, "phase": "all"},
        {"fold": 0, "epoch": 2, "log_loss": 1.0, "phase": "all"},
        {"fold": 1, "epoch": 1, "log_loss": 4.0, "phase": "all"},
    ]
    (chart,) = history_charts(rows)
    assert chart.caption == "Log loss by epoch."
    assert re.search(r"log loss, mean ends at 3\b", str(chart.svg))
    (single,) = history_charts(rows[:2])
    assert re.search(r"log loss ends at 1\b", str(single.svg))
    assert history_charts([{"strength": 1.0, "log_loss": 1.0}]) == []
