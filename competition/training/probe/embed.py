"""Frozen features: every photo through every backbone and view, once, kept memory-mapped on disk.

A block is one backbone looking at one view. All blocks advance together over chunks of photos, so that a photo is
decoded once however many blocks want it. Progress is recorded after each chunk: a process killed at any moment
continues at the last whole chunk, with the same batches and therefore the same numbers. One process computes a block;
another one that wants it waits and reads (``competition.training.probe.feature_store``).
"""

from __future__ import annotations

import contextlib
import os
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from competition.config import ProbeConfig
from competition.console import Ticker, duration, progress, say
from competition.data.photos.decode import read_photo
from competition.data.source.competition_data import Photo
from competition.environment import cache_folder
from competition.files import digest_of
from competition.training.backbones.create import create_model
from competition.training.backbones.devices import pick_device, pick_precision
from competition.training.backbones.find import BackboneRef
from competition.training.photos.normalise import Normalise
from competition.training.photos.reading import read_batches
from competition.training.photos.rendering import Rendering
from competition.training.probe.feature_store import FeatureStore, alone
from competition.types import View

_LOOKED_AT = 4096  # bytes at either end of a photo
CHUNK_BATCHES = 8  # batches between two records of progress: a few seconds of work on a CPU


@dataclass(frozen=True)
class Block:
    """One backbone looking at one view; ``name`` is ``backbone/view``."""

    backbone: BackboneRef
    view: View

    @property
    def name(self) -> str:
        """``backbone/view``."""
        return f"{self.backbone.name}/{self.view.name}"

    @property
    def rendering(self) -> Rendering:
        """The picture this block needs; the mirror image is made from it on the device."""
        spec = self.backbone.spec
        unflipped = View(self.view.name, self.view.scale, False, self.view.crop)
        # Only the model's own crop needs its share; two blocks that see the same picture then share one rendering.
        crop = spec.crop_pct if self.view.crop != "whole" else 1.0
        return Rendering(unflipped.crop, unflipped.size_for(spec.size), crop, spec.interpolation)


class _Renderings:
    """Photos as the distinct renderings that the blocks need, uint8 (size, size, 3) each; decoded once per photo."""

    def __init__(self, photos: Sequence[Photo], renderings: Sequence[Rendering]) -> None:
        self.photos, self.renderings = photos, renderings
        # A crop takes a part of the picture, so the whole must be decoded larger than the crop is wide.
        self.min_side = max(round(item.size / item.crop_pct) for item in renderings)

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> list[np.ndarray]:
        image = read_photo(self.photos[index].path, min_side=self.min_side)
        return [rendering(image) for rendering in self.renderings]


def embed(
    photos: Sequence[Photo], blocks: Sequence[Block], config: ProbeConfig, *, folder: Path | None = None
) -> dict[str, np.ndarray]:
    """Compute, or read, the pooled features of every block.

    Args:
        photos: readable photos, in the order of the rows.
        blocks: what to compute.
        config: batch size, precision, device and workers.
        folder: where features are kept; the kit's cache by default.

    Returns:
        Block name to features, float32 (n, d), memory-mapped.

    Raises:
        PhotoError: a photo cannot be read (the audit would have named it).
        StorageError: the disk is full.
    """
    device = pick_device(config.device)
    precision = pick_precision(config.precision, device)
    stores = {block.name: _store(photos, block, precision, folder or cache_folder() / "features") for block in blocks}
    lacking = [store for store in stores.values() if not store.complete]
    if lacking and photos:
        with alone(lacking):
            waiting = [block for block in blocks if not stores[block.name].complete]
            if waiting:  # another process may have computed them meanwhile
                _compute(photos, waiting, stores, config, device, precision)
    return {name: store.read() for name, store in stores.items()}


def _content(path: Path) -> tuple[int, int]:
    """Size of a file and a checksum of its first and last bytes: another photo may have the same name and size."""
    with path.open("rb") as stream:
        start, size = stream.read(_LOOKED_AT), stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - _LOOKED_AT))
        return size, zlib.crc32(stream.read(), zlib.crc32(start))


