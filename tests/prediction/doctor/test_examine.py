"""The doctor: recognises what was done to a file, measures what it costs, finds planted oddities."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from competition.data.audit.report import AuditReport, DuplicatePair
from competition.data.source.competition_data import CompetitionData
from competition.errors import DataError, SubmissionError
from competition.prediction.calibrate import apply_clip
from competition.prediction.doctor.diagnosis import Diagnosis
from competition.prediction.doctor.drift import class_shifts, compare, compare_embeddings, find_drift
from competition.prediction.doctor.examine import examine, find_repair, odd_rows
from competition.prediction.doctor.text import doctor_lines
from competition.prediction.expected.relation import relate
from competition.prediction.ledger.ledger import Ledger
from competition.prediction.ledger.record_submission import record_submission
from competition.prediction.submission.write import write_submission
from competition.record.metrics import log_loss, softmax
from competition.record.run_dir import RunDir
from competition.record.temperature import apply_temperature, fit_temperature
from competition.types import Predictions
from tests.prediction.conftest import BREEDS


def probabilities(n: int = 500, c: int = 20, seed: int = 0) -> np.ndarray:
    return softmax(3 * np.random.default_rng(seed).normal(size=(n, c)))


# --- relation


def test_the_same_probabilities_are_recognised_through_ten_digits() -> None:
    p = probabilities()
    assert relate(p, np.round(p, 10)).kind == "same"


@pytest.mark.parametrize("temperature", [0.5, 0.8, 1.3, 2.0])
@pytest.mark.parametrize("floor", [0.0, 5e-4, 2e-3])
def test_a_temperature_and_a_clip_are_recognised(temperature: float, floor: float) -> None:
    p = probabilities()
    file = np.round(apply_clip(apply_temperature(np.log(p), temperature), floor), 10)
    found = relate(p, file / file.sum(axis=1, keepdims=True))
    assert found.kind == "transformed"
    assert found.temperature == pytest.approx(temperature, rel=0.03)
    assert found.floor == pytest.approx(floor, rel=0.1)
    np.testing.assert_allclose(found.apply(np.log(p)), file, atol=0.01)
    assert "temperature" in str(found)


def test_a_clip_alone_is_recognised() -> None:
    p = probabilities()
    found = relate(p, apply_clip(p, 1e-3))
    assert (found.kind, found.temperature) == ("transformed", 1.0)
    assert found.floor == pytest.approx(1e-3, rel=0.05)


def test_other_probabilities_are_other() -> None:
    found = relate(probabilities(), probabilities(seed=1))
    assert found.kind == "other"
    assert found.agreement < 0.2
    assert "other probabilities than the run's" in str(found)


# --- repair


def test_the_repair_finds_the_temperature_that_was_imposed() -> None:
    rng = np.random.default_rng(0)
    true = probabilities(3000, 5)
    labels = (true.cumsum(axis=1) > rng.random((3000, 1))).argmax(axis=1)
    folds = np.arange(3000) % 5
    sharp = find_repair(apply_temperature(np.log(true), 0.5), labels, folds)
    assert sharp.temperature == pytest.approx(2.0, rel=0.1)
    assert sharp.worth_it
    assert sharp.repaired_log_loss == pytest.approx(log_loss(true, labels), abs=0.01)
    assert sharp.after.ece < sharp.before.ece
    calibrated = find_repair(true, labels, folds)
    assert not calibrated.worth_it
    assert abs(calibrated.cost) < 0.003


# --- drift


def test_samples_of_one_distribution_do_not_drift() -> None:
    """A p-value below 0.01 turns up once in a hundred; of forty comparisons at most three may."""
    rng = np.random.default_rng(0)
    drifting = [compare("x", rng.normal(size=800), rng.normal(size=200)).drifts for _ in range(40)]
    assert sum(drifting) <= 3
    moved = compare("x", rng.normal(size=800), rng.normal(size=200) + 1)
    assert moved.drifts
    assert sum(moved.train) == pytest.approx(1)
    assert moved.test_median - moved.train_median == pytest.approx(1, abs=0.3)


def test_a_breed_that_is_three_times_as_frequent_is_found_and_chance_is_not() -> None:
    rng = np.random.default_rng(0)
    one_hot = np.eye(20)
    train = one_hot[rng.integers(0, 20, 2000)] * 0.9 + 0.005
    names = [f"b{i}" for i in range(20)]
    p_values = [class_shifts(train, one_hot[rng.integers(0, 20, 300)] * 0.9 + 0.005, names)[1] for _ in range(10)]
    assert min(p_values) > 0.005
    more = rng.choice(20, 300, p=np.r_[np.full(19, 0.85 / 19), 0.15])
    shifts, p_value = class_shifts(train, one_hot[more] * 0.9 + 0.005, names)
    assert p_value < 0.01
    assert shifts[0].breed == "b19"
    assert shifts[0].z > 3.5


def test_embeddings_of_another_place_lie_farther_and_of_duplicates_nearer() -> None:
    rng = np.random.default_rng(0)
    train = rng.normal(size=(1000, 16)) + 2
    assert not compare_embeddings(train, rng.normal(size=(400, 16)) + 2).drifts
    elsewhere = compare_embeddings(train, rng.normal(size=(400, 16)) - 2)
    assert elsewhere.drifts
    assert elsewhere.test_median > elsewhere.train_median
    copies = compare_embeddings(train, train[:400] + 1e-3 * rng.normal(size=(400, 16)))
    assert copies.drifts
    assert copies.test_median < 0.1 * copies.train_median


def test_drift_without_features_has_no_embedding_part() -> None:
    p = probabilities(300, 5)
    assert find_drift(p[:200], p[200:], BREEDS).embedding is None


# --- rows


def test_odd_rows_are_named() -> None:
    p = softmax(9 * np.random.default_rng(0).normal(size=(40, 5))) * 0.9 + 0.02
    prior = np.array([0.3, 0.25, 0.2, 0.15, 0.1])
    p[3], p[7], p[11:13] = 0.2, prior, (0.5, 0.2, 0.1, 0.1, 0.1)
    rows = odd_rows(Predictions(tuple(f"p{i:02d}" for i in range(40)), BREEDS, p), prior)
    assert rows.uniform == ("p03",)
    assert rows.prior == ("p07",)
    assert rows.alike == ("p12",)
    assert [row[0] for row in rows.least[:2]] == ["p03", "p07"]
    assert rows.least[1][1:] == ("affenpinscher", 0.3, "basset", 0.25)


# --- the whole


@pytest.fixture
def case(make_run: Callable[..., RunDir], tiny: CompetitionData) -> tuple[RunDir, CompetitionData, Predictions]:
    """A calibrated run with an audit and a submission."""
    run = make_run("a", 0.7, 5)
    oof, test = Predictions.load(run / "oof.npz"), Predictions.load(run / "test.npz")
    temperature = fit_temperature(oof.log_probabilities, tiny.labels)
    oof = oof.with_probabilities(apply_temperature(oof.log_probabilities, temperature))
    test = test.with_probabilities(apply_temperature(test.log_probabilities, temperature))
    oof.save(run / "oof.npz")
    test.save(run / "test.npz")
    pair = DuplicatePair("test0003", "train0001", "test", "train", None, tiny.train[1].breed, "near", 2, 0.98)
    inside = DuplicatePair("train0004", "train0005", "train", "train", "chow", "chow", "exact", 0, 1.0)
    AuditReport(pairs=(pair, inside), train_photos=600, test_photos=80).save(run.path)
    write_submission(test, tiny, run / "submission.csv")
    return run, tiny, test


def levels(found: Diagnosis) -> list[str]:
    return [each.level for each in found.findings]


def test_a_good_submission_is_called_good(case: tuple[RunDir, CompetitionData, Predictions]) -> None:
    run, data, _ = case
    found = examine(run / "submission.csv", run, data)
    oof = Predictions.load(run / "oof.npz")
    assert found.relation.kind == "same"
    assert found.expected.log_loss == pytest.approx(log_loss(oof.probabilities, data.labels))
    assert found.expected.low < found.expected.log_loss < found.expected.high
    assert found.expected.test_photos == 80
    assert "bad" not in levels(found)
    assert levels(found) == sorted(levels(found), key=("bad", "look", "good").index)
    json.dumps(found.to_dict(), allow_nan=False)


def test_test_photos_that_duplicate_training_photos_are_listed_with_the_label(
    case: tuple[RunDir, CompetitionData, Predictions],
) -> None:
    run, data, test = case
    found = examine(run / "submission.csv", run, data)
    assert found.twins is not None
    (twin,) = found.twins
    assert (twin.test_id, twin.train_id, twin.breed) == ("test0003", "train0001", data.train[1].breed)
    assert twin.probability == pytest.approx(test.probabilities[3, data.labels[1]], abs=1e-9)
    assert any("duplicates of training photos" in each.text for each in found.findings)
    (run / "audit.json").unlink()
    assert examine(run / "submission.csv", run, data).twins is None


def test_a_sharpened_file_costs_what_it_costs_and_the_repair_is_named(
    case: tuple[RunDir, CompetitionData, Predictions], tmp_path: Path
) -> None:
    run, data, test = case
    sharp = test.with_probabilities(apply_temperature(test.log_probabilities, 0.4))
    write_submission(sharp, data, tmp_path / "sharp.csv")
    found = examine(tmp_path / "sharp.csv", run, data)
    oof = Predictions.load(run / "oof.npz")
    expected = log_loss(apply_temperature(oof.log_probabilities, 0.4), data.labels)
    assert found.relation.temperature == pytest.approx(0.4, rel=0.01)
    assert found.expected.log_loss == pytest.approx(expected, rel=0.01)
    assert found.repair is not None
    assert found.repair.temperature == pytest.approx(2.5, rel=0.02)
    assert found.findings[0].level == "bad"
    assert found.findings[0].text.startswith("Overconfident: that costs")


def test_a_file_of_other_origin_is_judged_by_the_runs_beliefs(
    case: tuple[RunDir, CompetitionData, Predictions], tmp_path: Path
) -> None:
    run, data, test = case
    other = np.random.default_rng(0).dirichlet(np.ones(5), len(test))
    write_submission(test.with_probabilities(other), data, tmp_path / "other.csv")
    found = examine(tmp_path / "other.csv", run, data)
    assert found.by_beliefs
    assert found.repair is None
    cross_entropy = -(test.probabilities * np.log(other)).sum(axis=1).mean()
    assert found.expected.log_loss == pytest.approx(cross_entropy, rel=1e-6)
    assert found.expected.low < cross_entropy < found.expected.high
    json.dumps(found.to_dict(), allow_nan=False)
    assert "from the run's own probabilities" in "\n".join(doctor_lines(found))


def test_earlier_submissions_are_compared_and_a_twin_is_pointed_out(
    case: tuple[RunDir, CompetitionData, Predictions], tmp_path: Path
) -> None:
    run, data, test = case
    ledger = Ledger(tmp_path / "submissions" / "ledger.csv")
    halved = test.with_probabilities(0.5 * test.probabilities + 0.1)
    write_submission(halved, data, tmp_path / "halved.csv")
    record_submission(tmp_path / "halved.csv", run, data, ledger)
    found = examine(run / "submission.csv", run, data, ledger=ledger)
    (agreement,) = found.agreements
    assert agreement.file == "halved.csv"
    assert agreement.alike == 1.0
    expected = 0.5 * np.abs(halved.probabilities - test.probabilities).sum(axis=1).mean()
    assert agreement.distance == pytest.approx(expected, abs=1e-8)
    (tmp_path / "copy.csv").write_bytes((run / "submission.csv").read_bytes())
    record_submission(tmp_path / "copy.csv", run, data, ledger)
    found = examine(run / "submission.csv", run, data, ledger=ledger)
    assert found.findings[0].text.startswith("Byte-identical to copy.csv")


def test_an_invalid_file_is_refused(case: tuple[RunDir, CompetitionData, Predictions], tmp_path: Path) -> None:
    run, data, _ = case
    lines = (run / "submission.csv").read_text().splitlines()
    (tmp_path / "short.csv").write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(SubmissionError, match="1 id missing: 'test0079'"):
        examine(tmp_path / "short.csv", run, data)


def test_a_run_without_test_predictions_is_refused(case: tuple[RunDir, CompetitionData, Predictions]) -> None:
    run, data, _ = case
    (run / "test.npz").unlink()
    with pytest.raises(DataError, match=r"has no test predictions \(test\.npz\)"):
        examine(run / "submission.csv", run, data)


def test_labels_alone_are_enough(case: tuple[RunDir, CompetitionData, Predictions]) -> None:
    run, data, _ = case
    breeds = {photo.id: str(photo.breed) for photo in data.train}
    whole, alone = examine(run / "submission.csv", run, data), examine(run / "submission.csv", run, breeds)
    assert alone.expected == whole.expected


def test_features_join_the_drift(case: tuple[RunDir, CompetitionData, Predictions]) -> None:
    run, data, _ = case
    rng = np.random.default_rng(0)
    features = rng.normal(size=(600, 8)).astype(np.float32), rng.normal(size=(80, 8)).astype(np.float32)
    found = examine(run / "submission.csv", run, data, features=features)
    assert found.drift.embedding is not None
    assert any("nearest other training photo" in each.text for each in found.findings)


def test_the_order_of_the_samples_columns_does_not_matter(
    case: tuple[RunDir, CompetitionData, Predictions], tmp_path: Path
) -> None:
    run, data, test = case
    path = tmp_path / "sample_submission.csv"
    rows = [",".join([name, *["0.2"] * 5]) for name in data.test_ids[::-1]]
    path.write_text("\n".join([",".join(["id", *BREEDS[::-1]]), *rows]) + "\n")
    turned = dataclasses.replace(data, sample_submission=path)
    write_submission(test, turned, tmp_path / "turned.csv")
    found = examine(tmp_path / "turned.csv", run, turned)
    assert found.relation.kind == "same"
    assert found.expected == examine(run / "submission.csv", run, data).expected
