"""Everything the run's report shows, gathered from the run folder before the first page is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from competition.console import warn
from competition.data.audit.report import AuditReport
from competition.data.folds import FoldTable
from competition.errors import DataError
from competition.files import read_json
from competition.record.history import History
from competition.record.metrics import accuracy, log_loss
from competition.report.html.pages import is_drawing, slug
from competition.report.run.misclassified import (
    Confusion,
    Mislabels,
    Neighbours,
    Verdicts,
    breeds_that_matter,
    confusions,
    suspected_mislabels,
    verdicts,
)
from competition.types import Predictions

if TYPE_CHECKING:
    from competition.data.source.competition_data import CompetitionData
    from competition.record.run_dir import RunDir

MOST_PAIR_PAGES = 150
MOST_LOSSES = 120
MOST_SUSPECTS = 200


@dataclass(frozen=True)
class FoldScore:
    """One fold: index, photos judged, log loss in nats, accuracy in [0, 1], seconds of fitting (None if unknown)."""

    index: int
    photos: int
    log_loss: float
    accuracy: float
    seconds: float | None


@dataclass(frozen=True)
class Findings:
    """A run, its data and what was found in its out-of-fold predictions.

    Attributes:
        name: the run folder's name.
        data: the run's data.
        found: out-of-fold predictions beside the labels.
        metrics: ``metrics.json``, empty when there is none.
        config: ``config.json``.
        manifest: ``manifest.json``, empty when there is none.
        history: rows of ``history.csv``, of the run or of its folds.
        audit: what the audit found, None when the run has none.
        neighbours: finds similar training photos, None without features.
        drawing: the photos are the embedded sample's drawings.
        caution: what a reader must know about the data, or nothing.
    """

    name: str
    data: CompetitionData
    found: Verdicts
    metrics: dict[str, Any]
    config: dict[str, Any]
    manifest: dict[str, Any]
    history: tuple[dict[str, Any], ...]
    audit: AuditReport | None
    neighbours: Neighbours | None
    drawing: bool
    caution: str = ""

    @cached_property
    def folds(self) -> tuple[FoldScore, ...]:
        """Scores of the folds, from the same out-of-fold probabilities as everything else on the pages."""
        seconds = {row["index"]: row.get("seconds") for row in self.metrics.get("folds", []) if "index" in row}
        scores = []
        for index in sorted(set(self.found.folds.tolist()) - {-1}):
            rows = np.flatnonzero(self.found.folds == index)
            p, labels = self.found.probabilities[rows], self.found.labels[rows]
            scores.append(FoldScore(index, len(rows), log_loss(p, labels), accuracy(p, labels), seconds.get(index)))
        return tuple(scores)

    @cached_property
    def mislabels(self) -> Mislabels:
        """Suspected mislabels."""
        return suspected_mislabels(self.found)

    @cached_property
    def matrix_breeds(self) -> tuple[int, ...]:
        """Breeds of the confusion matrix on the first page, in its order."""
        return breeds_that_matter(self.found)

    @cached_property
    def pairs(self) -> tuple[Confusion, ...]:
        """Pairs of breeds with a page of their own: the most confused ones and every pair of the matrix."""
        matter = set(self.matrix_breeds)
        every = confusions(self.found, most=len(self.found.classes) ** 2)
        return tuple(p for rank, p in enumerate(every) if rank < MOST_PAIR_PAGES or {p.a, p.b} <= matter)

    @cached_property
    def twins(self) -> dict[str, set[str]]:
        """For every photo that has duplicates, the breeds that these carry."""
        breeds: dict[str, set[str]] = {}
        for pair in self.audit.pairs if self.audit is not None else ():
            for name, other in ((pair.a, pair.breed_b), (pair.b, pair.breed_a)):
                if other is not None:
                    breeds.setdefault(name, set()).add(other)
        return breeds

    @cached_property
    def slugs(self) -> tuple[str, ...]:
        """A file name for every breed; names that differ only in signs get a number."""
        taken: set[str] = set()
        names = []
        for index, breed in enumerate(self.found.classes):
            wanted = slug(breed) or "breed"
            name = wanted if wanted not in taken else f"{wanted}-{index}"
            taken.add(name)
            names.append(name)
        return tuple(names)

    def breed_page(self, breed: int) -> str:
        """Address of a breed's page relative to the site's root."""
        return f"breeds/{self.slugs[breed]}.html"

    def pair_page(self, a: int, b: int) -> str | None:
        """Address of the page of two breeds, None when they have none."""
        pair = (min(a, b), max(a, b))
        return f"pairs/{self.slugs[pair[0]]}--{self.slugs[pair[1]]}.html" if pair in self._with_page else None

    def error_page(self, given: int, called: int) -> str:
        """Where errors of this kind are shown: on the pair's page, else on the page of the given breed."""
        page = self.pair_page(given, called)
        return f"{page}#{self.slugs[given]}" if page else self.breed_page(given)

    @cached_property
    def _with_page(self) -> frozenset[tuple[int, int]]:
        return frozenset((pair.a, pair.b) for pair in self.pairs)


def gather(run: RunDir, data: CompetitionData, features: tuple[Sequence[str], np.ndarray] | None = None) -> Findings:
    """Read the run folder.

    Args:
        run: a run with out-of-fold predictions.
        data: the data of the run; photos that were quarantined may still be among them.
        features: photo ids and their features (n, d), for the nearest training photos.

    Raises:
        ResumeError: this is no run folder.
        DataError: there are no out-of-fold predictions, or they belong to other data.
    """
    config = run.config
    if not (run / "oof.npz").is_file():
        raise DataError(f"{run.path} has no out-of-fold predictions yet (oof.npz): finish it with 'dogbreed run'")
    found = verdicts(Predictions.load(run / "oof.npz"), data, _folds(run / "folds.csv"))
    if not len(found):
        raise DataError(f"{run / 'oof.npz'} holds no photo: there is nothing to report")
    metrics = read_json(run / "metrics.json") if (run / "metrics.json").is_file() else {}
    return Findings(
        name=run.path.resolve().name,
        data=data,
        found=found,
        metrics=metrics,
        config=config,
        manifest=run.manifest,
        history=tuple(_history(run)),
        audit=AuditReport.load(run.path) if (run / "audit.json").is_file() else None,
        neighbours=Neighbours.of(found, *features) if features is not None else None,
        drawing=is_drawing(data),
        caution=_other_data(run, data),
    )


def _other_data(run: RunDir, data: CompetitionData) -> str:
    """Say so when labels or photos have changed since the run: its report then judges by labels it did not train on."""
    digest = run.manifest.get("data_digest")
    if digest is None or digest == data.digest:
        return ""
    text = "The photos or labels are not exactly those of the run: if it was given --relabel, give it here as well."
    warn(text)
    return text


def _history(run: RunDir) -> list[dict[str, Any]]:
    """Rows of ``history.csv``, of the run or of its folds."""
    if (run / "history.csv").is_file():
        return History(run / "history.csv").rows
    paths = {
        int(path.parent.name[4:]): path for path in run.path.glob("fold*/history.csv") if path.parent.name[4:].isdigit()
    }
    return [{"fold": fold, **row} for fold, path in sorted(paths.items()) for row in History(path).rows]


def _folds(path: Path) -> dict[str, int]:
    """Fold of every photo; empty without a fold file."""
    if not path.is_file():
        return {}
    table = FoldTable.load(path)
    return dict(zip(table.ids, table.fold.tolist(), strict=True))
