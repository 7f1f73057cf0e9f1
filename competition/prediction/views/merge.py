"""Test-time augmentation: merge a model's logits for several named views of a photo into one prediction.

Predictions are kept for each view, so which views count and how they are merged is decided afterwards, out of fold.
Everything is deterministic: no view is drawn by chance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from competition.errors import UsageError, nearest
from competition.record.metrics import FLOOR, log_softmax, per_photo_loss
from competition.record.temperature import apply_temperature, fit_temperature

METHODS = ("mean_probability", "mean_logits", "geometric_mean")
# softmax(mean of logits) and the normalised geometric mean are the same distribution: the logits of a view differ from
# its log-probabilities by a constant in each row, and so do their means. Only one of the two is worth trying.
DISTINCT_METHODS = ("mean_probability", "geometric_mean")
# Up to so many views every subset is tried (2 x 31 fits); above, one view is added at a time.
_EXHAUSTIVE = 5


def merge_views(
    logits: np.ndarray,
    views: Sequence[str],
    method: str = "mean_probability",
    use: Sequence[str] | None = None,
) -> np.ndarray:
    """Merge the views' logits into log-probabilities.

    Args:
        logits: (v, n, c); log-probabilities serve as well.
        views: names of the first axis, length v.
        method: ``mean_probability``; ``mean_logits``; or ``geometric_mean``, the average of log-probabilities (never a
            product of raw probabilities, which underflows and sharpens with every view). The last two agree.
        use: names of the views that count; all when None.

    Returns:
        Natural logarithms of the merged probabilities, float64 (n, c), floored at 1e-15; usable as logits.

    Raises:
        UsageError: unknown method or view (the nearest is offered), a view named twice, none named, or shapes disagree.
    """
    chosen = logits[_axis_indices(logits, views, use)]
    return _merger(method)(chosen)


def _axis_indices(logits: np.ndarray, views: Sequence[str], use: Sequence[str] | None) -> list[int]:
    if logits.ndim != 3 or len(logits) != len(views) or len(set(views)) != len(views):
        raise UsageError(f"logits of shape {logits.shape} do not fit the views {', '.join(views)}")
    names = tuple(views if use is None else use)
    for name in names:
        if name not in views:
            raise UsageError(f"no predictions for view '{name}'{nearest(name, views)} There are: {', '.join(views)}")
    if not names or len(set(names)) != len(names):
        raise UsageError(f"views={','.join(names) or 'none'}: expected at least one view, each once")
    return [list(views).index(name) for name in names]


def _merger(method: str) -> Callable[[np.ndarray], np.ndarray]:
    mergers = {
        "mean_probability": _mean_probability,
        "mean_logits": lambda logits: log_softmax(logits.astype(np.float64).mean(axis=0)),
        "geometric_mean": lambda logits: log_softmax(log_softmax(logits).mean(axis=0)),
    }
    if method not in mergers:
        raise UsageError(f"unknown merge '{method}'{nearest(method, METHODS)} Known: {', '.join(METHODS)}")
    return lambda logits: np.maximum(mergers[method](logits), np.log(FLOOR))


def _mean_probability(logits: np.ndarray) -> np.ndarray:
    """Log of the mean probability by log-sum-exp, so that a probability too small for a float survives."""
    logs = log_softmax(logits)
    merged = np.logaddexp.reduce(logs, axis=0) - np.log(len(logs))
    return np.asarray(merged)


@dataclass(frozen=True)
class MergeChoice:
    """How the views are merged, and what that gave out of fold.

    Attributes:
        method: one of ``METHODS``.
        views: the views that count.
        log_loss: of the choice, after its temperature, nats.
        accuracy: of the choice, in [0, 1].
        temperature: fitted to the choice.
        best_log_loss: the lowest log loss tried; the choice lies within one standard error of it.
        table: every combination tried, best first.
    """

    method: str
    views: tuple[str, ...]
    log_loss: float
    accuracy: float
    temperature: float
    best_log_loss: float
    table: tuple[MergeTrial, ...]


@dataclass(frozen=True)
class MergeTrial:
    """One combination that was tried; ``excess`` and ``standard_error`` are of its loss over the best one's, nats."""

    method: str
    views: tuple[str, ...]
    log_loss: float
    accuracy: float
    temperature: float
    excess: float
    standard_error: float


