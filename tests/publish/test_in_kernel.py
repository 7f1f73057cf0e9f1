"""What a kernel's own code calls: its files land in the working folder with their digests written down."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from competition.prediction.submission.check import SubmissionReport
from competition.publish import in_kernel
from competition.publish.output_record import check_record


@pytest.fixture
def kaggle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A simulated Kaggle; returns its working folder."""
    (tmp_path / "input").mkdir()
    (tmp_path / "working").mkdir()
    monkeypatch.setenv("DOGBREED_KAGGLE_ROOT", str(tmp_path))
    monkeypatch.setenv(in_kernel.KIT_DIGEST, "abc")
    return tmp_path / "working"


def test_the_working_folder_is_kaggles_or_the_current_one(kaggle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert in_kernel.working() == kaggle
    monkeypatch.setenv("DOGBREED_KAGGLE_ROOT", "/nowhere")
    assert in_kernel.working() == Path.cwd()


def test_a_submission_is_delivered_with_its_digest(kaggle: Path, tmp_path: Path) -> None:
    (tmp_path / "run.csv").write_text("id,pug\n")
    assert in_kernel.deliver(tmp_path / "run.csv") == kaggle / "submission.csv"
    record = check_record(kaggle, required=True)
    assert record["kit"] == "abc"
    assert record["files"]["submission.csv"]["sha256"] == hashlib.sha256(b"id,pug\n").hexdigest()


def test_a_run_without_a_submission_delivers_none(kaggle: Path) -> None:
    assert in_kernel.deliver(None) is None
    assert list(kaggle.iterdir()) == []


def test_a_submission_written_in_place_is_told_and_recorded(kaggle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (kaggle / "submission.csv").write_text("id,pug\na,1\n")
    in_kernel.delivered(SubmissionReport(kaggle / "submission.csv", notes=("one note",), rows=1))
    assert "1 rows, valid" in (told := capsys.readouterr().out)
    assert "note: one note" in told
    assert set(check_record(kaggle, required=True)["files"]) == {"submission.csv"}


def test_metrics_are_left_with_their_digest(kaggle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    in_kernel.leave_metrics({"accuracy": 0.5, "per_class": {"pug": 1}})
    assert json.loads(capsys.readouterr().out) == {"accuracy": 0.5}
    assert json.loads((kaggle / "metrics.json").read_text())["per_class"] == {"pug": 1}
    assert set(check_record(kaggle, required=True)["files"]) == {"metrics.json"}
