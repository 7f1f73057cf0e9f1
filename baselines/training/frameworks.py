"""What a framework does for ``baselines.fit``: train, predict, store. Two modules offer it, loaded when needed.

The ``adapter`` of ``torch_nets`` and that of ``keras_nets`` have the same functions: ``fit_torch`` or
``fit_keras``, and ``predict``, ``save``, ``load``, ``device_name``, ``peak_memory_mb``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baselines.contract.trainer import Fit, Predict
from baselines.port import is_keras
from baselines.registry import require_keras

if TYPE_CHECKING:
    pass


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
