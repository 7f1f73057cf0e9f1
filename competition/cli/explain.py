"""``dogbreed explain``, ``ascent`` and ``show filters|activations|embedding``: what a run's networks look at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from competition.cli.options import Backbone, Run, RunData, RunWeights, folder_to_write

if TYPE_CHECKING:
    from competition.explain.networks.protocol import Backend

Out = Annotated[
    Path, typer.Option("--out", help="Folder that the pictures are written into.", callback=folder_to_write)
]
Board = Annotated[Path | None, typer.Option("--tensorboard", help="Log the pictures into this TensorBoard folder too.")]
Layer = Annotated[str | None, typer.Option("--layer", help="Name of a layer; a wrong name lists the near ones.")]
Target = Annotated[
    str | None, typer.Option("--target", help="The breed to explain; default: what the photo is called.")
]
Versus = Annotated[str | None, typer.Option("--versus", help="Why the target rather than this breed.")]
Method = Annotated[list[str] | None, typer.Option("--method", help="Repeat to compare; 'all' for every one.")]
Curves = Annotated[bool, typer.Option("--faithfulness/--no-faithfulness", help="Insertion and deletion curves too.")]
Channel = Annotated[list[int] | None, typer.Option("--channel", help="Index of a channel of --layer; repeat for more.")]
Neuron = Annotated[bool, typer.Option("--neuron", help="Only the channel's neuron in the middle of the picture.")]
Dream = Annotated[Path | None, typer.Option("--photo", help="Dream of --layer on this photo instead (DeepDream).")]
Steps = Annotated[int | None, typer.Option("--steps", min=1, help="Of gradient ascent; in a dream per octave.")]
Size = Annotated[int | None, typer.Option("--size", min=8, help="Longer side of the picture, pixels.")]
Octaves = Annotated[int | None, typer.Option("--octaves", min=1, help="Sizes to paint at, small to large.")]
Jitter = Annotated[float | None, typer.Option("--jitter", min=0, help="Largest random shift, as a share of the sides.")]
Variation = Annotated[float | None, typer.Option("--total-variation", min=0, help="Weight of smoothness; 0 for none.")]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Of noise and views.")]
Most = Annotated[int, typer.Option("--most", min=1, help="Filters at most.")]
Together = Annotated[bool, typer.Option("--together", help="One scale for all channels: shows the silent ones.")]
Fold = Annotated[int | None, typer.Option("--fold", min=0, help="Whose model; default: the run's first.")]


def _open(run: Path, fold: int | None, backbone: str | None, weights: Path | None) -> Backend:
    from competition.explain.networks.open_run import open_backend

    return open_backend(run, fold=fold, backbone=backbone, weights=weights)


def explain(
    run: Run,
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTO...", help="Photos to explain.")],
    out: Out = Path("explain"),
    method: Method = None,
    layer: Layer = None,
    target: Target = None,
    versus: Versus = None,
    faithfulness: Curves = True,
    board: Board = None,
    fold: Fold = None,
    backbone: Backbone = None,
    weights: RunWeights = None,
) -> None:
    """Show what in photos speaks for a breed, or for one breed rather than another."""
    from competition.explain.show.explain_photos import explain_photos
    from competition.explain.show.verbs import output_to

    backend = _open(run, fold, backbone, weights)
    with output_to(out, board) as output:
        for path in explain_photos(
            backend,
            photos,
            output,
            methods=method or [],
            layer=layer,
            target=target,
            versus=versus,
            curves=faithfulness,
        ):
            print(path)


def ascent(
    run: Run,
    out: Out = Path("explain"),
    target: Annotated[str | None, typer.Option("--target", help="A breed.")] = None,
    versus: Versus = None,
    layer: Layer = None,
    channel: Channel = None,
    neuron: Neuron = False,
    photo: Dream = None,
    steps: Steps = None,
    size: Size = None,
    octaves: Octaves = None,
    jitter: Jitter = None,
    variation: Variation = None,
    seed: Seed = None,
    board: Board = None,
    fold: Fold = None,
    backbone: Backbone = None,
    weights: RunWeights = None,
) -> None:
    """Paint, from noise, what a breed or a filter answers to most; with --photo, dream on a photo."""
    from competition.explain.show.verbs import Brush, output_to, paint_or_dream

    brush = Brush(steps, size, octaves, jitter, variation, seed)
    what = {"target": target, "versus": versus, "layer": layer, "channels": channel or (), "neuron": neuron}
    backend = _open(run, fold, backbone, weights)
    with output_to(out, board) as output:
        for path in paint_or_dream(backend, output, brush, photo=photo, **what):  # type: ignore[arg-type]
            print(path)


def filters(
    run: Run,
    out: Out = Path("explain"),
    layer: Layer = None,
    most: Most = 256,
    board: Board = None,
    fold: Fold = None,
    backbone: Backbone = None,
    weights: RunWeights = None,
) -> None:
    """Draw the filters of a layer of a run's network; without --layer, of the first convolution."""
    from competition.explain.show.verbs import output_to, show_filters

    backend = _open(run, fold, backbone, weights)
    with output_to(out, board) as output:
        print(show_filters(backend, output, layer, most))


def activations(
    run: Run,
    photo: Annotated[Path, typer.Argument(metavar="PHOTO", help="A photo.")],
    out: Out = Path("explain"),
    layer: Layer = None,
    together: Together = False,
    board: Board = None,
    fold: Fold = None,
    backbone: Backbone = None,
    weights: RunWeights = None,
) -> None:
    """Draw every channel of a layer for a photo; without --layer, of the last one that is a map."""
    from competition.explain.show.verbs import output_to, read_prepared, show_activations

    backend = _open(run, fold, backbone, weights)
    with output_to(out, board) as output:
        image = read_prepared(backend, photo)
        print(show_activations(backend, image, photo.name, output, layer, together=together))


def embedding(
    run: Run,
    out: Out = Path("explain"),
    method: Annotated[str, typer.Option("--method", help="tsne or pca.")] = "tsne",
    most: Annotated[int, typer.Option("--photos", min=5, help="Photos at most, evenly through the breeds.")] = 3000,
    breeds: Annotated[list[str] | None, typer.Option("--breed", help="Breed to name on the map; repeat.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of t-SNE.")] = 0,
    data: RunData = None,
    board: Board = None,
    fold: Fold = None,
    backbone: Backbone = None,
    weights: RunWeights = None,
) -> None:
    """Map the training photos by a network's features, as points and as photos.

    A probe run's features are read from the cache, unless --fold or --backbone names a network to compute them with.
    """
    from competition.explain.show.photo_map import map_photos
    from competition.explain.show.verbs import output_to

    with output_to(out, board) as output:
        for path in map_photos(
            run,
            lambda: _open(run, fold, backbone, weights),
            data,
            output,
            method=method,
            most=most,
            breeds=breeds or (),
            seed=seed,
            weights=weights,
            cached=fold is None and backbone is None,
        ):
            print(path)
