"""``explain``: photos, what a network calls them, and maps of why, side by side; as pictures and as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from competition.data.source.names import wordnet
from competition.errors import UsageError, nearest, require_known
from competition.explain.maps import attribution
from competition.explain.maps.cam import METHODS as CAMS
from competition.explain.maps.cam import cam
from competition.explain.maps.faithfulness import Curve, centred_random, deletion, insertion
from competition.explain.networks.protocol import Target, class_index, class_target, contrast_target
from competition.explain.show.verbs import Output, read_prepared, safe
from competition.files import write_csv
from competition.pictures import figures
from competition.pictures.figures import Panel
from competition.pictures.overlays import contrast_overlay, overlay
from competition.record.metrics import softmax

if TYPE_CHECKING:
    from competition.explain.networks.protocol import Backend

METHODS = (*CAMS, *attribution.METHODS)
_COLUMNS = 5
_STEPS = 10  # points of a faithfulness curve
RANDOM = "random, centre-weighted"


def heat(
    backend: Backend, images: np.ndarray, target: Target, method: str = "gradcam", layer: str | None = None
) -> np.ndarray:
    """Maps by any method of the kit, float32 (n, h, w) in [0, 1]: class activation maps or attributions.

    Raises:
        UsageError: an unknown method, or a layer for a method that looks at pixels.
    """
    require_known("method", method, METHODS)
    if method in CAMS:
        return cam(backend, images, target, method=method, layer=layer)
    if layer is not None:
        raise UsageError(f"'{method}' looks at pixels, not at a layer: leave --layer out")
    return attribution.attribute(backend, images, target, method)


def method_names(asked: Sequence[str], layer: str | None = None) -> tuple[str, ...]:
    """The methods asked for: Grad-CAM by default, ``all`` for every one that suits.

    Raises:
        UsageError: an unknown method; the nearest is offered.
    """
    for name in asked:
        if name != "all" and name not in METHODS:
            raise UsageError(f"unknown method '{name}'{nearest(name, METHODS)} Known: {', '.join(METHODS)}")
    if "all" in asked:
        return METHODS if layer is None else tuple(CAMS)
    return tuple(dict.fromkeys(asked)) or ("gradcam",)


@dataclass(frozen=True)
class Explained:
    """Photos with what they are called and the maps of each method.

    Attributes:
        names: of the photos.
        images: float32 (n, h, w, c) as the network is shown them.
        classes: of the network.
        probabilities: float (n, classes).
        targets: the explained class of each photo.
        versus: the class it is compared with, or None.
        maps: (n, h, w) in [0, 1] by method: what speaks for the target.
        against: the same for ``versus``; empty without one.
    """

    names: tuple[str, ...]
    images: np.ndarray
    classes: tuple[str, ...]
    probabilities: np.ndarray
    targets: tuple[str, ...]
    versus: str | None
    maps: dict[str, np.ndarray]
    against: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def called(self) -> tuple[str, ...]:
        """The most probable class of each photo."""
        return tuple(self.classes[i] for i in self.probabilities.argmax(axis=1))

    def p(self, row: int, name: str) -> float:
        """Probability of a class for a photo."""
        return float(self.probabilities[row, self.classes.index(name)])


def explained(
    backend: Backend,
    images: np.ndarray,
    names: Sequence[str],
    *,
    methods: Sequence[str] = ("gradcam",),
    layer: str | None = None,
    target: str | None = None,
    versus: str | None = None,
) -> Explained:
    """Judge and explain images (n, h, w, c) in [0, 1]; without a ``target`` each is explained as what it is called.

    Raises:
        UsageError: an unknown class, method or layer; a class compared with itself.
    """
    probabilities = softmax(backend.logits(images))
    if target is None:
        targets = tuple(backend.classes[i] for i in probabilities.argmax(axis=1))
    else:
        targets = (backend.classes[class_index(backend.classes, target)],) * len(images)
    other = None if versus is None else backend.classes[class_index(backend.classes, versus)]
    towards, back = _targets(backend.classes, targets, other)
    maps = {name: heat(backend, images, towards, name, layer) for name in methods}
    against = {} if back is None else {name: heat(backend, images, back, name, layer) for name in methods}
    return Explained(tuple(names), images, backend.classes, probabilities, targets, other, maps, against)


def _targets(classes: tuple[str, ...], targets: Sequence[str], versus: str | None) -> tuple[Target, Target | None]:
    if versus is None:
        return class_target(classes, targets), None
    others = [versus] * len(targets)
    return contrast_target(classes, targets, others), contrast_target(classes, others, targets)


def panels(found: Explained, row: int) -> list[list[Panel | None]]:
    """A photo and its maps in rows for ``figures.sheet``; with a comparison, a row for each method."""
    image, target, called = found.images[row], found.targets[row], found.called[row]
    photo = Panel(image, found.names[row], f"{_plain(called)} {found.p(row, called):.1%}")
    if found.versus is None:
        below = f"{_plain(target)} {found.p(row, target):.1%}"
        maps = [Panel(overlay(image, maps[row]), method, below) for method, maps in found.maps.items()]
        return figures.wrapped([photo, *maps], _COLUMNS)
    rows: list[list[Panel | None]] = []
    for method in found.maps:
        one, other = found.maps[method][row], found.against[method][row]
        compared = [
            Panel(overlay(image, one), method, f"for {_plain(target)}"),
            Panel(overlay(image, other), method, f"for {_plain(found.versus)}"),
            Panel(contrast_overlay(image, one, other), method, "orange for, teal against"),
        ]
        rows.append([None if rows else photo, *compared])
    return rows


def _plain(name: str) -> str:
    return wordnet(name)[1].replace("_", " ")


def explain_photos(backend: Backend, photos: Sequence[Path], output: Output, **options: Any) -> list[Path]:
    """Explain photos from files; options and results as of ``explain_images``.

    Raises:
        PhotoError: a photo cannot be read.
        UsageError: an unknown class, method or layer.
    """
    method_names(options.get("methods", ()), options.get("layer"))  # a typing mistake is told before anything is read
    images = np.stack([read_prepared(backend, photo) for photo in photos])
    return explain_images(backend, images, [photo.name for photo in photos], output, **options)


def explain_images(
    backend: Backend,
    images: np.ndarray,
    names: Sequence[str],
    output: Output,
    *,
    methods: Sequence[str] = (),
    layer: str | None = None,
    target: str | None = None,
    versus: str | None = None,
    curves: bool = True,
) -> list[Path]:
    """Explain images: a figure for each, one of all of them, faithfulness curves, and ``explain.csv``.

    Args:
        backend: the network.
        images: float32 (n, h, w, c) in [0, 1], as the network is shown them.
        names: of the images.
        output: where to.
        methods: names of ``METHODS``, or ``all``; Grad-CAM by default.
        layer: for class activation maps; None takes the last that is a map.
        target: the class to explain; None takes what each image is called.
        versus: why the target rather than this class.
        curves: measure how faithful the maps are by deletion and insertion (about 40 passes an image and method).

    Raises:
        UsageError: an unknown class, method or layer.
    """
    chosen = method_names(methods, layer)
    found = explained(backend, images, names, methods=chosen, layer=layer, target=target, versus=versus)
    written = []
    for row, stem in enumerate(_stems(names)):
        figure = figures.sheet(panels(found, row), title=_title(found, row))
        written.append(output.figure(f"explain-{stem}", figure))
    if len(images) > 1 and len(chosen) < _COLUMNS:
        rows = [panel_row for row in range(len(images)) for panel_row in panels(found, row)]
        written.append(output.figure("explain", figures.sheet(rows, side=1.7)))
    scores: dict[str, tuple[Curve, Curve]] = {}
    if curves:
        scores = faithful(backend, found)
        written += _draw_curves(scores, output)
    written.append(_table(found, layer or "", scores, output.folder / "explain.csv"))
    return written


def _stems(names: Sequence[str]) -> list[str]:
    """File names for the pictures: equal names are numbered."""
    stems: list[str] = []
    for name in names:
        stem, number = safe(Path(name).stem), 2
        while stem in stems:
            stem, number = f"{safe(Path(name).stem)}-{number}", number + 1
        stems.append(stem)
    return stems


def _title(found: Explained, row: int) -> str:
    top = np.argsort(-found.probabilities[row], kind="stable")[:3]
    return ",  ".join(f"{_plain(found.classes[i])} {found.probabilities[row, i]:.1%}" for i in top)


def faithful(backend: Backend, found: Explained) -> dict[str, tuple[Curve, Curve]]:
    """Deletion and insertion curves of every method's maps, and of random maps as a yardstick."""
    target = _targets(found.classes, found.targets, found.versus)[0]
    maps = {**found.maps, RANDOM: centred_random(len(found.images), found.images.shape[1:3])}
    return {
        name: (
            deletion(backend, found.images, target, each, steps=_STEPS),
            insertion(backend, found.images, target, each, steps=_STEPS),
        )
        for name, each in maps.items()
    }


