from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from competition.data.folds import FoldTable, folds_for, make_folds
from competition.data.source.competition_data import CompetitionData, Photo
from competition.errors import DataError, UsageError


def data_of(breeds: list[str]) -> CompetitionData:
    photos = tuple(Photo(f"p{i}", Path(f"p{i}.jpg"), breed) for i, breed in enumerate(breeds))
    return CompetitionData(Path(), Path(), "Kaggle layout", photos, (), tuple(sorted(set(breeds))))


def spread(data: CompetitionData, table: FoldTable) -> np.ndarray:
    """Photos per fold and breed."""
    counts = np.zeros((table.n_folds, len(data.classes)), int)
    np.add.at(counts, (table.fold, data.labels), 1)
    return counts


def test_breeds_are_spread_within_one_photo():
    data = data_of([f"b{i % 7}" for i in range(203)])
    table = make_folds(data, 5, seed=1)
    counts = spread(data, table)
    assert (counts.max(axis=0) - counts.min(axis=0)).max() <= 1
    assert np.ptp(counts.sum(axis=1)) <= 1
    assert table.notes == ()
    assert [len(fold.valid_ids) for fold in table.folds()] == counts.sum(axis=1).tolist()
    assert sorted(name for fold in table.folds() for name in fold.valid_ids) == sorted(data.train_ids)


@settings(max_examples=60, deadline=None)
@given(
    labels=st.lists(st.integers(0, 4), min_size=12, max_size=60),
    groups=st.dictionaries(st.integers(0, 11), st.integers(0, 3)),
    n_folds=st.integers(2, 4),
    seed=st.integers(0, 99),
)
def test_every_photo_has_one_fold_and_no_group_crosses(labels, groups, n_folds, seed):
    data = data_of([f"b{label}" for label in labels])
    named = {f"p{i}": group for i, group in groups.items()}
    if len(labels) - len(named) + len(set(named.values())) < n_folds:
        return
    table = make_folds(data, n_folds, seed, named)
    assert set(table.fold.tolist()) == set(range(n_folds))
    folds = {name: set() for name in set(named.values())}
    for name, fold in zip(table.ids, table.fold, strict=True):
        if name in named:
            folds[named[name]].add(int(fold))
    assert all(len(found) == 1 for found in folds.values())
    table.check(data, named, n_folds)


def test_the_seed_decides():
    data = data_of([f"b{i % 3}" for i in range(60)])
    assert (make_folds(data, 5, 3).fold == make_folds(data, 5, 3).fold).all()
    assert (make_folds(data, 5, 3).fold != make_folds(data, 5, 4).fold).any()


def test_rare_breeds_are_handled_and_said():
    data = data_of(["common"] * 20 + ["rare"] * 2 + ["twins"] * 6)
    twins = {f"p{i}": 0 for i in range(22, 28)}
    table = make_folds(data, 5, 0, twins)
    assert any(note.startswith("rare: 2 photos for 5 folds") for note in table.notes)
    assert any(note.startswith("twins: 6 photos in 1 groups") for note in table.notes)
    assert any(note.startswith("twins: all photos validate in one fold") for note in table.notes)
    assert not any(note.startswith("common") for note in table.notes)
    assert len(set(table.fold[20:22].tolist())) == 2


def test_every_breed_rarer_than_the_folds():
    table = make_folds(data_of([f"b{i // 2}" for i in range(20)]), 5, 0)
    assert np.bincount(table.fold).tolist() == [4] * 5


def test_too_few_photos_or_folds():
    with pytest.raises(DataError, match="cannot fill 5 folds"):
        make_folds(data_of(["a", "b", "a"]), 5, 0)
    with pytest.raises(UsageError, match="n_folds=1"):
        make_folds(data_of(["a", "b", "a"]), 1, 0)


def test_the_file_gives_the_same_back(tmp_path):
    data = data_of([f"b{i % 3}" for i in range(30)])
    table = make_folds(data, 3, 0, {"p1": 7, "p2": 7})
    table.save(tmp_path / "folds.csv")
    assert (tmp_path / "folds.csv").read_text().splitlines()[0] == "id,fold,group"
    again = FoldTable.load(tmp_path / "folds.csv")
    assert again.ids == table.ids
    assert (again.fold == table.fold).all()
    assert (again.group == table.group).all()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "missing"),
        ("", "expected the columns"),
        ("id,fold\na,0\n", "expected the columns"),
        ("id,fold,group\na,zero,0\n", "no fold table"),
        ("id,fold,group\na\n", "no fold table"),
        ("id,fold,group\na,-1,0\nb,0,1\n", "negative"),
        ("id,fold,group\na,0,0\na,1,1\n", "twice"),
        ("id,fold,group\na,0,0\nb,2,1\n", "without a gap"),
        ("id,fold,group\na,0,0\nb,1,0\n", "lies in two folds"),
        ("id,fold,group\n", "disagree"),
    ],
)
def test_a_file_that_is_no_fold_table(tmp_path, content, words):
    path = tmp_path / "folds.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=words):
        FoldTable.load(path)


def test_folds_that_do_not_fit_are_refused_with_the_difference():
    data = data_of([f"b{i % 3}" for i in range(30)])
    table = make_folds(data, 3, 0)
    table.check(data, {"p1": 0}, 3)
    with pytest.raises(DataError, match=r"1 ids are not in the data \(p0\)"):
        table.check(data.without({"p0"}))
    smaller = make_folds(data.without({"p4", "p5"}), 3, 0)
    with pytest.raises(DataError, match=r"2 photos have no fold \(p4, p5\)"):
        smaller.check(data)
    with pytest.raises(DataError, match="they are 3 folds, 5 are wanted"):
        table.check(data, n_folds=5)
    apart = {table.ids[int((table.fold == k).argmax())]: 0 for k in (0, 1)}
    with pytest.raises(DataError, match="1 groups of duplicates cross folds"):
        table.check(data, apart)


def test_folds_are_reused_when_present(tmp_path):
    data = data_of([f"b{i % 3}" for i in range(30)])
    path = tmp_path / "folds.csv"
    first = folds_for(data, path, 3, seed=0)
    before = path.stat().st_mtime_ns
    shuffled = CompetitionData(Path(), Path(), "Kaggle layout", data.train[::-1], (), data.classes)
    again = folds_for(shuffled, path, 3, seed=99)
    assert path.stat().st_mtime_ns == before
    assert again.ids == shuffled.train_ids
    assert dict(zip(again.ids, again.fold.tolist(), strict=True)) == dict(
        zip(first.ids, first.fold.tolist(), strict=True)
    )
    with pytest.raises(DataError, match="do not fit"):
        folds_for(data, path, 5, seed=0)
