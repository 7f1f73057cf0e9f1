"""One process's work on one fold: loaders, learner, checkpoints, recovery from a full memory, predictions."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from competition.config import TrainConfig
from competition.console import console, duration, progress, say
from competition.data.source.competition_data import CompetitionData, Photo
from competition.errors import TrainingError, UsageError
from competition.record.run_dir import RunDir
from competition.system.processes import affordable, launched
from competition.training.backbones.create import create_model, load_weights, save_weights
from competition.training.backbones.devices import pick_device, pick_precision
from competition.training.engine.callbacks import StepCaller
from competition.training.engine.checkpoint import CheckpointStore
from competition.training.engine.checkpointing import Keeper
from competition.training.engine.epoch_records import Bookkeeper, EpochHook, Progress, open_history
from competition.training.engine.feeding import Loaders, Preparation
from competition.training.engine.memory import fit_in_memory
from competition.training.finetune.board import FoldPictures, log_fold_end
from competition.training.finetune.fold_job import Head, Job, build_model, check_job, choose_device
from competition.training.finetune.fold_learner import FoldLearner
from competition.training.finetune.fold_result import finish, finish_elsewhere, is_trained, read_result, write_views
from competition.training.photos.loader import (
    LabelledView,
    PhotoFiles,
    PhotoSource,
    StepSampler,
    TrainPhotos,
    train_loader,
    valid_loader,
)
from competition.training.photos.reading import pick_workers
from competition.types import Fold, FoldResult

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from competition.training.engine.processes import Together


def train_fold(
    job: Job, *, test: bool, save_every: float, callbacks: Sequence[Any], epoch_hooks: Sequence[EpochHook]
) -> FoldResult:
    """Train, predict and finish a fold; see ``fit_fold``."""
    # An earlier fold's learner is a circle of references; its readers must be gone before new processes are forked,
    # which would otherwise collect it themselves and complain that its readers are not their children.
    gc.collect()
    if job.config.threads:
        torch.set_num_threads(job.config.threads)
    model = build_model(job)
    device = choose_device(job.config, model, len(job.fold.train_ids))
    learn = make_learner(job, model, device, join(device), callbacks)
    try:
        return _train_and_finish(job, learn, test=test, save_every=save_every, hooks=epoch_hooks)
    finally:
        learn.dls.close()


def join(device: torch.device) -> Together | None:
    """The processes that torchrun or ``accelerate launch`` started to train together; None where this one is alone.

    Only the main one speaks from here on.
    """
    if launched()[1] == 1:
        return None
    from competition.training.engine.processes import Together

    together = Together(device)
    console().quiet = together.rank > 0
    return together


def _train_and_finish(
    job: Job, learn: FoldLearner, *, test: bool, save_every: float, hooks: Sequence[EpochHook]
) -> FoldResult:
    """From wherever the fold stands to its end."""
    store = CheckpointStore(job.folder / "state", job.identity)
    keeper = Keeper(store, save_every)
    if keeper.restore(learn):
        state = learn.state
        where = f"epoch {state.epoch + 1}, step {state.step} of {learn.sampler.steps}"
        say(f"fold {job.fold.index}: going on at {where}")
    else:
        _announce(job, learn)
    if learn.together is not None:  # dropout must differ between the processes
        torch.manual_seed(hash((job.config.seed, job.fold.index, learn.state.total_steps, learn.together.rank)))
    _train(job, learn, keeper, hooks)
    return _predict_and_finish(job, learn, keeper, test=test)


def predict_rest(job: Job) -> FoldResult:
    """Predict the test photos with a fold that was trained without them; nothing is trained again."""
    config, device = job.config, pick_device(job.config.device)
    model = create_model(job.backbone, len(job.data.classes), pretrained=False, image_size=config.image_size)
    load_weights(model, job.folder / "model.safetensors")
    write_views(job, model, "test", job.data.test, device, pick_precision(config.precision, device), join(device))
    return finish_elsewhere(job, test=True)


def make_learner(
    job: Job, model: nn.Module, device: torch.device, together: Together | None = None, callbacks: Sequence[Any] = ()
) -> FoldLearner:
    """The learner of a fold, on its device, at the start of its training.

    Raises:
        UsageError: there are fewer photos than processes to share them.
    """
    config, fold = job.config, job.fold
    rank, size = _place(together, min(len(fold.valid_ids), len(job.data.test) or len(fold.valid_ids)))
    sampler = StepSampler(len(fold.train_ids), config.batch_size, config.accumulate, config.seed, rank, size)
    if together is not None:
        device, model = together.device, together.synced(model)
    model.to(device=device, memory_format=torch.channels_last if config.channels_last else torch.contiguous_format)  # type: ignore[call-overload]
    if config.compile:
        model.compile()
    largest = max([config.image_size, *config.progressive])
    train = TrainPhotos(
        _source(job, largest), fold.train_ids, job.labels(fold.train_ids), config.seed, config.augment,
    )  # fmt: skip
    labels = job.labels(fold.valid_ids)
    files = PhotoFiles(job.photos(fold.valid_ids), config.image_size)
    valid = LabelledView(files, fold.valid_ids, labels, job.backbone.spec, config.image_size)
    rows = np.arange(len(labels))[rank::size]
    batch_bytes = max(sampler.chunk * largest**2, config.batch_size * config.image_size**2) * 3
    workers, pin = affordable(pick_workers(config.workers), batch_bytes), device.type == "cuda"
    loaders = Loaders(
        train_loader(train, sampler, workers, pin=pin),
        valid_loader(valid, config.batch_size, workers, [int(row) for row in rows], pin=pin),
        sampler,
        labels,
        rows,
        Preparation(job.backbone.spec, device, config.channels_last),
    )
    learn = FoldLearner(job, model, loaders, pick_precision(config.precision, device), together, callbacks)
    learn.path = job.folder / "fastai"  # where fastai's own callbacks write
    return learn


def _place(together: Together | None, photos: int) -> tuple[int, int]:
    """This process's number, and of how many."""
    if together is None:
        return 0, 1
    if together.size > photos:
        raise UsageError(f"{together.size} processes cannot share {photos} photos: start fewer processes")
    return together.rank, together.size


