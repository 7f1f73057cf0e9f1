"""PyTorch models behind the explanation protocol: CNNs, ConvNeXt, and token models (ViT, Swin, EVA) at any input size.

A layer's output is taken by a hook that a context manager removes; the model is in evaluation mode, its parameters
frozen and its activations out of place for that time only, and it is left as it was found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from competition.errors import KitError, UsageError
from competition.explain.networks.protocol import (
    LayerInfo,
    Target,
    check_finite,
    check_images,
    check_target,
    pick_layer,
    square_input,
)
from competition.explain.networks.torch_hooks import Rectifiers, untouched
from competition.explain.networks.torch_layers import LayerBook

Hook = Callable[[Tensor], Tensor]


class TorchBackend:
    """A PyTorch model, normalised float (n, c, h, w) to logits (n, classes), behind ``protocol.Backend``.

    Args:
        model: the model; it gives logits, not probabilities.
        classes: names of the logits, in their order.
        mean: of each channel in [0, 1]: what the model's training subtracted.
        std: of each channel.
        input_shape: (h, w, c) that the model is made for.
        device: where to compute: the model is moved there; None computes where the model is.
        prepare: turns a photo, uint8 (h, w, 3), into float32 ``input_shape``; the centre square, resized, by default.
    """

    framework = "pytorch"

    def __init__(
        self,
        model: nn.Module,
        classes: Sequence[str],
        mean: Sequence[float],
        std: Sequence[float],
        input_shape: tuple[int, int, int],
        device: torch.device | str | None = None,
        prepare: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> None:
        self.model = model if device is None else model.to(device)
        self.classes, self.input_shape = tuple(classes), input_shape
        example = next(iter(model.state_dict().values()), torch.zeros(1))
        parameter = next(model.parameters(), example)
        self.device, self.dtype = parameter.device, parameter.dtype
        self.mean = torch.tensor(list(mean), dtype=torch.float32, device=self.device).view(1, -1, 1, 1)
        self.std = torch.tensor(list(std), dtype=torch.float32, device=self.device).view(1, -1, 1, 1)
        self._prepare = prepare
        self.book = LayerBook(self.model, self.forward, input_shape, self.device)

    def prepare(self, photo: np.ndarray) -> np.ndarray:
        """Turn a photo, uint8 (h, w, 3), into what the model is shown: float32 ``input_shape`` in [0, 1]."""
        return square_input(photo, self.input_shape) if self._prepare is None else self._prepare(photo)

    def layers(self) -> tuple[LayerInfo, ...]:
        """Every module with one tensor per image, in the order in which they finish."""
        return tuple(seen.info for seen in self.book.seen.values())

    def last_spatial_layer(self) -> str:
        """The last layer on whose map, position by position, the logits depend.

        Raises:
            UsageError: there is none (a perceptron).
        """
        return self.book.last

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Logits, float32 (n, classes)."""
        with untouched(self.model), torch.no_grad():
            return check_finite("the logits", _numpy(self.forward(self.tensor(images))))

    def embed(self, images: np.ndarray) -> np.ndarray:
        """Input of the last module that holds weights, averaged over positions, float32 (n, d)."""
        kept: list[Tensor] = []
        module = self.model.get_submodule(self.book.classifier)
        handle = module.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0]))
        try:
            with untouched(self.model), torch.no_grad():
                self.forward(self.tensor(images))
        finally:
            handle.remove()
        found = kept[-1]
        if found.ndim == 4:
            found = found.mean(dim=(2, 3))
        return _numpy(found if found.ndim == 2 else found.flatten(1, -2).mean(dim=1))

    def activations(self, images: np.ndarray, layer: str) -> np.ndarray:
        """Output of a spatial layer, float32 (n, h, w, c)."""
        kept: list[Tensor] = []
        with untouched(self.model), self._hook(layer, _keep(kept)), torch.no_grad():
            self.forward(self.tensor(images))
            return check_finite(
                f"the activations of '{layer}'", _numpy(self.book.to_map(layer, kept[-1], images.shape))
            )

    def layer_gradients(self, images: np.ndarray, layer: str, target: Target) -> tuple[np.ndarray, np.ndarray]:
        """Output of a spatial layer and the target's gradient with respect to it, both float32 (n, h, w, c)."""
        check_target(target, images, self.classes)
        kept: list[Tensor] = []
        with untouched(self.model), self.cut_at(layer, kept):
            score = self._score(self.forward(self.tensor(images)), target)
            if not score.requires_grad:
                raise KitError(f"the logits do not depend on layer '{layer}': choose another")
            (gradient,) = torch.autograd.grad(score, kept[-1], allow_unused=True)
        if gradient is None:
            raise KitError(f"the logits do not depend on layer '{layer}': choose another")
        maps = [_numpy(self.book.to_map(layer, tensor, images.shape)) for tensor in (kept[-1], gradient)]
        return check_finite(f"the activations of '{layer}'", maps[0]), check_finite(
            f"the gradients at '{layer}'", maps[1]
        )

    def input_gradients(self, images: np.ndarray, target: Target) -> np.ndarray:
        """The target's gradient with respect to the images in [0, 1], float32 (n, h, w, c)."""
        check_target(target, images, self.classes)
        with untouched(self.model):
            pixels = self.tensor(images).requires_grad_()
            return self._pixel_gradient(self._score(self.forward(pixels), target), pixels)

    def guided_gradients(self, images: np.ndarray, target: Target) -> np.ndarray:
        """As ``input_gradients``, with negative gradients stopped at every rectifier, float32 (n, h, w, c).

        ReLU and ReLU6 as published (Springenberg et al., Striving for simplicity, 2015); their smooth relatives SiLU
        and GELU are gated the same way, on top of their own derivative.

        Raises:
            UsageError: the model has no rectifier.
        """
        check_target(target, images, self.classes)
        with untouched(self.model), Rectifiers() as gates:
            pixels = self.tensor(images).requires_grad_()
            score = self._score(self.forward(pixels), target)
        if not gates.count:
            raise UsageError("guided backpropagation needs rectifiers (ReLU and relatives): this model has none")
        return self._pixel_gradient(score, pixels)

    def activation_gradients(
        self, images: np.ndarray, layer: str, weights: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Value and gradient with respect to the images of ``sum(weights * activation)``; see the protocol."""
        kept: list[Tensor] = []
        with untouched(self.model), self._hook(layer, _keep(kept), spatial=False):
            pixels = self.tensor(images).requires_grad_()
            self.forward(pixels)
            spatial = self.book.seen[layer].layout != "other"
            output = self.book.to_map(layer, kept[-1], images.shape) if spatial else kept[-1]
            flat = _weighted(output.float(), weights, layer)
            return _numpy(flat), self._pixel_gradient(flat.sum(), pixels)

    def filters(self, layer: str) -> np.ndarray:
        """Kernel of a convolution, float32 (kh, kw, channels in, channels out).

        Raises:
            UsageError: the layer doesn't exist or is no convolution; convolutions are named.
        """
        info = pick_layer(self.layers(), layer, spatial=False)
        weight = getattr(self.model.get_submodule(layer), "weight", None)
        if weight is None or weight.ndim != 4:
            known = [name for name, module in self.model.named_modules() if isinstance(module, nn.Conv2d)]
            raise UsageError(f"layer '{layer}' ({info.kind}) is no convolution; some are: {', '.join(known[:4])}")
        return _numpy(weight.permute(2, 3, 1, 0))

    def package_serves(self, method: str, layer: str) -> bool:
        """Whether the ``grad-cam`` package is there and computes this method; it takes a module's first call of two."""
        from competition.explain.networks.grad_cam_package import CLASSES, package

        return method in CLASSES and self.book.calls(layer) == 1 and package() is not None

    def package_cam(self, images: np.ndarray, target: Target, method: str, layer: str) -> np.ndarray:
        """Maps by the ``grad-cam`` package, float32 (n, h, w) in [0, 1]."""
        from competition.explain.networks.grad_cam_package import package_cam

        return package_cam(self, images, target, method, layer)

    # What follows serves this class and ``grad_cam_package``.

    def tensor_of(self, target: Target) -> Tensor:
        """The target's weights on the model's device."""
        return torch.from_numpy(target.weights).to(self.device)

    def tensor(self, images: np.ndarray) -> Tensor:
        """Images (n, h, w, c) as a float32 tensor (n, c, h, w) on the model's device."""
        checked = check_images(images, self.input_shape[2])
        return torch.from_numpy(np.ascontiguousarray(checked.transpose(0, 3, 1, 2))).to(self.device)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits, float32 (n, classes), of images (n, c, h, w) in [0, 1].

        Raises:
            KitError: the model refuses images of this size.
        """
        normalised = ((pixels - self.mean) / self.std).to(self.dtype)
        try:
            output = self.model(normalised)
        except (RuntimeError, ValueError, AssertionError) as error:
            reason = " ".join(str(error).split())[:200]
            size = f"{pixels.shape[2]} x {pixels.shape[3]}"
            raise KitError(f"the model cannot compute images of {size} pixels: {reason}") from error
        logits: Tensor = output[0] if isinstance(output, list | tuple) else output  # auxiliary heads come after
        if logits.ndim != 2 or logits.shape[1] != len(self.classes):
            raise UsageError(f"the model gives {tuple(logits.shape)} for {len(self.classes)} classes")
        return logits.float()

    def _score(self, logits: Tensor, target: Target) -> Tensor:
        return (logits * self.tensor_of(target)).sum()

    def _pixel_gradient(self, score: Tensor, pixels: Tensor) -> np.ndarray:
        (gradient,) = torch.autograd.grad(score, pixels)
        return check_finite("the gradients at the image", _numpy(gradient.permute(0, 2, 3, 1)))

    @contextmanager
    def cut_at(self, layer: str, kept: list[Tensor]) -> Iterator[None]:
        """While the block runs, the graph starts at the layer's output, which is put into ``kept``."""

        def cut(output: Tensor) -> Tensor:
            leaf = output.detach().requires_grad_()  # nothing before the layer needs a gradient
            kept.append(leaf)
            return leaf.clone()  # what follows may work in place

        with self._hook(layer, cut):
            yield

    @contextmanager
    def _hook(self, layer: str, change: Hook, *, spatial: bool = True) -> Iterator[None]:
        """Pass the layer's output through ``change`` while the block runs."""
        pick_layer(self.layers(), layer, spatial=spatial)
        handle = self.model.get_submodule(layer).register_forward_hook(lambda _, __, output: change(output))
        try:
            yield
        finally:
            handle.remove()


def _keep(kept: list[Tensor]) -> Hook:
    def hook(output: Tensor) -> Tensor:
        kept.append(output)
        return output.clone()  # what follows may work in place

    return hook


def _numpy(tensor: Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().float().cpu().numpy())


def _weighted(output: Tensor, weights: np.ndarray | None, layer: str) -> Tensor:
    """Per image the weighted sum of an output, or the mean of its squares: (n,)."""
    if weights is None:
        return output.square().flatten(1).mean(dim=1)
    given = torch.as_tensor(np.asarray(weights, dtype=np.float32), device=output.device)
    try:
        return (output * given.broadcast_to(output.shape)).flatten(1).sum(dim=1)
    except RuntimeError as error:
        shape, own = tuple(given.shape), tuple(output.shape[1:])
        raise UsageError(f"weights of shape {shape} do not fit the output {own} of layer '{layer}'") from error
