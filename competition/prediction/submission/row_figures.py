"""Running figures over the rows of a submission, and the warnings they give rise to."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from competition.prediction.submission.judges import KIT, cited
from competition.prediction.submission.template import count

# Thresholds of the warnings; they refuse nothing.
_OVERCONFIDENT_MEAN = 0.98
_COLLAPSED_SHARE = 0.5
_ENOUGH_ROWS = 20
_EXACT = 1e-9


class RowFigures:
    """Running figures over the acceptable rows, and the warnings they give rise to."""

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes = classes
        self._good = self._certain = self._constant = self._zeros = 0
        self._confidence = 0.0
        self._winners = np.zeros(len(classes), dtype=np.int64)
        self._first: np.ndarray | None = None
        self._all_alike = True

    def add(self, values: np.ndarray) -> None:
        """Count a row of probabilities (c,)."""
        top = float(values.max())
        self._good += 1
        self._confidence += top
        self._certain += top >= 1 - _EXACT
        self._zeros += bool((values == 0).any())
        self._constant += top - float(values.min()) < _EXACT
        self._winners[int(values.argmax())] += 1
        if self._first is None:
            self._first = values
        elif self._all_alike:
            self._all_alike = bool(np.allclose(values, self._first, rtol=0, atol=_EXACT))

    @property
    def mean_confidence(self) -> float:
        """Mean of the rows' largest probability; NaN without a good row."""
        return self._confidence / self._good if self._good else math.nan

    def warnings(self) -> list[str]:
        """What is allowed and looks wrong."""
        return [cited(line, KIT) for line in (*self._collapse(), *self._overconfidence())] if self._good else []

    def _collapse(self) -> list[str]:
        told = []
        if self._constant:
            told.append(f"{count(self._constant, 'row')} give every breed the same probability")
        elif self._good > 1 and self._all_alike:
            told.append("collapsed: every row holds the same probabilities")
        share, winner = self._winners.max() / self._good, self._classes[int(self._winners.argmax())]
        if self._good >= _ENOUGH_ROWS and len(self._classes) > 2 and share > _COLLAPSED_SHARE and not self._constant:
            told.append(f"collapsed: {share:.0%} of the photos are called '{winner}'")
        return told

    def _overconfidence(self) -> list[str]:
        told = []
        if self.mean_confidence > _OVERCONFIDENT_MEAN:
            told.append(
                f"overconfident, unless as many are right: the mean largest probability is {self.mean_confidence:.3f}; "
                "'dogbreed submission doctor' says whether a temperature would help"
            )
        if self._certain or self._zeros:
            rows = count(max(self._certain, self._zeros), "row")
            told.append(f"{rows} with a probability of exactly 0 or 1: a mistake there costs 34.5 nats; clip them")
        return told
