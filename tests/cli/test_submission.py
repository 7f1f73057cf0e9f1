"""`dogbreed submission ...` and `dogbreed blend` as a user meets them: output, exit codes, one line per mistake."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from competition.cli import main
from competition.data.audit.report import AuditReport
from competition.data.source.competition_data import CompetitionData
from competition.data.source.layout import load_data
from competition.prediction.submission.write import read_submission, write_submission
from competition.record.run_dir import RunDir
from competition.types import CVResult, Predictions


@pytest.fixture
def place(
    tmp_path: Path, tiny: CompetitionData, make_run: Callable[..., RunDir], monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A folder with the competition on disk, two runs and a submission."""
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "data"
    for part in ("train", "test"):
        (root / part).mkdir(parents=True)
    for photo in tiny.train:
        (root / "train" / f"{photo.id}.jpg").write_bytes(b"x")
    for photo in tiny.test:
        (root / "test" / f"{photo.id}.jpg").write_bytes(b"x")
    rows = [f"{photo.id},{photo.breed}" for photo in tiny.train]
    (root / "labels.csv").write_text("\n".join(["id,breed", *rows]) + "\n")
    write_submission(
        Predictions(tiny.test_ids, tiny.classes, [[0.2] * 5] * len(tiny.test)), tiny, root / "sample_submission.csv"
    )
    for name, seed in (("a", 5), ("b", 6)):
        run = make_run(name, 1.0, seed)
        write_submission(Predictions.load(run / "test.npz"), tiny, run / "submission.csv")
    return tmp_path


@dataclass(frozen=True)
class Done:
    stdout: str
    stderr: str


