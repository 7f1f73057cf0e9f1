"""Does a map point at the animal? Measured on the embedded sample, which knows where its animals are.

From the root of a checkout, with a run on the sample (``dogbreed data sample``, ``dogbreed run --data SAMPLE``):

    python -m tests.explain.pointing SAMPLE RUN --weights WEIGHTS --out docs/images/pointing.png

Only test pictures count, which no fold was trained on. A map is judged by its highest point and by the share of its sum
inside the animal's outline; beside the methods stand centre-weighted random maps. The target is what the run calls the
picture. Prints a table and draws some pictures with their maps.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from competition.data.images import read_photo
from competition.explain.attribution import attribute
from competition.explain.backend import Backend, Target, predicted_target
from competition.explain.cam import cam
from competition.explain.faithfulness import centred_random, pointing, share_inside
from competition.explain.run_backend import open_backend
from competition.explain.smoothing import smooth_maps
from competition.files import atomic_path, read_json

RANDOM_DRAWS = 20  # random maps per picture


@dataclass(frozen=True)
class Scene:
    """The sample's test pictures as the model sees them.

    Attributes:
        images: float32 (n, h, w, 3).
        masks: bool (n, h, w), the animal.
        breeds: (n,).
    """

    images: np.ndarray
    masks: np.ndarray
    breeds: tuple[str, ...]


def scene_of(backend: Backend, sample: Path, split: str = "test", most: int | None = None) -> Scene:
    """Pictures of a split, prepared for the model, and the animals' outlines prepared the same way."""
    truth = read_json(sample / "truth.json")["photos"]
    names = sorted(name for name, entry in truth.items() if entry["split"] == split and "outline" in entry)[:most]
    images, masks = [], []
    for name in names:
        image = read_photo(sample / split / f"{name}.jpg")
        animal = np.zeros(image.shape, np.uint8)
        cv2.fillPoly(animal, [np.array(truth[name]["outline"], np.int32)], (255, 255, 255))
        images.append(backend.prepare(image))
        masks.append(backend.prepare(animal)[..., 0] > 0.5)
    return Scene(np.stack(images), np.stack(masks), tuple(truth[name]["breed"] for name in names))


@dataclass(frozen=True)
class Row:
    """How one kind of map did: shares of hits and of mass inside the animal, seconds per map."""

    name: str
    hits: float
    inside: float
    seconds: float


Maker = Callable[[np.ndarray, Target], np.ndarray]


def makers_of(backend: Backend) -> dict[str, Maker]:
    """The maps that are compared."""

    def by_cam(method: str) -> Maker:
        return lambda images, target: cam(backend, images, target, method)

    found: dict[str, Maker] = {name: by_cam(name) for name in ("gradcam", "gradcam++", "hirescam", "layercam")}
    found["eigencam"] = by_cam("eigencam")
    found["gradcam, ten views"] = lambda images, target: smooth_maps(by_cam("gradcam"), images, target)
    found["gradients"] = lambda images, target: attribute(backend, images, target, "gradients")
    return found


def measure(scene: Scene, makers: dict[str, Maker], target: Target) -> tuple[list[Row], dict[str, np.ndarray]]:
    """A row per kind of map, random ones last, and the maps."""
    rows, maps = [], {}
    for name, make in makers.items():
        begun = time.monotonic()
        maps[name] = make(scene.images, target)
        seconds = (time.monotonic() - begun) / len(scene.images)
        rows.append(
            Row(
                name,
                float(pointing(maps[name], scene.masks).mean()),
                float(share_inside(maps[name], scene.masks).mean()),
                seconds,
            )
        )
    drawn = [centred_random(len(scene.images), scene.images.shape[1:3], seed) for seed in range(RANDOM_DRAWS)]
    hits = np.mean([pointing(item, scene.masks).mean() for item in drawn])
    inside = np.mean([share_inside(item, scene.masks).mean() for item in drawn])
    maps["centred random"] = drawn[0]
    rows.append(Row("centred random", float(hits), float(inside), 0.0))
    return rows, maps


def draw(scene: Scene, maps: dict[str, np.ndarray], path: Path, count: int = 6) -> None:
    """A row per kind of map: pictures with the map, the outline and the highest point."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    chosen = np.linspace(0, len(scene.images) - 1, count).astype(int)
    figure, axes = pyplot.subplots(len(maps), count, figsize=(1.5 * count, 1.5 * len(maps)), squeeze=False)
    for line, (name, own) in zip(axes, maps.items(), strict=True):
        for axis, index in zip(line, chosen, strict=True):
            axis.imshow(scene.images[index])
            axis.imshow(own[index], cmap="inferno", alpha=0.55, vmin=0, vmax=1)
            axis.contour(scene.masks[index], levels=[0.5], colors="white", linewidths=0.9)
            y, x = (float(values.mean()) for values in np.nonzero(own[index] >= own[index].max()))
            hit = pointing(own[[index]], scene.masks[[index]])[0]
            axis.plot(x, y, "o" if hit else "X", color="#33dd55" if hit else "#ff3344", mec="black", ms=6)
            axis.set(xticks=[], yticks=[])
        line[0].set_ylabel(name, fontsize=8)
    figure.tight_layout(pad=0.3)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=85, format="png")
    pyplot.close(figure)


def main() -> None:
    """Measure and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sample", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/images/pointing.png"))
    parser.add_argument("--most", type=int, help="pictures at most")
    asked = parser.parse_args()
    backend = open_backend(asked.run, weights=asked.weights)
    scene = scene_of(backend, asked.sample, most=asked.most)
    logits = backend.logits(scene.images)
    right = np.mean([backend.classes[row] == breed for row, breed in zip(logits.argmax(1), scene.breeds, strict=True)])
    rows, maps = measure(scene, makers_of(backend), predicted_target(logits))
    area = float(scene.masks.mean())
    print(f"{len(scene.images)} test pictures, accuracy {right:.3f}, the animal covers {area:.1%} of the input")
    print("\n| map | points inside | mass inside | s per map |\n|---|---|---|---|")
    for row in rows:
        print(f"| {row.name} | {row.hits:.1%} | {row.inside:.1%} | {row.seconds:.3f} |")
    shown = ("gradcam", "layercam", "gradients", "centred random")
    draw(scene, {name: maps[name] for name in shown}, asked.out)
    print(json.dumps({row.name: vars(row) for row in rows}))


if __name__ == "__main__":
    main()