@dataclass(frozen=True)
class _Scored:
    method: str
    views: tuple[str, ...]
    temperature: float
    losses: np.ndarray  # (n,)
    right: np.ndarray  # (n,) bool

    @property
    def key(self) -> tuple[float, int, tuple[str, ...], str]:
        """Sorts by loss, then towards fewer views, then by name: never by chance."""
        return round(float(self.losses.mean()), 12), len(self.views), self.views, self.method


def choose_merge(
    logits: np.ndarray,
    labels: np.ndarray,
    views: Sequence[str],
    methods: Sequence[str] = DISTINCT_METHODS,
) -> MergeChoice:
    """Choose method and views by log loss on predictions of photos that the models did not train on.

    Each candidate is scored after a temperature of its own: averaging makes predictions less confident, which alone
    would speak for it or against it. Of the candidates whose log loss is within one standard error of the lowest (of
    the paired difference, photo by photo), those with the fewest views stay, and the best of them is taken: a view
    costs a forward pass for every test photo, so it must earn it.

    Up to five views every subset is tried; with more, the best view is added to the best set, one at a time.

    Args:
        logits: (v, n, c), out of fold.
        labels: (n,) class indices.
        views: names of the first axis, length v.
        methods: which of ``METHODS`` to try.

    Raises:
        UsageError: as ``merge_views``; or there is no photo.
    """
    _axis_indices(logits, views, None)
    if not len(labels) or logits.shape[1] != len(labels):
        raise UsageError(f"logits of shape {logits.shape} do not fit {len(labels)} labels: out-of-fold ones are needed")

    def score(method: str, chosen: Sequence[str]) -> _Scored:
        merged = merge_views(logits, views, method, chosen)
        temperature = fit_temperature(merged, labels)
        losses = per_photo_loss(apply_temperature(merged, temperature), labels)
        return _Scored(method, tuple(chosen), temperature, losses, merged.argmax(axis=1) == labels)

    tried = sorted(_candidates(views, methods, score), key=lambda scored: scored.key)
    return _fewest_within_one_error(tried)


def _candidates(
    views: Sequence[str], methods: Sequence[str], score: Callable[[str, Sequence[str]], _Scored]
) -> Iterator[_Scored]:
    singles = [score(methods[0], (name,)) for name in views]  # one view has nothing to merge: any method will do
    yield from singles
    for method in methods:
        if len(views) <= _EXHAUSTIVE:
            for count in range(2, len(views) + 1):
                yield from (score(method, chosen) for chosen in combinations(views, count))
        else:
            yield from _greedy(views, min(singles, key=lambda scored: scored.key).views, method, score)


def _greedy(
    views: Sequence[str], start: tuple[str, ...], method: str, score: Callable[[str, Sequence[str]], _Scored]
) -> Iterator[_Scored]:
    best = start
    while len(best) < len(views):
        grown = [tuple(name for name in views if name in (*best, added)) for added in views if added not in best]
        scored = [score(method, chosen) for chosen in grown]
        yield from scored
        best = min(scored, key=lambda item: item.key).views


def _fewest_within_one_error(tried: Sequence[_Scored]) -> MergeChoice:
    best = tried[0]
    table = tuple(_trial(scored, best) for scored in tried)
    near = [row for row in table if row.excess <= row.standard_error]
    fewest = min(len(row.views) for row in near)
    chosen = next(row for row in near if len(row.views) == fewest)  # the table is sorted by loss
    return MergeChoice(
        method=chosen.method,
        views=chosen.views,
        log_loss=chosen.log_loss,
        accuracy=chosen.accuracy,
        temperature=chosen.temperature,
        best_log_loss=table[0].log_loss,
        table=table,
    )


def _trial(scored: _Scored, best: _Scored) -> MergeTrial:
    difference = scored.losses - best.losses
    error = float(difference.std(ddof=1) / np.sqrt(len(difference))) if len(difference) > 1 else 0.0
    return MergeTrial(
        method=scored.method,
        views=scored.views,
        log_loss=float(scored.losses.mean()),
        accuracy=float(scored.right.mean()),
        temperature=scored.temperature,
        excess=float(difference.mean()),
        standard_error=error,
    )
