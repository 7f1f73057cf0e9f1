"""The verbs of the command line, for a network of any framework: explain photos, paint ascents, show layers.

``dogbreed`` and ``baselines`` open their own runs and call these; a notebook calls the functions underneath, which
return arrays and figures. Every verb writes PNG files whole or not at all and returns their paths; with ``board`` the
same pictures go to TensorBoard.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from competition.console import say
from competition.errors import UsageError, nearest
from competition.explain.inside import activations
from competition.explain.inside.ascent import AscentConfig, ascend
from competition.explain.inside.dream import DreamConfig, dream
from competition.explain.inside.embedding_map import embedding, thumbnail_map, together
from competition.explain.inside.objectives import ClassObjective, Objective, channel_objective
from competition.explain.networks.protocol import find_layer
from competition.files import atomic_path, write_csv
from competition.pictures import figures
from competition.pictures.overlays import as_uint8, in_colour

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from competition.explain.networks.protocol import Backend

MOST_THUMBNAILS = 40 * 40


@dataclass(frozen=True)
class Output:
    """Where pictures go: a folder of PNG files, and a TensorBoard writer if wanted."""

    folder: Path
    writer: Any = None

    def figure(self, name: str, figure: Figure, dpi: int = 110) -> Path:
        """Write a figure as ``name``.png."""
        path = figures.save(figure, self.folder / f"{safe(name)}.png", dpi)
        if self.writer is not None:
            figures.to_board(self.writer, f"explain/{safe(name)}", figure)
        return path

    def image(self, name: str, image: np.ndarray) -> Path:
        """Write a picture (h, w, 3) in [0, 1] as ``name``.png, pixel by pixel."""
        from PIL import Image

        path = self.folder / f"{safe(name)}.png"
        shown = as_uint8(in_colour(image))
        with atomic_path(path) as temporary:
            Image.fromarray(shown).save(temporary, format="PNG")
        if self.writer is not None:
            figures.to_board(self.writer, f"explain/{safe(name)}", shown)
        return path


@contextmanager
def output_to(folder: Path, board: Path | None = None) -> Iterator[Output]:
    """Pictures into ``folder`` and, if ``board`` is given, into that TensorBoard folder as well."""
    if board is None:
        yield Output(folder)
        return
    from competition.record.tensorboard import tensorboard

    with tensorboard(board) as writer:
        yield Output(folder, writer)


def safe(text: str) -> str:
    """Text as a file name: letters, digits, hyphens, dots and underscores."""
    return re.sub(r"[^\w.-]+", "-", text, flags=re.ASCII).strip("-.") or "picture"


def read_prepared(backend: Backend, photo: Path) -> np.ndarray:
    """A photo as the network is shown it, float32 (h, w, c) in [0, 1].

    Raises:
        PhotoError: it cannot be read.
    """
    from competition.data.photos.decode import read_photo

    return backend.prepare(read_photo(photo, max(backend.input_shape[:2])))


@dataclass(frozen=True)
class Brush:
    """The settings of an ascent or a dream that a user gave; None leaves the default."""

    steps: int | None = None
    size: int | None = None
    octaves: int | None = None
    jitter: float | None = None
    total_variation: float | None = None
    seed: int | None = None

    def given(self, *keys: str) -> dict[str, Any]:
        """The settings among ``keys`` that were given."""
        return {key: getattr(self, key) for key in keys if getattr(self, key) is not None}

    @property
    def ascent(self) -> AscentConfig:
        """For an ascent."""
        return AscentConfig(**self.given("steps", "size", "octaves", "jitter", "total_variation", "seed"))

    @property
    def dream(self) -> DreamConfig:
        """For a dream."""
        return DreamConfig(**self.given("steps", "octaves", "seed"))


def paint_or_dream(
    backend: Backend,
    output: Output,
    brush: Brush,
    *,
    photo: Path | None = None,
    target: str | None = None,
    versus: str | None = None,
    layer: str | None = None,
    channels: Sequence[int] = (),
    neuron: bool = False,
) -> list[Path]:
    """Paint what a class, or channels of a layer, answer to most; or dream of a layer on a photo.

    Raises:
        UsageError: it isn't clear what to paint.
    """
    if photo is not None:
        if layer is None or target is not None:
            raise UsageError("a dream on --photo needs --layer, and no --target: see 'show activations' for layers")
        return [dream_on(backend, photo, output, layer=layer, longest=brush.size or 640, config=brush.dream)]
    written = []
    for objective in _objectives(backend, target, versus, layer, channels, neuron=neuron):
        found = ascend(backend, objective, brush.ascent, show_progress=True)
        figure = figures.ascent_figure(found.image, found.name, found.steps, found.values)
        written.append(output.image(f"ascent-{objective.name}", found.image))
        written.append(output.figure(f"ascent-{objective.name}-curve", figure))
        say(f"{objective.name}: from {found.values[0]:.3g} to {found.values[-1]:.3g} in {found.config.steps} steps")
    return written


def _objectives(
    backend: Backend,
    target: str | None,
    versus: str | None,
    layer: str | None,
    channels: Sequence[int],
    *,
    neuron: bool,
) -> list[Objective]:
    """What to paint, from what was asked for."""
    if target is not None and layer is None:
        return [ClassObjective(backend, target, versus)]
    if target is not None or layer is None:
        raise UsageError("name either --target BREED, or --layer LAYER with --channel NUMBER")
    if not channels:
        last = find_layer(backend, layer, spatial=False).shape[-1] - 1
        raise UsageError(f"name a --channel of '{layer}' (0 to {last}), or a --photo to dream of the whole layer on")
    return [channel_objective(backend, layer, channel, neuron=neuron) for channel in channels]


def dream_on(
    backend: Backend, photo: Path, output: Output, *, layer: str, longest: int = 640, config: DreamConfig | None = None
) -> Path:
    """DeepDream on a photo, at most ``longest`` pixels a side."""
    from competition.data.photos.decode import read_photo
    from competition.explain.inside.painted_picture import resize

    image = read_photo(photo, longest).astype(np.float32) / 255
    scale = min(1.0, longest / max(image.shape[:2]))
    image = resize(image, round(image.shape[0] * scale), round(image.shape[1] * scale))
    if backend.input_shape[2] == 1:
        image = image.mean(axis=2, keepdims=True)
    found = dream(backend, image, layer, config, show_progress=True)
    return output.image(f"dream-{photo.stem}-{layer}", found)


def show_filters(backend: Backend, output: Output, layer: str | None = None, most: int = 256) -> Path:
    """The filters of a convolution; without a layer, of the first one that has any."""
    chosen = layer or first_with_filters(backend)
    kernel = backend.filters(chosen)
    sheet = activations.filter_sheet(backend, chosen, most=most)
    height, width, inputs, outputs = kernel.shape
    tiles = min(most, outputs if inputs in (1, 3) else outputs * inputs)
    below = f"{outputs} filters of {height} x {width} over {inputs} channels"
    if inputs not in (1, 3):
        below += f"; the first {tiles:,} of {outputs * inputs:,} planes, blue negative, red positive"
    return output.figure(f"filters-{chosen}", figures.picture_figure(sheet, chosen, below))


def first_with_filters(backend: Backend) -> str:
    """Name of the first layer that has filters.

    Raises:
        UsageError: none has.
    """
    for info in backend.layers():
        try:
            backend.filters(info.name)
        except UsageError:
            continue
        return info.name
    raise UsageError("this network has no convolution, so it has no filters")


def show_activations(
    backend: Backend,
    image: np.ndarray,
    name: str,
    output: Output,
    layer: str | None = None,
    *,
    together: bool = False,
) -> Path:
    """Every channel of a layer for an image (h, w, c) in [0, 1]; without a layer, of the last that is a map."""
    chosen = layer or backend.last_spatial_layer()
    grid = activations.activation_grid(backend, image, chosen, together=together)
    height, width, channels = find_layer(backend, chosen).shape
    scale = "one scale for all" if together else "each channel on its own scale"
    below = f"{channels} channels of {height} x {width} for {name}; {scale}"
    figure = figures.picture_figure(grid, chosen, below, beside=image)
    return output.figure(f"activations-{Path(name).stem}-{chosen}", figure)


def show_embedding(
    features: np.ndarray,
    labels: Sequence[str],
    ids: Sequence[str],
    photos: Sequence[np.ndarray],
    output: Output,
    *,
    method: str = "tsne",
    seed: int = 0,
    breeds: Sequence[str] = (),
) -> list[Path]:
    """A map of photos by a network's features: points, thumbnails, and the coordinates as CSV.

    Args:
        features: float (n, d).
        labels: breed of each photo.
        ids: of each photo.
        photos: a square uint8 picture (side, side, 3) of each, or none at all.
        output: where to.
        method: ``pca`` or ``tsne``.
        seed: of t-SNE.
        breeds: to name on the map; by default the twelve that lie most apart from the rest.
    """
    of = np.asarray(labels)
    unknown = sorted(set(breeds) - set(labels))
    if unknown:
        raise UsageError(f"no photo here is labelled '{unknown[0]}'{nearest(unknown[0], set(labels))}")
    points = embedding(features, method, seed=seed)
    shown = list(breeds) or _clearest(points, of, 12)
    kept = together(points, of)
    title = f"{method.upper() if method == 'pca' else 't-SNE'} of {len(points):,} photos"
    say(f"{title}: {kept:.1%} of each photo's ten nearest on the map share its label")
    written = [output.figure(f"embedding-{method}", figures.embedding_figure(points, labels, shown=shown, title=title))]
    if len(photos):
        side = photos[0].shape[0]
        cells = int(np.clip(round(np.sqrt(2.0 * len(points))), 4, np.sqrt(MOST_THUMBNAILS)))
        written.append(
            output.image(f"embedding-{method}-photos", thumbnail_map(points, photos, cells=cells, side=side))
        )
    table = output.folder / f"embedding-{method}.csv"
    rows = (
        (name, breed, round(float(x), 5), round(float(y), 5))
        for name, breed, (x, y) in zip(ids, labels, points, strict=True)
    )
    write_csv(table, ("id", "breed", "x", "y"), rows)
    return [*written, table]


def _clearest(points: np.ndarray, labels: np.ndarray, most: int) -> list[str]:
    """The breeds whose photos lie closest together on the map, compared with how far apart everything lies."""
    spread = {}
    for breed in sorted(set(labels.tolist())):
        own = points[labels == breed]
        if len(own) >= 3:
            spread[breed] = float(np.median(np.linalg.norm(own - np.median(own, axis=0), axis=1)))
    return sorted(spread, key=lambda breed: spread[breed])[:most]
