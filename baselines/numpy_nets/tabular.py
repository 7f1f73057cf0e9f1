"""From the perceptron to the multi-layer perceptron on a table: loading, cleaning, one-hot, normalisation, comparison.

    from baselines.numpy_nets.tabular import embedded_table, walk
    print(walk(embedded_table(), "diagnosis").to_string())      # or: baselines numpy table

The steps are those of any course; each is a function that can be looked at by itself. What is learnt from the data
(medians, categories, means) is learnt from the training rows alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from baselines.numpy_nets.mlp import MLP
from baselines.numpy_nets.optimisers import create_optimiser
from baselines.numpy_nets.regression import Perceptron
from competition.errors import DataError, UsageError, nearest

if TYPE_CHECKING:
    import pandas as pd

_MAX_CATEGORIES = 50  # a text column with more values than this is an identifier, not a category
_UNKNOWN_WORDS = ("", "?", "na", "n/a", "nan", "none", "null", "unknown")


def embedded_table(seed: int = 0) -> pd.DataFrame:
    """Scikit-learn's breast cancer data (569 rows, 30 measurements), made as untidy as a table found somewhere.

    The measurements are real. What is done to them, so that there is something to clean: the column ``mean texture``
    becomes words, some cells are emptied or hold ``?``, the diagnosis is spelt in several ways, some rows stand twice.

    Args:
        seed: decides which cells and rows.
    """
    import pandas as pd
    from sklearn.datasets import load_breast_cancer

    rng = np.random.default_rng(seed)
    bunch = load_breast_cancer(as_frame=True)
    frame = bunch.data.copy()
    words = pd.cut(frame.pop("mean texture"), [0, 15, 20, 100], labels=["fine", "medium", "coarse"]).astype(object)
    frame.insert(0, "texture", [str(word).upper() if rng.random() < 0.2 else f" {word}" for word in words])
    spelling = {0: ("malignant", "Malignant "), 1: ("benign", "BENIGN")}
    frame["diagnosis"] = [spelling[label][int(rng.random() < 0.1)] for label in bunch.target]
    frame["area error"] = frame["area error"].astype(object)
    frame.loc[rng.choice(len(frame), 20, replace=False), "area error"] = "?"
    frame.loc[rng.choice(len(frame), 30, replace=False), "mean smoothness"] = np.nan
    frame.loc[rng.choice(len(frame), 10, replace=False), "texture"] = np.nan
    return pd.concat([frame, frame.sample(12, random_state=seed)], ignore_index=True)


def read_table(path: Path) -> pd.DataFrame:
    """Read a CSV with a header.

    Raises:
        DataError: missing, empty or no table.
    """
    import pandas as pd

    try:
        frame = pd.read_csv(path, skipinitialspace=True)
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is no CSV table with a header ({error})") from error
    if frame.empty:
        raise DataError(f"{path} has no rows below its header")
    return frame


@dataclass(frozen=True)
class Cleaned:
    """A tidy table.

    Attributes:
        features: numbers as floats (NaN where unknown), categories as tidy text (None where unknown).
        target: text, one class a row.
        notes: what was done, for people.
    """

    features: pd.DataFrame
    target: pd.Series[Any]
    notes: tuple[str, ...]


def clean(frame: pd.DataFrame, target: str) -> Cleaned:
    """Tidy text, read numbers that stand as text, drop repeated rows, rows without a class and useless columns.

    Raises:
        UsageError: there is no such column.
        DataError: fewer than two classes, or nothing to learn from.
    """
    if target not in frame.columns:
        raise UsageError(f"the table has no column '{target}'{nearest(target, map(str, frame.columns))}")
    notes, tidy = [], frame.apply(_tidied)
    before = len(tidy)
    tidy = tidy.drop_duplicates()
    notes.append(f"{before - len(tidy)} repeated rows dropped")
    before = len(tidy)
    tidy = tidy[tidy[target].notna()].reset_index(drop=True)
    notes.append(f"{before - len(tidy)} rows without '{target}' dropped")
    classes = tidy.pop(target).map(lambda value: f"{value:g}" if isinstance(value, float) else str(value))
    useless = [name for name in tidy.columns if _useless(tidy[name])]
    notes += [f"column '{name}' dropped: one value only, or a name for every row" for name in useless]
    tidy = tidy.drop(columns=useless)
    notes += [f"{int(count)} unknown cells in '{name}'" for name, count in tidy.isna().sum().items() if count]
    if classes.nunique() < 2 or tidy.shape[1] == 0:
        raise DataError(f"nothing to learn: {classes.nunique()} classes, {tidy.shape[1]} usable columns")
    return Cleaned(tidy, classes, tuple(notes))


def _tidied(column: pd.Series[Any]) -> pd.Series[Any]:
    """Floats where every known cell is a number, else text: trimmed, lower case, None where it says nothing."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column):
        return column.astype(float)
    text = column.map(lambda cell: None if pd.isna(cell) else str(cell).strip().casefold()).astype(object)
    text = text.where(~text.isin(_UNKNOWN_WORDS), None)
    numbers = pd.to_numeric(text, errors="coerce")
    return numbers.astype(float) if numbers.notna().sum() == text.notna().sum() and numbers.notna().any() else text


