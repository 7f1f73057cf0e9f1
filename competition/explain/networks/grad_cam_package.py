"""The ``grad-cam`` package as an engine for class activation maps of PyTorch models, at any layer and image size."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn

from competition.console import say
from competition.errors import KitError
from competition.explain.networks.protocol import Target, check_finite
from competition.explain.networks.torch_hooks import untouched

if TYPE_CHECKING:
    from competition.explain.networks.torch_backend import TorchBackend

CLASSES = {
    "gradcam": "GradCAM",
    "gradcam++": "GradCAMPlusPlus",
    "xgradcam": "XGradCAM",
    "hirescam": "HiResCAM",
    "layercam": "LayerCAM",
    "finercam": "GradCAM",  # the contrast is in the target
}


@lru_cache(maxsize=1)
def package() -> Any | None:
    """The ``grad-cam`` package, or None where it is not installed or does not import; that is said once."""
    try:
        import pytorch_grad_cam
    except ImportError as error:
        lacking = error.name in (None, "pytorch_grad_cam")
        why = "is not installed" if lacking else f"cannot be imported ({error})"
        say(f"grad-cam {why}: the kit's own engine makes the maps, which are the same")
        return None
    return pytorch_grad_cam


class _Wrapped(nn.Module):
    """The backend's way from pixels in [0, 1] to logits, as a module."""

    def __init__(self, backend: TorchBackend) -> None:
        super().__init__()
        self.model, self._forward = backend.model, backend.forward

    def forward(self, pixels: Tensor) -> Tensor:
        return self._forward(pixels)


class _Scalar:
    """The scalar of one image, as the package asks for it."""

    def __init__(self, weights: Tensor) -> None:
        self.weights = weights

    def __call__(self, logits: Tensor) -> Tensor:
        return (logits * self.weights).sum()


def package_cam(backend: TorchBackend, images: np.ndarray, target: Target, method: str, layer: str) -> np.ndarray:
    """Maps by the package, float32 (n, h, w) in [0, 1] at the images' size.

    Args:
        backend: the model.
        images: float32 (n, h, w, c) in [0, 1].
        target: what to explain.
        method: a key of ``CLASSES``.
        layer: a spatial layer.

    Raises:
        KitError: activations or gradients are NaN, or the logits do not depend on the layer.
    """
    pixels = backend.tensor(images)
    weights = backend.tensor_of(target)

    def as_map(output: Tensor) -> Tensor:
        return backend.book.to_map(layer, output, images.shape).permute(0, 3, 1, 2)

    with untouched(backend.model), backend.cut_at(layer, []):  # before the package's hooks: nothing is computed below
        kind: Any = getattr(package(), CLASSES[method])
        engine = kind(_Wrapped(backend), [backend.model.get_submodule(layer)], as_map)
        # Not as a context manager: the package's __exit__ swallows IndexError.
        try:
            maps = _called(engine, pixels, [_Scalar(row) for row in weights], layer)
            taken = engine.activations_and_grads
            for what, tensors in (("activations", taken.activations), ("gradients", taken.gradients)):
                check_finite(f"the {what} of '{layer}'", tensors[0].float().numpy())
        finally:
            engine.activations_and_grads.release()
    return np.asarray(maps, dtype=np.float32)


def _called(engine: Any, pixels: Tensor, scalars: list[_Scalar], layer: str) -> np.ndarray:
    try:
        maps: np.ndarray = engine(pixels, scalars)
    except RuntimeError as error:
        if "does not require grad" not in str(error):
            raise
        raise KitError(f"the logits do not depend on layer '{layer}': choose another") from error
    return maps
