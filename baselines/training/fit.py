"""``fit``: train a network of either framework by one configuration, into one kind of run folder.

    data = load_dataset("mnist")
    result = fit(create_model("lenet5"), data, epochs=12, schedule="one_cycle", lr=3e-3)
    result.accuracy, result.history, result.run

PyTorch networks train through the learner of ``competition.training``, Keras networks by their own ``model.fit``; see
``baselines.training.frameworks``. Nothing here knows a framework.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from baselines.contract.config import FitConfig
from baselines.contract.lines import summary_line
from baselines.data.datasets import Dataset, load_dataset
from baselines.training.evaluate import report_run
from baselines.training.frameworks import Adapter, adapter_for, framework_of
from baselines.training.run_folder import FitResult, ModelCard, new_run, read_metrics
from competition.console import say
from competition.errors import KitError, UsageError
from competition.record.history import History
from competition.record.run_dir import RunDir
from competition.record.tensorboard import tensorboard

EpochHook = Callable[[dict[str, Any]], None]


def fit(
    model: Any,
    data: Dataset | str = "digits",
    config: FitConfig | None = None,
    run_dir: Path | str | None = None,
    *,
    save_every: float = 300.0,
    callbacks: Sequence[Any] = (),
    epoch_hooks: Sequence[EpochHook] = (),
    **overrides: Any,
) -> FitResult:
    """Train a network, or go on with it, or read back what it reached; the model has the best weights afterwards.

    Args:
        model: from ``create_model``, or a PyTorch module or Keras model of your own that returns logits.
        data: a data set, or a name for ``load_dataset``.
        config: the configuration; None starts from the defaults.
        run_dir: where the run is kept: the same call continues it. None makes a new folder under ``runs/baselines``.
        save_every: seconds between two checkpoints; there is one after every epoch anyway.
        callbacks: further callbacks of the framework (fastai's or Keras').
        epoch_hooks: called with each epoch's row of figures; what they raise ends the training.
        overrides: keys of ``FitConfig``: ``epochs=30, lr=0.1``.

    Raises:
        UsageError: a key is unknown, a value impossible, or model and data do not fit together.
        ResumeError: ``run_dir`` holds another run.
        TrainingError: the loss became NaN, or memory does not suffice.
        KeyboardInterrupt: Ctrl-C; the state is saved.
    """
    chosen = configure(config, overrides)
    framework = framework_of(model)
    adapter = adapter_for(framework)
    dataset = load_dataset(data) if isinstance(data, str) else data
    card = ModelCard.of(model, dataset)
    require_match(adapter, model, card, dataset)
    place = adapter.device_name(chosen.device)
    run = RunDir(Path(run_dir) if run_dir else new_run(f"{card.name}-{framework}-{dataset.name}"))
    with run.claimed():
        new = not (run / "config.json").is_file()
        run.open(chosen, dataset.digest, framework=framework, model=card.described)
        if (run / "metrics.json").is_file() and (run / "model.safetensors").is_file():
            return _finished(adapter, model, run)
        say(f"{card.name} ({framework}) on {dataset.name}, {place}, kept in {run.path}")
        try:
            outcome = adapter.fit(
                model, dataset, chosen, run, save_every=save_every, callbacks=callbacks, epoch_hooks=epoch_hooks
            )
        except UsageError:
            if new:  # a corrected call must not find a run of the wrong one
                shutil.rmtree(run.path)
            raise
        card.save(run / "model.json")
        adapter.save(model, run / "model.safetensors")
        rows = History(run / "history.csv").rows
        metrics = report_run(
            adapter, model, dataset, card, run.path, outcome, rows,
            batch_size=max(chosen.batch_size, 256), device=chosen.device, seed=chosen.seed,
        )  # fmt: skip
        _log_end(run, chosen, metrics)
        shutil.rmtree(run / "checkpoint", ignore_errors=True)
    say(summary_line(metrics))
    return FitResult(run.path, tuple(rows), metrics)


def configure(config: FitConfig | None, overrides: dict[str, Any]) -> FitConfig:
    """The configuration with some keys changed.

    Raises:
        UsageError: a key is unknown or a value impossible.
    """
    start = config.to_dict() if config else {}
    try:
        return FitConfig.from_dict({**start, **overrides})
    except TypeError as error:
        raise UsageError(f"a setting is of the wrong type ({error})") from error


def require_match(adapter: Adapter, model: Any, card: ModelCard, data: Dataset) -> None:
    """Check that a network takes the data's images and has the data's classes.

    Raises:
        UsageError: it does not; what to change is named.
    """
    info = getattr(model, "info", None)
    wanted = {"image_size": data.image_size, "in_channels": data.in_channels, "num_classes": data.num_classes}
    if info is not None:
        wrong = {key: value for key, value in wanted.items() if getattr(info, key) != value}
        if wrong:
            made = ", ".join(f"{key}={getattr(info, key)}" for key in wrong)
            text = ", ".join(f"{key}={value}" for key, value in wrong.items())
            raise UsageError(f"{info.name} was made with {made}, {data.name} needs create_model(..., {text})")
        return
    try:
        logits = adapter.predict(model, data.valid.images[:2], data.mean, data.std, batch_size=2, device="auto")
    except KitError:
        raise
    except Exception as error:  # whatever the network raises on images it does not take
        reason = " ".join(str(error).split())[:200]
        shape = "x".join(map(str, data.train.images.shape[1:]))
        raise UsageError(f"{card.name} cannot take {data.name}'s images ({shape}): {reason}") from error
    if np.shape(logits) != (2, data.num_classes):
        raise UsageError(
            f"{card.name} gives shape {np.shape(logits)[1:]} for an image, {data.name} needs {data.num_classes} logits"
        )


def _finished(adapter: Adapter, model: Any, run: RunDir) -> FitResult:
    """The result of an earlier call."""
    adapter.load(model, run / "model.safetensors")
    metrics = read_metrics(run.path)
    say(f"{run.path} is finished: {summary_line(metrics)}")
    return FitResult(run.path, tuple(History(run / "history.csv").rows), metrics)


def _log_end(run: RunDir, config: FitConfig, metrics: dict[str, Any]) -> None:
    """The configuration and the final figures for TensorBoard's hparams tab."""
    from competition.record.board import log_hparams

    finals = {f"{part}_{key}": metrics[part][key] for part in ("valid", "test") for key in ("loss", "accuracy")}
    about = {"model": metrics["model"], "framework": metrics["framework"], "dataset": metrics["dataset"]}
    with tensorboard(run / "tensorboard") as writer:
        log_hparams(writer, {**about, **config.to_dict()}, finals)
