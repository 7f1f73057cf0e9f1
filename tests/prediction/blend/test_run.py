"""`dogbreed blend` end to end on made-up runs: the folder, the pictures, the ledger, a blend of a blend."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from competition.data.audit.report import AuditReport
from competition.data.source.competition_data import CompetitionData
from competition.errors import ResumeError
from competition.files import read_json
from competition.prediction.blend.combiners import COMBINERS
from competition.prediction.blend.members import load_member
from competition.prediction.blend.pictures import PICTURES
from competition.prediction.blend.run import blend_runs
from competition.prediction.blend.text import study_lines, table
from competition.prediction.ledger.ledger import Ledger
from competition.prediction.ledger.record_submission import record_submission
from competition.prediction.ledger.text import ledger_lines
from competition.prediction.submission.write import read_submission
from competition.record.metrics import log_loss
from competition.record.run_dir import RunDir
from competition.types import Predictions


@pytest.fixture
def runs(make_run: Callable[..., RunDir]) -> list[Path]:
    return [make_run(name, noise, seed).path for name, noise, seed in (("a", 1.0, 5), ("b", 1.0, 6), ("c", 2.0, 7))]


def test_the_folder_holds_what_a_run_holds(runs: list[Path], tiny: CompetitionData, tmp_path: Path) -> None:
    AuditReport(train_photos=600).save(runs[1])
    out = tmp_path / "blend"
    found, report = blend_runs(runs, tiny, out)
    assert report is not None
    assert report.ok
    for name in ("config.json", "manifest.json", "folds.csv", "oof.npz", "test.npz", "metrics.json", "submission.csv",
                 "methods.csv", "audit.json", *PICTURES):  # fmt: skip
        assert (out / name).stat().st_size > 0, name
    metrics = read_json(out / "metrics.json")
    oof = Predictions.load(out / "oof.npz")
    assert metrics["log_loss"] == pytest.approx(log_loss(oof.probabilities, tiny.labels))
    assert [fold["photos"] for fold in metrics["folds"]] == [120] * 5
    assert np.mean([fold["log_loss"] for fold in metrics["folds"]]) == pytest.approx(metrics["log_loss"])
    assert {row["method"] for row in metrics["candidates"]} == set(COMBINERS)
    written, test = read_submission(out / "submission.csv", tiny), Predictions.load(out / "test.npz")
    np.testing.assert_allclose(written.probabilities, test.probabilities, atol=1e-9)
    assert found.result.log_loss == metrics["log_loss"]


def test_what_a_killed_blend_left_is_gone(runs: list[Path], tiny: CompetitionData, tmp_path: Path) -> None:
    out = tmp_path / "blend"
    blend_runs(runs, tiny, out)
    wanted = {path.relative_to(out) for path in out.rglob("*")}
    (out / ".members.png.k3jx_9ab.tmp").write_text("half a picture, of an older version")
    (out / ".oof.npz.abcdefgh.tmp").mkdir()
    (out / ".oof.npz.abcdefgh.tmp" / ".tmpX1").write_text("a library's")
    blend_runs(runs, tiny, out)
    assert {path.relative_to(out) for path in out.rglob("*")} == wanted


def test_the_pictures_show_something(runs: list[Path], tiny: CompetitionData, tmp_path: Path) -> None:
    blend_runs(runs, tiny, tmp_path / "blend")
    for name in PICTURES:
        with Image.open(tmp_path / "blend" / name) as picture:
            assert min(picture.size) > 300
            assert len(set(picture.convert("L").resize((80, 80)).tobytes())) > 20


def test_a_blend_can_be_blended_again(
    runs: list[Path], tiny: CompetitionData, tmp_path: Path, make_run: Callable[..., RunDir]
) -> None:
    blend_runs(runs[:2], tiny, tmp_path / "first")
    member = load_member(tmp_path / "first")
    assert member.data_digest == tiny.digest
    found, _ = blend_runs([tmp_path / "first", runs[2]], tiny, tmp_path / "second")
    assert found.result.members == ("first", "c")


def test_the_same_blend_again_is_the_same_and_another_is_refused(
    runs: list[Path], tiny: CompetitionData, tmp_path: Path
) -> None:
    out = tmp_path / "blend"
    blend_runs(runs[:2], tiny, out)
    before = (out / "submission.csv").read_bytes()
    blend_runs(runs[:2], tiny, out)
    assert (out / "submission.csv").read_bytes() == before
    with pytest.raises(ResumeError, match="holds another run"):
        blend_runs(runs, tiny, out)


def test_without_test_predictions_there_is_no_submission(
    runs: list[Path], tiny: CompetitionData, tmp_path: Path
) -> None:
    for run in runs:
        (run / "test.npz").unlink()
    found, report = blend_runs(runs, tiny, tmp_path / "blend")
    assert report is None
    assert found.result.test is None
    assert not (tmp_path / "blend" / "submission.csv").exists()


def test_the_words_name_members_methods_and_the_choice(runs: list[Path], tiny: CompetitionData, tmp_path: Path) -> None:
    found, _ = blend_runs(runs, tiny, tmp_path / "blend")
    said = "\n".join(study_lines(found))
    assert f"taken: {found.chosen} (nested log loss {found.score.log_loss:.4f})" in said
    assert all(f"| {name}" in said for name in ("a", "b", "c", *COMBINERS))


def test_tables_line_up() -> None:
    assert table(["a", "bb"], [["ccc", "d"]]) == ["| a   | bb |", "|-----|----|", "| ccc | d  |"]


def test_a_blend_is_written_down_with_members_weights_and_interval(
    runs: list[Path], tiny: CompetitionData, tmp_path: Path
) -> None:
    out = tmp_path / "blend"
    found, _ = blend_runs(runs, tiny, out, method="weights")
    ledger = Ledger(tmp_path / "submissions" / "ledger.csv")
    entry, twins = record_submission(out / "submission.csv", out, tiny, ledger)
    assert twins == ()
    assert ledger.entries()[0].members == ("a", "b", "c")
    assert entry.weights == pytest.approx(found.score.weights)
    assert entry.method == "weights"
    assert entry.rows == len(tiny.test)
    assert entry.interval_low < entry.oof_log_loss < entry.interval_high
    assert entry.file == "blend/submission.csv"
    assert len(set(entry.config_digests)) == 3
    again, _ = record_submission(out / "submission.csv", out, tiny, ledger, note="sent by hand")
    assert [row.note for row in ledger.entries()] == ["sent by hand"] == [again.note]
    assert again.digest == entry.digest
    assert "sent by hand" in "".join(ledger_lines(ledger.entries()))
    single, twins = record_submission(out / "submission.csv", runs[0], tiny, Ledger(tmp_path / "other.csv"))
    assert single.members == ("a",)
    assert json.dumps(single.to_dict())
