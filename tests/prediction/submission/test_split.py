"""The competition made out of training photos: two parts, no breed lost, an answer sheet that grades."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from competition.data.source.competition_data import CompetitionData
from competition.data.source.layout import load_data
from competition.errors import StorageError, UsageError
from competition.prediction.submission.grade import grade
from competition.prediction.submission.split import split_competition


def read(path: Path) -> list[list[str]]:
    return list(csv.reader(path.open()))


def test_the_parts_are_disjoint_and_whole(tiny: CompetitionData, tmp_path: Path) -> None:
    made = split_competition(tiny, tmp_path / "split")
    train, answers = read(made.public / "labels.csv")[1:], read(made.answers)[1:]
    assert (len(train), len(answers)) == (made.train, made.test)
    assert made.test == pytest.approx(60, abs=5)
    assert {row[0] for row in train} | {row[0] for row in answers} == set(tiny.train_ids)
    assert not {row[0] for row in train} & {row[0] for row in answers}
    assert dict(map(tuple, train + answers)) == {photo.id: photo.breed for photo in tiny.train}


def test_the_kit_reads_it_and_the_sample_scores_as_chance(tiny: CompetitionData, tmp_path: Path) -> None:
    import math

    made = split_competition(tiny, tmp_path / "split")
    data = load_data(made.public)
    assert (len(data.train), len(data.test), data.classes) == (made.train, made.test, tiny.classes)
    assert grade(made.public / "sample_submission.csv", made.answers) == pytest.approx(math.log(5))


def test_the_same_seed_holds_out_the_same_photos(tiny: CompetitionData, tmp_path: Path) -> None:
    answers = [split_competition(tiny, tmp_path / str(i), seed=seed).answers for i, seed in enumerate((1, 1, 2))]
    assert read(answers[0]) == read(answers[1]) != read(answers[2])


def test_refusals(tiny: CompetitionData, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot hold out 100%"):
        split_competition(tiny, tmp_path / "a", share=1.0)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(StorageError, match="is not empty"):
        split_competition(tiny, tmp_path / "full")
    with pytest.raises(UsageError, match="leaves no training photo of 'affenpinscher'"):
        split_competition(tiny, tmp_path / "b", share=0.999)
