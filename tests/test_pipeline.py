"""The whole way on a small drawn competition: what a run leaves, what a second start does, what a kill loses."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from competition import pipeline
from competition.config import ProbeConfig
from competition.data.sample.competition import draw_sample
from competition.data.source.layout import load_data
from competition.errors import DataError, ResumeError
from competition.types import Predictions
from tests.training.conftest import save_local_dir

CONFIG = ProbeConfig(
    name="probe", n_folds=3, strengths=(1.0, 0.1, 0.01), batch_size=8, workers=0, device="cpu", precision="float32"
)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three drawn breeds, twelve train pictures each, three test pictures each, with the planted defects."""
    folder = tmp_path_factory.mktemp("sample") / "sample"
    return draw_sample(folder, breeds=3, train_per_breed=12, test_per_breed=3)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two backbones with random weights."""
    folder = tmp_path_factory.mktemp("weights")
    save_local_dir(folder / "first")
    save_local_dir(folder / "second", seed=1)
    return folder


@pytest.fixture(scope="module")
def finished(sample: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> pipeline.RunResult:
    """A whole run."""
    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOGBREED_CACHE", str(cache))
        return pipeline.run(sample, CONFIG, tmp_path_factory.mktemp("runs") / "probe", weights=weights)


def test_a_run_leaves_what_the_design_promises(finished: pipeline.RunResult) -> None:
    names = {path.name for path in finished.folder.iterdir()}
    promised = "config.json manifest.json history.csv tensorboard oof.npz test.npz metrics.json folds.csv audit.csv"
    assert set(promised.split()) | {"audit.html", "submission.csv", "fold0", "fold1", "fold2"} <= names
    assert finished.report.is_file()
    manifest = json.loads((finished.folder / "manifest.json").read_text())
    assert {"seed", "versions", "data_digest", "command", "commit", "steps", "weights"} <= set(manifest)
    assert set(manifest["steps"]) == {"audit", "folds", "embed", "probe", "submission", "report"}


def test_the_submission_has_the_rows_and_columns_of_the_sample(sample: Path, finished: pipeline.RunResult) -> None:
    wanted, got = (
        list(csv.reader(path.open())) for path in (sample / "sample_submission.csv", finished.folder / "submission.csv")
    )
    assert got[0] == wanted[0]
    assert [row[0] for row in got] == [row[0] for row in wanted]
    sums = np.array([[float(cell) for cell in row[1:]] for row in got[1:]]).sum(axis=1)
    np.testing.assert_allclose(sums, 1, atol=1e-6)


def test_out_of_fold_covers_every_readable_train_photo_once(sample: Path, finished: pipeline.RunResult) -> None:
    report = json.loads((finished.folder / "audit.json").read_text())
    unreadable = {name for split, name, _ in report["unreadable"] if split == "train"}
    assert len(unreadable) == 1
    assert set(finished.cv.oof.ids) == set(load_data(sample).train_ids) - unreadable


def test_a_second_start_reads_back_the_same(
    sample: Path, weights: Path, finished: pipeline.RunResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.folder.glob("*.*")}
    monkeypatch.setattr("competition.training.cross_validate._probe", lambda *_: pytest.fail("fitted again"))
    again = pipeline.run(sample, CONFIG, finished.folder, weights=weights)
    assert again.cv.oof.digest == finished.cv.oof.digest
    assert again.cv.log_loss == finished.cv.log_loss
    after = {path: path.stat().st_mtime_ns for path in finished.folder.glob("*.*")}
    assert after == before


def test_another_configuration_is_refused_with_the_difference(
    sample: Path, weights: Path, finished: pipeline.RunResult
) -> None:
    with pytest.raises(ResumeError, match="seed: 42 -> 7"):
        pipeline.run(sample, CONFIG.override(["seed=7"]), finished.folder, weights=weights)


def test_other_data_are_refused(sample: Path, weights: Path, finished: pipeline.RunResult, tmp_path: Path) -> None:
    other = draw_sample(tmp_path / "other", seed=5, breeds=3, train_per_breed=12, test_per_breed=3)
    with pytest.raises(ResumeError, match="data_digest"):
        pipeline.run(other, CONFIG, finished.folder, weights=weights)


def test_photos_that_the_run_never_saw_are_predicted(
    sample: Path, weights: Path, finished: pipeline.RunResult, tmp_path: Path
) -> None:
    archive = tmp_path / "other.zip"
    photos = sorted((sample / "test").iterdir())[:4]
    with zipfile.ZipFile(archive, "w") as stream:
        for number, photo in enumerate(photos):
            stream.write(photo, f"test/new{number}.jpg")
    report = pipeline.predict(finished.folder, archive, tmp_path / "s.csv", weights=weights)
    assert report.ok
    rows = {row["id"]: row for row in csv.DictReader((tmp_path / "s.csv").open())}
    stored = Predictions.load(finished.folder / "test.npz")
    for number, photo in enumerate(photos):
        expected = stored.probabilities[stored.ids.index(photo.stem)]
        got = [float(rows[f"new{number}"][name]) for name in stored.classes]
        np.testing.assert_allclose(got, expected, atol=1e-5)


def test_an_unreadable_test_photo_keeps_its_row(
    sample: Path, weights: Path, finished: pipeline.RunResult, tmp_path: Path
) -> None:
    folder = tmp_path / "other" / "test"
    folder.mkdir(parents=True)
    shutil.copy(next((sample / "test").iterdir()), folder / "good.jpg")
    (folder / "bad.jpg").write_text("this is no photo")
    pipeline.predict(finished.folder, folder.parent, tmp_path / "s.csv", weights=weights)
    rows = {row["id"]: row for row in csv.DictReader((tmp_path / "s.csv").open())}
    assert set(rows) == {"good", "bad"}
    bad = [float(rows["bad"][name]) for name in finished.cv.oof.classes]
    np.testing.assert_allclose(bad, finished.cv.oof.probabilities.mean(0), atol=1e-6)


def test_weights_other_than_the_runs_are_refused(sample: Path, finished: pipeline.RunResult, tmp_path: Path) -> None:
    for name in ("first", "second"):
        save_local_dir(tmp_path / "weights" / name, seed=9)
    with pytest.raises(ResumeError, match=r"holds other weights than those .* was made with: pass the same --weights"):
        pipeline.predict(finished.folder, sample, tmp_path / "s.csv", weights=tmp_path / "weights")


def test_relabelling_names_what_is_wrong(sample: Path, tmp_path: Path) -> None:
    data = load_data(sample)
    path = tmp_path / "suspects.csv"
    path.write_text(f"id,given,suggested\n{data.train_ids[0]},x,{data.classes[-1]}\n")
    assert pipeline.relabelled(data, path).train[0].breed == data.classes[-1]
    path.write_text("id,given,suggested\nnobody,x,y\n")
    with pytest.raises(DataError, match="'nobody', which is not in train"):
        pipeline.relabelled(data, path)


KILLED = """
import os, signal, sys
from pathlib import Path
from competition import pipeline
from competition.training.probe import {module} as module
from tests.test_pipeline import CONFIG
original, calls = module.{function}, [0]
def dies(*arguments, **named):
    calls[0] += 1
    if calls[0] == {at}:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments, **named)
