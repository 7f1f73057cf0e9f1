"""The named values that pass between the parts of the kit. Frozen, validated on construction, no framework needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from competition.errors import DataError, SubmissionError, require_known
from competition.files import digest_of, digest_of_array, read_npz, write_npz

ROW_SUM_TOLERANCE = 1e-6


@dataclass(frozen=True)
class View:
    """A named, deterministic way to look at a photo: which part of it, at which size, mirrored or not.

    Attributes:
        name: how people and files call it.
        scale: input size relative to the backbone's own (1.286 turns 224 into 288).
        flip: mirror left and right.
        crop: ``model`` (the backbone's own centre crop), ``whole`` (everything, aspect ratio kept by a centre square of
            the full shorter side), or one of ``top_left``, ``top_right``, ``bottom_left``, ``bottom_right`` (a square
            of the model's crop fraction in that corner).
    """

    name: str
    scale: float = 1.0
    flip: bool = False
    crop: str = "model"

    def size_for(self, input_size: int) -> int:
        """Side of the square input in pixels, rounded to a multiple of 32, for a backbone made for ``input_size``."""
        return input_size if self.scale == 1.0 else max(32, round(input_size * self.scale / 32) * 32)


VIEWS: Mapping[str, View] = {
    view.name: view
    for view in (
        View("model_crop"),
        View("model_crop_hflip", flip=True),
        View("identity", crop="whole"),
        View("hflip", flip=True, crop="whole"),
        View("large", scale=9 / 7, crop="whole"),
        View("large_hflip", scale=9 / 7, flip=True, crop="whole"),
        View("small", scale=6 / 7, crop="whole"),
        View("top_left", crop="top_left"),
        View("top_right", crop="top_right"),
        View("bottom_left", crop="bottom_left"),
        View("bottom_right", crop="bottom_right"),
    )
}


def view(name: str) -> View:
    """Return the view of that name.

    Raises:
        UsageError: there is none; the nearest name is offered.
    """
    require_known("view", name, VIEWS)
    return VIEWS[name]


@dataclass(frozen=True)
class Predictions:
    """Class probabilities for photos, aligned by id and class *name*.

    Attributes:
        ids: photo ids, unique, length n.
        classes: class names, unique, length c.
        probabilities: float64, shape (n, c), each row sums to 1 within 1e-6.

    Raises:
        SubmissionError: the shapes disagree, a name is repeated, or a row is no probability distribution.
    """

    ids: tuple[str, ...]
    classes: tuple[str, ...]
    probabilities: np.ndarray

    def __post_init__(self) -> None:
        probabilities = np.asarray(self.probabilities, dtype=np.float64)
        object.__setattr__(self, "probabilities", probabilities)
        object.__setattr__(self, "ids", tuple(self.ids))
        object.__setattr__(self, "classes", tuple(self.classes))
        if probabilities.shape != (len(self.ids), len(self.classes)):
            raise SubmissionError(
                f"{len(self.ids)} ids x {len(self.classes)} classes do not fit shape {probabilities.shape}"
            )
        _require_unique("id", self.ids)
        _require_unique("class", self.classes)
        _require_distributions(self.ids, probabilities)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def log_probabilities(self) -> np.ndarray:
        """Natural logarithms, float64 (n, c), floored at 1e-15 as the metric does."""
        return np.log(np.maximum(self.probabilities, 1e-15))

    def completed(self, ids: Sequence[str], row: np.ndarray) -> Predictions:
        """These predictions for ``ids``, with ``row`` (c,) for those that have none."""
        known = dict(zip(self.ids, self.probabilities, strict=True))
        return Predictions(tuple(ids), self.classes, np.stack([known.get(name, row) for name in ids]))

    def aligned_to(self, ids: Sequence[str], classes: Sequence[str]) -> Predictions:
        """Return these predictions in another order of photos and classes; a subset of the ids is fine.

        Raises:
            SubmissionError: an id or a class is lacking; the first few are named.
        """
        row_of = {name: row for row, name in enumerate(self.ids)}
        column_of = {name: column for column, name in enumerate(self.classes)}
        missing_ids = [name for name in ids if name not in row_of]
        if missing_ids:
            raise SubmissionError(f"{len(missing_ids)} ids have no prediction, first: {', '.join(missing_ids[:3])}")
        if set(classes) != set(self.classes):
            raise SubmissionError(_class_difference(self.classes, classes))
        rows = np.fromiter((row_of[name] for name in ids), dtype=np.intp, count=len(ids))
        columns = np.fromiter((column_of[name] for name in classes), dtype=np.intp, count=len(classes))
        return Predictions(tuple(ids), tuple(classes), self.probabilities[np.ix_(rows, columns)])

    def with_probabilities(self, probabilities: np.ndarray) -> Predictions:
        """Return the same ids and classes with other probabilities, shape (n, c)."""
        return Predictions(self.ids, self.classes, probabilities)

    def save(self, path: Path) -> None:
        """Write ``.npz`` (ids, classes, probabilities) atomically, without pickle."""
        write_npz(path, ids=np.array(self.ids), classes=np.array(self.classes), probabilities=self.probabilities)

    @classmethod
    def load(cls, path: Path) -> Predictions:
        """Read what ``save`` wrote.

        Raises:
            DataError: the file is missing, damaged or holds something else.
        """
        stored = read_npz(path)
        lacking = {"ids", "classes", "probabilities"} - set(stored)
        if lacking:
            raise DataError(f"{path} holds no predictions: {', '.join(sorted(lacking))} missing")
        return cls(tuple(map(str, stored["ids"])), tuple(map(str, stored["classes"])), stored["probabilities"])

    @property
    def digest(self) -> str:
        """Digest of ids, classes and probabilities together."""
        return digest_of([self.ids, self.classes, digest_of_array(self.probabilities)])


def _require_unique(what: str, names: Sequence[str]) -> None:
    if len(set(names)) != len(names):
        seen: set[str] = set()
        repeated = next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise SubmissionError(f"{what} '{repeated}' appears more than once")


def _require_distributions(ids: Sequence[str], probabilities: np.ndarray) -> None:
    if not len(ids):
        return
    bad = ~np.isfinite(probabilities).all(axis=1)
    if bad.any():
        raise SubmissionError(f"the prediction for '{ids[int(bad.argmax())]}' is NaN or infinite")
    bad = (probabilities < 0).any(axis=1) | (probabilities > 1 + ROW_SUM_TOLERANCE).any(axis=1)
    if bad.any():
        raise SubmissionError(f"the prediction for '{ids[int(bad.argmax())]}' leaves [0, 1]")
    bad = np.abs(probabilities.sum(axis=1) - 1) > ROW_SUM_TOLERANCE
    if bad.any():
        row = int(bad.argmax())
        raise SubmissionError(f"the prediction for '{ids[row]}' sums to {probabilities[row].sum():.6f}, not to 1")


def _class_difference(have: Sequence[str], want: Sequence[str]) -> str:
    lacking, extra = sorted(set(want) - set(have)), sorted(set(have) - set(want))
    parts = [f"{len(lacking)} classes lack a prediction ({', '.join(lacking[:3])})"] if lacking else []
    parts += [f"{len(extra)} classes are unknown here ({', '.join(extra[:3])})"] if extra else []
    return "; ".join(parts)


@dataclass(frozen=True)
class Fold:
    """One split of the training photos: which train, which validate. No photo is in both."""

    index: int
    train_ids: tuple[str, ...]
    valid_ids: tuple[str, ...]

    def __post_init__(self) -> None:
        shared = set(self.train_ids) & set(self.valid_ids)
        if shared:
            raise DataError(f"fold {self.index}: '{min(shared)}' is in training and in validation")
        if not self.train_ids or not self.valid_ids:
            raise DataError(f"fold {self.index} is empty: fewer photos than folds? use fewer folds")


@dataclass(frozen=True)
class FoldResult:
    """What one fold gave: predictions of photos its model did not train on, and the score on them.

    ``log_loss`` is in nats, ``accuracy`` in [0, 1], ``seconds`` wall time of the fit.
    """

    index: int
    log_loss: float
    accuracy: float
    valid: Predictions
    test: Predictions | None
    seconds: float


@dataclass(frozen=True)
class CVResult:
    """A cross-validation: out-of-fold predictions, test predictions averaged over folds, and the scores.

    Only folds that ran are in it: a partial cross-validation has fewer ids in ``oof``, never zeros.

    Attributes:
        name: the run's or recipe's name.
        folds: per-fold results, by index.
        oof: out-of-fold predictions after the temperature, each by the model that did not train on the photo.
        test: mean over the folds' models of the calibrated test probabilities, or None without test photos.
        log_loss: of ``oof``, nats.
        accuracy: of ``oof``, in [0, 1].
        temperature: divisor of the logits, fitted on the out-of-fold predictions.
        notes: anything a reader of the score must know.
    """

    name: str
    folds: tuple[FoldResult, ...]
    oof: Predictions
    test: Predictions | None
    log_loss: float
    accuracy: float
    temperature: float = 1.0
    notes: tuple[str, ...] = ()

    @property
    def log_loss_spread(self) -> float:
        """Standard deviation of the folds' log losses (n - 1), nats; 0 for a single fold."""
        return _spread([fold.log_loss for fold in self.folds])

    @property
    def accuracy_spread(self) -> float:
        """Standard deviation of the folds' accuracies (n - 1); 0 for a single fold."""
        return _spread([fold.accuracy for fold in self.folds])


@dataclass(frozen=True)
class EnsembleResult:
    """Several runs blended: the method and weights chosen out of fold, and the nested-CV score of that choice.

    ``log_loss`` and ``accuracy`` are nested estimates: the weights that scored a photo were fitted without it.
    """

    method: str
    members: tuple[str, ...]
    weights: tuple[float, ...]
    oof: Predictions
    test: Predictions | None
    log_loss: float
    accuracy: float
    table: tuple[Mapping[str, float | str], ...] = field(default=())


def _spread(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
