"""``baselines explain``, ``ascent`` and ``show filters|activations|embedding``: what a trained network looks at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from baselines.cli.arguments import DataFolder, Device
from competition.cli import explain as shared

show = typer.Typer(help="Draw what a trained network holds.", no_args_is_help=True)

Image = Annotated[str, typer.Argument(metavar="IMAGE", help="A file, or test:17 for an image of the run's data set.")]
Images = Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Files, or test:17 and the like.")]
Target = Annotated[
    str | None, typer.Option("--target", help="The class to explain; default: what the image is called.")
]
Versus = Annotated[str | None, typer.Option("--versus", help="Why the target rather than this class.")]


@show.callback()
def _group() -> None:
    """Draw what a trained network holds."""


def explain(
    run: shared.Run,
    images: Images,
    out: shared.Out = Path("explain"),
    method: shared.Method = None,
    layer: shared.Layer = None,
    target: Target = None,
    versus: Versus = None,
    faithfulness: shared.Curves = True,
    board: shared.Board = None,
    data: DataFolder = None,
    device: Device = "auto",
) -> None:
    """Show what in images speaks for a class, or for one class rather than another."""
    from baselines.explain.images import read_images
    from baselines.explain.open_run import open_backend
    from competition.explain.show.explain_photos import explain_images, method_names
    from competition.explain.show.verbs import output_to

    methods = method_names(method or [], layer)
    backend = open_backend(run, device=device)
    shown, names = read_images(backend, run, images, data)
    with output_to(out, board) as output:
        for path in explain_images(
            backend,
            shown,
            names,
            output,
            methods=methods,
            layer=layer,
            target=target,
            versus=versus,
            curves=faithfulness,
        ):
            print(path)


def ascent(
    run: shared.Run,
    out: shared.Out = Path("explain"),
    target: Annotated[str | None, typer.Option("--target", help="A class.")] = None,
    versus: Versus = None,
    layer: shared.Layer = None,
    channel: shared.Channel = None,
    neuron: shared.Neuron = False,
    photo: shared.Dream = None,
    steps: shared.Steps = None,
    size: shared.Size = None,
    octaves: shared.Octaves = None,
    jitter: shared.Jitter = None,
    variation: shared.Variation = None,
    seed: shared.Seed = None,
    board: shared.Board = None,
    device: Device = "auto",
) -> None:
    """Paint, from noise, what a class or a filter answers to most; with --photo, dream on a photo."""
    from baselines.explain.open_run import open_backend
    from competition.explain.show.verbs import Brush, output_to, paint_or_dream

    brush = Brush(steps, size, octaves, jitter, variation, seed)
    what = {"target": target, "versus": versus, "layer": layer, "channels": channel or (), "neuron": neuron}
    backend = open_backend(run, device=device)
    with output_to(out, board) as output:
        for path in paint_or_dream(backend, output, brush, photo=photo, **what):  # type: ignore[arg-type]
            print(path)


@show.command()
def filters(
    run: shared.Run,
    out: shared.Out = Path("explain"),
    layer: shared.Layer = None,
    most: shared.Most = 256,
    board: shared.Board = None,
    device: Device = "auto",
) -> None:
    """Draw the filters of a layer; without --layer, of the first convolution."""
    from baselines.explain.open_run import open_backend
    from competition.explain.show.verbs import output_to, show_filters

    backend = open_backend(run, device=device)
    with output_to(out, board) as output:
        print(show_filters(backend, output, layer, most))


@show.command()
def activations(
    run: shared.Run,
    image: Image,
    out: shared.Out = Path("explain"),
    layer: shared.Layer = None,
    together: shared.Together = False,
    board: shared.Board = None,
    data: DataFolder = None,
    device: Device = "auto",
) -> None:
    """Draw every channel of a layer for an image; without --layer, of the last one that is a map."""
    from baselines.explain.images import read_images
    from baselines.explain.open_run import open_backend
    from competition.explain.show.verbs import output_to, show_activations

    backend = open_backend(run, device=device)
    (shown,), (name,) = read_images(backend, run, [image], data)
    with output_to(out, board) as output:
        print(show_activations(backend, shown, name, output, layer, together=together))


@show.command()
def embedding(
    run: shared.Run,
    out: shared.Out = Path("explain"),
    method: Annotated[str, typer.Option("--method", help="tsne or pca.")] = "tsne",
    part: Annotated[str, typer.Option("--part", help="train, valid or test.")] = "test",
    most: Annotated[int, typer.Option("--images", min=5, help="Images at most, drawn by the seed.")] = 3000,
    classes: Annotated[list[str] | None, typer.Option("--class", help="Class to name on the map; repeat.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the draw and of t-SNE.")] = 0,
    board: shared.Board = None,
    data: DataFolder = None,
    device: Device = "auto",
) -> None:
    """Map images of the run's data set by the network's features, as points and as images."""
    from baselines.explain.images import map_dataset
    from baselines.explain.open_run import open_backend
    from competition.explain.show.verbs import output_to

    backend = open_backend(run, device=device)
    with output_to(out, board) as output:
        for path in map_dataset(
            backend, run, output, part=part, most=most, method=method, seed=seed, classes=classes or (), folder=data
        ):
            print(path)
