"""What a run will cost here, step by step, from a few photos of it; and afterwards what it did cost.

Each step is measured on a small share of its own work: photos read and looked at, batches passed through every
backbone, one matrix product of the probe's shape, a few training steps. Nothing measured is thrown into the result, so
the estimate changes no score.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from competition.config import Config, ProbeConfig, TrainConfig
from competition.console import duration, say
from competition.data.photos.decode import read_photo
from competition.data.source.competition_data import CompetitionData, Photo
from competition.errors import PhotoError
from competition.record.run_dir import RunDir
from competition.system.workers import worker_count
from competition.training.backbones.create import create_model
from competition.training.backbones.devices import pick_device, pick_precision
from competition.training.backbones.find import find_backbones
from competition.training.finetune import estimate
from competition.training.photos.reading import read_batches
from competition.training.photos.rendering import Rendering
from competition.training.probe.embed import Block, _forward, _load, _Renderings, cached
from competition.training.probe.run import at_size_of, head_config, probe_blocks
from competition.types import CVResult

LEAST_PHOTOS = 1000  # fewer are done before an estimate of them would be
_LOOKED_AT = 256  # photos decoded to estimate the audit and the report
_EVALUATIONS = 100  # passes over the features along one path of strengths (95 to 103 on the competition, two backbones)
# Relative to decoding each photo once, from the times of the audit and the report of 1,000, 5,000 and 11,222 photos:
_AUDIT = 3.0  # digests, thumbnails, hashes
_AUDIT_PAIRS = 1 / 2500  # and as much more for each so many photos: hashes compared, similar photos looked at
_REPORT = 6.5  # thumbnails of two sizes, written
_SECONDS_PER_PAGE = 0.005
_PAIR_PAGES = 150


def announce(
    data: CompetitionData, config: Config, run: RunDir, weights: Path | str | None, folds: Sequence[int]
) -> dict[str, float]:
    """Measure a little, say what each step will cost; seconds by step.

    Nothing is measured, and nothing returned, for a run that was begun before and for few photos.
    """
    if (run / "manifest.json").is_file() or len(data.train) < LEAST_PHOTOS:
        return {}
    begun = time.monotonic()
    with torch.random.fork_rng(devices=[]):  # the run draws what it would have drawn without this
        found = {step: seconds for step, seconds in forecast(data, config, weights, folds).items() if seconds > 0}
    parts = ", ".join(f"{step} {duration(seconds)}" for step, seconds in found.items())
    say(
        f"this will take about {duration(sum(found.values()))}: {parts} (measured on a few photos in "
        f"{duration(time.monotonic() - begun)})"
    )
    return found


def forecast(
    data: CompetitionData, config: Config, weights: Path | str | None, folds: Sequence[int]
) -> dict[str, float]:
    """Seconds of each step of a run over these data that fits these folds."""
    photos = len(data.train) + len(data.test)
    looking = _seconds_of_a_look(data, config.workers) * photos
    found = {"audit": (_AUDIT + _AUDIT_PAIRS * photos) * looking}
    if isinstance(config, ProbeConfig):
        found.update(_seconds_of_probing(data, config, weights))
    elif isinstance(config, TrainConfig):
        found.update(_seconds_of_training(data, config, weights, folds))
    classes = len(data.classes)
    pages = classes + min(_PAIR_PAGES, classes * (classes - 1) // 2)
    found["report"] = _REPORT * looking * len(folds) / config.n_folds + _SECONDS_PER_PAGE * pages
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


def _seconds_of_a_look(data: CompetitionData, workers: int, side: int = 64) -> float:
    """Wall time of decoding one photo, all processes at work; photos that cannot be read are the audit's business."""
    paths = [photo.path for photo in data.train[:: max(1, len(data.train) // _LOOKED_AT)]][:_LOOKED_AT]
    times: list[float] = []
    for path in paths:
        start = time.monotonic()
        _looked_at(path, side)
        times.append(time.monotonic() - start)
    # A few take long because something else ran meanwhile; photos differ too, so not the fastest but the middle half.
    return float(np.mean(sorted(times)[len(times) // 4 : -(-3 * len(times) // 4)])) / worker_count(workers)


def _looked_at(path: Path, side: int = 64) -> int:
    try:
        return read_photo(path, min_side=side).size
    except PhotoError:
        return 0


def _seconds_of_probing(data: CompetitionData, config: ProbeConfig, weights: Path | str | None) -> dict[str, float]:
    blocks = probe_blocks(find_backbones(config.backbones, weights), config.views)
    embedding = _seconds_of_embedding(data, blocks, config)
    return {"embed": embedding, "probe": _seconds_of_the_probe(data, blocks, config)}


def _seconds_of_embedding(data: CompetitionData, blocks: list[Block], config: ProbeConfig) -> float:
    """A few batches through every backbone, the best one counts; blocks that are in the cache cost nothing."""
    device = pick_device(config.device)
    waiting = {split: [b for b in blocks if cached(part, b, config) is None] for split, part in _splits(data).items()}
    todo = next((lacking for lacking in waiting.values() if lacking), [])
    batch = config.batch_size if device.type == "cuda" else min(32, config.batch_size)  # a CPU gains nothing from more
    photos = [photo for photo in data.train[: 4 * batch] if _looked_at(photo.path)][: 3 * batch]
    if not todo or not photos:
        return 0.0
    renderings = list(dict.fromkeys(block.rendering for block in todo))
    reading, pictures = _read(photos, renderings, max(1, len(photos) // 3), device)
    once = reading
    forward: dict[tuple[str, int], float] = {}  # a mirror image costs what the picture costs
    for block in todo:
        kind = (block.backbone.name, block.rendering.size)
        if kind not in forward:
            images = pictures[block.rendering].to(device)
            forward[kind] = _seconds_of_a_pass(block, images, pick_precision(config.precision, device))
        once += forward[kind]
    return once * sum(len(part) for split, part in _splits(data).items() if waiting[split])


def _read(
    photos: Sequence[Photo], renderings: list[Rendering], batch: int, device: torch.device
) -> tuple[float, dict[Rendering, torch.Tensor]]:
    """Seconds per photo of reading, from the fastest of the batches, and a batch of each rendering."""
    times: list[float] = []
    batches, start = iter(read_batches(_Renderings(photos, renderings), batch, device)), time.monotonic()
    for _ in range(len(photos) // batch):
        pictures = next(batches)
        times.append(time.monotonic() - start)
        start = time.monotonic()
    return min(times) / batch, dict(zip(renderings, pictures, strict=True))


def _seconds_of_a_pass(block: Block, images: torch.Tensor, precision: torch.dtype) -> float:
    """Wall time of a photo's forward pass."""
    model = _load(block.backbone, images.device, precision)
    with torch.inference_mode():
        return estimate.best_of(lambda: _forward(model, images, block.view.flip), least=1.0) / len(images)


def _splits(data: CompetitionData) -> dict[str, Any]:
    return {name: part for name, part in (("train", data.train), ("test", data.test)) if part}


def _seconds_of_the_probe(data: CompetitionData, blocks: list[Block], config: ProbeConfig) -> float:
    """One matrix product of the probe's shape on a share of the rows, times those of all paths."""
    device = pick_device(config.device)
    widths = [ref.num_features for ref in dict.fromkeys(block.backbone for block in blocks)]
    matrices = widths if len(widths) == 1 or config.combine == "average" else [sum(widths), *widths]
    rows, columns = min(2048, len(data.train)), config.n_folds * len(data.classes)
    left, right = torch.randn(rows, widths[0]).to(device), torch.randn(widths[0], columns).to(device)

    def evaluate() -> None:
        float((torch.log_softmax((left @ right).view(rows, config.n_folds, -1), 2)).sum())
        float((left.T @ (left @ right)).sum())

    once = estimate.best_of(evaluate, least=0.5) / (rows * widths[0])
    return once * len(data.train) * sum(matrices) * _EVALUATIONS


def _seconds_of_training(
    data: CompetitionData, config: TrainConfig, weights: Path | str | None, folds: Sequence[int]
) -> dict[str, float]:
    """Where the heads come from, and the folds on a CPU; on a GPU the first fold says it itself."""
    found: dict[str, float] = {}
    (ref,) = find_backbones((config.backbone,), weights)
    if config.head_from == "probe":
        probe = head_config(config)
        blocks = probe_blocks(at_size_of(config, (ref,)), probe.views)
        train = dataclasses.replace(data, test=())
        found["heads from the probe"] = _seconds_of_embedding(train, blocks, probe) + _seconds_of_the_probe(
            train, blocks, probe
        )
    if pick_device(config.device).type != "cpu":
        return found
    model = create_model(ref, len(data.classes), pretrained=False, image_size=config.image_size)
    passes = estimate.seconds_of_passes(model, config)
    looking = _seconds_of_a_look(data, config.workers, config.image_size)
    valid, test = len(data.train) // config.n_folds, len(data.test)
    train_photos = len(data.train) - valid
    read = (0 if config.cache else train_photos * config.total_epochs) + (
        valid * (estimate.validated(config) + 1) + test
    )
    fold = estimate.seconds_of_a_fold(config, passes, (train_photos, valid, test)) + looking * read
    found["fit"] = fold * len(folds) + (looking * len(data.train) if config.cache else 0.0)
    return found
