"""``baselines list`` and ``baselines summary``: what there is, and what a network is made of."""

from __future__ import annotations

from typing import Annotated

import typer

from baselines.cli.arguments import Framework, ImageSize, Options


def list_known(
    pattern: Annotated[str, typer.Argument(help="Only models of this shape: 'vgg*'.")] = "*",
) -> None:
    """List the models and the data sets."""
    from baselines.data.datasets import list_datasets
    from baselines.registry import MODELS, list_models

    names = list_models(pattern)
    width = max(map(len, [*names, *list_datasets()]), default=0)
    for name in names:
        entry = MODELS[name]
        print(f"{name:<{width}}  {entry.image_size:>3} px, from {entry.min_size:>2} px  {entry.about}")
    if pattern == "*":
        print("\nData sets (a path to class folders, an archive of them, an .npz or idx files works as well):")
        for name, about in list_datasets().items():
            print(f"{name:<{width}}  {about}")


def summary(
    model: Annotated[str, typer.Argument(help="See 'baselines list'.", metavar="MODEL")],
    framework: Framework = "pytorch",
    image_size: ImageSize = None,
    channels: Annotated[int | None, typer.Option("--channels", min=1, help="Of the images.")] = None,
    classes: Annotated[int, typer.Option("--classes", min=1, help="Length of the logits.")] = 10,
    option: Options = None,
) -> None:
    """Print a network's layers with output shapes, parameters and multiply-accumulates."""
    from baselines.cli.arguments import model_options
    from baselines.registry import create_model
    from baselines.summary import summarise

    options = model_options(option)
    print(summarise(create_model(model, framework, classes, channels, image_size, **options)).table())
