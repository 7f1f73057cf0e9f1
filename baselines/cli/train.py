"""``baselines train``, ``baselines evaluate``, ``baselines compare``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from baselines.cli.arguments import AsJson, DataFolder, Device, Framework, ImageSize, Options, model_options
from competition.cli.options import file_to_write

if TYPE_CHECKING:
    from baselines.data.datasets import Dataset

# The embedded digits are 8 px: this is what the smallest networks take.
_DIGITS_SIDE = 28
_DIGITS_EPOCHS = 30


def train(
    model: Annotated[str, typer.Argument(help="See 'baselines list'.", metavar="MODEL")] = "lenet5",
    framework: Framework = "pytorch",
    dataset: Annotated[
        str, typer.Option("--dataset", help="A known name (see 'baselines list') or a path.")
    ] = "digits",
    data: DataFolder = None,
    epochs: Annotated[int | None, typer.Option("--epochs", help="Default: 10; 30 for digits.")] = None,
    image_size: ImageSize = None,
    run_dir: Annotated[
        Path | None, typer.Option("--run-dir", help="Default: runs/baselines/MODEL-FRAMEWORK-DATASET.")
    ] = None,
    device: Device = "auto",
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Change the training (lr, schedule, augment, ...); may be repeated.", metavar="KEY=VALUE"
        ),
    ] = None,
    option: Options = None,
    as_json: AsJson = False,
) -> None:
    """Train a network from scratch; the same command continues it. No arguments: LeNet-5 on scikit-learn's digits."""
    from baselines.contract.config import FitConfig
    from baselines.registry import find_framework
    from baselines.training.fit import fit
    from baselines.training.run_folder import RUNS

    chosen = find_framework(framework)
    wanted = epochs if epochs is not None else _DIGITS_EPOCHS if dataset == "digits" else 10
    config = FitConfig(epochs=wanted, device=device).override(settings or ())
    loaded = _load(model, dataset, data, image_size)
    network = _make(model, chosen, loaded, config.seed, model_options(option))
    folder = run_dir or RUNS / f"{model}-{chosen}-{Path(dataset).stem}"
    result = fit(network, loaded, config, folder)
    if as_json:
        print(json.dumps(result.metrics, indent=2))
    else:
        _print_figures(result.metrics)
        print(result.run)


def _load(model: str, dataset: str, folder: Path | None, image_size: int | None) -> Dataset:
    """The data set; the digits are enlarged to what the model takes."""
    from baselines.data.datasets import load_dataset
    from baselines.registry import find_entry

    entry = find_entry(model)
    if dataset == "digits" and image_size is None:
        image_size = max(_DIGITS_SIDE, entry.min_size)
    return load_dataset(dataset, folder, image_size=image_size)


def _make(model: str, framework: str, data: Dataset, seed: int, options: Mapping[str, Any]) -> Any:
    """The network for a data set, its first weights drawn by the seed."""
    from baselines.registry import create_model
    from baselines.training.frameworks import seed_framework

    seed_framework(framework, seed)
    return create_model(model, framework, data.num_classes, data.in_channels, data.image_size, **options)


def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder of a trained network.", metavar="RUN")],
    dataset: Annotated[
        str | None, typer.Option("--dataset", help="Another set of the same classes; default: the run's own.")
    ] = None,
    data: DataFolder = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Score a trained network on the test images again: loss, accuracy, and every class."""
    from baselines.training.evaluate import evaluate_run, load_for

    found = evaluate_run(run, load_for(run, dataset, data), device=device)
    if as_json:
        print(json.dumps(found, indent=2))
        return
    _print_figures(found)
    print(f"{'class':<24}{'images':>8}{'precision':>11}{'recall':>8}{'F1':>8}")
    for row in found["per_class"]:
        rates = (row["precision"], row["recall"], row["f1"])
        shown = ["-" if rate is None else f"{rate:.3f}" for rate in rates]
        print(f"{row['class'][:23]:<24}{row['images']:>8}{shown[0]:>11}{shown[1]:>8}{shown[2]:>8}")


def _print_figures(metrics: Mapping[str, Any]) -> None:
    for part in ("train", "valid", "test"):
        if part in metrics:
            figures = metrics[part]
            top5 = f", top-5 {figures['top5']:.4f}" if figures["top5"] is not None else ""
            print(f"{part:<6}accuracy {figures['accuracy']:.4f}{top5}, loss {figures['loss']:.4f}")


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Folders of trained networks.", metavar="RUN...")],
    out: Annotated[Path, typer.Option("--out", help="The page.", callback=file_to_write)] = Path(
        "runs/baselines/compare.html"
    ),
) -> None:
    """Write a page that compares trained networks: curves, accuracy, cost, confusion, worst classes, samples."""
    from baselines.compare.page import write_comparison

    print(write_comparison(runs, out))
