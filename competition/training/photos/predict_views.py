"""Logits of photos under named views: each photo is decoded once, whatever the number of views."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from competition.console import Ticker, progress
from competition.data.photos.views import source_side
from competition.data.source.competition_data import Photo
from competition.files import write_npz
from competition.training.backbones.find import InputSpec
from competition.training.photos.loader import PhotoFiles, PhotoSource, ViewPhotos, unflipped
from competition.training.photos.normalise import Normalise
from competition.training.photos.reading import read_batches
from competition.types import View, view


def predict_views(
    model: nn.Module,
    spec: InputSpec,
    photos: Sequence[Photo] | Sequence[np.ndarray],
    views: Sequence[str | View],
    image_size: int,
    batch_size: int = 64,
    device: torch.device | str = "cpu",
    *,
    precision: torch.dtype = torch.float32,
    workers: int = -1,
    label: str = "predict",
) -> np.ndarray:
    """Logits of every photo under every view.

    Args:
        model: a plain timm model, normalised input (n, 3, s, s) to logits (n, c).
        spec: its mean, std, interpolation and crop.
        photos: photos on disk, or decoded ones, uint8 (h, w, 3).
        views: names from ``competition.types.VIEWS``, or views.
        image_size: side in pixels at scale 1.
        batch_size: photos per forward pass.
        device: where to compute.
        precision: float32, or a half precision to compute in (autocast).
        workers: processes (on a CPU threads) that read photos; -1 chooses.
        label: what the progress bar says.

    Returns:
        float32 (v, n, c), views in the order given.
    """
    chosen = [view(item) if isinstance(item, str) else item for item in views]
    source, ids, in_memory = _source_of(photos, chosen, image_size, spec)
    dataset = ViewPhotos(source, ids, chosen, spec, image_size)
    where = torch.device(device)
    few = in_memory or len(ids) < 4 * batch_size  # not worth starting processes for
    loader = read_batches(dataset, batch_size, where, 0 if few and where.type == "cuda" else workers)
    normalise = Normalise(spec).to(device)
    was_training = model.training
    model.to(device).eval()
    try:
        with progress(label, len(ids)) as ticker:
            return _predict(model, normalise, loader, dataset, precision, ticker)
    finally:
        model.train(was_training)


def _source_of(
    photos: Sequence[Photo] | Sequence[np.ndarray], views: Sequence[View], image_size: int, spec: InputSpec
) -> tuple[PhotoSource, list[str], bool]:
    if len(photos) and isinstance(photos[0], np.ndarray):
        arrays = {str(row): photo for row, photo in enumerate(photos)}
        return arrays, list(arrays), True  # type: ignore[return-value]
    side = max(source_side(item, image_size, spec.crop_pct) for item in views)
    return PhotoFiles(photos, side), [photo.id for photo in photos], False  # type: ignore[arg-type, union-attr]


@torch.inference_mode()
def _predict(
    model: nn.Module,
    normalise: Normalise,
    loader: Iterator[list[torch.Tensor]],
    dataset: ViewPhotos,
    precision: torch.dtype,
    ticker: Ticker,
) -> np.ndarray:
    device = next(model.parameters()).device
    slot = {rendering: number for number, rendering in enumerate(dataset.renderings)}
    rows: list[list[np.ndarray]] = [[] for _ in dataset.views]
    # One context for all batches: it keeps the weights in half precision, which each new one would cast again.
    with torch.autocast(device.type, dtype=precision, enabled=precision != torch.float32):
        for pictures in loader:
            moved = [normalise(picture.to(device, non_blocking=True)) for picture in pictures]
            for number, item in enumerate(dataset.views):
                images = moved[slot[unflipped(item)]]
                logits = _logits(model, images.flip(3) if item.flip else images, precision)
                rows[number].append(logits.cpu().numpy())
            ticker.advance(len(moved[0]))
    return np.stack([np.concatenate(parts) for parts in rows])


def _logits(model: nn.Module, images: torch.Tensor, precision: torch.dtype) -> torch.Tensor:
    """Float32 logits; the head computes in float32, since half precision would round logits of 10 to steps of 0.06.

    Called inside autocast, which the head leaves.
    """
    if precision == torch.float32:
        return model(images).float()
    features = model.forward_features(images)  # type: ignore[operator]
    with torch.autocast(images.device.type, enabled=False):
        return model.forward_head(features.float()).float()  # type: ignore[operator]


def save_views(
    path: Path, ids: Sequence[str], classes: Sequence[str], views: Sequence[str], logits: np.ndarray
) -> None:
    """Write logits per view, float32 (v, n, c), with ids, classes and view names, as ``.npz`` without pickle."""
    if logits.shape != (len(views), len(ids), len(classes)):
        raise ValueError(f"{len(views)} views, {len(ids)} ids, {len(classes)} classes do not fit {logits.shape}")
    write_npz(
        path, ids=np.array(ids), classes=np.array(classes), views=np.array(views), logits=logits.astype(np.float32)
    )
