"""From-scratch networks in PyTorch and Keras; importing this package loads no framework.

from baselines import create_model, fit, load_dataset
result = fit(create_model("resnet8", framework="keras", num_classes=10), load_dataset("cifar10"), epochs=30)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from baselines.contract.config import FitConfig
    from baselines.data.datasets import Dataset, list_datasets, load_dataset
    from baselines.registry import ModelInfo, create_model, list_models
    from baselines.training.evaluate import evaluate_run
    from baselines.training.fit import fit
    from baselines.training.run_folder import FitResult

__all__ = [
    "Dataset",
    "FitConfig",
    "FitResult",
    "ModelInfo",
    "create_model",
    "evaluate_run",
    "fit",
    "list_datasets",
    "list_models",
    "load_dataset",
]

_HOMES = {
    "Dataset": "data.datasets",
    "FitConfig": "contract.config",
    "FitResult": "training.run_folder",
    "ModelInfo": "registry",
    "create_model": "registry",
    "evaluate_run": "training.evaluate",
    "fit": "training.fit",
    "list_datasets": "data.datasets",
    "list_models": "registry",
    "load_dataset": "data.datasets",
}


def __getattr__(name: str) -> Any:
    """Load a name when it is first asked for: ``baselines --help`` waits for no NumPy."""
    if name not in _HOMES:
        raise AttributeError(f"module 'baselines' has no attribute '{name}'")
    return getattr(importlib.import_module(f"baselines.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
