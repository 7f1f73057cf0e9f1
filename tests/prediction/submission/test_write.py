"""Writing submissions: order, names, printing precision, refusal of samples that do not fit."""

from __future__ import annotations

import csv
import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from competition.data.source.competition_data import CompetitionData
from competition.errors import SubmissionError
from competition.prediction.submission.check import check_submission
from competition.prediction.submission.template import Template
from competition.prediction.submission.write import read_submission, write_submission
from competition.types import Predictions


def random_predictions(ids: tuple[str, ...], classes: tuple[str, ...], seed: int = 0) -> Predictions:
    rows = np.random.default_rng(seed).dirichlet(np.full(len(classes), 0.1), len(ids))
    return Predictions(ids, classes, rows)


def with_sample(
    data: CompetitionData, folder: Path, columns: list[str], ids: list[str] | None = None
) -> CompetitionData:
    path = folder / "sample_submission.csv"
    lines = [",".join(["id", *columns])]
    lines += [",".join([name, *["0.2"] * len(columns)]) for name in (data.test_ids if ids is None else ids)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return dataclasses.replace(data, sample_submission=path)


def test_without_a_sample_columns_are_sorted_and_rows_are_test_photos(tiny: CompetitionData, tmp_path: Path) -> None:
    shuffled = random_predictions(tiny.test_ids[::-1], tiny.classes[::-1])
    report = write_submission(shuffled, tiny, tmp_path / "s.csv")
    assert report.ok
    assert report.rows == len(tiny.test)
    rows = list(csv.reader((tmp_path / "s.csv").open()))
    assert rows[0] == ["id", *sorted(tiny.classes)]
    assert [row[0] for row in rows[1:]] == list(tiny.test_ids)
    assert float(rows[1][1]) == pytest.approx(shuffled.probabilities[-1, -1], abs=1e-9)


def test_the_sample_decides_the_order_of_rows_and_columns(tiny: CompetitionData, tmp_path: Path) -> None:
    columns, ids = list(tiny.classes[::-1]), list(tiny.test_ids[::-1])
    data = with_sample(tiny, tmp_path, columns, ids)
    report = write_submission(random_predictions(tiny.test_ids, tiny.classes), data, tmp_path / "s.csv")
    rows = list(csv.reader((tmp_path / "s.csv").open()))
    assert rows[0] == ["id", *columns]
    assert [row[0] for row in rows[1:]] == ids
    assert any("not sorted" in note for note in report.notes)


def test_every_row_sums_to_one_when_it_is_read_again(tmp_path: Path) -> None:
    ids, classes = tuple(f"p{i}" for i in range(300)), tuple(f"b{i:03d}" for i in range(120))
    template = Template(ids, classes)
    given = random_predictions(ids, classes)
    write_submission(given, template, tmp_path / "s.csv")
    for row in list(csv.reader((tmp_path / "s.csv").open()))[1:]:
        assert abs(math.fsum(map(float, row[1:])) - 1) < 1e-8
    again = read_submission(tmp_path / "s.csv", template)
    np.testing.assert_allclose(again.probabilities, given.probabilities, atol=1e-9)


def test_rows_at_the_edge_of_the_tolerance_are_written_as_distributions(tmp_path: Path) -> None:
    edge = Predictions(("a",), ("x", "y"), np.array([[1.0000009, 0.0]]))
    assert write_submission(edge, Template(("a",), ("x", "y")), tmp_path / "s.csv").ok


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (["affenpinscher", "baset", "chow", "dhole", "whippet"], "'baset' - did you mean 'basset'?"),
        (["affenpinscher", "chow", "dhole", "whippet"], "1 breed without a column: 'basset'"),
        (["affenpinscher", "basset", "chow", "dhole", "whippet", "poodle"], "1 unknown column: 'poodle'"),
        (["affenpinscher", "basset", "basset", "chow", "dhole", "whippet"], "column 'basset' appears more than once"),
    ],
)
def test_a_misspelt_or_lacking_column_of_the_sample_is_named(
    tiny: CompetitionData, tmp_path: Path, columns: list[str], said: str
) -> None:
    data = with_sample(tiny, tmp_path, columns)
    with pytest.raises(SubmissionError, match=r"sample_submission\.csv") as caught:
        write_submission(random_predictions(tiny.test_ids, tiny.classes), data, tmp_path / "s.csv")
    assert said in str(caught.value)
    assert not (tmp_path / "s.csv").exists()


def test_a_test_photo_without_prediction_is_named_and_nothing_is_written(tiny: CompetitionData, tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("an earlier one")
    with pytest.raises(SubmissionError, match="1 row of the submission without a prediction: 'test0079'"):
        write_submission(random_predictions(tiny.test_ids[:-1], tiny.classes), tiny, tmp_path / "s.csv")
    assert (tmp_path / "s.csv").read_text() == "an earlier one"
    assert [path.name for path in tmp_path.iterdir()] == ["s.csv"]


def test_an_unreadable_photo_keeps_its_row_with_the_prior_it_was_given(tiny: CompetitionData, tmp_path: Path) -> None:
    prior = np.bincount(tiny.labels, minlength=5) / len(tiny.labels)
    given = random_predictions(tiny.test_ids, tiny.classes)
    probabilities = given.probabilities.copy()
    probabilities[3] = prior
    write_submission(given.with_probabilities(probabilities), tiny, tmp_path / "s.csv")
    again = read_submission(tmp_path / "s.csv", tiny)
    np.testing.assert_allclose(again.probabilities[3], prior, atol=1e-9)


def test_ids_that_need_quotes_survive(tmp_path: Path) -> None:
    template = Template(("a,b", 'say "c"', " d "), ("x", "y"))
    report = write_submission(random_predictions(template.ids, template.classes), template, tmp_path / "s.csv")
    assert report.ok
    assert read_submission(tmp_path / "s.csv", template).ids == template.ids


def test_a_test_photo_that_the_sample_leaves_out_is_said(tiny: CompetitionData, tmp_path: Path) -> None:
    data = with_sample(tiny, tmp_path, list(tiny.classes), list(tiny.test_ids[1:]))
    report = write_submission(random_predictions(tiny.test_ids, tiny.classes), data, tmp_path / "s.csv")
    assert report.rows == len(tiny.test) - 1
    assert any("'test0000'" in note for note in report.notes)


@pytest.mark.shared
def test_the_real_sample_submission_is_valid_but_says_nothing(shared: Path, tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(shared / "data" / "dog-breed-identification.zip") as archive:
        archive.extract("sample_submission.csv", tmp_path)
    path = tmp_path / "sample_submission.csv"
    report = check_submission(path, path)
    assert report.ok
    assert report.rows == 1000
    assert report.warnings == ("1,000 rows give every breed the same probability [this kit]",)
