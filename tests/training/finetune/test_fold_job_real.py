"""Real weights on real photos: where the head may start from."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from competition.data.source.layout import load_data
from competition.record.metrics import accuracy, log_loss, softmax
from competition.record.run_dir import RunDir
from competition.training.finetune.fold_job import build_model, check_job
from competition.training.photos.predict_views import predict_views
from competition.types import Fold
from tests.training.small_fold import small_config

pytestmark = pytest.mark.shared


@pytest.fixture(scope="module")
def real(shared, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOGBREED_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        data = load_data(shared / "data" / "dog-breed-identification.zip")
    classes = data.classes[:12]
    kept = [photo for name in classes for photo in [p for p in data.train if p.breed == name][:6]]
    return dataclasses.replace(data, train=tuple(kept), test=(), classes=classes)


@pytest.mark.parametrize("name", ["tf_efficientnetv2_b0", "mobilenetv2_100"])
def test_the_backbones_own_rows_know_the_breeds_before_any_training(real, shared, tmp_path, name):
    ids = real.train_ids
    fold = Fold(0, ids[1::2], ids[::2])
    scores = {}
    for start in ("imagenet", "fresh"):
        config = small_config(backbone=name, pretrained=True, head_from=start, image_size=224)
        job = check_job(real, fold, config, RunDir(tmp_path / start), shared / "weights", None)
        photos = job.photos(ids[::2])
        logits = predict_views(build_model(job), job.backbone.spec, photos, ["identity"], 224)[0]
        labels = job.labels(ids[::2])
        scores[start] = (accuracy(softmax(logits), labels), log_loss(softmax(logits), labels))
    assert scores["imagenet"][0] > 0.75
    assert scores["fresh"][0] < 0.4
    assert scores["imagenet"][1] < 0.5 * scores["fresh"][1]


def test_half_precision_predictions_agree_with_full_ones(real, shared, tmp_path):
    import torch

    ids = real.train_ids
    config = small_config(backbone="tf_efficientnetv2_b0", pretrained=True, head_from="imagenet", image_size=224)
    job = check_job(real, Fold(0, ids[1::2], ids[::2]), config, RunDir(tmp_path), shared / "weights", None)
    model, photos = build_model(job), job.photos(ids[::6])
    full = predict_views(model, job.backbone.spec, photos, ["identity", "hflip"], 224)
    half = predict_views(model, job.backbone.spec, photos, ["identity", "hflip"], 224, precision=torch.bfloat16)
    assert full.shape == (2, len(photos), 12)
    assert np.abs(full[0] - full[1]).max() > 1e-3  # a mirrored photo is another picture
    assert np.abs(softmax(full[0]) - softmax(half[0])).max() < 0.1
    arrays = [np.asarray(_read(photo.path)) for photo in photos]
    np.testing.assert_allclose(predict_views(model, job.backbone.spec, arrays, ["hflip"], 224)[0], full[1], atol=1e-3)


def _read(path):
    from competition.data.photos.decode import read_photo

    return read_photo(path)
