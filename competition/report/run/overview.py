"""The first page of a run's report and the table of all breeds: what their templates are told."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import Any

import numpy as np

from competition.console import duration
from competition.record.metrics import accuracy, log_loss, reliability
from competition.report.html.charts import folds_chart, reliability_chart
from competition.report.html.curves import history_charts, strength_chart
from competition.report.html.pages import count, nats, percent, pretty
from competition.report.run.findings import Findings
from competition.secret_shapes import without_secrets

IMAGENET_NOTE = (
    "The photos of this competition come from ImageNet, so ImageNet-pretrained backbones have probably seen them, "
    "test photos included. Expect a lower score on photos taken elsewhere."
)

_ORDER = ("audit", "folds", "embed", "probe", "submission", "report")


@dataclass(frozen=True)
class Cell:
    """A cell of the matrix: photos, shade in [0, 1], where it leads, and what it says in words."""

    n: int
    shade: float
    href: str
    label: str
    right: bool


def matrix_rows(f: Findings) -> list[tuple[int, list[Cell]]]:
    """The confusion matrix of the breeds that matter, row by row: breed of the label, cells by predicted breed."""
    breeds, names, matrix = f.matrix_breeds, f.found.classes, f.found.matrix
    off = matrix[np.ix_(breeds, breeds)] * (1 - np.eye(len(breeds), dtype=int))
    most = max(int(off.max(initial=0)), 1)
    rows = []
    for given in breeds:
        cells = []
        for called in breeds:
            n, right = int(matrix[given, called]), given == called
            label = f"{count(n, 'photo')} of {pretty(names[given])} called " + (
                "so" if right else pretty(names[called])
            )
            href = f.breed_page(given) if right else f.error_page(given, called)
            cells.append(
                Cell(n, float(np.sqrt(n / most)) if not right else 0.0, href if n or right else "", label, right)
            )
        rows.append((given, cells))
    return rows


@dataclass(frozen=True)
class BreedRow:
    """One breed in the table: counts, rates in [0, 1] (NaN without photos), log loss, and its worst confusion."""

    breed: int
    name: str
    href: str
    photos: int
    recall: float
    precision: float
    f1: float
    log_loss: float
    confused: str
    confused_n: int
    confused_href: str


def breed_rows(f: Findings) -> list[BreedRow]:
    """One row per breed, worst log loss first; breeds without judged photos last."""
    matrix, n_classes = f.found.matrix, len(f.found.classes)
    photos, called, right = matrix.sum(axis=1), matrix.sum(axis=0), np.diag(matrix)
    loss = np.bincount(f.found.labels, f.found.loss, n_classes)
    off = matrix - np.diag(right)
    rows = []
    for i, name in enumerate(f.found.classes):
        other = int(off[i].argmax())
        errors = int(off[i, other])
        rows.append(
            BreedRow(
                breed=i,
                name=name,
                href=f.breed_page(i),
                photos=int(photos[i]),
                recall=_share(right[i], photos[i]),
                precision=_share(right[i], called[i]),
                f1=_share(2 * right[i], photos[i] + called[i]) if photos[i] else float("nan"),
                log_loss=_share(loss[i], photos[i]),
                confused=f.found.classes[other] if errors else "",
                confused_n=errors,
                confused_href=f.error_page(i, other) if errors else "",
            )
        )
    return sorted(rows, key=lambda row: (row.log_loss != row.log_loss, -np.nan_to_num(row.log_loss), row.name))


def _share(part: float, whole: float) -> float:
    return float(part) / float(whole) if whole else float("nan")


def overview(f: Findings) -> dict[str, Any]:
    """What ``overview.html`` is told."""
    p, labels = f.found.probabilities, f.found.labels
    diagram = reliability(p, labels)
    losses, shares = [fold.log_loss for fold in f.folds], [fold.accuracy for fold in f.folds]
    score, right = log_loss(p, labels), accuracy(p, labels)
    spread = (_spread(losses), _spread(shares))
    top = min(5, p.shape[1])
    return {
        "lead": _lead(f),
        "note": _imagenet_note(f),
        "caution": f.caution,
        "notes": [str(note) for note in f.metrics.get("notes", []) if "ImageNet" not in str(note)],
        "partial": len(f.data.train) - len(f.found),
        "figures": [
            ("Expected log loss", nats(score), f"± {spread[0]:.3f} between folds" if len(losses) > 1 else "nats"),
            ("Expected accuracy", percent(right), f"± {percent(spread[1])} between folds" if len(losses) > 1 else ""),
            (f"Among the first {top}", percent(accuracy(p, labels, top)), "the true breed is one of them"),
            ("Calibration error", percent(diagram.ece), _temperature(f)),
            ("Wrong", count(len(f.found.wrong)), f"of {count(len(f.found), 'photo')}"),
        ],
        "folds": f.folds,
        "loss_chart": folds_chart(losses, score, spread[0], "log loss (nats)") if len(losses) > 1 else None,
        "share_chart": folds_chart(shares, right, spread[1], "share right") if len(losses) > 1 else None,
        "calibration": reliability_chart(diagram),
        "ece": diagram.ece,
        "curves": [c for c in (strength_chart(f.metrics.get("candidates", [])), *history_charts(f.history)) if c],
        "matrix": matrix_rows(f),
        "matrix_breeds": f.matrix_breeds,
        "steps": _steps(f),
        "facts": _facts(f),
    }


def _steps(f: Findings) -> list[tuple[str, str]]:
    """Names and times of the run's steps in the order in which they happen (the manifest sorts by name)."""
    place = {name: rank for rank, name in enumerate(_ORDER)}
    steps = sorted(f.manifest.get("steps", {}).items(), key=lambda item: place.get(item[0], len(_ORDER) - 2.5))
    return [(name, duration(float(seconds))) for name, seconds in steps]


def _imagenet_note(f: Findings) -> str:
    """Shown unless the photos are drawings or the run says nothing of it (a network trained from scratch)."""
    said = any("ImageNet" in str(note) for note in f.metrics.get("notes", []))
    return IMAGENET_NOTE if not f.drawing and (said or "notes" not in f.metrics) else ""


def _spread(values: list[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def _temperature(f: Findings) -> str:
    value = f.metrics.get("temperature")
    return f"after a temperature of {value:.3f}" if isinstance(value, int | float) else ""


def _lead(f: Findings) -> str:
    recipe = f.config.get("name") or f.config.get("engine", "run")
    folds = f", {count(len(f.folds), 'fold')}" if f.folds else ""
    return f"Recipe {recipe}: {count(len(f.found), 'photo')} of {count(len(f.found.classes), 'breed')}{folds}."


def _facts(f: Findings) -> list[tuple[str, str]]:
    """Configuration and manifest, as far as a reader wants to repeat the run."""
    plain = {k: v for k, v in f.config.items() if not isinstance(v, dict) and v not in (None, "", [], ())}
    listed = [
        (k.replace("_", " "), ", ".join(map(str, v)) if isinstance(v, list) else str(v)) for k, v in plain.items()
    ]
    versions = f.manifest.get("versions", {})
    said = [
        (k.replace("_", " "), without_secrets(str(f.manifest[k])))  # manifests of old may hold a password
        for k in ("command", "commit", "started", "data_digest")
        if f.manifest.get(k)
    ]
    named = [("versions", ", ".join(f"{name} {number}" for name, number in versions.items()))] if versions else []
    return [*listed, *said, *named, ("report made with", f"Python {platform.python_version()}")]