def _draw_curves(scores: dict[str, tuple[Curve, Curve]], output: Output) -> list[Path]:
    """A figure for deletion and one for insertion: the mean over the photos."""
    written = []
    told = (
        ("deletion", "most relevant pixels greyed first: low is good", 0),
        ("insertion", "most relevant pixels shown first: high is good", 1),
    )
    for name, title, which in told:
        lines = {
            f"{method} ({curves[which].area.mean():.2f})": (
                curves[which].shares.tolist(),
                curves[which].values.mean(axis=0).tolist(),
            )
            for method, curves in scores.items()
        }
        figure = figures.curves_figure(lines, "share of pixels", "probability of the target", title, faint=RANDOM)
        written.append(output.figure(f"faithfulness-{name}", figure))
    return written


def _table(found: Explained, layer: str, scores: dict[str, tuple[Curve, Curve]], path: Path) -> Path:
    """A row per photo and method."""
    header = ("photo", "called", "p_called", "target", "p_target", "versus", "method", "layer", "deletion", "insertion")
    rows = []
    for row, name in enumerate(found.names):
        judged = (found.called[row], round(found.p(row, found.called[row]), 6))
        asked = (found.targets[row], round(found.p(row, found.targets[row]), 6), found.versus or "")
        for method in (*found.maps, *((RANDOM,) if scores else ())):
            areas: list[Any] = [round(float(curve.area[row]), 4) for curve in scores.get(method, ())] or ["", ""]
            rows.append((name, *judged, *asked, method, layer if method in CAMS else "", *areas))
    write_csv(path, header, rows)
    return path
