"""Predictions made elsewhere as a run folder: aligned, refused in one line, blended, reported, examined, recorded."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from competition.data.audit.report import AuditReport, DuplicatePair
from competition.data.folds import FoldTable
from competition.data.source.competition_data import CompetitionData
from competition.errors import DataError, KitError, ResumeError, SubmissionError, UsageError
from competition.files import read_json
from competition.prediction.blend.add_member import add_member, write_member
from competition.prediction.blend.members import Member, load_member
from competition.prediction.blend.run import blend_runs
from competition.prediction.blend.study import blend, study
from competition.prediction.doctor.examine import examine
from competition.prediction.ledger.ledger import Ledger
from competition.prediction.ledger.record_submission import record_submission
from competition.prediction.submission.write import read_submission
from competition.record.run_dir import RunDir
from competition.report.run.write import write_run_report
from competition.types import CVResult, Predictions
from tests.prediction.conftest import BREEDS, N_TRAIN

MakeCV = Callable[..., CVResult]


@pytest.fixture
def theirs(make_cv: MakeCV) -> CVResult:
    """What somebody else's model predicts."""
    return make_cv("theirs", 1.0, 9)


@pytest.fixture
def audit(tiny: CompetitionData, tmp_path: Path) -> Path:
    """An audit that found one pair of duplicates, of photos that a split would part."""
    pair = DuplicatePair("train0000", "train0001", "train", "train", None, None, "near", 2, 0.99)
    AuditReport(pairs=(pair,), train_photos=N_TRAIN, data_digest=tiny.digest).save(tmp_path / "audit")
    return tmp_path / "audit"


def frame(predictions: Predictions, seed: int = 0) -> pd.DataFrame:
    """A table with rows and columns in any order, as pandas users save it."""
    table = pd.DataFrame(predictions.probabilities, columns=list(predictions.classes))
    table.insert(0, "id", predictions.ids)
    rng = np.random.default_rng(seed)
    return table.iloc[rng.permutation(len(table))][rng.permutation(table.columns)]


def apart(tiny: CompetitionData) -> np.ndarray:
    """Folds that part train0000 from train0001."""
    return np.arange(N_TRAIN) % 4


@pytest.fixture
def files(tmp_path: Path, theirs: CVResult, tiny: CompetitionData) -> tuple[Path, Path]:
    assert theirs.test is not None
    oof, test = tmp_path / "oof.csv", tmp_path / "test.csv"
    fold_of = dict(zip(tiny.train_ids, apart(tiny), strict=True))
    table = frame(theirs.oof)
    table.assign(fold=[fold_of[name] for name in table["id"]]).to_csv(oof, index=False)
    frame(theirs.test, 1).to_csv(test, index=False)
    return oof, test


def test_it_is_a_run_folder_aligned_by_id_and_name(
    tmp_path: Path, tiny: CompetitionData, audit: Path, files: tuple[Path, Path], theirs: CVResult
) -> None:
    out = tmp_path / "mine"
    report = add_member(out, tiny, oof=files[0], test=files[1], audit=audit)
    assert report is not None
    assert report.ok
    member = load_member(out)
    assert member.name == "mine"
    assert member.oof.ids == tiny.train_ids
    assert member.oof.classes == tiny.classes
    np.testing.assert_allclose(member.oof.probabilities, theirs.oof.probabilities, atol=1e-12)
    assert member.test is not None
    assert theirs.test is not None
    np.testing.assert_allclose(member.test.probabilities, theirs.test.probabilities, atol=1e-12)
    assert [member.folds[name] for name in tiny.train_ids] == apart(tiny).tolist()
    metrics = read_json(out / "metrics.json")
    assert metrics["log_loss"] == pytest.approx(theirs.log_loss)
    assert [fold["photos"] for fold in metrics["folds"]] == [150] * 4
    np.testing.assert_allclose(
        read_submission(out / "submission.csv", tiny).probabilities, theirs.test.probabilities, atol=1e-9
    )