def _source(job: Job, largest: int) -> PhotoSource:
    """Training photos, decoded once into the cache or at each access."""
    # A crop of part of the photo is enlarged anyway; a little more than the input is enough to draw crops from.
    side = round(largest * 8 / 7)
    if not job.config.cache:
        return PhotoFiles(job.photos(job.fold.train_ids), side)
    from competition.data.photos.photo_cache import PhotoCache

    return PhotoCache.build(job.data.train, side)


def _announce(job: Job, learn: FoldLearner) -> None:
    config, sampler = job.config, learn.sampler
    say(
        f"fold {job.fold.index}: {job.backbone.name} at {config.image_size} px on {learn.device.type}, "
        f"{len(job.fold.train_ids):,} photos train, {len(job.fold.valid_ids):,} validate, {learn.total_epochs} epochs "
        f"of {sampler.steps} steps of {sampler.per_step}"
        + (f" in {sampler.chunks_per_step} passes" if sampler.chunks_per_step > 1 else "")
    )


def _train(job: Job, learn: FoldLearner, keeper: Keeper, hooks: Sequence[EpochHook]) -> None:
    photos = learn.total_epochs * learn.sampler.steps * learn.sampler.per_step
    with (
        progress(f"fold {job.fold.index}", photos) as ticker,
        _board(job, learn) as writer,
        keeper.interrupt.listening(),
    ):
        done = learn.state.total_steps * learn.sampler.per_step
        if done:
            ticker.start_at(done)
        history = open_history(job.folder / "history.csv", learn.state.epoch)
        learn.on_epoch = Bookkeeper(keeper, history, writer, ticker, hooks).close_epoch
        extra = [StepCaller(keeper.after_step), Progress(ticker, writer), FoldPictures(writer)]
        with learn.added_cbs(extra):
            fit_in_memory(learn, ticker, f"fold {job.fold.index}", job.folder / "state")


@contextmanager
def _board(job: Job, learn: FoldLearner) -> Iterator[SummaryWriter | None]:
    """TensorBoard of the main process; a restarted training hides what it writes again."""
    if not learn.is_main:
        yield None
        return
    from competition.record.tensorboard import tensorboard

    with tensorboard(job.run / "tensorboard" / f"fold{job.fold.index}") as writer:
        yield writer


def _predict_and_finish(job: Job, learn: FoldLearner, keeper: Keeper, *, test: bool) -> FoldResult:
    best, together = learn.state.best, learn.together
    if best is None:
        raise TrainingError(f"fold {job.fold.index} has no validated epoch to choose weights from")
    model = learn.plain_model
    if learn.is_main:
        load_weights(model, keeper.store.folder / best.file)
    if together is not None:
        together.copy_from_main(model)
    say(f"fold {job.fold.index}: {best.kind} weights of epoch {best.epoch}, validation log loss {best.log_loss:.4f}")
    parts: dict[str, Sequence[Photo]] = {"valid": job.photos(job.fold.valid_ids)}
    if test and job.data.test:
        parts["test"] = job.data.test
    for part, photos in parts.items():
        precision = learn.half.dtype if learn.half else torch.float32
        write_views(job, model, part, photos, learn.device, precision, together)
    keeper.count_seconds(learn.state)
    if learn.is_main:
        save_weights(model, job.folder / "model.safetensors")
        facts = {"weights": best.kind, "epoch": best.epoch, "stopped": learn.state.stopped, "device": str(learn.device)}
        result = finish(job, facts, learn.state.seconds, test="test" in parts)
        keeper.store.remove()
        log_fold_end(job.run / "tensorboard" / f"fold{job.fold.index}", job.config, result, job.data)
    if together is not None:
        together.accelerator.wait_for_everyone()
        result = finish_elsewhere(job, test=test)
    figures = f"log loss {result.log_loss:.4f}, accuracy {result.accuracy:.4f}"
    say(f"fold {job.fold.index}: {figures}, {duration(result.seconds)}")
    return result


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

    if is_trained(job):
        return predict_rest(job)
    return train_fold(job, test=test, save_every=save_every, callbacks=callbacks, epoch_hooks=epoch_hooks)
