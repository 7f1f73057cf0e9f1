"""The offline grader: the same log loss as the kit's, and its refusals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from competition.errors import DataError, SubmissionError
from competition.prediction.submission.grade import grade, grade_with_report
from competition.prediction.submission.template import Template
from competition.prediction.submission.write import write_submission
from competition.record.metrics import log_loss
from competition.types import Predictions

BREEDS = ("basset", "chow", "pug")


@pytest.fixture
def graded(tmp_path: Path) -> tuple[Path, Path, Predictions, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 50)
    predictions = Predictions(tuple(f"p{i:02d}" for i in range(50)), BREEDS, rng.dirichlet(np.ones(3), 50))
    submission, answers = tmp_path / "s.csv", tmp_path / "answers.csv"
    write_submission(predictions, Template(predictions.ids[::-1], BREEDS[::-1]), submission)
    rows = [f"{name},{BREEDS[label]}" for name, label in zip(predictions.ids, labels, strict=True)]
    answers.write_text("\n".join(["id,breed", *rows]) + "\n")
    return submission, answers, predictions, labels


def test_the_grade_is_the_log_loss_whatever_the_order(graded: tuple[Path, Path, Predictions, np.ndarray]) -> None:
    submission, answers, predictions, labels = graded
    assert grade(submission, answers) == pytest.approx(log_loss(predictions.probabilities, labels), abs=1e-8)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.replace("id,", "name,", 1), "no column 'id'"),
        (lambda text: text.replace("chow", "show", 1), "1 breed without a column: 'chow'"),
        (lambda text: text.rsplit("\n", 2)[0] + "\n", "1 id missing: 'p00'"),
        (lambda text: text.replace("p49", "p50"), "with an unknown id, first: 'p50'"),
        (lambda text: text.replace("p49,0.", "p49,9.", 1), "beyond -1 to 2"),
        (lambda text: text.replace("p49,0.", "p49,x.", 1), "a cell that is no number"),
        (lambda text: text.replace("p49,0.", "p49,\u00a0", 1), "an odd white space"),
        (lambda text: "", "is not a CSV"),
    ],
)
def test_it_refuses(
    graded: tuple[Path, Path, Predictions, np.ndarray], change: Callable[[str], str], said: str
) -> None:
    submission, answers, *_ = graded
    submission.write_text(change(submission.read_text()))
    with pytest.raises(SubmissionError, match=said):
        grade(submission, answers)


def test_rows_that_do_not_sum_to_one_are_scored_as_kaggle_scores_them(
    graded: tuple[Path, Path, Predictions, np.ndarray],
) -> None:
    submission, answers, predictions, labels = graded
    header, *lines = submission.read_text().splitlines()
    halved = [
        ",".join([name, *(f"{float(x) / 2:.12g}" for x in rest)]) for name, *rest in (r.split(",") for r in lines)
    ]
    submission.write_text("\n".join([header, *halved]))
    value, report = grade_with_report(submission, answers)
    assert value == pytest.approx(log_loss(predictions.probabilities, labels), abs=1e-8)
    assert "Kaggle rescales them" in report.warnings[0]


def test_breeds_and_ids_with_quotation_marks_are_graded(
    graded: tuple[Path, Path, Predictions, np.ndarray], tmp_path: Path
) -> None:
    _, _, plain, labels = graded
    odd = Predictions(plain.ids, ('the "real" one', "a,b\nc", " =1"), plain.probabilities)
    write_submission(odd, Template(odd.ids, odd.classes), tmp_path / "odd.csv")
    answers = {name: odd.classes[label] for name, label in zip(odd.ids, labels, strict=True)}
    assert grade(tmp_path / "odd.csv", answers) == pytest.approx(log_loss(plain.probabilities, labels), abs=1e-8)


def test_answers_must_have_their_columns(graded: tuple[Path, Path, Predictions, np.ndarray]) -> None:
    submission, answers, *_ = graded
    answers.write_text("id,label\np00,chow\n")
    with pytest.raises(DataError, match="the column 'breed' is missing"):
        grade(submission, answers)
    with pytest.raises(DataError, match="is missing"):
        grade(submission, answers.with_name("nowhere.csv"))
