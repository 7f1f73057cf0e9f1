"""The fine-tuned networks of a finished run, applied to photos that were not part of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from competition.config import Config, TrainConfig
from competition.data.source.competition_data import Photo
from competition.errors import ResumeError
from competition.record.run_dir import RunDir
from competition.training.backbones.create import create_model, load_weights
from competition.training.backbones.devices import pick_device, pick_precision
from competition.training.backbones.find import BackboneRef, find_backbones, find_same
from competition.training.finetune.fold_result import merged
from competition.training.photos.predict_views import predict_views
from competition.types import Predictions


def predict_photos(
    run: RunDir, config: Config, photos: Sequence[Photo], weights: Path | str | None
) -> tuple[Predictions, ...]:
    """Probabilities of any photos by each fold's network, before the final temperature: the mean of two views.

    Raises:
        ResumeError: as ``predict_by_view``.
    """
    views = [name for name in getattr(config, "views", ()) if name in ("identity", "hflip")]
    ids = tuple(photo.id for photo in photos)
    classes = Predictions.load(run / "oof.npz").classes
    found = predict_by_view(run, config, photos, views, weights)
    return tuple(Predictions(ids, classes, merged(logits, views)) for logits in found)


def predict_by_view(
    run: RunDir, config: Config, photos: Sequence[Photo], views: Sequence[str], weights: Path | str | None
) -> Iterator[np.ndarray]:
    """Logits of any photos under each view by each fold's network, (v, n, c) each.

    Raises:
        ResumeError: the run has no trained fold, or the weights are not those it was made with.
    """
    if not isinstance(config, TrainConfig):
        raise ResumeError(f"{run.path} holds no fine-tuned networks")
    stored = Predictions.load(run / "oof.npz")
    found = trained_folds(run)
    backbone = backbone_of(run, config, weights)
    device = pick_device(config.device)
    for folder in found:
        model = create_model(backbone, len(stored.classes), pretrained=False, image_size=config.image_size)
        load_weights(model, folder / "model.safetensors")
        yield predict_views(
            model,
            backbone.spec,
            photos,
            views,
            config.image_size,
            config.batch_size,
            device,
            precision=pick_precision(config.precision, device),
            workers=config.workers,
            label=folder.name,
        )


def trained_folds(run: RunDir) -> list[Path]:
    """The folders of the folds that have a network.

    Raises:
        ResumeError: there is none.
    """
    found = sorted(path.parent for path in run.path.glob("fold*/model.safetensors"))
    if not found:
        raise ResumeError(f"{run.path} holds no trained fold: start the same 'dogbreed run' again")
    return found


def backbone_of(run: RunDir, config: TrainConfig, weights: Path | str | None) -> BackboneRef:
    """The backbone that a run fine-tuned.

    Raises:
        ResumeError: its weights are not here, or not those that the run started from.
    """
    if config.pretrained:
        return find_same([config.backbone], run.manifest.get("weights", {}), weights, run.path)[0]
    return find_backbones([config.backbone], weights)[0]
