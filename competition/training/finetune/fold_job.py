"""Fit one fold: build the model, train it with fastai, keep the better weights, predict, leave everything on the disk.

``fold<k>/`` afterwards holds ``model.safetensors`` (raw or averaged weights, whichever had the lower validation log
loss in its best epoch), ``history.csv``, ``valid_views.npz`` and ``test_views.npz`` (logits per view), and
``result.json``. While it trains, ``fold<k>/state/`` holds the checkpoints; a second call goes on from there, inside the
epoch, and a call after the end reads the result back.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from competition.config import TrainConfig
from competition.console import duration, say
from competition.data.source.layout import CompetitionData, Photo
from competition.errors import DataError, ResumeError, UsageError, WeightsError
from competition.files import differences, digest_of, digest_of_array, read_json, read_npz, write_json
from competition.record.metrics import accuracy, log_loss, softmax
from competition.record.run_dir import RunDir
from competition.training.backbones.create import (
    BackboneRef,
    classifiers_of,
    create_model,
    find_backbones,
    imagenet_classifier,
    imagenet_rows,
    linear_in,
    pick_device,
)
from competition.training.engine.checkpoint import flattened
from competition.types import Fold, FoldResult, Predictions

# What a finished fold has in any case; ``test_views.npz`` joins them when the test photos were asked for.
_TRAINED_FILES = ("valid_views.npz", "model.safetensors")

Head = tuple[np.ndarray, np.ndarray]  # weight (c, d), bias (c,), on raw pooled features


@dataclasses.dataclass(frozen=True)
class Job:
    """All that decides one fold's training, checked."""

    data: CompetitionData
    fold: Fold
    config: TrainConfig
    run: RunDir
    backbone: BackboneRef
    head: Head | None

    @property
    def folder(self) -> Path:
        """``fold<k>/`` of the run."""
        return self.run.fold(self.fold.index)

    @property
    def identity(self) -> dict[str, Any]:
        """What a continuation must have in common: configuration, photos, labels, fold, weights, head."""
        config = self.config.to_dict()
        for key in ("device", "workers", "name", "cache", "needs_gpu"):
            del config[key]
        return {
            "config": config,
            "data": self.data.digest,
            "fold": digest_of([self.fold.index, self.fold.train_ids, self.fold.valid_ids]),
            "weights": self.backbone.digest if self.config.pretrained else "none",
            "head": digest_of([digest_of_array(part) for part in self.head]) if self.head else "none",
        }

    def photos(self, ids: Sequence[str]) -> list[Photo]:
        """Training photos by id, in the order given."""
        by_id = {photo.id: photo for photo in self.data.train}
        lacking = [name for name in ids if name not in by_id]
        if lacking:
            raise DataError(f"fold {self.fold.index} names photos that the data lack, first: {lacking[0]}")
        return [by_id[name] for name in ids]

    def labels(self, ids: Sequence[str]) -> np.ndarray:
        """int64, indices into the classes, in the order of ``ids``."""
        index_of = dict(zip(self.data.train_ids, self.data.labels, strict=True))
        return np.array([index_of[name] for name in ids], dtype=np.int64)


def fit_fold(
    data: CompetitionData,
    fold: Fold,
    config: TrainConfig,
    run: RunDir,
    *,
    weights: Path | str | None,
    head: Head | None = None,
    test: bool = True,
    save_every: float = 300.0,
    callbacks: Sequence[Any] = (),
    epoch_hooks: Sequence[Any] = (),
) -> FoldResult:
    """Train one fold, or go on with it, or read back what it gave.

    Args:
        data: photos and labels.
        fold: which photos train and which validate.
        config: the recipe.
        run: where everything is kept.
        weights: folder of weights; None looks at the usual places.
        head: where the head starts with ``head_from=probe``: weight (c, d) and bias (c,) on raw pooled features.
        test: predict the test photos too.
        save_every: seconds between two checkpoints (there is one after every epoch anyway); 0 saves after each step.
        callbacks: further fastai callbacks.
        epoch_hooks: called with each epoch's row of figures; what they raise ends the training.

    Returns:
        Predictions of the validation photos (and the test photos) by the chosen weights, without temperature: the mean
        of the probabilities under ``identity`` and, where the configuration has it, ``hflip``.

    Raises:
        UsageError: a setting is impossible here (no GPU, a size that the backbone refuses).
        WeightsError: weights or head do not fit.
        ResumeError: the fold's folder belongs to another configuration or other data.
        TrainingError: the loss became NaN, or not even one photo fits into memory.
        KeyboardInterrupt: Ctrl-C; the state is saved.
    """
    job = check_job(data, fold, config, run, weights, head)
    finished = read_result(job, test)
    if finished is not None:
        return finished
    from competition.training.finetune.fit_fold import predict_rest, train_fold

    if _is_trained(job):
        return predict_rest(job)
    return train_fold(job, test=test, save_every=save_every, callbacks=callbacks, epoch_hooks=epoch_hooks)