def cached(
    photos: Sequence[Photo], block: Block, config: ProbeConfig, *, folder: Path | None = None
) -> np.ndarray | None:
    """Features of one block, float32 (n, d), when every photo's are kept already; None otherwise. Computes nothing."""
    precision = pick_precision(config.precision, pick_device(config.device))
    store = _store(photos, block, precision, folder or cache_folder() / "features")
    return store.read() if store.complete and len(photos) else None


def _store(photos: Sequence[Photo], block: Block, precision: torch.dtype, folder: Path) -> FeatureStore:
    facts = {
        "weights": block.backbone.digest,
        "view": [block.view.flip, *vars(block.rendering).values()],
        "precision": str(precision),
        "photos": digest_of([(photo.id, *_content(photo.path)) for photo in photos]),
    }
    # Not the backbone's name: it says where its weights lie, the digest what they are.
    name = f"{block.backbone.architecture}-{block.view.name}-{digest_of(facts)}"
    return FeatureStore(folder / name, len(photos), block.backbone.num_features, {**facts, "block": block.name})


def _compute(
    photos: Sequence[Photo],
    blocks: Sequence[Block],
    stores: Mapping[str, FeatureStore],
    config: ProbeConfig,
    device: torch.device,
    precision: torch.dtype,
) -> None:
    start = min(stores[block.name].done for block in blocks)
    models = {block.backbone.name: _load(block.backbone, device, precision) for block in blocks}
    with ExitStack() as opened:
        for block in blocks:
            opened.enter_context(stores[block.name].writing())
        ticker = opened.enter_context(progress(f"embed {len(blocks)} blocks", len(photos), "photos"))
        opened.enter_context(_threads(device))
        ticker.start_at(start)
        row, begun = start, time.monotonic()
        for number, pictures in enumerate(_batches(photos[start:], blocks, config, device), 1):
            count = len(next(iter(pictures.values())))
            for block in blocks:
                store = stores[block.name]
                if store.written < row + count:
                    features = _forward(models[block.backbone.name], pictures[block.rendering], block.view.flip)
                    store.append(features[max(0, store.written - row) :])
            row += count
            ticker.advance(count)
            if number == CHUNK_BATCHES:
                _announce(ticker, len(photos) - row, blocks, time.monotonic() - begun)
            if number % CHUNK_BATCHES == 0 or row == len(photos):
                for block in blocks:
                    stores[block.name].record()


def _announce(ticker: Ticker, left: int, blocks: Sequence[Block], seconds: float) -> None:
    """Say what the rest will cost, once, after the first chunk has been measured."""
    if left > 0 and seconds > 0:
        estimate = duration(left / max(ticker.rate, 1e-9))
        say(f"embed: {left:,} photos x {len(blocks)} blocks left, {ticker.rate:.0f} photos/s, about {estimate}")


@contextlib.contextmanager
def _threads(device: torch.device) -> Iterator[None]:
    """Inference mode, with cuDNN allowed to choose its fastest kernels."""
    torch.backends.cudnn.benchmark = device.type == "cuda"
    with torch.inference_mode():
        yield


def _load(backbone: BackboneRef, device: torch.device, precision: torch.dtype) -> nn.Module:
    model = create_model(backbone, 0).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    # The normalisation stays in float32: half precision would round away the lowest bits of the pixels first.
    return nn.Sequential(Normalise(backbone.spec), _Cast(precision), model.to(dtype=precision)).to(device)


class _Cast(nn.Module):
    """Casts a batch to the backbone's precision."""

    def __init__(self, precision: torch.dtype) -> None:
        super().__init__()
        self.precision = precision

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.to(self.precision)


def _forward(model: nn.Module, images: torch.Tensor, flip: bool) -> np.ndarray:
    """Features of uint8 images (n, h, w, 3), mirrored left to right when asked: float32 (n, d)."""
    features: torch.Tensor = model(images.flip(2) if flip else images)
    return features.float().cpu().numpy()


def _batches(
    photos: Sequence[Photo], blocks: Sequence[Block], config: ProbeConfig, device: torch.device
) -> Iterator[dict[Rendering, torch.Tensor]]:
    renderings = list(dict.fromkeys(block.rendering for block in blocks))
    loader = read_batches(_Renderings(photos, renderings), config.batch_size, device, config.workers)
    for pictures in loader:
        moved = (picture.to(device, non_blocking=True) for picture in pictures)
        yield dict(zip(renderings, moved, strict=True))
