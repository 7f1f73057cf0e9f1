"""``dogbreed train``, ``dogbreed sweep``, ``dogbreed lr-find``: fine-tuning by recipe, one fold at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from competition.cli.options import AsJson, Data, Device, RunFolder, Settings, Weights
from competition.system.processes import launched

if TYPE_CHECKING:
    from competition.config import TrainConfig
    from competition.types import CVResult

Recipe = Annotated[str, typer.Argument(help="Name of a recipe; a wrong one lists them all.", metavar="RECIPE")]
Folds = Annotated[str, typer.Option("--fold", help="Number of the fold, or several: 0,1.", metavar="K")]


def train(
    recipe: Recipe,
    fold: Folds = "0",
    data: Data = None,
    weights: Weights = None,
    run_dir: RunFolder = None,
    device: Device = None,
    settings: Settings = None,
    test: Annotated[bool, typer.Option("--test/--no-test", help="Predict the test photos as well.")] = True,
    as_json: AsJson = False,
) -> None:
    """Train one fold of a recipe (or some); the same command continues it. 'dogbreed run' does all folds and more."""
    from competition.data.source.layout import load_data
    from competition.training.cross_validate import cross_validate

    config = fine_tuning(recipe, settings, device, "train")
    folds = _numbers(fold, config.n_folds)
    folder = run_dir or Path("runs") / recipe
    with how_to_continue(folder):
        result = cross_validate(load_data(data), config, folder, folds=folds, weights=weights, test=test)
    if launched()[0] == 0:
        _print_folds(result, as_json)


def sweep(
    recipe: Recipe,
    trials: Annotated[int, typer.Option("--trials", min=1, help="Trials wanted in the study, earlier ones included.")],
    vary: Annotated[
        list[str] | None,
        typer.Option("--vary", help="KEY, KEY=LOW:HIGH or KEY=A,B; may be repeated. Default: rates, decay and more."),
    ] = None,
    fold: Annotated[int, typer.Option("--fold", min=0, help="The fold that every trial trains.")] = 0,
    data: Data = None,
    weights: Weights = None,
    run_dir: RunFolder = None,
    storage: Annotated[
        str | None, typer.Option("--storage", help="Database for several machines, e.g. postgresql://...")
    ] = None,
    device: Device = None,
    settings: Settings = None,
) -> None:
    """Search a recipe's hyperparameters with Optuna on one fold; the same command continues the study."""
    from competition.data.source.layout import load_data
    from competition.training.sweep.one_fold import sweep_recipe
    from competition.training.sweep.space import parse_space

    config, space = fine_tuning(recipe, settings, device, "sweep"), parse_space(vary or ())
    folder = run_dir or Path("runs") / f"sweep-{recipe}"
    with how_to_continue(folder):
        found = sweep_recipe(
            load_data(data), config, space, folder, trials=trials, fold=fold, weights=weights, storage=storage
        )
    print(
        f"log loss {found.log_loss:.4f} on fold {fold}, {found.finished} trials finished, {found.pruned} stopped early"
    )
    print(f"dogbreed run --recipe {recipe} {' '.join(f'--set {text}' for text in found.overrides)}")
    print(found.page)


def lr_find(
    recipe: Recipe,
    fold: Annotated[int, typer.Option("--fold", min=0, help="Whose training photos are used.")] = 0,
    data: Data = None,
    weights: Weights = None,
    run_dir: Annotated[
        Path | None, typer.Option("--run-dir", help="For audit, folds and plot; default runs/lr-find-RECIPE.")
    ] = None,
    steps: Annotated[
        int, typer.Option("--steps", min=6, help="Batches at most; it ends early when it diverges.")
    ] = 100,
    device: Device = None,
    settings: Settings = None,
) -> None:
    """Learning-rate range test: raise the rate batch by batch, plot the loss, suggest lr for the recipe."""
    from competition.data.source.layout import load_data
    from competition.record.run_dir import RunDir
    from competition.training.finetune.lr_find import lr_find as find
    from competition.training.finetune.lr_find import plot_rates
    from competition.training.sweep.one_fold import open_fold

    config = fine_tuning(recipe, settings, device, "lr-find")
    run = RunDir(run_dir or Path("runs") / f"lr-find-{recipe}")
    with run.claimed():
        one = open_fold(load_data(data), config, run, fold, weights)
        found = find(one.prepared.usable, one.fold, config, run, weights=weights, head=one.head, steps=steps)
    picture = plot_rates(found, run / "lr_find.png")
    print(f"suggested: --set lr={found.suggestion:.2g} (the recipe has {config.lr:.2g})")
    print(picture)


def fine_tuning(recipe: str, settings: Sequence[str] | None, device: str | None, command: str) -> TrainConfig:
    """The configuration of a fine-tuning recipe.

    Raises:
        UsageError: unknown recipe, key or value, or the recipe trains no network.
    """
    from competition import recipes
    from competition.config import TrainConfig
    from competition.errors import UsageError

    overrides = [*(settings or ()), *([f"device={device}"] if device else ())]
    config = recipes.recipe(recipe, *overrides)
    if not isinstance(config, TrainConfig):
        raise UsageError(
            f"'dogbreed {command}' is for recipes that train a network, '{recipe}' trains none: "
            f"use 'dogbreed run --recipe {recipe}'"
        )
    return config


def _numbers(text: str, n_folds: int) -> tuple[int, ...]:
    from competition.errors import UsageError

    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdecimal() and int(part) < n_folds for part in parts):
        raise UsageError(f"--fold {text} is impossible: expected numbers from 0 to {n_folds - 1}, separated by commas")
    return tuple(sorted({int(part) for part in parts}))


@contextmanager
def how_to_continue(folder: Path) -> Iterator[None]:
    """After Ctrl-C say what is kept; ``main`` ends the process and says how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        from competition.console import say

        if os.environ.get("LOCAL_RANK", "0") == "0":
            say(f"what was done is kept in {folder}")
        raise


def _print_folds(result: CVResult, as_json: bool) -> None:
    if as_json:
        import json

        folds = [
            {"fold": one.index, "log_loss": one.log_loss, "accuracy": one.accuracy, "seconds": one.seconds}
            for one in result.folds
        ]
        print(json.dumps({"name": result.name, "folds": folds, "log_loss": result.log_loss}, indent=2))
        return
    from competition.console import duration

    for one in result.folds:
        print(
            f"fold {one.index}: log loss {one.log_loss:.4f}, accuracy {one.accuracy:.4f}, "
            f"{len(one.valid):,} photos, {duration(one.seconds)}"
        )
    print(
        f"out of fold: log loss {result.log_loss:.4f} (temperature {result.temperature:.3f}), "
        f"accuracy {result.accuracy:.4f}, {len(result.oof):,} photos"
    )
    for note in result.notes:
        print(f"note: {note}")