module.{function} = dies
module.CHUNK_BATCHES = 1
pipeline.run(sys.argv[1], CONFIG, Path(sys.argv[2]), weights=sys.argv[3])
"""


@pytest.mark.parametrize(("module", "function", "at"), [("embed", "_forward", 9), ("linear_probe", "solve", 3)])
def test_killed_and_started_again_gives_the_same_numbers(
    module: str,
    function: str,
    at: int,
    sample: Path,
    weights: Path,
    finished: pipeline.RunResult,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DOGBREED_CACHE", str(tmp_path / "cache"))
    code = KILLED.format(module=module, function=function, at=at)
    arguments = [sys.executable, "-c", code, str(sample), str(tmp_path / "run"), str(weights)]
    places = os.pathsep.join([str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        arguments, env={**os.environ, "PYTHONPATH": places}, capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (tmp_path / "run" / "metrics.json").exists()
    again = pipeline.run(sample, CONFIG, tmp_path / "run", weights=weights)
    assert again.cv.log_loss == finished.cv.log_loss
    np.testing.assert_array_equal(again.cv.test.probabilities, finished.cv.test.probabilities)  # type: ignore[union-attr]
    assert (again.folder / "submission.csv").read_bytes() == (finished.folder / "submission.csv").read_bytes()
