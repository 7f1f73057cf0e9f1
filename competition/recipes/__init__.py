"""One file per recipe. Each opens with its command, its cost and its score; ``CONFIG`` is the configuration.

What a recipe does not name is as ``TrainConfig`` (or ``ProbeConfig``) has it.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from pathlib import Path

from competition.config import Config
from competition.errors import require_known


def list_recipes() -> tuple[str, ...]:
    """Names of all recipes, sorted."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)])))


def recipe(name: str, *overrides: str) -> Config:
    """Return the configuration of a recipe, with ``key=value`` overrides applied.

    Raises:
        UsageError: unknown recipe, key or value; the nearest name is offered.
    """
    require_known("recipe", name, list_recipes())
    config: Config = import_module(f"competition.recipes.{name}").CONFIG
    return config.override([f"name={name}", *overrides])
