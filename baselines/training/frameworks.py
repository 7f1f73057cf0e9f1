"""What a framework does for ``baselines.fit``: train, predict, store. Two modules offer it, loaded when needed.

The ``adapter`` of ``torch_nets`` and that of ``keras_nets`` have the same functions: ``fit_torch`` or
``fit_keras``, and ``predict``, ``save``, ``load``, ``device_name``, ``peak_memory_mb``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from baselines.port import is_keras
from baselines.registry import require_keras

if TYPE_CHECKING:
    from baselines.contract.config import FitConfig
    from baselines.data.datasets import Dataset
    from competition.record.run_dir import RunDir

EpochHook = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Outcome:
    """How a training ended.

    Attributes:
        epochs: epochs done.
        best_epoch: the epoch, from 1, whose weights the model now has.
        stopped: why it ended before its last epoch; empty otherwise.
        seconds: of all starts together, validation included.
    """

    epochs: int
    best_epoch: int
    stopped: str
    seconds: float


class Fit(Protocol):
    """Train, or go on where ``checkpoint/`` was left; the model has the best epoch's weights afterwards.

    ``run`` gains ``history.csv`` (columns epoch, train_loss, train_accuracy, valid_loss, valid_accuracy, rate,
    images_per_second, seconds), ``tensorboard/`` and, while it lasts, ``checkpoint/``. ``train_loss`` is what is
    minimised, ``valid_loss`` the plain cross-entropy. ``epoch_hooks`` get each new row; what they raise ends the
    training. ``callbacks`` are the framework's own.
    """

    def __call__(
        self,
        model: Any,
        data: Dataset,
        config: FitConfig,
        run: RunDir,
        *,
        save_every: float,
        callbacks: Sequence[Any],
        epoch_hooks: Sequence[EpochHook],
    ) -> Outcome:
        """Train."""
        ...


class Predict(Protocol):
    """Logits float32 (n, classes) of images uint8 (n, h, w, c), in evaluation mode, normalised by mean and std."""

    def __call__(
        self, model: Any, images: np.ndarray, mean: np.ndarray, std: np.ndarray, *, batch_size: int, device: str
    ) -> np.ndarray:
        """Compute the logits."""
        ...


@dataclass(frozen=True)
class Adapter:
    """The functions of one framework.

    Attributes:
        framework: ``pytorch`` or ``keras``.
        fit: see ``Fit``.
        predict: see ``Predict``; ``device`` is the configuration's.
        save: writes all weights as safetensors under the framework's own names, atomically.
        load: reads what ``save`` wrote; WeightsError where it is of another model.
        device_name: what the configuration's ``device`` stands for here, for people: ``cpu``, ``cuda:0 (NVIDIA T4)``.
        peak_memory_mb: most memory so far in MiB: the device's on a GPU, this process's on a CPU.
    """

    framework: str
    fit: Fit
    predict: Predict
    save: Callable[[Any, Path], None]
    load: Callable[[Any, Path], None]
    device_name: Callable[[str], str]
    peak_memory_mb: Callable[[str], float]


def adapter_for(framework: str) -> Adapter:
    """Load a framework's functions.

    Raises:
        KitError: the framework is not installed.
    """
    module: Any
    if framework == "numpy":
        from baselines.numpy_nets import adapter as module

        fit = module.fit_numpy
    elif framework == "keras":
        require_keras()
        from baselines.keras_nets.training import adapter as module

        fit = module.fit_keras
    else:
        from baselines.torch_nets.training import adapter as module

        fit = module.fit_torch
    return Adapter(framework, fit, module.predict, module.save, module.load, module.device_name, module.peak_memory_mb)


def seed_framework(framework: str, seed: int) -> None:
    """Seed what draws the first weights of a framework's next model."""
    if framework == "keras":
        require_keras()
        importlib.import_module("baselines.keras_nets")  # must come before TensorFlow, see there
        import keras

        keras.utils.set_random_seed(seed)
    else:
        import torch

        torch.manual_seed(seed)


def framework_of(model: Any) -> str:
    """``pytorch``, ``keras`` or ``numpy``, told without importing any."""
    if type(model).__module__.startswith("baselines.numpy_nets."):
        return "numpy"
    return "keras" if is_keras(model) else "pytorch"


def peak_process_mb() -> float:
    """Most memory this process ever had resident, MiB."""
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def set_dropout(layers: Sequence[Any], attribute: str, rate: float | None) -> None:
    """Set the rate of a model's dropout layers (``p`` in PyTorch, ``rate`` in Keras); None leaves them.

    Raises:
        UsageError: there are none.
    """
    from competition.errors import UsageError

    if rate is None:
        return
    if not layers:
        raise UsageError("dropout is set, but the model has no dropout layers: leave it out or make the model with it")
    for layer in layers:
        setattr(layer, attribute, rate)
