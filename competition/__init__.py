"""From the downloaded archive of Kaggle's Dog Breed Identification to a validated, explained ``submission.csv``.

The verbs are imported when they are first used, so ``import competition`` costs no framework.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "Predictions": "competition.types",
    "load_data": "competition.data.source.layout",
    "recipe": "competition.recipes",
    "run": "competition.pipeline",
    "predict": "competition.pipeline",
    "cross_validate": "competition.training.cross_validate",
    "blend": "competition.prediction.blend.study",
    "write_submission": "competition.prediction.submission.write",
}

__all__ = [
    "Predictions",
    "__version__",
    "blend",
    "cross_validate",
    "load_data",
    "predict",
    "recipe",
    "run",
    "write_submission",
]

if TYPE_CHECKING:
    from competition.data.source.layout import load_data
    from competition.pipeline import predict, run
    from competition.prediction.blend.study import blend
    from competition.prediction.submission.write import write_submission
    from competition.recipes import recipe
    from competition.training.cross_validate import cross_validate
    from competition.types import Predictions


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'competition' has no attribute '{name}'")
    return getattr(import_module(_HOME[name]), name)
