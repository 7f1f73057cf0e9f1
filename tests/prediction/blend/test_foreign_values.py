"""Numbers made elsewhere: what they must be, what they look like when they are not, what rounding leaves."""

from __future__ import annotations

import numpy as np
import pytest

from competition.errors import SubmissionError, UsageError
from competition.prediction.blend.foreign_values import (
    fold_numbers,
    require_breeds_in_place,
    rows_of,
    to_probabilities,
)
from competition.record.metrics import log_loss, softmax

IDS = tuple(f"p{number}" for number in range(200))
BREEDS = tuple(f"breed{number:02d}" for number in range(10))
LABELS = np.arange(200) % 10


def logits(strength: float = 3.0) -> np.ndarray:
    values = np.random.default_rng(0).normal(size=(200, 10))
    values[np.arange(200), LABELS] += strength
    return values


def refused(values: np.ndarray, scale: str = "probabilities") -> str:
    with pytest.raises(SubmissionError) as caught:
        to_probabilities(values, IDS[: len(values)], scale, "oof.csv")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_probabilities_logits_percent_and_logarithms_agree() -> None:
    p = softmax(logits())
    np.testing.assert_allclose(to_probabilities(p, IDS, "probabilities", "f"), p, rtol=1e-12)
    np.testing.assert_allclose(to_probabilities(100 * p, IDS, "percent", "f"), p, rtol=1e-12)
    np.testing.assert_allclose(to_probabilities(logits(), IDS, "logits", "f"), p, rtol=1e-12)
    np.testing.assert_allclose(to_probabilities(np.log(p), IDS, "logits", "f"), p, rtol=1e-12)


def test_what_numbers_look_like_is_said() -> None:
    p = softmax(logits())
    assert "200 rows are no probabilities, first 'p0'" in refused(logits())
    assert "are they logits? Then say so (--scale logits)" in refused(logits())
    assert "are they percent? Then say so (--scale percent)" in refused(100 * p)
    assert "one sigmoid a breed, or a breed left out?" in refused(1 / (1 + np.exp(-logits())) * 0.9)
    assert "(--scale logits) or percent" in refused(np.exp(logits()) * 30)
    assert "its rows are no logits, they sum to 1" in refused(p, "logits")
    with pytest.raises(UsageError, match="unknown scale 'logit' - did you mean 'logits'"):
        to_probabilities(p, IDS, "logit", "f")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_named_by_photo(bad: float) -> None:
    values = softmax(logits())
    values[7, 3] = bad
    for scale in ("probabilities", "logits", "percent"):
        assert "oof.csv: 1 row with NaN, infinity or an empty cell, first 'p7'" in refused(values, scale)


def test_float16_keeps_its_worth_and_zeros_cost_no_fortune(capsys: pytest.CaptureFixture[str]) -> None:
    """A photo whose breed got less than float16 can hold costs 17 nats, as the number below it would, not 34.5."""
    exact = softmax(8 * logits())
    half = exact.astype(np.float16)
    assert (half == 0).any()
    found = to_probabilities(half, IDS, "probabilities", "oof.npy", half=True)
    said = capsys.readouterr().err
    assert "oof.npy: float16, its rows sum to 1 within" in said
    assert "zeros became 3e-08" in said
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert found.min() > 2.9e-8
    assert log_loss(found, LABELS) == pytest.approx(log_loss(exact, LABELS), abs=1e-3)


def test_rounded_digits_are_divided_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    rounded = np.round(softmax(logits()), 3)
    found = to_probabilities(rounded, IDS, "probabilities", "oof.csv")
    assert "oof.csv: rounded numbers" in capsys.readouterr().err
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert found.min() > 0


def test_exact_probabilities_are_taken_in_silence(capsys: pytest.CaptureFixture[str]) -> None:
    certain = np.eye(10)[LABELS]
    np.testing.assert_array_equal(to_probabilities(certain, IDS, "probabilities", "f"), certain)
    to_probabilities(softmax(logits()).astype(np.float32), IDS, "probabilities", "f")
    assert not capsys.readouterr().err


def test_rows_are_found_in_any_order() -> None:
    assert rows_of(["c", "a", "b"], ["a", "b"], ["a", "b", "c"], "f", "photo").tolist() == [1, 2]


def test_rows_missing_twice_and_unknown_are_one_line() -> None:
    with pytest.raises(SubmissionError) as caught:
        rows_of(["a", "a", "train/b.jpg"], ["a", "b", "c"], ["a", "b", "c"], "oof.csv", "train photo")
    assert str(caught.value) == (
        "oof.csv: 2 train photos without a row: 'b', 'c'; 1 id with more than one row: 'a'; "
        "1 unknown id: 'train/b.jpg' - did you mean 'b'?"
    )


def test_columns_under_other_names_are_seen() -> None:
    p = softmax(logits())
    require_breeds_in_place(p, LABELS, BREEDS, "oof.csv")
    swapped = p[:, [1, 0, *range(2, 10)]]
    with pytest.raises(
        SubmissionError, match=r"2 columns answer to another breed.*'breed01', which answers to 'breed00'"
    ):
        require_breeds_in_place(swapped, LABELS, BREEDS, "oof.csv")
    with pytest.raises(SubmissionError, match="10 columns answer to another breed"):
        require_breeds_in_place(np.roll(p, 1, axis=1), LABELS, BREEDS, "oof.csv")


def test_a_model_that_is_hardly_right_is_no_swap(capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(20):
        values = np.random.default_rng(seed).dirichlet(np.ones(10), 200)
        require_breeds_in_place(values, LABELS, BREEDS, "oof.csv")
    assert "are ids and rows mixed?" in capsys.readouterr().err


def test_folds_get_numbers_whatever_their_names() -> None:
    assert fold_numbers(["b", "a", "b"], ["x", "y", "z"], "f").tolist() == [1, 0, 1]
    assert fold_numbers([3, 1, 3], ["x", "y", "z"], "f").tolist() == [1, 0, 1]
    for folds, told in (
        (["a", ""], "1 photo without a fold: 'y'"),
        (["a", "nan"], "1 photo without a fold: 'y'"),
        (["a", "a"], "all photos are in one fold"),
        (["a"], "1 folds for 2 photos"),
    ):
        with pytest.raises(SubmissionError, match=told):
            fold_numbers(folds, ["x", "y"], "f")