def test_folds_that_part_duplicates_are_told_and_remembered(
    tmp_path: Path, tiny: CompetitionData, audit: Path, files: tuple[Path, Path], make_run: Callable[..., RunDir]
) -> None:
    add_member(tmp_path / "mine", tiny, oof=files[0], test=files[1], audit=audit)
    notes = read_json(tmp_path / "mine" / "metrics.json")["notes"]
    assert any("its folds part 2 photos from their duplicates, so its score is too good" in note for note in notes)
    assert FoldTable.load(tmp_path / "mine" / "folds.csv").n_folds == 4
    found = study([tmp_path / "mine", make_run("a", 1.0, 5)], tiny)
    assert found.optimism is not None
    assert found.optimism.photos == 2
    even = np.full((N_TRAIN + 80, 5), 0.2)
    other = Member.from_arrays(tiny.train_ids, BREEDS, even[:N_TRAIN], even[N_TRAIN:], test_ids=tiny.test_ids)
    alone = study([tmp_path / "mine", other], tiny)
    assert alone.optimism is not None
    assert alone.optimism.members == ("mine", "notebook")
    assert alone.optimism.photos == 2


@pytest.mark.parametrize("how", ["column", "file", "unknown", "other column"])
def test_folds_come_from_a_column_a_file_or_nowhere(
    how: str, tmp_path: Path, tiny: CompetitionData, audit: Path, files: tuple[Path, Path], fold_of: np.ndarray
) -> None:
    table = pd.read_csv(files[0])
    folds = {"column": "", "file": str(tmp_path / "folds.csv"), "unknown": "unknown", "other column": "part"}[how]
    FoldTable(tiny.train_ids, fold_of, np.arange(N_TRAIN)).save(tmp_path / "folds.csv")
    if how == "other column":
        table = table.rename(columns={"fold": "part"})
    table.to_csv(files[0], index=False)
    add_member(tmp_path / "mine", tiny, oof=files[0], folds=folds, audit=audit)
    member = load_member(tmp_path / "mine")
    assert member.folds_known == (how != "unknown")
    if how == "file":
        pairs = {(member.folds[name], fold) for name, fold in zip(tiny.train_ids, fold_of.tolist(), strict=True)}
        assert len(pairs) == 5  # the same folds, numbered by first appearance
    elif how != "unknown":
        assert [member.folds[name] for name in tiny.train_ids] == apart(tiny).tolist()
    else:
        assert member.folds["train0000"] == member.folds["train0001"]
        assert not (tmp_path / "mine" / "folds.csv").exists()


def test_folds_must_be_spoken_of(tmp_path: Path, tiny: CompetitionData, audit: Path, files: tuple[Path, Path]) -> None:
    pd.read_csv(files[0]).drop(columns="fold").to_csv(files[0], index=False)
    for folds, told in (("", "does not tell the folds: give --folds folds.csv, a column, or --folds unknown"),
                        ("kfold", "--folds kfold: neither a file nor a column of")):  # fmt: skip
        with pytest.raises(UsageError, match=told):
            add_member(tmp_path / "mine", tiny, oof=files[0], folds=folds, audit=audit)
    assert not (tmp_path / "mine").exists()


def bad_files() -> dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame], str]]:
    """What is done to a good table, and what is said of it."""
    return {
        "missing": (lambda t: t[t["id"] != "train0003"], "1 train photo without a row: 'train0003'"),
        "twice": (lambda t: pd.concat([t, t.iloc[:1]]), "1 id with more than one row"),
        "unknown": (lambda t: t.replace({"id": {"train0003": "x"}}), "1 unknown id: 'x'"),
        "misspelt": (lambda t: t.rename(columns={"chow": "chou"}), "1 unknown column: 'chou' - did you mean 'chow'"),
        "lacking": (lambda t: t.drop(columns="chow"), "1 breed without a column: 'chow'"),
        "swapped": (lambda t: t.rename(columns={"chow": "dhole", "dhole": "chow"}), "answer to another breed"),
        "percent": (lambda t: t.assign(**{name: 100 * t[name] for name in BREEDS}), "are they percent"),
        "logits": (lambda t: t.assign(**{name: np.log(t[name]) for name in BREEDS}), "are they logits"),
        "nan": (lambda t: t.assign(chow=t["chow"].where(t["id"] != "train0003")), "first 'train0003'"),
        "a fold less": (
            lambda t: t.assign(fold=t["fold"].where(t["id"] != "train0003")),
            "without a fold: 'train0003'",
        ),
    }


@pytest.mark.parametrize("kind", bad_files())
def test_bad_tables_are_refused_with_one_line_and_nothing_is_lost(
    kind: str, tmp_path: Path, tiny: CompetitionData, audit: Path, files: tuple[Path, Path]
) -> None:
    add_member(tmp_path / "mine", tiny, oof=files[0], test=files[1], audit=audit)
    before = {path: path.read_bytes() for path in (tmp_path / "mine").iterdir() if path.is_file()}
    change, told = bad_files()[kind]
    change(pd.read_csv(files[0])).to_csv(tmp_path / "bad.csv", index=False)
    with pytest.raises(SubmissionError) as caught:
        add_member(tmp_path / "mine", tiny, oof=tmp_path / "bad.csv", test=files[1], audit=audit)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert {path: path.read_bytes() for path in (tmp_path / "mine").iterdir() if path.is_file()} == before


