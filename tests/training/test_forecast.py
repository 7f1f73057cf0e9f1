"""Costs are predicted before they are paid, and compared with what they were."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from competition.config import ProbeConfig
from competition.files import write_json
from competition.record.run_dir import RunDir
from competition.training import forecast as module
from competition.training.backbones.create import create_model
from competition.training.backbones.find import find_backbones
from competition.training.finetune import estimate
from competition.training.finetune.parameter_groups import trainable_names
from competition.training.forecast import announce, forecast, settle
from competition.training.probe.embed import embed
from competition.training.probe.run import probe_blocks
from competition.types import CVResult, FoldResult
from tests.training.small_fold import small_config, small_data

ALL = range(5)
CONFIG = ProbeConfig(batch_size=4, workers=1, precision="float32", device="cpu")


def test_every_step_of_a_probe_has_its_seconds(weights: Path, tmp_path: Path) -> None:
    data = small_data(tmp_path / "photos", count=12, test=3)
    found = forecast(data, CONFIG, weights, ALL)
    assert list(found) == ["audit", "embed", "probe", "report"]
    assert all(seconds > 0 for seconds in found.values())


def test_features_that_are_there_cost_nothing(weights: Path, tmp_path: Path) -> None:
    data = small_data(tmp_path / "photos", count=12, test=3)
    blocks = probe_blocks(find_backbones((), weights), CONFIG.views)
    embed(data.train, blocks, CONFIG)
    embed(data.test, blocks, CONFIG)
    assert forecast(data, CONFIG, weights, ALL)["embed"] == 0


@pytest.fixture
def steps_of_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """A training step takes a second for a photo, a forward pass a tenth, reading nothing."""
    monkeypatch.setattr(estimate, "seconds_of_passes", lambda *_: (1.0, 0.1))
    monkeypatch.setattr(module, "_seconds_of_a_look", lambda *_: 0.0)


@pytest.mark.usefixtures("steps_of_a_second")
def test_a_fold_is_its_steps_its_validations_and_its_views(weights: Path, tmp_path: Path) -> None:
    data = small_data(tmp_path / "photos", count=20, test=10)
    config = small_config(backbone=find_backbones((), weights)[0].name, epochs=3, freeze_epochs=2, interpolate=(0.5,))
    trained = 16 * (3 * 1.0 + 2 * 0.1)  # while the head alone trains, a step costs what a forward pass costs
    validated = 4 * 5 * 3 * 0.1  # raw, averaged and interpolated weights
    predicted = (4 + 10) * len(config.views) * 0.1
    assert forecast(data, config, weights, [0])["fit"] == pytest.approx(trained + validated + predicted)


@pytest.mark.usefixtures("steps_of_a_second")
def test_only_the_folds_that_run_are_predicted(weights: Path, tmp_path: Path) -> None:
    data = small_data(tmp_path / "photos", count=20, test=0)
    config = small_config(backbone=find_backbones((), weights)[0].name)
    one, five = (forecast(data, config, weights, folds)["fit"] for folds in ([1], ALL))
    assert five == pytest.approx(5 * one)


@pytest.mark.usefixtures("steps_of_a_second")
def test_smaller_pictures_cost_by_their_area(weights: Path, tmp_path: Path) -> None:
    config = small_config(progressive=(16, 32), ema_decay=0.0, views=("identity",))
    assert estimate.seconds_of_a_fold(config, (1.0, 0.0), (8, 2, 0)) == pytest.approx(8 * 2 * (0.25 + 1) / 2)


@pytest.mark.usefixtures("steps_of_a_second")
def test_heads_from_the_probe_have_their_seconds(weights: Path, tmp_path: Path) -> None:
    data = small_data(tmp_path / "photos", count=12, test=3)
    config = small_config(backbone=find_backbones((), weights)[0].name, pretrained=True, head_from="probe")
    assert forecast(data, config, weights, [0])["heads from the probe"] > 0


def test_a_step_trains_what_the_recipe_trains(weights: Path) -> None:
    model = create_model(find_backbones((), weights)[0], 3)
    config = small_config(unfreeze="head", threads=1, clip_grad=0.0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    threads = torch.get_num_threads()
    step, forward = estimate.seconds_of_passes(model, config)
    assert min(step, forward) > 0
    assert torch.get_num_threads() == threads
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == trainable_names(model, "head")


def test_the_first_call_and_the_slow_ones_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    now, lengths = [0.0], iter([100.0, 3.0, 1.0, 2.0])

    def action() -> None:
        now[0] += next(lengths)

    monkeypatch.setattr("competition.training.finetune.estimate.time", SimpleNamespace(monotonic=lambda: now[0]))
    assert estimate.best_of(action, least=5.0) == 1.0
    assert now[0] == 106.0


def test_few_photos_and_a_run_that_was_begun_are_not_measured(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "forecast", lambda *_: {"audit": 1.0, "embed": 0.0})
    data = small_data(tmp_path / "photos", count=6, test=0)
    run = RunDir(tmp_path / "run")
    assert announce(data, CONFIG, run, weights, ALL) == {}
    monkeypatch.setattr(module, "LEAST_PHOTOS", 5)
    assert announce(data, CONFIG, run, weights, ALL) == {"audit": 1.0}
    write_json(run / "manifest.json", {})
    assert announce(data, CONFIG, run, weights, ALL) == {}


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
