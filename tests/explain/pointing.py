"""Does Grad-CAM point at the animal? Measured on the embedded sample, which knows where its animals are.

From the root of a checkout (``dogbreed data sample SAMPLE`` draws the sample):

    python -m tests.explain.pointing SAMPLE --weights WEIGHTS/mobilenetv2_100 --out docs/images/pointing.png

The model is a backbone with ImageNet weights, cut after one of its stages, with a linear head fitted on the training
drawings: the earlier the cut, the finer the grid of its maps. Only test drawings count. A map is judged by its highest
point and by the share of its sum inside the animal's outline; beside it stand centre-weighted random maps, which do
well because the animals stand in the middle. The target is what the model calls the drawing.
"""

from __future__ import annotations

import argparse
import io
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from competition.data.photos.decode import read_photo
from competition.explain.maps.cam import cam
from competition.explain.maps.faithfulness import centred_random
from competition.explain.networks.protocol import Backend, batches, predicted_target
from competition.explain.networks.torch_backend import TorchBackend
from competition.files import atomic_path, read_json
from competition.training.backbones.create import create_model
from competition.training.backbones.find import find_backbones

RANDOM_DRAWS = 20  # random maps per picture
CUTS = (7, 5, 3)  # stages of MobileNetV2 that are kept: grids of 7 x 7, 14 x 14 and 28 x 28 at 224 pixels


def pointing(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Whether each map's highest point lies in its mask, bool (n,) (the pointing game, Zhang et al., 2016).

    Args:
        maps: (n, h, w); of a plateau the centre counts.
        masks: bool (n, h, w).
    """
    peaks = [np.argwhere(image >= image.max()).mean(axis=0).round().astype(int) for image in maps]
    return np.array([mask[y, x] for mask, (y, x) in zip(masks, peaks, strict=True)], dtype=bool)


def share_inside(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Share of each map's sum that lies in its mask, float64 (n,); a blank map has the mask's share of the area."""
    total, area = maps.sum(axis=(1, 2), dtype=np.float64), masks.mean(axis=(1, 2))
    inside = (maps * masks).sum(axis=(1, 2), dtype=np.float64)
    return np.where(total > 0, inside / np.where(total > 0, total, 1), area)


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
    stored = read_json(sample / "truth.json")
    truth, corrupt = stored["photos"], stored["defects"]["corrupt"]["id"]
    usable = (name for name, entry in truth.items() if entry["split"] == split and "outline" in entry)
    names = sorted(name for name in usable if name != corrupt)[:most]
    images, masks = [], []
    for name in names:
        image = read_photo(sample / split / f"{name}.jpg")
        animal = np.zeros(image.shape, np.uint8)
        cv2.fillPoly(animal, [np.array(truth[name]["outline"], np.int32)], (255, 255, 255))
        images.append(backend.prepare(image))
        masks.append(backend.prepare(animal)[..., 0] > 0.5)
    return Scene(np.stack(images), np.stack(masks), tuple(truth[name]["breed"] for name in names))


class Cut(nn.Module):
    """The first stages of a timm network of the MobileNet kind, their mean, and a linear head."""

    def __init__(self, full: nn.Module, stages: int, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(full.conv_stem, full.bn1)  # type: ignore[arg-type]
        self.blocks = nn.Sequential(*list(full.blocks)[:stages])  # type: ignore[arg-type]
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.LazyLinear(classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.fc(self.pool(self.blocks(self.stem(x))).flatten(1))
        return logits


def fitted(sample: Path, weights: Path, stages: int) -> TorchBackend:
    """A cut backbone with a head fitted on the training drawings, their true breeds as labels."""
    (ref,) = find_backbones((), weights)
    truth = read_json(sample / "truth.json")["photos"]
    names = tuple(sorted({entry["breed"] for entry in truth.values() if "breed" in entry}))
    model = Cut(create_model(ref, 0), stages, len(names)).eval()
    side = ref.spec.size
    with torch.no_grad():
        model(torch.zeros(1, 3, side, side))
    backend = TorchBackend(model, names, ref.spec.mean, ref.spec.std, (side, side, 3))
    train = scene_of(backend, sample, "train")
    features = np.concatenate([backend.embed(train.images[rows]) for rows in batches(len(train.images), 16)])
    mean, spread = features.mean(axis=0), features.std(axis=0) + 1e-6
    fit = LogisticRegression(C=0.3, max_iter=500).fit((features - mean) / spread, train.breeds)
    weight = fit.coef_[[list(fit.classes_).index(name) for name in names]] / spread
    bias = fit.intercept_[[list(fit.classes_).index(name) for name in names]] - weight @ mean
    with torch.no_grad():
        model.fc.weight.copy_(torch.tensor(weight))
        model.fc.bias.copy_(torch.tensor(bias))
    return backend


@dataclass(frozen=True)
class Row:
    """How one kind of map did: shares of hits and of the sum inside the animal."""

    name: str
    accuracy: float | None
    hits: float
    inside: float


def judged(name: str, maps: np.ndarray, scene: Scene, accuracy: float | None = None) -> Row:
    """The row of some maps."""
    hits, inside = pointing(maps, scene.masks).mean(), share_inside(maps, scene.masks).mean()
    return Row(name, accuracy, float(hits), float(inside))


def measure(
    sample: Path, weights: Path, cuts: tuple[int, ...] = CUTS
) -> tuple[list[Row], Scene, dict[str, np.ndarray]]:
    """A row per cut and method, random maps last; the scene, and maps to draw."""
    rows, drawn = [], {}
    for stages in cuts:
        backend = fitted(sample, weights, stages)
        scene = scene_of(backend, sample)
        logits = np.concatenate([backend.logits(scene.images[part]) for part in batches(len(scene.images), 16)])
        named = zip(logits.argmax(axis=1), scene.breeds, strict=True)
        accuracy = float(np.mean([backend.classes[row] == breed for row, breed in named]))
        shape = next(layer.shape for layer in backend.layers() if layer.name == backend.last_spatial_layer())
        for method in ("gradcam", "layercam"):
            name = f"{method}, {shape[0]} x {shape[1]}"
            maps = cam(backend, scene.images, predicted_target(logits), method)
            rows.append(judged(name, maps, scene, accuracy))
            if method == "gradcam":
                drawn[name] = maps
    random = [centred_random(len(scene.images), scene.images.shape[1:3], seed) for seed in range(RANDOM_DRAWS)]
    every = [judged("", maps, scene) for maps in random]
    hits, inside = (float(np.mean([getattr(row, key) for row in every])) for key in ("hits", "inside"))
    rows.append(Row("centred random", None, hits, inside))
    return rows, scene, {**drawn, "centred random": random[0]}


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
    figure.savefig(buffer := io.BytesIO(), dpi=85, format="png")
    pyplot.close(figure)
    small = Image.open(buffer).convert("RGB").quantize(128, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    with atomic_path(path) as temporary:
        small.save(temporary, format="PNG", optimize=True)


def main() -> None:
    """Measure, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sample", type=Path)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("docs/images/pointing.png"))
    asked = parser.parse_args()
    rows, scene, maps = measure(asked.sample, asked.weights)
    print(f"{len(scene.images)} test drawings; the animal covers {scene.masks.mean():.1%} of the input\n")
    print("| map | accuracy | points inside | sum inside |\n|---|---|---|---|")
    for row in rows:
        accuracy = "" if row.accuracy is None else f"{row.accuracy:.1%}"
        print(f"| {row.name} | {accuracy} | {row.hits:.1%} | {row.inside:.1%} |")
    draw(scene, maps, asked.out)


if __name__ == "__main__":
    main()
