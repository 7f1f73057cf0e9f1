from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from competition.errors import DataError
from competition.record.metrics import softmax
from competition.report.run.misclassified import (
    Neighbours,
    Suspect,
    Verdicts,
    breeds_that_matter,
    confusions,
    suspected_mislabels,
    verdicts,
    write_suspects,
)
from competition.types import Predictions
from tests.explain import fakes


def made(p: np.ndarray, labels: np.ndarray, folds: np.ndarray | None = None) -> Verdicts:
    names = tuple(f"breed{i:02}" for i in range(p.shape[1]))
    ids = tuple(f"id{i:04}" for i in range(len(p)))
    return Verdicts(ids, names, p, labels, np.full(len(p), -1) if folds is None else folds)


def one_hot(predicted: list[int], n_classes: int) -> np.ndarray:
    return 0.9 * np.eye(n_classes)[predicted] + 0.1 / n_classes


def random_verdicts(rng: np.random.Generator, n: int = 400, c: int = 6, sure: float = 2.0) -> Verdicts:
    labels = rng.integers(0, c, n)
    logits = rng.normal(size=(n, c))
    logits[np.arange(n), labels] += sure
    return made(softmax(logits), labels, rng.integers(0, 5, n))


def test_verdicts_align_by_id_and_name(tmp_path: Path, rng: np.random.Generator) -> None:
    data = fakes.make_photos(tmp_path, 3)
    p = fakes.make_probabilities(data, rng)
    rows, columns = rng.permutation(len(p))[:10], rng.permutation(len(data.classes))
    oof = Predictions(
        tuple(data.train_ids[i] for i in rows), tuple(data.classes[j] for j in columns), p[np.ix_(rows, columns)]
    )
    found = verdicts(oof, data, {data.train_ids[rows[0]]: 4})
    np.testing.assert_allclose(found.probabilities, p[rows])
    np.testing.assert_array_equal(found.labels, data.labels[rows])
    assert found.folds.tolist() == [4] + [-1] * 9


def test_predictions_of_other_data_are_refused(tmp_path: Path) -> None:
    data = fakes.make_photos(tmp_path, 2)
    oof = Predictions(("stranger",), data.classes, np.full((1, 6), 1 / 6))
    with pytest.raises(DataError, match=r"stranger.*--data"):
        verdicts(oof, data)


def test_confusions_hold_every_error_once(rng: np.random.Generator) -> None:
    found = random_verdicts(rng)
    pairs = confusions(found, most=1000)
    rows = [row for pair in pairs for row in (*pair.a_as_b, *pair.b_as_a)]
    assert sorted(rows) == sorted(found.wrong.tolist())
    errors = [pair.errors for pair in pairs]
    assert errors == sorted(errors, reverse=True)
    first = pairs[0]
    assert (found.labels[first.a_as_b] == first.a).all()
    assert (found.predicted[first.a_as_b] == first.b).all()
    assert (np.diff(found.loss[first.a_as_b]) <= 0).all()
    assert first.errors == found.matrix[first.a, first.b] + found.matrix[first.b, first.a]


def test_confused_breeds_stand_side_by_side() -> None:
    given = [0, 0, 5, 5, 1, 1, 4, 4, 2, 2, 3, 3]
    predicted = [5, 0, 0, 5, 4, 1, 1, 4, 3, 2, 2, 3]
    found = made(one_hot(predicted, 8), np.array(given))
    order = breeds_that_matter(found)
    assert sorted(order) == [0, 1, 2, 3, 4, 5]  # breeds 6 and 7 are in no error
    places = {breed: place for place, breed in enumerate(order)}
    for a, b in ((0, 5), (1, 4), (2, 3)):
        assert abs(places[a] - places[b]) == 1
    assert len(breeds_that_matter(found, most=4)) == 4


def test_no_error_no_matrix() -> None:
    found = made(one_hot([0, 1, 2], 3), np.array([0, 1, 2]))
    assert breeds_that_matter(found) == ()
    assert confusions(found, 10) == ()
    assert suspected_mislabels(found).suspects == ()
    assert suspected_mislabels(found).noise == 0


def noisy(rng: np.random.Generator, n: int = 2000, c: int = 5, share: float = 0.06) -> tuple[Verdicts, set[int]]:
    true = rng.integers(0, c, n)
    logits = rng.normal(size=(n, c))
    logits[np.arange(n), true] += 5
    flipped = rng.choice(n, int(share * n), replace=False)
    given = true.copy()
    given[flipped] = (true[flipped] + rng.integers(1, c, len(flipped))) % c
    return made(softmax(logits), given), set(flipped.tolist())