@pytest.fixture
def dogbreed(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Runs the command line in this process; checks the exit code."""

    def run(*arguments: str | Path, fails: int = 0) -> Done:
        monkeypatch.setattr(sys, "argv", ["dogbreed", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main()
        said = capsys.readouterr()
        assert (stopped.value.code or 0) == fails, said.err + said.out
        return Done(said.out, said.err)

    return run


Dogbreed = Callable[..., Done]


def test_check_accepts_and_refuses(place: Path, dogbreed: Dogbreed) -> None:
    good = place / "runs" / "a" / "submission.csv"
    assert "valid, 80 rows" in dogbreed("submission", "check", good, "--data", "data").stdout
    bad = place / "bad.csv"
    bad.write_text(good.read_text().replace("basset", "Basset", 1))
    done = dogbreed("submission", "check", bad, "--sample", "data/sample_submission.csv", fails=1)
    assert "error: 1 unknown column: 'Basset' - did you mean 'basset'?" in done.stdout
    assert "NOT valid" in done.stdout
    told = json.loads(dogbreed("submission", "check", bad, "--data", "data", "--json", fails=1).stdout)
    assert told["ok"] is False
    assert len(told["errors"]) == 2


def test_blend_then_list_then_score(place: Path, dogbreed: Dogbreed) -> None:
    done = dogbreed("blend", "runs/a", "runs/b", "--out", "runs/both", "--data", "data")
    assert "taken: " in done.stdout
    assert "runs/both/submission.csv: valid, 80 rows" in done.stdout
    assert "expected score" in done.stdout
    assert "runs/both/submission.csv" in dogbreed("submission", "list").stdout
    assert "interval" in dogbreed("submission", "score", "runs/both/submission.csv", "0.7").stdout
    (entry,) = json.loads(dogbreed("submission", "list", "--json").stdout)
    assert entry["public_score"] == 0.7
    assert entry["members"] == ["a", "b"]


def as_csv(predictions: Predictions, path: Path, **columns: object) -> Path:
    """A table as pandas users save it, breeds in falling order."""
    table = pd.DataFrame(predictions.probabilities, columns=list(predictions.classes))[list(predictions.classes)[::-1]]
    table.insert(0, "id", predictions.ids)
    table.assign(**columns).to_csv(path, index=False)
    return path


def test_predictions_from_elsewhere_are_added_and_blended(
    place: Path, dogbreed: Dogbreed, tiny: CompetitionData, make_cv: Callable[..., CVResult]
) -> None:
    theirs = make_cv("theirs", 1.0, 9)
    assert theirs.test is not None
    oof = as_csv(theirs.oof, place / "oof.csv", fold=np.arange(len(tiny.train)) % 4)
    test = as_csv(theirs.test, place / "test.csv")
    AuditReport(train_photos=len(tiny.train), data_digest=load_data(place / "data").digest).save(place / "audit")
    common = ("--data", "data", "--audit", "audit")
    done = dogbreed("member", "add", "theirs", "--oof", oof, "--test", test, *common)
    assert "runs/theirs/submission.csv: valid, 80 rows" in done.stdout
    assert f"log loss {theirs.log_loss:.4f}" in done.stderr
    done = dogbreed("blend", "runs/a", "runs/b", "runs/theirs", "--out", "runs/all", "--data", "data")
    assert "optimistic" in done.stdout + done.stderr  # its folds are others than those of the runs
    dogbreed("member", "add", "public", "--test", test, *common)
    done = dogbreed(
        "blend", "runs/a", "runs/b", "--by-hand", "runs/public=0.25", "--out", "runs/mixed", "--data", "data"
    )
    assert "not known: the score" in done.stdout + done.stderr
    mixed = read_submission(place / "runs" / "mixed" / "submission.csv", tiny).probabilities
    fitted = Predictions.load(place / "runs" / "mixed" / "test.npz").probabilities
    np.testing.assert_allclose(mixed, 0.75 * fitted + 0.25 * theirs.test.probabilities, atol=1e-6)


def test_mistakes_with_predictions_from_elsewhere_are_one_line(place: Path, dogbreed: Dogbreed) -> None:
    (place / "oof.csv").write_text("id,pug\nx,1\n")
    for arguments in (
        ("member", "add", "theirs", "--data", "data"),
        ("member", "add", "theirs", "--oof", "oof.csv", "--data", "data"),
        ("blend", "runs/a", "runs/b", "--by-hand", "runs/b=2", "--out", "runs/c", "--data", "data"),
    ):
        said = dogbreed(*arguments, fails=2 if "--by-hand" in arguments or "--oof" not in arguments else 1).stderr
        assert len([line for line in said.splitlines() if line.startswith("dogbreed: ")]) == 1, said
    assert not (place / "runs" / "theirs").exists()
    assert not (place / "runs" / "c").exists()


def test_doctor_prints_writes_a_page_and_json(place: Path, dogbreed: Dogbreed) -> None:
    arguments = ("submission", "doctor", "runs/a/submission.csv", "--run", "runs/a", "--data", "data")
    done = dogbreed(*arguments, "--out", "doctor.html")
    assert "expected log loss" in done.stdout
    assert (place / "doctor.html").read_text().startswith("<!doctype html>")
    told = json.loads(dogbreed(*arguments, "--json").stdout)
    assert told["relation"]["kind"] == "same"
    assert told["expected"]["low"] < told["expected"]["log_loss"] < told["expected"]["high"]


def test_split_and_grade(place: Path, dogbreed: Dogbreed) -> None:
    dogbreed("submission", "split", "--data", "data", "--out", "split")
    answers = ("--answers", "split/private/answers.csv")
    done = dogbreed("submission", "grade", "split/public/sample_submission.csv", *answers)
    assert done.stdout == "log loss 1.60944\n"
    assert "log_loss" in json.loads(
        dogbreed("submission", "grade", "split/public/sample_submission.csv", *answers, "--json").stdout
    )


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("submission", "doctor", "runs/a/submission.csv", "--run", "nowhere"), 1, "nowhere is not a run folder"),
        (("submission", "doctor", "nowhere.csv", "--run", "runs/a"), 1, "there is no such file"),
        (("blend", "runs/a", "--out", "x"), 2, "at least two runs, got 1"),
        (("blend", "runs/a", "runs/a", "--out", "x"), 2, "give each run once"),
        (("blend", "runs/a", "runs/b", "--out", "x", "--method", "wieghts"), 2, "did you mean 'weights'"),
        (("blend", "runs/a", "runs/b", "--out", "runs/a"), 1, "holds another run"),
        (("submission", "score", "nowhere.csv", "0.3"), 2, "has no row for 'nowhere.csv'"),
        (("submission", "score", "nowhere.csv"), 2, "give a score"),
    ],
)
def test_a_mistake_gives_one_line(
    place: Path, dogbreed: Dogbreed, arguments: tuple[str, ...], code: int, said: str
) -> None:
    extra = ("--data", "data") if arguments[1] != "score" else ()
    done = dogbreed(*arguments, *extra, fails=code)
    lines = [line for line in done.stderr.splitlines() if line.startswith("dogbreed:")]
    assert len(lines) == 1
    assert said in lines[0]
    assert "Traceback" not in done.stderr
    assert not (place / "x").exists()
