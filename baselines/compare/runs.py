"""Runs of baselines side by side: what each reached, what sets them apart, where they agree. Numbers only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from baselines.training.run_folder import ModelCard, read_metrics
from competition.errors import DataError, UsageError
from competition.files import read_json, read_npz
from competition.record.history import History

_NOT_SETTINGS = ("engine", "name", "device", "workers", "n_folds")


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        letter: how charts and tables call it.
        folder: where it lies.
        card: what the model is.
        metrics: as in ``metrics.json``.
        settings: as in ``config.json``, and the options the model was made with.
        history: a row an epoch.
        classes: names in the order of the probabilities.
        labels: of the test images, int64 (n,).
        probabilities: of the test images, float64 (n, c).
    """

    letter: str
    folder: Path
    card: ModelCard
    metrics: Mapping[str, Any]
    settings: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]]
    classes: tuple[str, ...]
    labels: np.ndarray
    probabilities: np.ndarray

    @property
    def name(self) -> str:
        """Model and framework."""
        return f"{self.card.name}, {'PyTorch' if self.card.framework == 'pytorch' else 'Keras'}"

    @property
    def dataset(self) -> str:
        """Name of the data set."""
        return str(self.metrics["dataset"])

    @property
    def called(self) -> np.ndarray:
        """Predicted class of every test image, int64 (n,)."""
        return self.probabilities.argmax(axis=1)

    @property
    def right(self) -> np.ndarray:
        """Which test images are classified rightly, bool (n,)."""
        return self.called == self.labels

    def column(self, name: str) -> tuple[float, ...]:
        """A column of the history, NaN where a row lacks it."""
        return tuple(float("nan") if row.get(name) is None else float(row[name]) for row in self.history)


def read_run(folder: Path, letter: str) -> Run:
    """Read a run's records.

    Raises:
        ResumeError: it is no finished run of a baseline.
        DataError: a file is missing or damaged.
    """
    card, metrics = ModelCard.load(folder), read_metrics(folder)
    stored = read_npz(folder / "test.npz")
    lacking = {"classes", "probabilities", "labels"} - set(stored)
    if lacking:
        raise DataError(f"{folder / 'test.npz'} lacks {', '.join(sorted(lacking))}: train the run again")
    options = {key: value for key, value in card.arguments.items() if key not in ("name", "framework")}
    settings = {key: value for key, value in read_json(folder / "config.json").items() if key not in _NOT_SETTINGS}
    return Run(
        letter,
        folder,
        card,
        metrics,
        {**settings, **{f"model {key}": value for key, value in options.items()}},
        History(folder / "history.csv").rows,
        tuple(map(str, stored["classes"])),
        stored["labels"],
        stored["probabilities"],
    )


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """Read runs, in the order given, each once.

    Raises:
        UsageError: there are none, or more than letters.
        KitError: as ``read_run``.
    """
    once = list(dict.fromkeys(Path(folder).resolve() for folder in folders))
    if not once:
        raise UsageError("no run to compare: name at least one run folder")
    if len(once) > 26:
        raise UsageError(f"{len(once)} runs are more than a page can show: name at most 26")
    return [read_run(folder, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[place]) for place, folder in enumerate(once)]


def groups_of(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs that were tested on the very same images together, in the order of their first."""
    groups: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.card.dataset["digest"], run.classes, run.labels.tobytes()), []).append(run)
    return list(groups.values())


def differing(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """Settings that are not the same in all runs: name, and the value in each."""
    keys = dict.fromkeys(key for run in runs for key in run.settings)
    rows = []
    for key in keys:
        values = [_text(run.settings.get(key)) for run in runs]
        if len(set(values)) > 1:
            rows.append((key.replace("_", " "), values))
    return rows


def _text(value: Any) -> str:
    if value is None:
        return "\u2013"
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True)
class Pair:
    """Two runs on the same images: how many only one of them has right, and how often chance does that.

    ``p_value`` is that of the exact two-sided sign test on the images where one is right and the other wrong
    (McNemar).
    """

    a: Run
    b: Run
    both: int
    only_a: int
    only_b: int
    neither: int
    p_value: float


def paired(a: Run, b: Run) -> Pair:
    """Compare two runs of one group."""
    from scipy.stats import binomtest

    only_a, only_b = int((a.right & ~b.right).sum()), int((b.right & ~a.right).sum())
    p_value = binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    both, neither = int((a.right & b.right).sum()), int((~a.right & ~b.right).sum())
    return Pair(a, b, both, only_a, only_b, neither, float(p_value))


def worst_classes(runs: Sequence[Run], most: int = 12) -> list[tuple[str, int, list[float]]]:
    """Classes by the mean of their recall over the runs of one group, lowest first: name, images, recall in each."""
    labels, classes = runs[0].labels, runs[0].classes
    counts = np.bincount(labels, minlength=len(classes))
    recalls = np.array([np.bincount(labels[run.right], minlength=len(classes)) for run in runs]) / np.maximum(counts, 1)
    order = [int(index) for index in np.argsort(recalls.mean(axis=0), kind="stable") if counts[index]]
    return [
        (classes[index], int(counts[index]), [float(value) for value in recalls[:, index]]) for index in order[:most]
    ]


def telling_images(runs: Sequence[Run], most: int = 16) -> list[int]:
    """Places of test images on which the runs of one group differ most, the surest disagreements first.

    One run alone gives the errors of which it is surest.
    """
    right = np.array([run.right for run in runs])
    sure = np.array([run.probabilities.max(axis=1) for run in runs])
    told = ~right[0] if len(runs) == 1 else right.any(axis=0) & ~right.all(axis=0)
    weight = np.where(right, 0.0, sure).max(axis=0) + (np.where(right, sure, 0.0).max(axis=0) if len(runs) > 1 else 0.0)
    places = np.flatnonzero(told)
    return [int(place) for place in places[np.argsort(-weight[places], kind="stable")][:most]]


def missed_by_all(runs: Sequence[Run], most: int = 16) -> list[int]:
    """Places of test images that every run of one group calls wrongly, the surest first."""
    wrong = ~np.array([run.right for run in runs]).any(axis=0)
    sure = np.mean([run.probabilities.max(axis=1) for run in runs], axis=0)
    places = np.flatnonzero(wrong)
    return [int(place) for place in places[np.argsort(-sure[places], kind="stable")][:most]]
