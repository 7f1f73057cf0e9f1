"""Fine-tuning side by side: fastai's documented way, a bare PyTorch loop, this kit (``dogbreed bench step``).

All three get the same weights, photos, split, batch size and number of epochs, and compute in the same precision.

``fastai``: ``ImageDataLoaders.from_df`` with ``Resize`` and ``aug_transforms``, ``vision_learner``, ``fine_tune``
(one frozen epoch, then the others), as its tutorial has it. ``bare``: a loop of a few lines over the kit's loader, from
a fresh head. ``kit``: ``fit_fold`` from the probe's head. Photos per second are of the training part of all epochs but
the first (fastai's frozen one; the others start their readers in it); log loss is of the fold's validation photos,
without temperature.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import nn

from competition.config import TrainConfig
from competition.data.source.competition_data import CompetitionData
from competition.data.source.layout import load_data
from competition.record.history import History
from competition.record.metrics import accuracy, log_loss, softmax
from competition.record.run_dir import RunDir
from competition.training.backbones.devices import pick_precision
from competition.training.finetune.fit_fold import fit_fold, make_learner
from competition.training.finetune.fold_job import build_model, check_job
from competition.training.finetune.fold_learner import FoldLearner
from competition.training.finetune.mixing import set_modes
from competition.training.photos.predict_views import predict_views
from competition.training.sweep.one_fold import OneFold, open_fold

CPU = torch.device("cpu")


def few(data: CompetitionData, breeds: int, photos: int) -> CompetitionData:
    """The first ``photos`` photos of each of the first ``breeds`` breeds, without test photos."""
    classes = data.classes[:breeds]
    kept = [[photo for photo in data.train if photo.breed == name][:photos] for name in classes]
    return dataclasses.replace(data, train=tuple(sum(kept, [])), test=(), classes=classes)  # noqa: RUF017 - small


def recipe(backbone: str, epochs: int, batch: int, precision: str) -> TrainConfig:
    """What the kit and the bare loop train with."""
    return TrainConfig(
        name="bench", backbone=backbone, head_from="probe", freeze_epochs=0, epochs=epochs, batch_size=batch, lr=2e-4,
        head_lr=2e-4, ema_decay=0.99, smoothing=0.0, drop_rate=0.2, augment="light", freeze_norm=True,
        channels_last=True, device="cpu", precision=precision, views=("identity",),
    )  # fmt: skip


def by_fastai(one: OneFold, weights: Path, config: TrainConfig) -> dict[str, Any]:
    """fastai's documented way; its own rates (``fine_tune``'s defaults)."""
    import pandas as pd
    from fastai.callback.core import Callback
    from fastai.vision.all import ImageDataLoaders, Resize, aug_transforms, vision_learner

    class Stopwatch(Callback):
        """Seconds of each epoch's training part."""

        def after_create(self) -> None:
            self.seconds: list[float] = []  # not in before_fit, which predictions call as well

        def before_train(self) -> None:
            self.start = time.monotonic()

        def after_train(self) -> None:
            self.seconds.append(time.monotonic() - self.start)

    data, fold = one.prepared.usable, one.fold
    valid = set(fold.valid_ids)
    photos = [photo for photo in data.train if photo.id in valid or photo.id in set(fold.train_ids)]
    rows = [(str(photo.path), photo.breed, photo.id in valid) for photo in photos]
    frame = pd.DataFrame(rows, columns=["file", "breed", "valid"])
    loaders = ImageDataLoaders.from_df(
        frame, path="/", valid_col="valid", item_tfms=Resize(config.image_size), batch_tfms=aug_transforms(),
        bs=config.batch_size, device=torch.device(config.device),
    )  # fmt: skip
    watch = Stopwatch()
    learn = vision_learner(loaders, f"local-dir:{weights}", cbs=[watch])
    start = time.monotonic()
    with learn.no_bar(), learn.no_logging():
        learn.fine_tune(max(1, config.epochs - 1), freeze_epochs=1)
        seconds = time.monotonic() - start
        probabilities, targets = learn.get_preds()
    steps = len(loaders.train) * config.batch_size
    rate = steps / statistics.mean(watch.seconds[1:])
    found = (probabilities.double().numpy(), targets.numpy())
    return {"photos_per_second": rate, "seconds": seconds, "log_loss": log_loss(*found), "accuracy": accuracy(*found)}


def by_hand(one: OneFold, weights: Path, config: TrainConfig, folder: Path) -> dict[str, Any]:
    """A bare loop over the kit's loader, from a fresh head."""
    fresh = dataclasses.replace(config, head_from="fresh", head_lr=2e-3)
    job = check_job(one.prepared.usable, one.fold, fresh, RunDir(folder), weights, None)
    device = torch.device(config.device)
    learn = make_learner(job, build_model(job), device)  # only for its loader: it changes its model
    model = build_model(job).to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    loader, dtype = learn.dls.train, pick_precision(config.precision, device)
    step = bare_step(model, learn, dtype)
    seconds, start = [], time.monotonic()
    for epoch in range(config.epochs):
        set_modes(model, freeze_norm=config.freeze_norm)
        learn.sampler.go_to(epoch, 0, config.image_size)
        begun = time.monotonic()
        for images, labels in loader:
            step(images, labels)
        seconds.append(time.monotonic() - begun)
    total = time.monotonic() - start
    photos = job.photos(one.fold.valid_ids)
    logits = predict_views(
        model, job.backbone.spec, photos, ["identity"], config.image_size, device=device, precision=dtype
    )[0]
    learn.dls.close()
    found = (softmax(logits), job.labels(one.fold.valid_ids))
    rate = learn.sampler.steps * learn.sampler.share / statistics.mean(seconds[1:])
    return {"photos_per_second": rate, "seconds": total, "log_loss": log_loss(*found), "accuracy": accuracy(*found)}


