"""Cross-validation over any engine: partial folds are a mask, temperatures are out of fold, a run reads back."""

from __future__ import annotations

import csv
import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from competition import pipeline
from competition.config import ProbeConfig
from competition.data.audit.report import AuditReport
from competition.data.folds import make_folds
from competition.errors import UsageError, WeightsError
from competition.record.metrics import log_loss, softmax
from competition.record.run_dir import RunDir
from competition.training.backbones.find import find_backbones
from competition.training.cross_validate import assemble, cross_validate, open_run, origin_notes
from competition.training.probe.embed import Block, embed
from competition.training.probe.run import fit_heads
from competition.training.run.files import read_run
from competition.training.run.prepare import Prepared
from competition.types import VIEWS, FoldResult, Predictions
from tests.training.small_fold import small_config, small_data


def test_fine_tuning_two_of_three_folds_leaves_only_their_photos(tmp_path: Path) -> None:
    data = small_data(tmp_path / "photos", count=36, test=3)
    config = small_config(n_folds=3, epochs=1, ema_decay=0.0)
    result = cross_validate(data, config, tmp_path / "run", folds=(0, 2))
    assert [fold.index for fold in result.folds] == [0, 2]
    assert len(result.oof) == 24
    assert result.test is not None
    assert result.test.ids == data.test_ids
    rows = list(csv.DictReader((tmp_path / "run" / "history.csv").open()))
    assert [(row["fold"], row["epoch"]) for row in rows] == [("0", "1"), ("2", "1")]
    stored = read_run(RunDir(tmp_path / "run"))
    assert stored.oof.digest == result.oof.digest
    assert (stored.log_loss, stored.temperature) == (result.log_loss, result.temperature)


def test_folds_over_two_devices_equal_folds_on_one(tmp_path: Path) -> None:
    data = small_data(tmp_path / "photos", count=24, test=3)
    config = small_config(n_folds=2, epochs=1, ema_decay=0.0, threads=1)
    alone = cross_validate(data, config, tmp_path / "alone")
    spread = cross_validate(data, dataclasses.replace(config, device="cpu,cpu"), tmp_path / "spread")
    assert spread.log_loss == pytest.approx(alone.log_loss, rel=1e-6)
    assert spread.test is not None
    assert alone.test is not None
    np.testing.assert_allclose(spread.test.probabilities, alone.test.probabilities, atol=1e-6)


def test_the_probes_head_fits_the_recipes_image_size(tmp_path: Path, weights: Path) -> None:
    data = small_data(tmp_path / "photos", count=36, test=0)
    still = {"lr": 1e-30, "head_lr": 1e-30, "ema_decay": 0.0, "freeze_norm": True, "drop_rate": 0.0}
    config = small_config(
        backbone="tiny", pretrained=True, head_from="probe", image_size=48, n_folds=3, epochs=1, views=("identity",),
        drop_path_rate=0.0, **still,
    )  # fmt: skip
    result = cross_validate(data, config, tmp_path / "run", weights=weights, test=False)
    run = RunDir(tmp_path / "run")
    prepared = open_run(data, config, run, weights)
    heads = fit_heads(prepared, config, run, weights)
    (ref,) = find_backbones(["tiny"], weights)
    at_48 = dataclasses.replace(ref, spec=dataclasses.replace(ref.spec, size=48))
    block = Block(at_48, VIEWS["identity"])
    features = embed(data.train, [block], ProbeConfig(device="cpu", precision="float32"))[block.name]
    for fold in result.folds:
        rows = [data.train_ids.index(name) for name in fold.valid.ids]
        weight, bias = heads[fold.index]
        expected = softmax(features[rows] @ weight.T + bias, result.temperature)
        np.testing.assert_allclose(fold.valid.probabilities, expected, atol=2e-3)


def test_a_device_that_is_not_there_is_told(tmp_path: Path) -> None:
    data = small_data(tmp_path / "photos", count=24, test=3)
    with pytest.raises(UsageError, match="unknown device 'gpu1': use auto, all, cpu, cuda, cuda:N or a list"):
        cross_validate(data, small_config(n_folds=2, device="cpu,gpu1"), tmp_path / "run")