def test_bad_test_tables_are_refused(
    tmp_path: Path, tiny: CompetitionData, audit: Path, files: tuple[Path, Path]
) -> None:
    good = pd.read_csv(files[1])
    for bad, told in (
        (good[good["id"] != "test0003"], "1 test photo without a row: 'test0003'"),
        (good.replace({"id": {"test0003": "x"}}), "1 unknown id: 'x'"),
        (pd.read_csv(files[0]).drop(columns="fold"), "600 unknown ids"),
    ):
        bad.to_csv(tmp_path / "bad.csv", index=False)
        with pytest.raises(SubmissionError, match=told):
            add_member(tmp_path / "mine", tiny, oof=files[0], test=tmp_path / "bad.csv", audit=audit)
    assert not (tmp_path / "mine").exists()


def test_a_folder_that_holds_something_else_and_an_audit_of_other_data_are_refused(
    tmp_path: Path, tiny: CompetitionData, audit: Path, files: tuple[Path, Path], make_run: Callable[..., RunDir]
) -> None:
    run = make_run("probe", 1.0, 5)
    with pytest.raises(ResumeError, match="holds another run"):
        add_member(run.path, tiny, oof=files[0], audit=audit)
    add_member(tmp_path / "mine", tiny, oof=files[0], audit=audit)
    with pytest.raises(ResumeError, match=r"holds another run .*predictions"):
        add_member(tmp_path / "mine", tiny, oof=files[0], test=files[1], audit=audit)
    with pytest.raises(UsageError, match="nothing to add"):
        add_member(tmp_path / "other", tiny, audit=audit)
    AuditReport(data_digest="another").save(audit)
    with pytest.raises(DataError, match="audit was made of other data"):
        add_member(tmp_path / "other", tiny, oof=files[0], audit=audit)


def test_photos_that_cannot_be_read_may_lack_and_get_the_prior(
    tmp_path: Path, tiny: CompetitionData, files: tuple[Path, Path]
) -> None:
    torn = (("train", "train0003", "torn"), ("test", "test0003", "torn"))
    AuditReport(unreadable=torn, data_digest=tiny.digest).save(tmp_path / "audit")
    for path, name in zip(files, ("train0003", "test0003"), strict=True):
        table = pd.read_csv(path)
        table[table["id"] != name].to_csv(path, index=False)
    add_member(tmp_path / "mine", tiny, oof=files[0], test=files[1], audit=tmp_path / "audit")
    member = load_member(tmp_path / "mine")
    assert len(member.oof) == N_TRAIN - 1
    assert member.test is not None
    row = member.test.probabilities[member.test.ids.index("test0003")]
    np.testing.assert_allclose(row, np.bincount(tiny.labels) / N_TRAIN)


def test_partial_members_blend_on_the_common_photos(
    tmp_path: Path, tiny: CompetitionData, audit: Path, files: tuple[Path, Path], make_run: Callable[..., RunDir]
) -> None:
    table = pd.read_csv(files[0])
    table[table["fold"] < 2].to_csv(files[0], index=False)
    with pytest.raises(SubmissionError, match="300 train photos without a row"):
        add_member(tmp_path / "mine", tiny, oof=files[0], test=files[1], audit=audit)
    add_member(tmp_path / "mine", tiny, oof=files[0], test=files[1], audit=audit, partial=True)
    found = study([make_run("a", 1.0, 5), tmp_path / "mine"], tiny, common=True)
    assert len(found.stack.ids) == 300


