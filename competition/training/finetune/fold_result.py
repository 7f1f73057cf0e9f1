"""What a fold leaves: predictions by view, written, merged, read again and finished."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from competition.data.source.competition_data import Photo
from competition.errors import DataError, ResumeError, WeightsError
from competition.files import differences, read_json, read_npz, write_json
from competition.record.metrics import accuracy, log_loss, softmax
from competition.training.engine.checkpoint import flattened
from competition.training.finetune.fold_job import Job
from competition.training.photos.predict_views import predict_views, save_views
from competition.types import FoldResult, Predictions

if TYPE_CHECKING:
    from competition.training.engine.processes import Together

# What a finished fold has in any case; ``test_views.npz`` joins them when the test photos were asked for.
_TRAINED_FILES = ("valid_views.npz", "model.safetensors")


def write_views(
    job: Job,
    model: nn.Module,
    part: str,
    photos: Sequence[Photo],
    device: torch.device,
    precision: torch.dtype,
    together: Together | None,
) -> None:
    """Write ``PART_views.npz``: logits of photos in every view, each process computing its share of the photos."""
    rank, size = (together.rank, together.size) if together else (0, 1)
    rows = range(len(photos))[rank::size]
    logits = predict_views(
        model,
        job.backbone.spec,
        [photos[row] for row in rows],
        job.config.views,
        job.config.image_size,
        job.config.batch_size,
        together.device if together else device,
        precision=precision,
        workers=job.config.workers,
        label=f"fold {job.fold.index}: predict {part}",
    )
    if together is not None:
        _, logits = together.gathered(rows, logits, axis=1)
    if rank == 0:
        ids = [photo.id for photo in photos]
        save_views(job.folder / f"{part}_views.npz", ids, job.data.classes, job.config.views, logits)
    if together is not None:
        together.accelerator.wait_for_everyone()


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


def is_trained(job: Job) -> bool:
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


def finish_elsewhere(job: Job, *, test: bool) -> FoldResult:
    """What the main process wrote.

    Raises:
        WeightsError: this process does not see the main one's files.
    """
    result = read_result(job, test)
    if result is None:
        raise WeightsError(f"{job.folder} is not shared between the processes: all need the same file system")
    return result