def test_a_fold_that_does_not_exist_is_named(tmp_path: Path) -> None:
    data = small_data(tmp_path / "photos", count=18, test=0)
    with pytest.raises(UsageError, match="folds 0, 3 are impossible: expected 0 to 2"):
        cross_validate(data, small_config(n_folds=3), tmp_path / "run", folds=(0, 3))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("start", [cross_validate, pipeline.run])
@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (
            {"backbone": "tiny", "pretrained": True, "needs_gpu": True, "device": "auto"},
            r"needs a GPU .* on this CPU a fold takes about .*--device cpu",
        ),
        ({"device": "cuda"}, "no GPU here: use --device cpu"),
        ({"backbone": "test_vit", "image_size": 30}, "test_vit cannot take images of 30 px"),
        ({"backbone": "torn", "pretrained": True}, "cannot be loaded into 'test_resnet'"),
    ],
    ids=["needs a GPU", "no such device", "image size", "weights"],
)
def test_what_cannot_run_is_refused_before_anything_is_written(
    tmp_path: Path,
    weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    start: Callable[..., object],
    changes: dict[str, Any],
    match: str,
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    shutil.copytree(weights / "tiny", tmp_path / "weights" / "tiny")
    shutil.copytree(weights / "tiny", tmp_path / "weights" / "torn")
    (tmp_path / "weights" / "torn" / "model.safetensors").write_bytes(b"torn")
    data = small_data(tmp_path / "photos", count=18, test=0)
    with pytest.raises((UsageError, WeightsError), match=match):
        start(data, small_config(**changes), tmp_path / "run", weights=tmp_path / "weights")
    assert not (tmp_path / "run").exists()


def test_a_finished_run_is_read_back_where_it_could_not_be_fitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, config = small_data(tmp_path / "photos", count=18, test=0), small_config(n_folds=2, epochs=1, needs_gpu=True)
    done = cross_validate(data, config, tmp_path / "run")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    again = cross_validate(data, dataclasses.replace(config, device="auto"), tmp_path / "run")
    assert again.oof.digest == done.oof.digest


def test_the_temperature_is_that_of_the_pooled_folds_and_test_is_their_calibrated_mean(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    data = small_data(tmp_path / "photos", count=60, test=4)
    table = make_folds(data, 3, 0)
    report = AuditReport(data_digest=data.digest, train_photos=60, test_photos=4)
    label_of = dict(zip(data.train_ids, data.labels, strict=True))
    fitted, sharpened = [], 4.0
    for fold in table.folds():
        truth = np.eye(3)[[label_of[name] for name in fold.valid_ids]]
        logits = truth * 1.0 + rng.normal(size=(len(fold.valid_ids), 3))
        valid = Predictions(fold.valid_ids, data.classes, softmax(logits * sharpened))
        test = Predictions(data.test_ids, data.classes, softmax(rng.normal(size=(4, 3)) * sharpened))
        fitted.append(FoldResult(fold.index, 0.0, 0.0, valid, test, 1.0))
    result = assemble("run", fitted, Prepared(data, data, report, table))
    assert result.temperature > 2  # predictions were four times too sure
    labels = np.array([label_of[name] for name in result.oof.ids])
    for other in (result.temperature * 0.9, result.temperature * 1.1):
        worse = np.concatenate([softmax(fold.valid.log_probabilities, other) for fold in fitted])
        order = np.concatenate([[label_of[name] for name in fold.valid.ids] for fold in fitted])
        assert log_loss(worse, order) > log_loss(result.oof.probabilities, labels)
    cooled = [softmax(fold.test.log_probabilities, result.temperature) for fold in fitted if fold.test]
    assert result.test is not None
    np.testing.assert_allclose(result.test.probabilities, np.mean(cooled, axis=0))


def test_a_score_is_said_to_rest_on_imagenet_only_where_its_classes_do():
    (seen,) = origin_notes(("pug", "basset", "komondor", "mongrel"), pretrained=True)
    assert "come from ImageNet" in seen
    assert origin_notes(("zero", "one", "two"), pretrained=True) == ()
    (scratch,) = origin_notes(("pug", "basset"), pretrained=False)
    assert "from scratch" in scratch