def test_planted_mislabels_are_found(rng: np.random.Generator) -> None:
    found, flipped = noisy(rng)
    mislabels = suspected_mislabels(found)
    rows = {suspect.row for suspect in mislabels.suspects}
    assert len(rows & flipped) >= 0.8 * len(flipped)
    assert len(rows & flipped) >= 0.9 * len(rows)
    assert mislabels.noise == pytest.approx(0.06, abs=0.015)
    assert {s.row for s in mislabels.suspects[:50]} <= flipped  # the most suspicious are all planted


def test_joint_follows_the_paper(rng: np.random.Generator) -> None:
    found, _ = noisy(rng, n=150, c=4, share=0.1)
    p, labels, c = found.probabilities, found.labels, 4
    threshold = [p[labels == j, j].mean() for j in range(c)]
    counts = np.zeros((c, c))
    for row, label in zip(p, labels, strict=True):
        confident = [j for j in range(c) if row[j] >= threshold[j]]
        if confident:
            counts[label, max(confident, key=lambda j: row[j])] += 1
    joint = counts / counts.sum(axis=1, keepdims=True) * np.bincount(labels)[:, None]
    np.testing.assert_allclose(suspected_mislabels(found).joint, joint / joint.sum(), atol=1e-12)


def test_breed_without_photos_leaves_no_nan(rng: np.random.Generator) -> None:
    labels = rng.integers(0, 3, 90)
    logits = rng.normal(size=(90, 5))
    logits[np.arange(90), labels] += 3
    mislabels = suspected_mislabels(made(softmax(logits), labels))
    assert mislabels.joint.sum() == pytest.approx(1)
    assert not mislabels.joint[3:].any()
    assert all(s.suggested < 3 for s in mislabels.suspects)


def test_likeliest_are_the_heaviest_cells(rng: np.random.Generator) -> None:
    mislabels = suspected_mislabels(noisy(rng)[0])
    cells = mislabels.likeliest(100)
    assert sum(share for *_, share in cells) == pytest.approx(mislabels.noise)
    assert all(given != latent for given, latent, _ in cells)
    shares = [share for *_, share in cells]
    assert shares == sorted(shares, reverse=True)


def test_suspects_csv_is_harmless(tmp_path: Path) -> None:
    found = Verdicts(("=1+1", "b"), ("@x", "pug"), np.full((2, 2), 0.5), np.array([0, 0]), np.array([0, 0]))
    path = write_suspects(found, [Suspect(0, 0, 1, 0.1, 0.9), Suspect(1, 1, 0, 0.1, 0.9)], tmp_path / "s.csv")
    with path.open(newline="") as stream:
        assert list(csv.reader(stream)) == [["id", "given", "suggested"], ["'=1+1", "'@x", "pug"], ["b", "pug", "'@x"]]


def test_nearest_photos_come_from_the_other_folds(rng: np.random.Generator) -> None:
    found = random_verdicts(rng, n=120, c=3)
    features = rng.normal(size=(120, 8)) + 5
    shuffled = rng.permutation(120)
    neighbours = Neighbours.of(found, [found.ids[i] for i in shuffled], features[shuffled])
    assert neighbours is not None
    centred = features - features.mean(axis=0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    for row in (0, 17, 63):
        expected = [
            (i, float(unit[i] @ unit[row]))
            for i in range(120)
            if i != row and found.labels[i] == 2 and found.folds[i] != found.folds[row]
        ]
        expected.sort(key=lambda item: -item[1])
        got = neighbours.nearest(row, 2, 4)
        assert [i for i, _ in got] == [i for i, _ in expected[:4]]
        np.testing.assert_allclose([v for _, v in got], [v for _, v in expected[:4]], atol=1e-5)


def test_without_folds_a_photo_is_not_its_own_neighbour(rng: np.random.Generator) -> None:
    found = made(softmax(rng.normal(size=(6, 2))), np.array([0, 0, 0, 1, 1, 1]))
    neighbours = Neighbours.of(found, found.ids, rng.normal(size=(6, 3)))
    assert neighbours is not None
    assert {i for i, _ in neighbours.nearest(0, 0, 9)} == {1, 2}
    assert Neighbours.of(found, found.ids[:5], np.zeros((5, 3))) is None
