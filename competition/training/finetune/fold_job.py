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
from competition.data.source.competition_data import CompetitionData, Photo
from competition.errors import UsageError, WeightsError
from competition.files import digest_of, digest_of_array
from competition.record.run_dir import RunDir
from competition.training.backbones.create import classifiers_of, create_model, linear_in
from competition.training.backbones.devices import pick_device
from competition.training.backbones.find import BackboneRef, find_backbones
from competition.training.backbones.imagenet import imagenet_classifier, imagenet_rows
from competition.types import Fold

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
        """Photos by id, in the order given."""
        return self.data.photos_of(ids)

    def labels(self, ids: Sequence[str]) -> np.ndarray:
        """int64, indices into the classes, in the order of ``ids``."""
        return self.data.labels_of(ids)


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
        total = seconds * photos * config.total_epochs
        raise UsageError(
            f"recipe '{config.name or config.backbone}' needs a GPU and there is none here: on this CPU a fold takes "
            f"about {duration(total)} ({1 / seconds:.1f} photos/s, measured just now); "
            "if you want that, say so with --device cpu"
        )
    return device