def test_blend_report_doctor_and_ledger_take_it(
    tmp_path: Path, tiny: CompetitionData, audit: Path, files: tuple[Path, Path], make_run: Callable[..., RunDir]
) -> None:
    mine, ours = tmp_path / "mine", make_run("a", 1.0, 5).path
    add_member(mine, tiny, oof=files[0], test=files[1], folds="unknown", audit=audit)
    found, report = blend_runs([ours, mine], tiny, tmp_path / "blend")
    assert report is not None
    assert found.result.log_loss < min(study([ours, mine], tiny, method="single").score.log_loss, 2.0)
    assert found.optimism is not None
    assert str(found.optimism) in read_json(tmp_path / "blend" / "metrics.json")["notes"]
    ledger = Ledger(tmp_path / "ledger.csv")
    for run in (mine, tmp_path / "blend"):
        diagnosis = examine(run / "submission.csv", run, tiny, ledger=ledger)
        assert diagnosis.relation.kind == "same"
        entry, _ = record_submission(run / "submission.csv", run, tiny, ledger)
        assert entry.interval_low < entry.oof_log_loss < entry.interval_high
    assert ledger.entries()[1].members == ("a", "mine")
    page = write_run_report(RunDir(mine), tiny)
    text = page.read_text(encoding="utf-8")
    assert "Recipe mine" in text
    assert "its folds are unknown: they may part 2 photos from their duplicates" in text


def test_arrays_of_a_notebook_blend_without_a_file(
    tiny: CompetitionData, theirs: CVResult, make_cv: MakeCV, fold_of: np.ndarray
) -> None:
    assert theirs.test is not None
    ours = make_cv("a", 1.0, 5)
    order, columns = np.random.default_rng(0).permutation(N_TRAIN), [3, 1, 4, 0, 2]
    member = Member.from_arrays(
        [theirs.oof.ids[row] for row in order],
        [BREEDS[column] for column in columns],
        np.log(theirs.oof.probabilities)[order][:, columns],
        np.log(theirs.test.probabilities)[:, columns],
        [f"part {fold}" for fold in fold_of[order]],
        test_ids=theirs.test.ids,
        scale="logits",
        name="mine",
    )
    found, same = study([ours, member], tiny), study([ours, theirs], tiny)
    assert found.optimism is None  # the folds are the run's, under other names
    assert found.result.members == ("a", "mine")
    np.testing.assert_allclose(found.nested, same.nested, atol=1e-9)
    assert blend([ours, member], tiny).log_loss == pytest.approx(same.score.log_loss)


def test_a_member_of_a_notebook_becomes_the_same_folder(
    tmp_path: Path, tiny: CompetitionData, audit: Path, files: tuple[Path, Path], theirs: CVResult
) -> None:
    assert theirs.test is not None
    probabilities = theirs.oof.probabilities, theirs.test.probabilities
    member = Member.from_arrays(tiny.train_ids, BREEDS, *probabilities, apart(tiny).tolist(), test_ids=theirs.test.ids)
    write_member(member, tiny, tmp_path / "one" / "mine", AuditReport.load(audit))
    add_member(tmp_path / "two" / "mine", tiny, oof=files[0], test=files[1], audit=audit)
    one, two = load_member(tmp_path / "one" / "mine"), load_member(tmp_path / "two" / "mine")
    np.testing.assert_allclose(one.oof.probabilities, two.oof.probabilities, atol=1e-12)
    assert (one.folds, one.groups) == (two.folds, two.groups)


def test_bad_arrays_are_refused(tiny: CompetitionData, theirs: CVResult) -> None:
    p = theirs.oof.probabilities

    def refused(told: str, kind: type[KitError] = SubmissionError, **changed: object) -> None:
        given = {"ids": tiny.train_ids, "classes": BREEDS, "oof": p, **changed}
        with pytest.raises(kind, match=told):
            Member.from_arrays(**given)  # type: ignore[arg-type]

    refused(r"expected numbers of shape \(600, 5\), ids x classes, got float64 of shape \(599, 5\)", oof=p[1:])
    refused("id 'train0001' appears more than once", ids=("train0001", *tiny.train_ids[1:]))
    refused("class 'chow' appears more than once", classes=("chow", *BREEDS[1:4], "chow"))
    refused("are they logits", oof=np.log(p))
    refused("3 folds for 600 photos", folds=[0, 1, 2])
    refused("test predictions and test_ids belong together", UsageError, test=p[:80])


def test_a_foreign_member_does_not_excuse_two_runs_of_other_folds(
    tiny: CompetitionData, make_cv: MakeCV, fold_of: np.ndarray
) -> None:
    mine = Member.from_arrays(tiny.train_ids, BREEDS, make_cv("c", 1.0, 7).oof.probabilities)
    runs = [dataclasses.replace(make_cv(name, 1.0, seed, folds=folds), test=None)
            for name, seed, folds in (("a", 5, fold_of), ("b", 6, np.roll(fold_of, 1)))]  # fmt: skip
    with pytest.raises(SubmissionError, match="'a' and 'b' were made with different folds"):
        study([mine, *runs], tiny)
