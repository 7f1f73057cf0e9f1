"""What the kit's Keras callbacks share: the columns of a history, and memory that a continuation restores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import keras

Logs = dict[str, Any] | None

# Columns of the kit's history and the names under which Keras may have them, the first that is there.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "train_loss": ("loss",),
    "train_accuracy": ("accuracy", "acc", "sparse_categorical_accuracy", "categorical_accuracy"),
    "valid_loss": ("val_cross_entropy", "val_loss"),
    "valid_accuracy": ("val_accuracy", "val_acc", "val_sparse_categorical_accuracy", "val_categorical_accuracy"),
    "rate": ("rate", "learning_rate"),
    "images_per_second": ("images_per_second",),
    "seconds": ("seconds",),
}


def figures_of(logs: Mapping[str, Any]) -> dict[str, float]:
    """The kit's columns from Keras' logs; a model of several outputs has its first output's metrics under its name."""
    named = dict(logs)
    for key, value in logs.items():
        validation = key.startswith("val_")
        for wanted in ("accuracy", "cross_entropy"):
            if key.endswith(f"_{wanted}"):
                named.setdefault(f"val_{wanted}" if validation else wanted, value)
    row = {}
    for column, names in COLUMNS.items():
        found = next((name for name in names if name in named), None)
        if found is not None:
            row[column] = float(named[found])
    return row


class StatefulCallback(keras.callbacks.Callback, ABC):
    """A callback that remembers epochs; ``Resume`` saves and restores what it says."""

    @abstractmethod
    def get_state(self) -> dict[str, Any]:
        """JSON-able values."""

    @abstractmethod
    def set_state(self, state: Mapping[str, Any]) -> None:
        """Put back what ``get_state`` gave."""