def check_job(
    data: CompetitionData,
    fold: Fold,
    config: TrainConfig,
    run: RunDir,
    weights: Path | str | None,
    head: Head | None,
) -> Job:
    """Find the backbone and see that the head fits.

    Raises:
        UsageError: the head's start is lacking, or the backbone is unknown.
        WeightsError: there are no weights, or the head is of another shape.
    """
    (backbone,) = find_backbones([config.backbone], weights)
    if config.head_from == "probe" and head is None:
        raise UsageError("head_from=probe needs the probe's solution: run the probe first, or set head_from=fresh")
    used = head if config.head_from == "probe" else None
    expected = (len(data.classes), backbone.num_features)
    if used is not None and (used[0].shape != expected or used[1].shape != expected[:1]):
        raise WeightsError(
            f"the probe's head is {used[0].shape[0]} classes x {used[0].shape[1]} features, {backbone.name} on these "
            f"data needs {expected[0]} x {expected[1]}: take the solution of this backbone alone, one view"
        )
    return Job(data, fold, config, run, backbone, used)


def build_model(job: Job) -> nn.Module:
    """The fold's model at its start, seeded by the configuration: weights, head, image size.

    Raises:
        UsageError: the backbone refuses the image size.
        WeightsError: weights or head do not fit.
    """
    config = job.config
    torch.manual_seed(config.seed * 1000 + job.fold.index)
    model = create_model(
        job.backbone,
        len(job.data.classes),
        pretrained=config.pretrained,
        drop_rate=config.drop_rate,
        drop_path_rate=config.drop_path_rate,
        image_size=config.image_size,
    )
    if not config.pretrained:
        say(f"{job.backbone.name} starts from scratch: no pretrained weights")
    start = job.head if config.head_from == "probe" else None
    if config.head_from == "imagenet":
        start, known = imagenet_head(job.backbone, model, job.data.classes)
        say(f"the head starts from the backbone's own rows for {known} of {len(job.data.classes)} classes")
    if start is not None:
        put_head(model, start, job.backbone)
    try_sizes(model, sorted({config.image_size, *config.progressive}), job.backbone.name)
    return model


def put_head(model: nn.Module, head: Head, backbone: BackboneRef) -> None:
    """Start a model's classifier from a solution on its pooled features.

    Raises:
        WeightsError: its classifier does not take one.
    """
    from competition.training.finetune.mixing import set_head

    try:
        set_head(model, *head)
    except ValueError as error:
        raise WeightsError(f"{backbone.name}: {error}; set head_from=fresh") from error


def imagenet_head(backbone: BackboneRef, model: nn.Module, classes: Sequence[str]) -> tuple[Head, int]:
    """The fresh head of a model, with the rows of the backbone's own classifier for the classes it knows, and how many.

    Raises:
        UsageError: it has no rows for these classes, or not on the features that the fresh head reads.
    """
    rows = imagenet_rows(classes)
    try:
        weight, bias = imagenet_classifier(backbone)
    except WeightsError as error:
        raise UsageError(f"head_from=imagenet: {error}; set head_from=probe or head_from=fresh") from error
    fresh = linear_in(classifiers_of(model)[0])
    if not rows or fresh is None or fresh.bias is None:
        raise UsageError(f"head_from=imagenet: {backbone.name} has no classifier of ImageNet-1k's breeds")
    new_weight, new_bias = fresh.weight.detach().flatten(1).numpy().copy(), fresh.bias.detach().numpy().copy()
    for index, name in enumerate(classes):
        if name in rows:
            new_weight[index], new_bias[index] = weight[rows[name]], bias[rows[name]]
    return (new_weight, new_bias), len(rows)