def bare_step(model: nn.Module, learn: FoldLearner, dtype: torch.dtype) -> Any:
    """One step as anybody would write it: normalise, forward, loss, backward, clip, AdamW."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-4, weight_decay=0.02)
    device, spec = learn.device, learn.prepare.spec
    mean = torch.tensor(spec.mean, device=device).view(1, 3, 1, 1) * 255
    std = torch.tensor(spec.std, device=device).view(1, 3, 1, 1) * 255

    def step(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        images, labels = images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
        x = (images.permute(0, 3, 1, 2).float() - mean) / std
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            loss = F.cross_entropy(model(x).float(), labels)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        return loss.detach()

    return step


def by_kit(one: OneFold, weights: Path, config: TrainConfig, folder: Path) -> dict[str, Any]:
    """``fit_fold``."""
    run = RunDir(folder)
    start = time.monotonic()
    result = fit_fold(one.prepared.usable, one.fold, config, run, weights=weights, head=one.head, test=False)
    rows = History(run / f"fold{one.fold.index}" / "history.csv").rows
    rate = statistics.harmonic_mean([row["images_per_second"] for row in rows[1:]])
    seconds = time.monotonic() - start
    return {
        "photos_per_second": rate, "seconds": seconds, "log_loss": result.log_loss, "accuracy": result.accuracy,
    }  # fmt: skip


def step_times(
    config: TrainConfig, photos: np.ndarray, labels: np.ndarray, learn: FoldLearner, steps: int
) -> dict[str, float]:
    """Median processor seconds of the kit's step and of the bare one, on one thread, on the same batch, in turn.

    Processor time, taken in turn, because other work on the machine then weighs least.
    """
    import copy

    model = learn.plain_model
    batch = (torch.from_numpy(photos), torch.from_numpy(labels))
    step = bare_step(copy.deepcopy(model), learn, torch.float32)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    learn("before_fit")
    learn.epoch, learn.n_epoch, learn.n_iter = config.freeze_epochs, learn.total_epochs, steps
    learn.state.epoch = config.freeze_epochs
    learn("before_epoch")
    learn("before_train")
    bare, kit = [], []
    for number in range(steps + 2):
        start = time.process_time()
        step(*batch)
        middle = time.process_time()
        learn.one_batch(number, batch)
        kit.append(time.process_time() - middle)
        bare.append(middle - start)
    torch.set_num_threads(threads)
    return {"bare": statistics.median(bare[2:]), "kit": statistics.median(kit[2:])}


@pytest.mark.slow
@pytest.mark.parametrize(("ema", "allowed"), [(0.0, 1.05), (0.99, 1.05)])
def test_the_kits_step_costs_at_most_a_twentieth_more_than_a_bare_one(tmp_path, ema, allowed):
    from tests.training.small_fold import small_config, small_data, small_fold

    data = small_data(tmp_path / "photos", count=96)
    config = small_config(backbone="tf_efficientnetv2_b0", image_size=128, batch_size=16, ema_decay=ema, drop_rate=0.0,
                          drop_path_rate=0.0, channels_last=True)  # fmt: skip
    job = check_job(data, small_fold(data), config, RunDir(tmp_path / "run"), None, None)
    learn = make_learner(job, build_model(job), CPU)
    learn.plain_model.train()
    rng = np.random.default_rng(0)
    photos = rng.integers(0, 255, (16, 128, 128, 3)).astype(np.uint8)
    times = step_times(config, photos, rng.integers(0, 3, 16), learn, 20)
    assert times["kit"] <= allowed * times["bare"], times


@pytest.mark.slow
@pytest.mark.shared
def test_the_kit_is_faster_and_better_than_fastais_documented_way(tmp_path, shared):
    found = compare(shared / "data" / "dog-breed-identification.zip", shared / "weights" / "tf_efficientnetv2_b0",
                    breeds=12, photos=30, epochs=2, batch=16, precision="auto", folder=tmp_path)  # fmt: skip
    assert found["kit"]["photos_per_second"] > 1.8 * found["fastai"]["photos_per_second"], found
    assert found["kit"]["log_loss"] < 0.7 * found["fastai"]["log_loss"], found


def compare(
    where: Path, weights: Path, *, breeds: int, photos: int, epochs: int, batch: int, precision: str, folder: Path
) -> dict[str, dict[str, Any]]:
    """Figures by way."""
    config = recipe(weights.name, epochs, batch, precision)
    data = few(load_data(where), breeds, photos)
    start = time.monotonic()
    one = open_fold(data, config, RunDir(folder / "run"), 0, weights)
    found: dict[str, dict[str, Any]] = {"probe's head": {"seconds": time.monotonic() - start}}
    torch.manual_seed(0)
    found["fastai"] = by_fastai(one, weights, config)
    found["bare"] = by_hand(one, weights, config, folder / "bare")
    found["kit"] = by_kit(one, weights, config, folder / "kit")
    return found
