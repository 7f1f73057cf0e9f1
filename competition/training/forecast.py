"""What a run will cost here, step by step, from a few photos of it; and afterwards what it did cost.

Each step is measured on a small share of its own work: photos read and looked at, batches passed through every
backbone, one matrix product of the probe's shape, a few training steps. Nothing measured is thrown into the result, so
the estimate changes no score.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from competition.config import Config, ProbeConfig, TrainConfig
from competition.console import duration, say
from competition.data.decode import read_photo
from competition.data.layout import CompetitionData
from competition.data.workers import map_in_order, worker_count
from competition.training.embed import Block, _forward, _load, _Renderings, cached, pick_precision
from competition.training.models import create_model, find_backbones, pick_device
from competition.training.reading import read_batches
from competition.training.tracking import RunDir
from competition.types import CVResult, view

LEAST_PHOTOS = 1000  # fewer are done before an estimate of them would be
_LOOKED_AT = 256  # photos decoded to estimate the audit and the report
_EVALUATIONS = 100  # passes over the features along one path of strengths (95 to 103 on the competition, two backbones)
# Relative to decoding each photo once, from the times of the audit and the report of 1,000, 5,000 and 11,222 photos:
_AUDIT = 3.0  # digests, thumbnails, hashes
_AUDIT_PAIRS = 1 / 2500  # and as much more for each so many photos: hashes compared, similar photos looked at
_REPORT = 6.5  # thumbnails of two sizes, written
_SECONDS_PER_PAGE = 0.005
_PAIR_PAGES = 150


def announce(data: CompetitionData, config: Config, run: RunDir, weights: Path | str | None) -> dict[str, float]:
    """Measure a little, say what each step will cost; seconds by step.

    Nothing is measured, and nothing returned, for a run that was begun before and for few photos.
    """
    if (run / "manifest.json").is_file() or len(data.train) < LEAST_PHOTOS:
        return {}
    begun = time.monotonic()
    with torch.random.fork_rng(devices=[]):  # the run draws what it would have drawn without this
        found = {step: seconds for step, seconds in forecast(data, config, weights).items() if seconds > 0}
    parts = ", ".join(f"{step} {duration(seconds)}" for step, seconds in found.items())
    say(
        f"this will take about {duration(sum(found.values()))}: {parts} (measured on a few photos in "
        f"{duration(time.monotonic() - begun)})"
    )
    return found


def forecast(data: CompetitionData, config: Config, weights: Path | str | None) -> dict[str, float]:
    """Seconds of each step of a run over these data."""
    photos = len(data.train) + len(data.test)
    looking = _seconds_of_a_look(data, config.workers) * photos
    found = {"audit": (_AUDIT + _AUDIT_PAIRS * photos) * looking}
    if isinstance(config, ProbeConfig):
        blocks = [Block(ref, view(name)) for ref in find_backbones(config.backbones, weights) for name in config.views]
        found["embed"] = _seconds_of_embedding(data, blocks, config)
        found["probe"] = _seconds_of_the_probe(data, blocks, config)
    elif isinstance(config, TrainConfig):
        found["fit"] = _seconds_of_training(data, config, weights)
    found["report"] = _REPORT * looking + _SECONDS_PER_PAGE * (len(data.classes) + _PAIR_PAGES)
    return found


def settle(run: RunDir, predicted: Mapping[str, float], result: CVResult) -> None:
    """Write predicted and actual seconds by step into the manifest, and say how far apart they were."""
    if not predicted:
        return
    actual: dict[str, Any] = {**run.manifest.get("steps", {}), "fit": sum(fold.seconds for fold in result.folds)}
    costs = {
        step: {"predicted": round(seconds, 1), "actual": round(float(actual[step]), 1)}
        for step, seconds in predicted.items()
        if step in actual
    }
    run.update_manifest(costs=costs)
    told = (f"{step} {duration(row['predicted'])} / {duration(row['actual'])}" for step, row in costs.items())
    say(f"predicted / actual: {', '.join(told)}")


def _seconds_of_a_look(data: CompetitionData, workers: int) -> float:
    """Wall time of decoding one photo, all processes at work; photos that cannot be read are the audit's business."""
    step = max(1, len(data.train) // _LOOKED_AT)
    paths = [photo.path for photo in data.train[::step]][:_LOOKED_AT]
    start = time.monotonic()
    for _ in map_in_order(_looked_at, paths[: len(paths) // 2], 1):
        pass
    return (time.monotonic() - start) / max(1, len(paths) // 2) / worker_count(workers)


def _looked_at(path: Path) -> int:
    from competition.errors import PhotoError

    try:
        return read_photo(path, min_side=64).size
    except PhotoError:
        return 0


def _seconds_of_embedding(data: CompetitionData, blocks: list[Block], config: ProbeConfig) -> float:
    """Two batches through every backbone, the second one measured; blocks that are in the cache cost nothing."""
    device = pick_device(config.device)
    waiting = {split: [b for b in blocks if cached(part, b, config) is None] for split, part in _splits(data).items()}
    todo = waiting["train"] or waiting["test"]
    batch = config.batch_size if device.type == "cuda" else min(32, config.batch_size)  # a CPU gains nothing from more
    photos = [photo for photo in data.train[: 4 * batch] if _looked_at(photo.path)][: 2 * batch]
    if not todo or not photos:
        return 0.0
    renderings = list(dict.fromkeys(block.rendering for block in todo))
    pictures, start = _Renderings(photos, renderings), time.monotonic()
    batches = [dict(zip(renderings, p, strict=True)) for p in read_batches(pictures, max(1, len(photos) // 2), device)]
    once = (time.monotonic() - start) / len(photos)
    forward: dict[tuple[str, int], float] = {}  # a mirror image costs what the picture costs
    for block in todo:
        kind = (block.backbone.name, block.rendering.size)
        if kind not in forward:
            forward[kind] = _seconds_of_a_pass(block, batches, device, pick_precision(config.precision, device))
        once += forward[kind]
    return once * sum(len(part) for split, part in _splits(data).items() if waiting[split])


def _seconds_of_a_pass(block: Block, batches: list[Any], device: torch.device, precision: torch.dtype) -> float:
    """Wall time of a photo's forward pass; the first batch warms up."""
    model = _load(block.backbone, device, precision)
    seconds = 0.0
    with torch.inference_mode():
        for batch in batches[:2]:
            start = time.monotonic()
            features = _forward(model, batch[block.rendering].to(device), block.view.flip)
            seconds = (time.monotonic() - start) / len(features)
    return seconds


def _splits(data: CompetitionData) -> dict[str, Any]:
    return {"train": data.train, "test": data.test}


def _seconds_of_the_probe(data: CompetitionData, blocks: list[Block], config: ProbeConfig) -> float:
    """One matrix product of the probe's shape on a share of the rows, times those of all paths."""
    device = pick_device(config.device)
    widths = [ref.num_features for ref in dict.fromkeys(block.backbone for block in blocks)]
    matrices = widths if len(widths) == 1 or config.combine == "average" else [sum(widths), *widths]
    rows, columns = min(2048, len(data.train)), config.n_folds * len(data.classes)
    left, right = torch.randn(rows, widths[0]).to(device), torch.randn(widths[0], columns).to(device)
    for _ in range(2):  # the first one warms up
        start = time.monotonic()
        float((torch.log_softmax((left @ right).view(rows, config.n_folds, -1), 2)).sum())
        float((left.T @ (left @ right)).sum())
    once = (time.monotonic() - start) / (rows * widths[0])
    return once * len(data.train) * sum(matrices) * _EVALUATIONS


def _seconds_of_training(data: CompetitionData, config: TrainConfig, weights: Path | str | None) -> float:
    """Forward and backward passes of all folds and epochs on the CPU; on a GPU the first fold says it itself."""
    if pick_device(config.device).type != "cpu":
        return 0.0
    from competition.training.estimate import seconds_per_photo

    (ref,) = find_backbones((config.backbone,), weights)
    model = create_model(ref, len(data.classes)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    share = (config.n_folds - 1) / config.n_folds
    passes = len(data.train) * share * (config.epochs + config.freeze_epochs) * config.n_folds
    return seconds_per_photo(model, config.image_size, photos=min(8, config.batch_size)) * passes
