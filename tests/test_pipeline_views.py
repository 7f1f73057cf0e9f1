"""A fine-tuned run with more views than two: how they are merged is chosen out of fold, everywhere alike."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from competition import pipeline
from competition.prediction.views.merge_run import merge_run
from competition.record.metrics import log_loss
from competition.record.run_dir import RunDir
from competition.types import Predictions
from tests.training.small_fold import small_config, small_data

VIEWS = ("identity", "hflip", "small")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[pipeline.RunResult, pipeline.RunResult]:
    """Two starts of the same run."""
    folder = tmp_path_factory.mktemp("views")
    data = small_data(folder / "photos", count=36, test=4)
    config = small_config(n_folds=2, epochs=1, views=VIEWS)
    first = pipeline.run(data, config, folder / "run")
    return first, pipeline.run(data, config, folder / "run")


def test_the_run_has_the_score_of_the_chosen_merge(
    finished: tuple[pipeline.RunResult, pipeline.RunResult],
) -> None:
    first, second = finished
    metrics = json.loads((first.folder / "metrics.json").read_text())
    chosen = json.loads((first.folder / "tta.json").read_text())
    assert metrics["merge"] == {"method": chosen["method"], "views": chosen["views"]}
    assert metrics["log_loss"] == first.cv.log_loss == chosen["log_loss"] == second.cv.log_loss
    assert min(row["log_loss"] for row in chosen["table"]) == chosen["best_log_loss"]
    assert first.cv.oof.digest == second.cv.oof.digest
    for fold in first.cv.folds:
        labels = np.array([int(name[1:]) % 3 for name in fold.valid.ids])
        assert fold.log_loss == pytest.approx(log_loss(fold.valid.probabilities, labels))


def test_photos_predicted_later_are_merged_the_same_way(
    finished: tuple[pipeline.RunResult, pipeline.RunResult], tmp_path: Path
) -> None:
    run = finished[0].folder
    stored = Predictions.load(run / "test.npz")
    photos = tmp_path / "new" / "test"
    photos.mkdir(parents=True)
    for name in stored.ids:
        shutil.copy(run.parent / "photos" / f"{name}.png", photos)
    pipeline.predict(run, photos.parent, tmp_path / "s.csv")
    rows = {row["id"]: row for row in csv.DictReader((tmp_path / "s.csv").open())}
    for name, expected in zip(stored.ids, stored.probabilities, strict=True):
        np.testing.assert_allclose([float(rows[name][breed]) for breed in stored.classes], expected, atol=1e-5)


def test_a_run_made_on_gpus_that_are_not_here_predicts_all_the_same(
    finished: tuple[pipeline.RunResult, pipeline.RunResult], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished[0].folder, run)
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"device": "cuda:0,cuda:97"}))
    photos = tmp_path / "new" / "test"
    photos.mkdir(parents=True)
    shutil.copy(next((finished[0].folder.parent / "photos").glob("*.png")), photos)
    assert pipeline.predict(run, photos.parent, tmp_path / "s.csv").rows == 1
    assert "made on cuda:0,cuda:97, which is not here" in capsys.readouterr().err


def test_folds_of_an_earlier_start_are_left_out(
    finished: tuple[pipeline.RunResult, pipeline.RunResult], tmp_path: Path
) -> None:
    run = RunDir(shutil.copytree(finished[0].folder, tmp_path / "run"))
    data = small_data(tmp_path / "photos", count=36, test=4)
    alone = merge_run(run, data, [1])
    assert set(alone.oof.ids) == set(finished[0].cv.folds[1].valid.ids)
