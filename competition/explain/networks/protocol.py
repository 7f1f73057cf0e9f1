"""What an explained model offers: logits, activations and gradients, as NumPy arrays whatever framework is behind it.

Everything that explains (class activation maps, attributions, activation maximisation, the report) is written once, on
this protocol. The adapters are ``torch_backend.TorchBackend`` and ``keras_backend.KerasBackend``; ``open_run`` opens
the networks of a competition run.

Images are float32 (n, h, w, c) in [0, 1]; normalisation and channel order are the adapter's secret. Activations and
gradients are float32 (n, h, w, c) as well; tokens of a transformer come back on their grid, without prefix tokens.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from PIL import Image

from competition.data.source.names import wordnet
from competition.errors import KitError, UsageError, nearest


@dataclass(frozen=True)
class LayerInfo:
    """A layer that can be looked at.

    Attributes:
        name: how to ask for it: the dotted path in PyTorch, the layer's name in Keras (``outer/inner`` when nested).
        kind: class of the layer.
        shape: of its output for one image of the backend's input shape: (h, w, c) if spatial, else as the model has it.
        spatial: whether its output is a map over the image, larger than 1 x 1.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    spatial: bool


@dataclass(frozen=True)
class Target:
    """What is explained: per image the scalar ``sum(weights * logits)``.

    Attributes:
        weights: float32 (n, classes); one class has a single 1, "A rather than B" has 1 and -gamma.

    Raises:
        UsageError: not two-dimensional, or NaN.
    """

    weights: np.ndarray

    def __post_init__(self) -> None:
        weights = np.asarray(self.weights, dtype=np.float32)
        if weights.ndim != 2 or not np.isfinite(weights).all():
            raise UsageError(f"a target needs finite weights of shape (images, classes), not {weights.shape}")
        object.__setattr__(self, "weights", weights)

    def __len__(self) -> int:
        return len(self.weights)

    def __getitem__(self, rows: slice | np.ndarray) -> Target:
        """The target of some of the images."""
        return Target(self.weights[rows])

    def repeated(self, times: int) -> Target:
        """The target of every image ``times`` times in a row."""
        return Target(np.repeat(self.weights, times, axis=0))

    def scores(self, logits: np.ndarray) -> np.ndarray:
        """The explained scalar of each image, float32 (n,)."""
        return (self.weights * logits).sum(axis=1)


