"""The walk through a table: each step's effect, and that nothing is learnt from the rows kept apart."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from baselines.numpy_nets.tabular import Encoder, clean, embedded_table, read_table, split_rows, walk
from competition.errors import DataError, UsageError


def test_cleaning_undoes_what_made_the_embedded_table_untidy() -> None:
    raw = embedded_table()
    assert len(raw) == 569 + 12
    cleaned = clean(raw, "diagnosis")
    assert len(cleaned.features) == 569
    assert sorted(cleaned.target.unique()) == ["benign", "malignant"]
    assert (cleaned.target == "malignant").sum() == 212
    assert sorted(cleaned.features["texture"].dropna().unique()) == ["coarse", "fine", "medium"]
    assert cleaned.features["area error"].dtype == float
    assert cleaned.features.isna().sum()[["texture", "area error", "mean smoothness"]].tolist() == [10, 20, 30]
    assert "12 repeated rows dropped" in cleaned.notes


def test_the_embedded_table_is_the_same_every_time() -> None:
    pd.testing.assert_frame_equal(embedded_table(), embedded_table())


def test_the_encoder_learns_from_its_rows_only() -> None:
    train = pd.DataFrame({"a": [1.0, 3.0, np.nan, 2.0], "c": pd.Series(["x", "y", None, "x"], dtype=object)})
    encode = Encoder(train)
    assert encode.columns == ("a", "c=x", "c=y")
    spread = np.std([1, 3, 2, 2])
    np.testing.assert_allclose(encode(train)[:, 0], np.array([-1, 1, 0, 0]) / spread)
    np.testing.assert_array_equal(encode(train)[:, 1:], [[1, 0], [0, 1], [0, 0], [1, 0]])
    other = pd.DataFrame({"a": [np.nan, 102.0], "c": pd.Series(["z", "y"], dtype=object)})
    np.testing.assert_allclose(encode(other), [[0, 0, 0], [100 / spread, 0, 1]])


def test_columns_that_say_nothing_are_dropped() -> None:
    rows = 60
    frame = pd.DataFrame(
        {"name": [f"row {n}" for n in range(rows)], "same": 1, "size": range(rows), "kind": ["a", "b"] * (rows // 2)}
    )
    cleaned = clean(frame, "kind")
    assert list(cleaned.features.columns) == ["size"]
    assert sum("dropped: one value" in note for note in cleaned.notes) == 2


def test_numeric_classes_are_classes() -> None:
    frame = pd.DataFrame({"a": [0.1, 0.2, 0.3], "survived": [0, 1, np.nan]})
    assert clean(frame, "survived").target.tolist() == ["0", "1"]


def test_a_split_keeps_the_shares_of_the_classes() -> None:
    labels = np.repeat([0, 1], [80, 20])
    train, test = split_rows(labels, 0.25, seed=1)
    assert sorted([*train, *test]) == list(range(100))
    assert np.bincount(labels[test]).tolist() == [20, 5]


def test_the_walk_ranks_knowledge_above_ignorance() -> None:
    table = walk(embedded_table(), "diagnosis", seeds=(0, 1)).set_index("model")
    assert table.loc["most frequent class", "test"] == pytest.approx(357 / 569, abs=0.01)
    assert list(table.index)[1] == "perceptron"
    assert (table["test"].iloc[1:] > 0.9).all()
    assert (table["spread"] < 0.1).all()


def test_three_classes_have_no_perceptron() -> None:
    from sklearn.datasets import load_iris

    frame = load_iris(as_frame=True).frame
    table = walk(frame, "target", seeds=(0,))
    assert "perceptron" not in set(table["model"])
    assert table["test"].iloc[-1] > 0.85


def test_mistakes_are_told_in_one_line(tmp_path) -> None:
    with pytest.raises(UsageError, match="did you mean 'diagnosis'"):
        clean(embedded_table(), "diagnose")
    with pytest.raises(DataError, match="is missing"):
        read_table(tmp_path / "none.csv")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(DataError, match="no CSV table"):
        read_table(tmp_path / "empty.csv")
    (tmp_path / "head.csv").write_text("a,b\n")
    with pytest.raises(DataError, match="no rows"):
        read_table(tmp_path / "head.csv")
    with pytest.raises(DataError, match="nothing to learn"):
        clean(pd.DataFrame({"a": [1, 2], "b": ["x", "x"]}), "b")
