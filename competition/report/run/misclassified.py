"""What a model gets wrong: top losses, most confused pairs, suspected mislabels, the training photos that lie nearest.

Everything here reads out-of-fold predictions, so a photo is judged by the model that did not train on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from competition.files import write_csv
from competition.record.metrics import confusion_matrix, per_photo_loss
from competition.types import Predictions

if TYPE_CHECKING:
    from competition.data.source.competition_data import CompetitionData


@dataclass(frozen=True)
class Verdicts:
    """Out-of-fold predictions beside the labels, row by row.

    Attributes:
        ids: photo ids, length n.
        classes: breed names, length c.
        probabilities: float64 (n, c), rows sum to 1.
        labels: int64 (n,), indices into ``classes``.
        folds: int64 (n,), the fold that predicted the photo; all -1 when that is not known.
    """

    ids: tuple[str, ...]
    classes: tuple[str, ...]
    probabilities: np.ndarray
    labels: np.ndarray
    folds: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def predicted(self) -> np.ndarray:
        """Most probable class of every photo, int64 (n,)."""
        return self.probabilities.argmax(axis=1)

    @cached_property
    def loss(self) -> np.ndarray:
        """-log p(label) of every photo, nats, float64 (n,)."""
        return per_photo_loss(self.probabilities, self.labels)

    @cached_property
    def matrix(self) -> np.ndarray:
        """Confusion matrix, int64 (c, c): row is the label, column the prediction."""
        return confusion_matrix(self.predicted, self.labels, len(self.classes))

    @cached_property
    def wrong(self) -> np.ndarray:
        """Rows whose most probable class is not the label, highest loss first."""
        rows = np.flatnonzero(self.predicted != self.labels)
        return rows[np.argsort(-self.loss[rows], kind="stable")]

    def of_breed(self, breed: int) -> np.ndarray:
        """Rows labelled ``breed``, highest loss first."""
        rows = np.flatnonzero(self.labels == breed)
        return rows[np.argsort(-self.loss[rows], kind="stable")]

    def called(self, given: int, predicted: int) -> np.ndarray:
        """Rows labelled ``given`` that the model calls ``predicted``, highest loss first."""
        return self.wrong[(self.labels[self.wrong] == given) & (self.predicted[self.wrong] == predicted)]


def verdicts(oof: Predictions, data: CompetitionData, folds: dict[str, int] | None = None) -> Verdicts:
    """Put the out-of-fold predictions beside the labels of ``data``.

    Args:
        oof: predictions for train photos; photos without one (quarantined, folds that did not run) are left out.
        data: the data of the run.
        folds: fold of every photo id, when known.

    Raises:
        DataError: a predicted photo is no train photo of these data, or the breeds differ.
    """
    labels = data.labels_of(oof.ids)
    aligned = oof.aligned_to(oof.ids, data.classes)
    return Verdicts(
        ids=aligned.ids,
        classes=tuple(data.classes),
        probabilities=aligned.probabilities,
        labels=labels,
        folds=np.array([(folds or {}).get(name, -1) for name in aligned.ids], dtype=np.int64),
    )


@dataclass(frozen=True)
class Confusion:
    """Two breeds taken for one another: class indices, and the rows of the photos in either direction."""

    a: int
    b: int
    a_as_b: np.ndarray
    b_as_a: np.ndarray

    @property
    def errors(self) -> int:
        """Photos of either breed called the other."""
        return len(self.a_as_b) + len(self.b_as_a)


def confusions(found: Verdicts, most: int) -> tuple[Confusion, ...]:
    """The ``most`` pairs of breeds with the most errors between them, most errors first, ties by name."""
    both = np.triu(found.matrix + found.matrix.T, 1)
    order = np.argsort(-both, axis=None, kind="stable")[: min(most, int((both > 0).sum()))]
    pairs = zip(*np.unravel_index(order, both.shape), strict=True)
    return tuple(Confusion(int(a), int(b), found.called(a, b), found.called(b, a)) for a, b in pairs)


def breeds_that_matter(found: Verdicts, most: int = 24) -> tuple[int, ...]:
    """The breeds of the most confused pairs, at most ``most``, ordered so that confused breeds stand side by side.

    The order is the optimal leaf order of an average-linkage tree (Bar-Joseph et al., 2001), with the share of each
    breed's photos that is called the other as closeness.
    """
    chosen: dict[int, None] = {}
    for pair in confusions(found, most=10 * most):
        if len(chosen.keys() | {pair.a, pair.b}) <= most:
            chosen.update({pair.a: None, pair.b: None})
    names = sorted(chosen)
    if len(names) < 3:
        return tuple(names)
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    block = found.matrix[np.ix_(names, names)].astype(float)
    share = block / np.maximum(found.matrix[names].sum(axis=1, keepdims=True), 1)
    distance = 1 - (share + share.T) / 2
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance, checks=False), method="average", optimal_ordering=True)
    return tuple(names[leaf] for leaf in leaves_list(tree))


@dataclass(frozen=True)
class Suspect:
    """A photo whose label may be wrong: row, class indices, probabilities of the label and of the suggestion."""

    row: int
    given: int
    suggested: int
    p_given: float
    p_suggested: float


@dataclass(frozen=True)
class Mislabels:
    """What confident learning finds.

    Attributes:
        suspects: most suspicious first (the label's probability falls furthest short of the suggestion's).
        joint: float (c, c), estimated joint of given label (row) and latent label (column); sums to 1.
    """

    suspects: tuple[Suspect, ...]
    joint: np.ndarray

    @property
    def noise(self) -> float:
        """Estimated share of photos whose label is wrong, in [0, 1]: the joint's mass off the diagonal."""
        return float(max(0.0, self.joint.sum() - np.trace(self.joint)))

    def likeliest(self, most: int) -> tuple[tuple[int, int, float], ...]:
        """The ``most`` heaviest cells off the diagonal: given, latent, share of all photos."""
        off = self.joint - np.diag(np.diag(self.joint))
        order = np.argsort(-off, axis=None, kind="stable")[: min(most, int((off > 0).sum()))]
        cells = zip(*np.unravel_index(order, off.shape), strict=True)
        return tuple((int(given), int(latent), float(off[given, latent])) for given, latent in cells)