@torch.no_grad()
def try_sizes(model: nn.Module, sides: Sequence[int], name: str, key: str = "image_size") -> None:
    """One blank picture of each size, so that a size the backbone refuses is told before anything is computed."""
    model.eval()
    for side in sides:
        try:
            model(torch.zeros(1, 3, side, side))
        except (RuntimeError, AssertionError, ValueError) as error:
            reason = " ".join(str(error).split())[:160]
            raise UsageError(f"{name} cannot take images of {side} px ({reason}): set {key}") from error


def choose_device(config: TrainConfig, model: nn.Module, photos: int) -> torch.device:
    """The device to train on.

    Raises:
        UsageError: there is no GPU, the recipe needs one, and ``device`` does not name the CPU; with an estimate.
    """
    device = pick_device(config.device)
    if config.needs_gpu and device.type == "cpu" and config.device != "cpu":
        from competition.training.finetune.estimate import seconds_per_photo

        seconds = seconds_per_photo(model, config.image_size)
        total = seconds * photos * (config.epochs + config.freeze_epochs)
        raise UsageError(
            f"recipe '{config.name or config.backbone}' needs a GPU and there is none here: on this CPU a fold takes "
            f"about {duration(total)} ({1 / seconds:.1f} photos/s, measured just now); "
            "if you want that, say so with --device cpu"
        )
    return device


def merged(logits: np.ndarray, views: Sequence[str]) -> np.ndarray:
    """Mean of the probabilities under ``identity`` and, where it is there, ``hflip``: (v, n, c) to (n, c)."""
    rows = [number for number, name in enumerate(views) if name in ("identity", "hflip")]
    return np.mean([softmax(logits[row]) for row in rows], axis=0)


def finish(job: Job, facts: dict[str, Any], seconds: float, *, test: bool) -> FoldResult:
    """Write ``result.json`` from the views on the disk, and return what it says.

    Args:
        job: the fold.
        facts: what else a reader wants to know (chosen weights, epoch, device).
        seconds: of the whole fit.
        test: whether the test photos were predicted.
    """
    valid, views = _read_views(job.folder / "valid_views.npz")
    labels = job.labels(job.fold.valid_ids)
    figures = {"log_loss": log_loss(valid.probabilities, labels), "accuracy": accuracy(valid.probabilities, labels)}
    stored = {"identity": job.identity, "seconds": seconds, "views": views, "test": test, **figures, **facts}
    write_json(job.folder / "result.json", stored)
    result = read_result(job, test)
    if result is None:
        raise DataError(f"{job.folder} lost files while fold {job.fold.index} was finished: start it again")
    return result


def _read_views(path: Path) -> tuple[Predictions, list[str]]:
    stored = read_npz(path)
    views = [str(name) for name in stored["views"]]
    probabilities = merged(stored["logits"], views)
    return Predictions(tuple(map(str, stored["ids"])), tuple(map(str, stored["classes"])), probabilities), views


def _is_trained(job: Job) -> bool:
    """Whether the training itself is over: an earlier call finished it without the test photos."""
    return all((job.folder / name).is_file() for name in ("result.json", *_TRAINED_FILES))


def read_result(job: Job, test: bool) -> FoldResult | None:
    """The result of an earlier call, if it is whole and has what is asked for.

    Raises:
        ResumeError: it is of another configuration or other data.
    """
    path = job.folder / "result.json"
    if not path.is_file():
        return None
    stored = read_json(path)
    changed = differences(flattened(stored["identity"]), flattened(job.identity))
    if changed:
        raise ResumeError(
            f"{job.folder} holds a fold of another kind ({'; '.join(changed[:4])}): choose another --run-dir"
        )
    wanted = [*_TRAINED_FILES, *(["test_views.npz"] if test and job.data.test else [])]
    if not all((job.folder / name).is_file() for name in wanted):
        return None
    valid, _ = _read_views(job.folder / "valid_views.npz")
    predicted = _read_views(job.folder / "test_views.npz")[0] if test and job.data.test else None
    figures = (float(stored["log_loss"]), float(stored["accuracy"]))
    return FoldResult(job.fold.index, *figures, valid, predicted, float(stored["seconds"]))