class Backend(Protocol):
    """A model with named classes that can be looked into; implementations are in evaluation mode and change nothing.

    Attributes:
        framework: ``pytorch`` or ``keras``.
        classes: names of the logits, in their order.
        input_shape: (h, w, c) that the model is made for.
    """

    framework: str
    classes: tuple[str, ...]
    input_shape: tuple[int, int, int]

    def prepare(self, photo: np.ndarray) -> np.ndarray:
        """Turn a photo, uint8 (h, w, 3), into what the model is shown: float32 ``input_shape`` in [0, 1]."""

    def layers(self) -> tuple[LayerInfo, ...]:
        """Every layer with one output per image, in the order in which they finish."""

    def last_spatial_layer(self) -> str:
        """The last layer whose map reaches the logits: what class activation maps look at by default."""

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Logits, float32 (n, classes)."""

    def embed(self, images: np.ndarray) -> np.ndarray:
        """Pooled features before the classifier, float32 (n, d)."""

    def activations(self, images: np.ndarray, layer: str) -> np.ndarray:
        """Output of a spatial layer, float32 (n, h, w, c)."""

    def layer_gradients(self, images: np.ndarray, layer: str, target: Target) -> tuple[np.ndarray, np.ndarray]:
        """Output of a spatial layer and the target's gradient with respect to it, both float32 (n, h, w, c)."""

    def input_gradients(self, images: np.ndarray, target: Target) -> np.ndarray:
        """The target's gradient with respect to the images in [0, 1], float32 (n, h, w, c)."""

    def guided_gradients(self, images: np.ndarray, target: Target) -> np.ndarray:
        """As ``input_gradients``, with negative gradients stopped at every rectifier (guided backpropagation)."""

    def activation_gradients(
        self, images: np.ndarray, layer: str, weights: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Value and gradient with respect to the images of ``sum(weights * activation)`` of a layer.

        ``weights`` broadcasts against the layer's (h, w, c), or (c,) where it isn't spatial; None means the mean of the
        squared activation (DeepDream). Returns float32 (n,) and (n, h, w, c).
        """

    def filters(self, layer: str) -> np.ndarray:
        """Kernel of a convolution, float32 (kh, kw, channels in, channels out)."""


def check_images(images: np.ndarray, channels: int) -> np.ndarray:
    """Return the images as float32.

    Raises:
        UsageError: not (n, h, w, channels), or not in [0, 1].
    """
    if images.ndim != 4 or images.shape[-1] != channels:
        raise UsageError(f"images of shape {images.shape} where (n, h, w, {channels}) is needed")
    if images.dtype == np.uint8:
        raise UsageError("images are uint8 where float32 in [0, 1] is needed: divide by 255 (Backend.prepare does)")
    if images.size and not (np.isfinite(images).all() and images.min() >= -4 and images.max() <= 5):
        # Some room beyond [0, 1]: noise (SmoothGrad) and gradient ascent step a little outside.
        raise UsageError("images hold NaN or values far outside [0, 1]")
    return np.ascontiguousarray(images, dtype=np.float32)


def check_target(target: Target, images: np.ndarray, classes: Sequence[str]) -> None:
    """See that the target has a row per image and a column per class.

    Raises:
        UsageError: it hasn't.
    """
    wanted = (len(images), len(classes))
    if target.weights.shape != wanted:
        raise UsageError(f"a target of shape {target.weights.shape} for {wanted[0]} images and {wanted[1]} classes")


def check_finite(what: str, array: np.ndarray) -> np.ndarray:
    """Return the array.

    Raises:
        KitError: it holds NaN or infinity: said, never drawn.
    """
    if not np.isfinite(array).all():
        raise KitError(
            f"{what}: NaN or infinite values, so there is nothing to draw: the weights are damaged, "
            "or the model computes in half precision (use float32)"
        )
    return array


def find_layer(backend: Backend, name: str, *, spatial: bool = True) -> LayerInfo:
    """Return the layer of that name.

    Args:
        backend: whose layers.
        name: as ``layers`` lists them.
        spatial: whether it must be a map over the image.

    Raises:
        UsageError: there is none (near ones are listed), or it isn't spatial (spatial ones are listed).
    """
    return pick_layer(backend.layers(), name, spatial=spatial)


def pick_layer(layers: Sequence[LayerInfo], name: str, *, spatial: bool = True) -> LayerInfo:
    """As ``find_layer``, among layers at hand."""
    found = next((layer for layer in layers if layer.name == name), None)
    usable = [layer.name for layer in layers if layer.spatial or not spatial]
    if found is None:
        close = difflib.get_close_matches(name, usable, n=4, cutoff=0.4) or usable[-4:]
        raise UsageError(f"no layer '{name}'; near ones: {', '.join(close)}" if close else f"no layer '{name}'")
    if spatial and not found.spatial:
        before = usable[-4:]
        raise UsageError(
            f"layer '{name}' ({found.kind}) is no map over the image: its output is {found.shape}; "
            f"spatial ones are: {', '.join(before) or 'none'}"
        )
    return found


def class_index(classes: Sequence[str], name: str | int) -> int:
    """Index of a class by its name (case, spaces and hyphens don't matter) or its number.

    Raises:
        UsageError: there is none; the nearest name is offered.
    """
    if isinstance(name, int):
        if not 0 <= name < len(classes):
            raise UsageError(f"class {name} does not exist: there are {len(classes)}, from 0")
        return name
    if name in classes:
        return list(classes).index(name)
    for read in (_folded, lambda item: _folded(wordnet(item)[1])):  # as it is called, then without WordNet's number
        folded = [read(item) for item in classes]
        if read(name) in folded:
            return folded.index(read(name))
    raise UsageError(f"'{name}' is not one of the {len(classes)} classes{nearest(name, classes)}")


def _folded(name: str) -> str:
    return re.sub(r"[\s_\-]+", "_", name.strip().casefold())


def class_target(classes: Sequence[str], names: Sequence[str | int]) -> Target:
    """The logit of one class per image.

    Args:
        classes: the backend's.
        names: one class name or index per image.

    Raises:
        UsageError: a name is no class.
    """
    weights = np.zeros((len(names), len(classes)), dtype=np.float32)
    weights[np.arange(len(names)), [class_index(classes, name) for name in names]] = 1
    return Target(weights)


def contrast_target(
    classes: Sequence[str], names: Sequence[str | int], versus: Sequence[str | int], gamma: float = 1.0
) -> Target:
    """Why A rather than B: the logit of one class minus ``gamma`` times that of another, per image (FinerCAM).

    Raises:
        UsageError: a name is no class, or a class is compared with itself.
    """
    weights = class_target(classes, names).weights - np.float32(gamma) * class_target(classes, versus).weights
    same = [str(a) for a, b in zip(names, versus, strict=True) if class_index(classes, a) == class_index(classes, b)]
    if same:
        raise UsageError(f"'{same[0]}' cannot be compared with itself: name two different classes")
    return Target(weights)


def predicted_target(logits: np.ndarray) -> Target:
    """The largest logit of each image (logits (n, classes))."""
    return Target(np.eye(logits.shape[1], dtype=np.float32)[logits.argmax(axis=1)])


def square_input(photo: np.ndarray, input_shape: tuple[int, int, int]) -> np.ndarray:
    """Cut the largest centred part with the input's proportions out of a photo and resize it, antialiased.

    Args:
        photo: uint8 (h, w, 3), or (h, w) or (h, w, 1) grey.
        input_shape: (h, w, c); one channel takes the photo's luminance.

    Returns:
        float32 ``input_shape`` in [0, 1].

    Raises:
        UsageError: the photo has another type or shape.
    """
    if photo.dtype != np.uint8 or photo.ndim not in (2, 3) or (photo.ndim == 3 and photo.shape[2] not in (1, 3)):
        raise UsageError(f"a photo is uint8 (h, w, 3), not {photo.dtype} {photo.shape}")
    picture = Image.fromarray(photo.squeeze(2) if photo.shape[2:] == (1,) else photo)
    height, width, channels = input_shape
    share = min(picture.width / width, picture.height / height)
    # share * width may come out a rounding above the photo's own width, and Pillow refuses a box that leaves the photo.
    left, top = max(0, (picture.width - share * width) / 2), max(0, (picture.height - share * height) / 2)
    box = (left, top, min(left + share * width, picture.width), min(top + share * height, picture.height))
    resized = picture.resize((width, height), Image.Resampling.BICUBIC, box=box).convert(
        "L" if channels == 1 else "RGB"
    )
    return np.asarray(resized, dtype=np.float32).reshape(input_shape) / 255


def batches(total: int, size: int) -> Iterator[slice]:
    """Slices of at most ``size`` that cover ``total``."""
    yield from (slice(start, min(start + size, total)) for start in range(0, total, size))


def grid_of(
    shape: Sequence[int], image: tuple[int, int], *, prefix: int | None = None, patches: tuple[int, int] | None = None
) -> tuple[int, int, int] | None:
    """Rows, columns and prefix tokens of a sequence of tokens, derived from the image; None if it is no such sequence.

    Args:
        shape: (tokens, channels) of one image.
        image: height and width of the image in pixels.
        prefix: class and register tokens in front, where the model says so; None looks for the fewest that fit.
        patches: rows and columns after the patch embedding, where known; later stages may have halved them.

    Returns:
        (rows, columns, prefix tokens).
    """
    tokens = int(shape[0])
    for count in range(9) if prefix is None else sorted({prefix, 0}, reverse=True):
        if patches is not None:
            halved = [(patches[0] // step, patches[1] // step) for step in (1, 2, 4, 8, 16)]
            fitting = [grid for grid in halved if grid[0] * grid[1] == tokens - count and min(grid) >= 1]
            if fitting:
                return (*fitting[0], count)
            continue
        rows = round(((tokens - count) * image[0] / image[1]) ** 0.5) if tokens > count else 0
        if rows >= 1 and (tokens - count) % rows == 0:
            columns = (tokens - count) // rows
            if abs(columns / rows - image[1] / image[0]) * rows < 1 and rows <= image[0] and columns <= image[1]:
                return rows, columns, count
    return None
