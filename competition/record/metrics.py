"""Log loss, accuracy, calibration and per-breed figures, on NumPy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

FLOOR = 1e-15  # scikit-learn's and Kaggle's floor for probabilities before the logarithm


def log_loss(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Multi-class log loss in nats: mean of -log p(true class), p floored at 1e-15.

    Args:
        probabilities: (n, c), rows sum to 1.
        labels: (n,) class indices.
    """
    return float(per_photo_loss(probabilities, labels).mean())


def per_photo_loss(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """-log p(true class) of every photo, float64 (n,), nats."""
    true = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return -np.log(np.clip(true, FLOOR, 1.0))


def accuracy(probabilities: np.ndarray, labels: np.ndarray, top: int = 1) -> float:
    """Share of photos whose true class is among the ``top`` most probable, in [0, 1]."""
    if top == 1:
        return float((probabilities.argmax(axis=1) == labels).mean())
    best = np.argpartition(-probabilities, top - 1, axis=1)[:, :top]
    return float((best == labels[:, None]).any(axis=1).mean())


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Row-wise log-softmax in float64, shape kept; numerically stable."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Row-wise softmax of ``logits / temperature`` in float64, shape kept."""
    return np.exp(log_softmax(logits / temperature))


@dataclass(frozen=True)
class Reliability:
    """A reliability diagram: equal-width bins of confidence (Guo et al., 2017, arXiv:1706.04599).

    ``confidence`` and ``accuracy`` are the bins' means, NaN where ``count`` is 0; ``ece`` is in [0, 1].
    """

    edges: np.ndarray
    count: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    ece: float


def reliability(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> Reliability:
    """Expected calibration error and the bins behind it, from probabilities (n, c) and labels (n,)."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    edges = np.linspace(0, 1, bins + 1)
    which = np.clip(np.digitize(confidence, edges[1:-1], right=True), 0, bins - 1)
    count = np.bincount(which, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean_confidence = np.bincount(which, confidence, bins) / count
        mean_accuracy = np.bincount(which, right.astype(float), bins) / count
    gaps = np.abs(np.nan_to_num(mean_accuracy - mean_confidence))
    return Reliability(edges, count, mean_confidence, mean_accuracy, float((gaps * count).sum() / max(len(labels), 1)))


def per_class_table(probabilities: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> pd.DataFrame:
    """One row per class, worst log loss first.

    Columns: class, photos, recall, precision, f1, log_loss (mean over the class's photos, nats), confused_with,
    confused_count. A class without photos has NaN in its rates.
    """
    predicted, loss = probabilities.argmax(axis=1), per_photo_loss(probabilities, labels)
    matrix = confusion_matrix(predicted, labels, len(classes))
    photos, called, right = matrix.sum(axis=1), matrix.sum(axis=0), np.diag(matrix)
    off = matrix - np.diag(right)
    with np.errstate(invalid="ignore", divide="ignore"):
        table = pd.DataFrame(
            {
                "class": list(classes),
                "photos": photos,
                "recall": right / photos,
                "precision": right / called,
                "f1": 2 * right / (photos + called),
                "log_loss": np.bincount(labels, loss, len(classes)) / photos,
                "confused_with": [classes[j] if off[i, j] else "" for i, j in enumerate(off.argmax(axis=1))],
                "confused_count": off.max(axis=1),
            }
        )
    return table.sort_values("log_loss", ascending=False, na_position="last", ignore_index=True)


def confusion_matrix(predicted: np.ndarray, labels: np.ndarray, n_classes: int) -> np.ndarray:
    """Counts, int64 (c, c): row is the true class, column the predicted one."""
    return np.bincount(labels * n_classes + predicted, minlength=n_classes**2).reshape(n_classes, n_classes)


def confused_pairs(
    probabilities: np.ndarray, labels: np.ndarray, classes: Sequence[str], most: int = 30
) -> pd.DataFrame:
    """Pairs of classes taken for one another, most errors first: a, b, errors, a_as_b, b_as_a, photos (of both)."""
    matrix = confusion_matrix(probabilities.argmax(axis=1), labels, len(classes))
    both = np.triu(matrix + matrix.T, 1)
    order = np.argsort(-both, axis=None, kind="stable")[:most]
    rows = []
    for i, j in zip(*np.unravel_index(order, both.shape), strict=True):
        if both[i, j]:
            photos = int(matrix[i].sum() + matrix[j].sum())
            rows.append((classes[i], classes[j], int(both[i, j]), int(matrix[i, j]), int(matrix[j, i]), photos))
    return pd.DataFrame(rows, columns=["a", "b", "errors", "a_as_b", "b_as_a", "photos"])
