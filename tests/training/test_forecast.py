"""Costs are predicted before they are paid, and compared with what they were."""

from __future__ import annotations

from pathlib import Path

import pytest

from competition.config import ProbeConfig
from competition.files import write_json
from competition.training import forecast as module
from competition.training.embed import embed
from competition.training.forecast import announce, forecast, settle
from competition.training.models import find_backbones
from competition.training.probe_run import probe_blocks
from competition.training.tracking import RunDir
from competition.types import CVResult, FoldResult
from tests.training.small_fold import small_config, small_data

CONFIG = ProbeConfig(batch_size=4, workers=1, precision="float32", device="cpu")


def test_every_step_of_a_probe_has_its_seconds(weights: Path, tmp_path: Path) -> None:
    data = small_data(tmp_path / "photos", count=12, test=3)
    found = forecast(data, CONFIG, weights)
    assert list(found) == ["audit", "embed", "probe", "report"]
    assert all(seconds > 0 for seconds in found.values())


def test_features_that_are_there_cost_nothing(weights: Path, tmp_path: Path) -> None:
    data = small_data(tmp_path / "photos", count=12, test=3)
    blocks = probe_blocks(find_backbones((), weights), CONFIG.views)
    embed(data.train, blocks, CONFIG)
    embed(data.test, blocks, CONFIG)
    assert forecast(data, CONFIG, weights)["embed"] == 0


def test_twice_the_epochs_are_predicted_to_cost_twice(weights: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("competition.training.estimate.seconds_per_photo", lambda *_, **__: 0.5)
    data = small_data(tmp_path / "photos", count=20, test=0)
    config = small_config(epochs=2, freeze_epochs=1)
    backbone = find_backbones((), weights)[0]
    fit = {
        epochs: forecast(data, small_config(backbone=backbone.name, epochs=epochs, freeze_epochs=0), weights)["fit"]
        for epochs in (1, 2)
    }
    assert fit[1] == pytest.approx(0.5 * 20 * (config.n_folds - 1))
    assert fit[2] == pytest.approx(2 * fit[1])


def test_few_photos_and_a_run_that_was_begun_are_not_measured(weights: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(module, "forecast", lambda *_: {"audit": 1.0, "embed": 0.0})
    data = small_data(tmp_path / "photos", count=6, test=0)
    run = RunDir(tmp_path / "run")
    assert announce(data, CONFIG, run, weights) == {}
    monkeypatch.setattr(module, "LEAST_PHOTOS", 5)
    assert announce(data, CONFIG, run, weights) == {"audit": 1.0}
    write_json(run / "manifest.json", {})
    assert announce(data, CONFIG, run, weights) == {}


def test_predicted_and_actual_stand_in_the_manifest(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    write_json(run / "manifest.json", {"steps": {"audit": 14.0, "report": 13.6}})
    folds = tuple(FoldResult(index, 0.3, 0.9, None, None, 50.0) for index in range(2))  # type: ignore[arg-type]
    result = CVResult("x", folds, None, None, 0.3, 0.9)  # type: ignore[arg-type]
    settle(run, {}, result)
    assert "costs" not in run.manifest
    settle(run, {"audit": 12.04, "embed": 300.0, "fit": 90.0}, result)
    assert run.manifest["costs"] == {
        "audit": {"predicted": 12.0, "actual": 14.0},
        "fit": {"predicted": 90.0, "actual": 100.0},
    }
