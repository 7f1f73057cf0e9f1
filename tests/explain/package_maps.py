"""What the ``grad-cam`` package makes of small networks, kept beside this file for images that have no such package.

``python -m tests.explain.package_maps`` writes the values anew (with grad-cam 1.5.7); where the package is installed,
the tests compare with it as well, pixel by pixel.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from competition.explain.maps.cam import cam, spread
from competition.explain.networks.protocol import class_target, contrast_target
from competition.explain.networks.torch_backend import TorchBackend
from tests.explain.nets import CLASSES, MEAN, STD, SmallBackend, images, small, zoo

FILE = Path(__file__).with_suffix(".json")
TARGET = class_target(CLASSES, ["pug", "chow"])
PACKAGE = {
    "gradcam": "GradCAM",
    "gradcam++": "GradCAMPlusPlus",
    "xgradcam": "XGradCAM",
    "hirescam": "HiResCAM",
    "layercam": "LayerCAM",
}
LAYERS = {"resnet": "layer4", "vit": "blocks.1.norm1", "swin": "layers.1.blocks.0.norm1"}


@dataclass(frozen=True)
class Case:
    """One thing that both compute.

    Attributes:
        kit: by the kit; takes the engine's name.
        package: by the package, used the way its README says.
    """

    kit: Callable[[str], np.ndarray]
    package: Callable[[], np.ndarray]


def stored() -> dict[str, Any]:
    """The package's values at the places of ``sample``, by the case's name."""
    values: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return values


def sample(maps: np.ndarray) -> np.ndarray:
    """Every eighth pixel of large maps; small ones whole."""
    return maps[:, ::8, ::8] if maps.shape[1] > 16 else maps


def fixed(backend: TorchBackend) -> TorchBackend:
    """The same network with weights that neither torch's nor timm's way of drawing them decides."""
    rng = np.random.default_rng(7)
    with torch.no_grad():
        for _, parameter in sorted(backend.model.named_parameters()):
            scale = 0.1 if parameter.ndim < 2 else 1.5 / np.sqrt(parameter[0].numel())
            centre = 1.0 if parameter.ndim < 2 and parameter.mean() > 0.5 else 0.0
            parameter.copy_(torch.from_numpy(rng.normal(centre, scale, tuple(parameter.shape)).astype(np.float32)))
    return backend


def vit_reshape(tokens: torch.Tensor) -> torch.Tensor:
    """48 x 80 pixels in patches of 16: 3 x 5, after one class token."""
    return tokens[:, 1:].reshape(len(tokens), 3, 5, -1).permute(0, 3, 1, 2)


def swin_reshape(maps: torch.Tensor) -> torch.Tensor:
    """Channels last."""
    return maps.permute(0, 3, 1, 2)


RESHAPE = {"vit": vit_reshape, "swin": swin_reshape}


def by_hand(backend: TorchBackend, photos: np.ndarray, kind: str, layer: str, targets: list[Any], reshape: Any) -> Any:
    """The package used the way its README says, with a normalised tensor and a reshape written for this one model."""
    import pytorch_grad_cam

    normalised = (photos - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    tensor = torch.from_numpy(normalised.transpose(0, 3, 1, 2).copy())
    with getattr(pytorch_grad_cam, kind)(backend.model, [backend.model.get_submodule(layer)], reshape) as engine:
        return engine(tensor, targets)


def gradient_case(name: str, method: str) -> Case:
    """A gradient method at a spatial layer of a network of the zoo."""
    backend = fixed(zoo(name))
    photos = images(backend)

    def package() -> np.ndarray:
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        targets = [ClassifierOutputTarget(2), ClassifierOutputTarget(0)]
        maps: np.ndarray = by_hand(backend, photos, PACKAGE[method], LAYERS[name], targets, RESHAPE.get(name))
        return maps

    return Case(lambda engine: cam(backend, photos, TARGET, method, LAYERS[name], engine=engine), package)


def score_case() -> Case:
    """The package multiplies the normalised image by the mask, this kit the image in [0, 1]: no normalisation here."""
    plain = small()
    photos = images(plain)
    backend = SmallBackend(plain.model, CLASSES, (0.0,) * 3, (1.0,) * 3, plain.input_shape)

    def package() -> np.ndarray:
        import pytorch_grad_cam
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        tensor = torch.from_numpy(photos.transpose(0, 3, 1, 2).copy())
        with pytorch_grad_cam.ScoreCAM(backend.model, [backend.model.conv1]) as engine:
            backend.model.relu.inplace = False  # else the package sees the map after the ReLU
            maps: np.ndarray = engine(tensor, [ClassifierOutputTarget(2), ClassifierOutputTarget(0)])
        backend.model.relu.inplace = True
        return maps

    return Case(lambda engine: cam(backend, photos, TARGET, "scorecam", "conv1"), package)


def eigen_case() -> Case:
    """The package's projection, with the sign put right."""
    backend = fixed(zoo("resnet"))
    photos = images(backend)

    def package() -> np.ndarray:
        from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection_with_sign_correction

        found = backend.activations(photos, "layer3")
        return spread(get_2d_projection_with_sign_correction(found.transpose(0, 3, 1, 2)), (64, 64))

    return Case(lambda engine: cam(backend, photos, TARGET, "eigencam", "layer3"), package)


def finer_case() -> Case:
    """A contrast of two breeds, as FinerCAM asks."""
    backend = fixed(zoo("resnet"))
    photos = images(backend)
    contrast = contrast_target(CLASSES, ["pug", "chow"], ["lakeland_terrier", "wire-haired_fox_terrier"], 0.8)

    def package() -> np.ndarray:
        from pytorch_grad_cam.utils.model_targets import FinerWeightedTarget

        targets = [FinerWeightedTarget(2, [1], 0.8), FinerWeightedTarget(0, [3], 0.8)]
        maps: np.ndarray = by_hand(backend, photos, "GradCAM", "layer4", targets, None)
        return maps

    return Case(lambda engine: cam(backend, photos, contrast, layer="layer4", engine=engine), package)


CASES: dict[str, Callable[[], Case]] = {
    **{f"{name} {method}": (lambda n=name, m=method: gradient_case(n, m)) for name in LAYERS for method in PACKAGE},
    "score": score_case,
    "eigen": eigen_case,
    "finer": finer_case,
}


def main() -> None:
    """Write the file anew."""
    values = {name: np.round(sample(make().package()).astype(float), 5).tolist() for name, make in CASES.items()}
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in values.items())
    FILE.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
