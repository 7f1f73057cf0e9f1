"""Predictions are aligned by id and class name, and refuse what is no probability distribution."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from competition.errors import DataError, SubmissionError, UsageError
from competition.types import CVResult, Fold, FoldResult, Predictions, view


def three() -> Predictions:
    return Predictions(("a", "b", "c"), ("x", "y"), np.array([[0.1, 0.9], [0.4, 0.6], [1.0, 0.0]]))


def test_alignment_follows_names_not_positions() -> None:
    aligned = three().aligned_to(("c", "a"), ("y", "x"))
    np.testing.assert_array_equal(aligned.probabilities, [[0.0, 1.0], [0.9, 0.1]])


@pytest.mark.parametrize(
    ("ids", "classes", "message"),
    [
        (("a", "d"), ("x", "y"), "1 ids have no prediction, first: d"),
        (("a",), ("x", "z"), "1 classes lack a prediction"),
        (("a",), ("x",), "1 classes are unknown"),
    ],
)
def test_what_is_missing_is_named(ids: tuple[str, ...], classes: tuple[str, ...], message: str) -> None:
    with pytest.raises(SubmissionError, match=message):
        three().aligned_to(ids, classes)


@pytest.mark.parametrize(
    ("row", "message"),
    [([np.nan, 1.0], "NaN"), ([-0.1, 1.1], "leaves"), ([0.5, 0.4], "sums to 0.900000")],
)
def test_rows_that_are_no_distribution_are_refused(row: list[float], message: str) -> None:
    with pytest.raises(SubmissionError, match=message):
        Predictions(("a",), ("x", "y"), np.array([row]))


def test_repeated_ids_are_refused() -> None:
    with pytest.raises(SubmissionError, match="id 'a' appears more than once"):
        Predictions(("a", "a"), ("x",), np.ones((2, 1)))


def test_saving_and_loading_changes_nothing(tmp_path: Path) -> None:
    three().save(tmp_path / "p.npz")
    assert Predictions.load(tmp_path / "p.npz").digest == three().digest


def test_a_file_of_something_else_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", other=np.ones(2))
    with pytest.raises(DataError, match="holds no predictions"):
        Predictions.load(tmp_path / "p.npz")


def test_a_photo_in_training_and_validation_is_refused() -> None:
    with pytest.raises(DataError, match="'b' is in training and in validation"):
        Fold(0, ("a", "b"), ("b",))


def test_spread_is_the_sample_standard_deviation_over_folds() -> None:
    folds = tuple(FoldResult(i, loss, 0.5, three(), None, 1.0) for i, loss in enumerate((0.2, 0.4)))
    result = CVResult("r", folds, three(), None, 0.3, 0.5)
    assert result.log_loss_spread == pytest.approx(np.sqrt(0.02))
    assert result.accuracy_spread == 0


def test_an_unknown_view_offers_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'hflip'"):
        view("hflp")