def suspected_mislabels(found: Verdicts) -> Mislabels:
    """Find labels that may be wrong by confident learning (Northcutt, Jiang and Chuang, 2021, arXiv:1911.00068).

    A photo counts for a latent class when its probability reaches that class's own threshold: the mean probability of
    the class over the photos labelled so. Photos counted off the diagonal are the suspects, unless the model's first
    choice is the given label.
    """
    p, labels, n_classes = found.probabilities, found.labels, len(found.classes)
    latent, counted = _latent_classes(p, labels)
    counts = confusion_matrix(latent[counted], labels[counted], n_classes).astype(float)
    photos = np.bincount(labels, minlength=n_classes)
    # Each row is scaled to its number of photos; a breed of which no photo was counted keeps its own label.
    counts[counts.sum(axis=1) == 0] = np.eye(n_classes)[counts.sum(axis=1) == 0]
    joint = counts / counts.sum(axis=1, keepdims=True) * photos[:, None] / max(len(labels), 1)
    rows = np.flatnonzero(counted & (latent != labels) & (found.predicted != labels))
    margin = p[rows, labels[rows]] - p[rows, latent[rows]]
    suspects = tuple(
        Suspect(int(i), int(labels[i]), int(latent[i]), float(p[i, labels[i]]), float(p[i, latent[i]]))
        for i in rows[np.argsort(margin, kind="stable")]
    )
    return Mislabels(suspects, joint)


def _latent_classes(p: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The most probable class among those whose threshold the photo reaches, int64 (n,), and whether there is one."""
    photos = np.bincount(labels, minlength=p.shape[1])
    own = np.bincount(labels, p[np.arange(len(labels)), labels], p.shape[1])
    threshold = np.where(photos > 0, own / np.maximum(photos, 1), np.inf)
    reached = np.asarray(p >= threshold - 1e-12)  # a class of one photo reaches its own mean
    return np.where(reached, p, -1.0).argmax(axis=1), np.asarray(reached.any(axis=1))


def write_suspects(found: Verdicts, suspects: Sequence[Suspect], path: Path) -> Path:
    """Write ``id,given,suggested``, the CSV that ``dogbreed run --relabel`` takes; returns ``path``."""
    rows = ((found.ids[s.row], found.classes[s.given], found.classes[s.suggested]) for s in suspects)
    write_csv(path, ("id", "given", "suggested"), rows)
    return path


@dataclass(frozen=True)
class Neighbours:
    """Finds training photos by cosine similarity of features centred on their mean.

    Attributes:
        found: the verdicts; row i of ``unit`` belongs to row i of these.
        unit: float32 (n, d), rows of length 1.
    """

    found: Verdicts
    unit: np.ndarray

    @classmethod
    def of(cls, found: Verdicts, ids: Sequence[str], features: np.ndarray) -> Neighbours | None:
        """Bring features (m, d) of photos ``ids`` into the order of ``found``; None when a photo has no features."""
        row_of = {name: row for row, name in enumerate(ids)}
        if any(name not in row_of for name in found.ids):
            return None
        rows = np.array([row_of[name] for name in found.ids], dtype=np.intp)
        values = np.asarray(features[rows], dtype=np.float32)
        values = values - values.mean(axis=0)
        return cls(found, values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12))

    def nearest(self, row: int, breed: int, most: int) -> list[tuple[int, float]]:
        """Photos labelled ``breed`` that are most like photo ``row``: rows and cosine similarities, nearest first.

        Only photos that the model which judged ``row`` trained on are considered: those of the other folds.
        """
        other = self.found.labels == breed
        other[row] = False
        if self.found.folds[row] >= 0:
            other &= self.found.folds != self.found.folds[row]
        rows = np.flatnonzero(other)
        likeness = self.unit[rows] @ self.unit[row]
        best = np.argsort(-likeness, kind="stable")[:most]
        return [(int(rows[i]), float(likeness[i])) for i in best]