def _useless(column: pd.Series[Any]) -> bool:
    return column.nunique() < 2 or (column.dtype == object and column.nunique() > _MAX_CATEGORIES)


class Encoder:
    """Turns a tidy table into numbers: medians for unknown numbers, mean 0 and deviation 1, one-hot categories.

    Everything is learnt from the rows given to the constructor. A category that was not among them becomes all zeros.

    Attributes:
        columns: names of the numbers that come out, ``colour=red`` for one-hot ones.
    """

    def __init__(self, train: pd.DataFrame) -> None:
        self._numeric = [name for name in train.columns if train[name].dtype != object]
        self._categories = {
            name: sorted(train[name].dropna().unique()) for name in train.columns if name not in self._numeric
        }
        numbers = train[self._numeric]
        self._medians = numbers.median().fillna(0.0)
        filled = numbers.fillna(self._medians)
        self._means, self._spreads = filled.mean(), filled.std(ddof=0).replace(0.0, 1.0)
        hot = [f"{name}={word}" for name, words in self._categories.items() for word in words]
        self.columns = (*self._numeric, *hot)

    def __call__(self, frame: pd.DataFrame) -> np.ndarray:
        """Float64 (rows, columns)."""
        filled = frame[self._numeric].fillna(self._medians)
        blocks = [((filled - self._means) / self._spreads).to_numpy(float)]
        for name, words in self._categories.items():
            blocks.append((frame[name].to_numpy()[:, None] == np.array(words, dtype=object)[None]).astype(float))
        return np.concatenate(blocks, axis=1)


def split_rows(labels: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers of a stratified split: (the rest, ``fraction`` of every class)."""
    rng, apart = np.random.default_rng(seed), np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        apart[rng.permutation(members)[: max(1, round(fraction * len(members)))]] = True
    return np.flatnonzero(~apart), np.flatnonzero(apart)


def walk(frame: pd.DataFrame, target: str, seeds: Sequence[int] = (0, 1, 2, 3, 4)) -> pd.DataFrame:
    """Fit the models of a course, each on the same splits, and compare them on the rows that were kept apart.

    Args:
        frame: the raw table.
        target: the column to predict.
        seeds: one split, initialisation and order of rows each.

    Returns:
        A row a model: ``model``, ``train``, ``test`` (mean accuracies), ``spread`` (standard deviation of ``test``
        between seeds). The first row is the most frequent class, which knows nothing.
    """
    import pandas as pd

    cleaned = clean(frame, target)
    names, labels = np.unique(cleaned.target.to_numpy(str), return_inverse=True)
    scores: dict[str, list[tuple[float, float]]] = {}
    for seed in seeds:
        train, test = split_rows(labels, 0.25, seed)
        encode = Encoder(cleaned.features.iloc[train])
        x, y = (
            (encode(cleaned.features.iloc[train]), encode(cleaned.features.iloc[test])),
            (labels[train], labels[test]),
        )
        for model, predicted in _predictions(x, y[0], len(names), seed):
            pair = tuple(float(np.mean(guess == truth)) for guess, truth in zip(predicted, y, strict=True))
            scores.setdefault(model, []).append((pair[0], pair[1]))
    rows = []
    for model, pairs in scores.items():
        values = np.array(pairs)
        spread = float(values[:, 1].std(ddof=1)) if len(pairs) > 1 else 0.0
        rows.append({"model": model, "train": values[:, 0].mean(), "test": values[:, 1].mean(), "spread": spread})
    return pd.DataFrame(rows)


def _predictions(
    x: tuple[np.ndarray, np.ndarray], labels: np.ndarray, classes: int, seed: int
) -> list[tuple[str, list[np.ndarray]]]:
    """Class numbers predicted by each model for the training and the test rows."""
    usual = np.bincount(labels).argmax()
    found = [("most frequent class", [np.full(len(part), usual) for part in x])]
    if classes == 2:
        perceptron = Perceptron(x[0].shape[1])
        perceptron.fit(x[0], labels, seed=seed)
        found.append(("perceptron", [perceptron.predict(part) for part in x]))
    kinds = (("softmax regression", ()), ("MLP, 16 units", (16,)), ("MLP, 32 and 16 units", (32, 16)))
    for name, hidden in kinds:
        net = MLP((x[0].shape[1], *hidden, classes), "relu", init="he", seed=seed, dtype=np.float64, l2=1e-3)
        _descend(net, x[0], labels, seed)
        found.append((name, [net.outputs(part).argmax(axis=1) for part in x]))
    return found


def _descend(net: MLP, x: np.ndarray, labels: np.ndarray, seed: int, epochs: int = 60, batch: int = 32) -> None:
    optimiser, rng = create_optimiser("adam", net.theta.size, np.float64), np.random.default_rng(seed)
    for epoch in range(epochs):
        order = rng.permutation(len(x))
        for rows in np.array_split(order, max(1, len(x) // batch)):
            net.loss_and_gradient(x[rows], labels[rows])
            optimiser.update(net.theta, net.gradient, 0.01 * (1 - epoch / epochs))
