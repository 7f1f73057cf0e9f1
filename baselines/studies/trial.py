"""One trial of a study: its data, its model, its training through ``baselines.fit``, its figures."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from baselines.data.datasets import Dataset, Part, load_dataset
from baselines.registry import create_model
from baselines.studies.study import Plan
from baselines.training.fit import EpochHook, fit
from baselines.training.frameworks import seed_framework
from competition.errors import UsageError
from competition.record.run_dir import RunDir

_SUBSET_SEED = 0  # which images a limited training part keeps: the same in every trial of every study
# What the NumPy networks know of the MLP's specification.
_NUMPY_OPTIONS = ("hidden", "activation", "init")


@lru_cache(maxsize=2)
def data_for(dataset: str, where: str | None, train_images: int, image_size: int = 0, test_images: int = 0) -> Dataset:
    """The data set with at most so many training and test images, as many of each class as their shares allow.

    Where there are fewer training images, there are at most half as many validation images (looked at every epoch).

    Args:
        dataset: name or path.
        where: see ``load_dataset``.
        train_images: 0 keeps all.
        image_size: side in pixels; 0 keeps the images' own.
        test_images: 0 keeps all.
    """
    data = load_dataset(dataset, where, image_size=image_size or None)
    if test_images and test_images < len(data.test):
        data = dataclasses.replace(data, test=_limited(data.test, test_images))
    if not train_images or train_images >= len(data.train):
        return data
    train, valid = _limited(data.train, train_images), _limited(data.valid, -(-train_images // 2))
    return dataclasses.replace(data, name=f"{data.name} ({train_images:,} training images)", train=train, valid=valid)


def _limited(part: Part, count: int) -> Part:
    if count >= len(part):
        return part
    rows = _stratified(part.labels, count)
    return Part(part.images[rows], part.labels[rows])


def _stratified(labels: np.ndarray, count: int) -> np.ndarray:
    """``count`` row numbers, sorted: within each class a random order, then round by round through the classes."""
    order = np.random.default_rng(_SUBSET_SEED).permutation(len(labels))
    turn = np.empty(len(labels))
    for label in np.unique(labels):
        members = order[labels[order] == label]
        turn[members] = (np.arange(len(members)) + 0.5) / len(members)
    return np.sort(np.argsort(turn, kind="stable")[:count])


def make_model(plan: Plan, data: Dataset) -> Any:
    """The plan's model with weights drawn by the plan's seed.

    Raises:
        UsageError: the NumPy networks lack the model or an option.
    """
    if plan.framework == "numpy":
        return _numpy_model(plan, data)
    if plan.framework == "keras":
        from baselines.registry import require_keras

        require_keras()
        importlib.import_module("baselines.keras_nets")  # before Keras, see there
        import keras

        keras.utils.clear_session()  # trials share a process; the graphs of the last one are not needed
    seed_framework(plan.framework, plan.config.seed)
    return create_model(
        plan.model,
        plan.framework,
        num_classes=data.num_classes,
        in_channels=data.in_channels,
        image_size=data.image_size,
        **plan.options,
    )


def _numpy_model(plan: Plan, data: Dataset) -> Any:
    from baselines.numpy_nets.mlp import MLP
    from baselines.registry import find_entry

    unknown = sorted(set(plan.options) - set(_NUMPY_OPTIONS))
    if plan.model != "mlp" or unknown:
        what = f"{', '.join(unknown)} of mlp" if plan.model == "mlp" else plan.model
        raise UsageError(f"framework='numpy' offers the mlp with {', '.join(_NUMPY_OPTIONS)}; not {what}")
    spec: Any = find_entry("mlp").spec.replace(**plan.options)
    inputs = int(np.prod(data.train.images.shape[1:]))
    sizes = (inputs, *spec.hidden, data.num_classes)
    return MLP(sizes, spec.activation, init=spec.initialisation, seed=plan.config.seed)


def run_plan(plan: Plan, where: str | None, folder: Path, hooks: tuple[EpochHook, ...] = ()) -> dict[str, Any]:
    """Train, or go on, or read back; the figures of the trial.

    Args:
        plan: what to train.
        where: where data sets lie.
        folder: the trial's run.
        hooks: called with each epoch's row.

    Returns:
        ``test_accuracy``, ``test_loss``, ``valid_accuracy``, ``valid_loss``, ``train_accuracy``, ``train_loss``,
        ``running_accuracy`` (of the training images as they were trained on, in the last epoch),
        ``parameters``, ``macs``, ``epochs``, ``best_epoch``, ``seconds``, ``seconds_per_epoch``.

    Raises:
        TrainingError: the loss became NaN.
        KitError: the settings do not fit the data, or the folder holds another run.
    """
    data = data_for(plan.dataset, where, plan.train_images, plan.image_size, plan.test_images)
    if plan.seconds:
        plan = _timed(plan, data, folder.with_name(f"{folder.name}-probe"))
    model = make_model(plan, data)
    result = fit(model, data, plan.config, RunDir(folder).path, epoch_hooks=hooks)
    metrics = result.metrics
    parts = {f"{part}_{key}": metrics[part][key] for part in ("test", "valid", "train") for key in ("accuracy", "loss")}
    rest = ("parameters", "macs", "epochs", "best_epoch", "seconds", "seconds_per_epoch")
    # Counted while training, batch norms by their batch: far above the evaluated one where they have not settled.
    parts["running_accuracy"] = float(result.history[-1]["train_accuracy"])
    return {**parts, **{key: metrics[key] for key in rest}}


def _timed(plan: Plan, data: Dataset, folder: Path) -> Plan:
    """The plan with as many epochs as fit into its seconds, at least one; a run of one epoch tells how long one takes.

    Its figures are kept, so that a continued trial has the number of epochs it began with. The first epoch pays for
    what is set up once (graphs, caches), which favours quick networks a little less than they deserve.
    """
    probe = dataclasses.replace(plan.config, epochs=1, warmup_epochs=0.0)
    took = fit(make_model(plan, data), data, probe, folder).metrics["seconds_per_epoch"]
    epochs = max(1, round(plan.seconds / max(took, 1e-3)))
    return dataclasses.replace(plan, config=dataclasses.replace(plan.config, epochs=epochs))


def plain(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Figures as JSON knows them."""
    return {key: value.item() if isinstance(value, np.generic) else value for key, value in figures.items()}
