"""Test predictions alone in a blend: the weight is the user's, and what cannot be known is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from competition.data.audit.report import AuditReport
from competition.data.source.competition_data import CompetitionData
from competition.errors import DataError, SubmissionError, UsageError
from competition.files import read_json
from competition.prediction.blend.add_member import add_member
from competition.prediction.blend.by_hand import load_by_hand, mixed, parse_weights
from competition.prediction.blend.run import blend_runs
from competition.prediction.blend.study import blend
from competition.prediction.doctor.examine import examine
from competition.prediction.ledger.ledger import Ledger
from competition.prediction.ledger.record_submission import record_submission
from competition.prediction.ledger.text import ledger_lines, record_lines
from competition.prediction.submission.write import read_submission, write_submission
from competition.record.run_dir import RunDir
from competition.types import CVResult, Predictions


@pytest.fixture
def public(tmp_path: Path, tiny: CompetitionData, make_cv: Callable[..., CVResult]) -> Path:
    """A submission that somebody made public, as a run folder."""
    test = make_cv("public", 0.8, 11).test
    assert test is not None
    AuditReport(data_digest=tiny.digest).save(tmp_path / "audit")
    write_submission(test, tiny, tmp_path / "public.csv")
    add_member(tmp_path / "runs" / "public", tiny, test=tmp_path / "public.csv", audit=tmp_path / "audit")
    return tmp_path / "runs" / "public"


def test_the_submission_is_the_mixture_and_the_folder_says_what_is_not_known(
    public: Path, tmp_path: Path, tiny: CompetitionData, make_run: Callable[..., RunDir],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    runs = [make_run(name, 1.0, seed).path for name, seed in (("a", 5), ("b", 6))]
    out = tmp_path / "blend"
    found, report = blend_runs(runs, tiny, out, by_hand={public: 0.25})
    assert report is not None
    fitted, other = Predictions.load(out / "test.npz"), Predictions.load(public / "test.npz")
    np.testing.assert_allclose(
        read_submission(out / "submission.csv", tiny).probabilities,
        0.75 * fitted.probabilities + 0.25 * other.probabilities,
        atol=1e-9,
    )
    notes = read_json(out / "metrics.json")["notes"]
    assert any("by hand: 'public' is 0.250 of the submission" in note for note in notes)
    unknown = next(note for note in notes if note.startswith("not known: the score"))
    assert f"{found.result.log_loss:.4f} is the log loss of the rest alone" in unknown
    assert unknown in capsys.readouterr().err.replace("\n", " ")
    assert examine(out / "submission.csv", out, tiny).by_beliefs
    ledger = Ledger(tmp_path / "ledger.csv")
    entry, twins = record_submission(out / "submission.csv", out, tiny, ledger)
    assert entry.members == ("a", "b", "public")
    assert sum(entry.weights) == pytest.approx(1)
    assert entry.weights[2] == 0.25
    assert np.isnan([entry.oof_log_loss, entry.interval_low, entry.interval_high]).all()
    assert "cannot be foretold" in next(record_lines(entry, twins))
    assert "0.25 public" in "".join(ledger_lines(ledger.entries()))


def test_one_run_is_enough_beside_it(
    public: Path, tmp_path: Path, tiny: CompetitionData, make_run: Callable[..., RunDir]
) -> None:
    run = make_run("a", 1.0, 5).path
    _, report = blend_runs([run], tiny, tmp_path / "blend", by_hand={public: 0.5})
    assert report is not None
    with pytest.raises(UsageError, match="at least two runs, got 1"):
        blend_runs([run], tiny, tmp_path / "other")


def test_it_cannot_be_a_member_that_is_fitted(
    public: Path, tiny: CompetitionData, make_run: Callable[..., RunDir]
) -> None:
    with pytest.raises(DataError, match=r"has test predictions only: blend it with --by-hand .*public=0\.2"):
        blend([make_run("a", 1.0, 5), public], tiny)


def test_weights_are_read_and_refused(tmp_path: Path, make_run: Callable[..., RunDir]) -> None:
    assert parse_weights(["a=0.2", "b=c=0.3"]) == {Path("a"): 0.2, Path("b=c"): 0.3}
    for texts, told in (
        (["a"], "--by-hand a: write RUN=WEIGHT"),
        (["a=1"], "a weight between 0 and 1"),
        (["a=nan"], "a weight between 0 and 1"),
        (["a=0.2", "a=0.3"], "gives a twice"),
        (["a=0.5", "b=0.5"], "sum to 1: leave some"),
    ):
        with pytest.raises(UsageError, match=told):
            parse_weights(texts)
    run = make_run("a", 1.0, 5)
    (run / "test.npz").unlink()
    with pytest.raises(DataError, match="no test predictions"):
        load_by_hand({run.path: 0.2})


def test_other_photos_and_breeds_are_refused_before_the_blend(public: Path, make_cv: Callable[..., CVResult]) -> None:
    (other,) = load_by_hand({public: 0.2})
    test = make_cv("a", 1.0, 5).test
    assert test is not None
    with pytest.raises(SubmissionError, match="'public' does not fit the others: 1 test photo without a prediction"):
        mixed(Predictions(("new", *test.ids[1:]), test.classes, test.probabilities), [other])
    with pytest.raises(SubmissionError, match="unknown column"):
        mixed(Predictions(test.ids, ("pug", *test.classes[1:]), test.probabilities), [other])
