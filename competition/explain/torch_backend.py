"""PyTorch models behind the explanation protocol: CNNs, ConvNeXt, and token models (ViT, Swin, EVA) at any input size.

A layer's output is taken by a hook that a context manager removes; the model is in evaluation mode, its parameters
frozen and its activations out of place for that time only, and it is left as it was found. Whether an output is
(n, c, h, w), (n, h, w, c) or a sequence of tokens is seen from one pass over two noise images; the grid and the prefix
tokens of a sequence are derived from the model and the size of the image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from competition.errors import KitError, UsageError
from competition.explain.backend import (
    LayerInfo,
    Target,
    check_finite,
    check_images,
    check_target,
    grid_of,
    pick_layer,
    square_input,
)
from competition.explain.torch_hooks import Rectifiers, untouched

Layout = Literal["nchw", "nhwc", "tokens", "other"]
Hook = Callable[[Tensor], Tensor]
_CHANNELS_FIRST = (nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
_PASSING = (nn.Identity, nn.Dropout, nn.Dropout2d)  # their output is the layer's before


@dataclass(frozen=True)
class _Seen:
    """A layer as the noise images showed it."""

    info: LayerInfo
    layout: Layout


class TorchBackend:
    """A PyTorch model, normalised float (n, c, h, w) to logits (n, classes), behind ``backend.Backend``.

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
        self._seen: dict[str, _Seen] | None = None
        self._last = ""

    def prepare(self, photo: np.ndarray) -> np.ndarray:
        """Turn a photo, uint8 (h, w, 3), into what the model is shown: float32 ``input_shape`` in [0, 1]."""
        return square_input(photo, self.input_shape) if self._prepare is None else self._prepare(photo)

    def layers(self) -> tuple[LayerInfo, ...]:
        """Every module with one tensor per image, in the order in which they finish."""
        return tuple(seen.info for seen in self._layers().values())

    def last_spatial_layer(self) -> str:
        """The last layer on whose map, position by position, the logits depend.

        Raises:
            UsageError: there is none (a perceptron).
        """
        if not self._last:
            self._last = self._find_last()
        return self._last

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Logits, float32 (n, classes)."""
        with untouched(self.model), torch.no_grad():
            return check_finite("the logits", _numpy(self.forward(self.tensor(images))))

    def embed(self, images: np.ndarray) -> np.ndarray:
        """Input of the last module that holds weights, averaged over positions, float32 (n, d)."""
        self._layers()
        kept: list[Tensor] = []
        module = self.model.get_submodule(self._classifier)
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
            return check_finite(f"the activations of '{layer}'", _numpy(self.to_map(layer, kept[-1], images.shape)))

    def layer_gradients(self, images: np.ndarray, layer: str, target: Target) -> tuple[np.ndarray, np.ndarray]:
        """Output of a spatial layer and the target's gradient with respect to it, both float32 (n, h, w, c)."""
        check_target(target, images, self.classes)
        kept: list[Tensor] = []

        def cut(output: Tensor) -> Tensor:
            leaf = output.detach().requires_grad_()  # nothing before the layer needs a gradient
            kept.append(leaf)
            return leaf.clone()  # what follows may work in place

        with untouched(self.model), self._hook(layer, cut):
            score = self._score(self.forward(self.tensor(images)), target)
            if not score.requires_grad:
                raise KitError(f"the logits do not depend on layer '{layer}': choose another")
            (gradient,) = torch.autograd.grad(score, kept[-1], allow_unused=True)
        if gradient is None:
            raise KitError(f"the logits do not depend on layer '{layer}': choose another")
        maps = [_numpy(self.to_map(layer, tensor, images.shape)) for tensor in (kept[-1], gradient)]
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
            spatial = self._layers()[layer].layout != "other"
            output = self.to_map(layer, kept[-1], images.shape) if spatial else kept[-1]
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

    # What follows serves this class and ``torch_engine``.

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
            logits: Tensor = self.model(normalised)
        except (RuntimeError, ValueError, AssertionError) as error:
            reason = " ".join(str(error).split())[:200]
            size = f"{pixels.shape[2]} x {pixels.shape[3]}"
            raise KitError(f"the model cannot compute images of {size} pixels: {reason}") from error
        if logits.ndim != 2 or logits.shape[1] != len(self.classes):
            raise UsageError(f"the model gives {tuple(logits.shape)} for {len(self.classes)} classes")
        return logits.float()

    def to_map(self, layer: str, output: Tensor, images: Sequence[int]) -> Tensor:
        """A layer's output as (n, h, w, c), for images of shape (n, h, w, c)."""
        layout = self._layers()[layer].layout
        if layout == "nchw":
            return output.permute(0, 2, 3, 1)
        if layout == "nhwc":
            return output
        grid = self._grid(output.shape[1:], (images[1], images[2]))
        if grid is None:
            raise KitError(
                f"the {output.shape[1]} tokens of '{layer}' form no grid over {images[1]} x {images[2]} pixels"
            )
        rows, columns, prefix = grid
        return output[:, prefix:].unflatten(1, (rows, columns))

    def _score(self, logits: Tensor, target: Target) -> Tensor:
        return (logits * torch.from_numpy(target.weights).to(self.device)).sum()

    def _pixel_gradient(self, score: Tensor, pixels: Tensor) -> np.ndarray:
        (gradient,) = torch.autograd.grad(score, pixels)
        return check_finite("the gradients at the image", _numpy(gradient.permute(0, 2, 3, 1)))

    @contextmanager
    def _hook(self, layer: str, change: Hook, *, spatial: bool = True) -> Iterator[None]:
        """Pass the layer's output through ``change`` while the block runs."""
        pick_layer(self.layers(), layer, spatial=spatial)
        handle = self.model.get_submodule(layer).register_forward_hook(lambda _, __, output: change(output))
        try:
            yield
        finally:
            handle.remove()

    def _layers(self) -> dict[str, _Seen]:
        if self._seen is None:
            with torch.no_grad():
                outputs = self._run_noise(self._noise())
            self._classifier = [name for name, _ in outputs if _has_own_weights(self.model.get_submodule(name))][-1]
            last_call = dict(outputs)  # a module called twice counts with its last call
            self._seen = {name: self._describe(name, output) for name, output in last_call.items()}
        return self._seen

    def _noise(self) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        height, width, channels = self.input_shape
        return torch.rand((2, channels, height, width), generator=generator).to(self.device)

    def _run_noise(self, pixels: Tensor) -> list[tuple[str, Tensor]]:
        """Names and outputs of the modules, in the order in which they finish."""
        found: list[tuple[str, Tensor]] = []

        def keep(name: str) -> Callable[..., None]:
            def hook(_: nn.Module, __: Any, output: Any) -> None:
                if isinstance(output, Tensor) and output.ndim >= 2 and output.shape[0] == len(pixels):
                    found.append((name, output))

            return hook

        with untouched(self.model), ExitStack() as stack:
            for name, module in self.model.named_modules():
                if name:
                    stack.callback(module.register_forward_hook(keep(name)).remove)
            self._noise_logits = self.forward(pixels)
        return found

    def _describe(self, name: str, output: Tensor) -> _Seen:
        module, size = self.model.get_submodule(name), self.input_shape[:2]
        shape = tuple(output.shape[1:])
        layout = self._layout(module, shape, size)
        rows, columns, channels = {
            "nchw": lambda: (shape[1], shape[2], shape[0]),
            "nhwc": lambda: shape,
            "tokens": lambda: (*(self._grid(shape, size) or (0, 0))[:2], shape[1]),
            "other": lambda: (0, 0, 0),
        }[layout]()
        spatial = rows * columns > 1
        described = (rows, columns, channels) if spatial else shape
        return _Seen(LayerInfo(name, type(module).__name__, described, spatial), layout if spatial else "other")

    def _layout(self, module: nn.Module, shape: tuple[int, ...], size: tuple[int, int]) -> Layout:
        if len(shape) == 2:
            return "tokens" if self._grid(shape, size) is not None else "other"
        if len(shape) != 3:
            return "other"
        if isinstance(module, _CHANNELS_FIRST):
            return "nchw"
        first, last = self._fits(shape[1:], size), self._fits(shape[:2], size)
        if first and last:  # as many channels as rows and columns
            return "nhwc" if isinstance(module, nn.LayerNorm | nn.Linear) else "nchw"
        return "nchw" if first else "nhwc" if last else "other"

    def _fits(self, grid: tuple[int, ...], size: tuple[int, int]) -> bool:
        """Whether a grid has the image's proportions; attention matrices of token models are larger than the grid."""
        patches = self._patches(size)
        limit = size if patches is None else patches
        return (
            abs(grid[0] - grid[1] * size[0] / size[1]) <= (1 if size[0] != size[1] else 0)
            and grid[0] <= limit[0] + 2
            and grid[1] <= limit[1] + 2
        )

    def _patches(self, size: tuple[int, int]) -> tuple[int, int] | None:
        """Rows and columns after the model's patch embedding, where it has one."""
        side = getattr(getattr(self.model, "patch_embed", None), "patch_size", None)
        if side is None:
            return None
        rows, columns = (side, side) if isinstance(side, int) else tuple(side)
        return -(-size[0] // int(rows)), -(-size[1] // int(columns))

    def _grid(self, shape: Sequence[int], size: tuple[int, int]) -> tuple[int, int, int] | None:
        prefix = getattr(self.model, "num_prefix_tokens", None)
        return grid_of(shape, size, prefix=prefix, patches=self._patches(size))

    def _find_last(self) -> str:
        """Compute the gradient of some features and logits at every candidate; take the last that has it everywhere."""
        self._layers()
        features: list[Tensor] = []
        classifier = self.model.get_submodule(self._classifier)
        handle = classifier.register_forward_pre_hook(lambda _, inputs: features.append(inputs[0]))
        try:
            outputs = self._run_noise(self._noise().requires_grad_())
        finally:
            handle.remove()
        outputs = [(name, out) for name, out in outputs if self._may_be_last(name) and out.requires_grad]
        # The features as well: a head that starts from zeros gives the logits no gradient.
        score = sum(_mixed(output) for output in (*features, self._noise_logits))
        found = torch.autograd.grad(score, [output for _, output in outputs], allow_unused=True) if outputs else ()
        for (_, output), gradient in reversed(list(zip(outputs, found, strict=True))):
            # A container returns the tensor of its last module: the module, which both frameworks know, is named.
            first = next(other for other, tensor in outputs if tensor is output)
            if gradient is not None and self._reaches_everywhere(first, gradient):
                return first
        raise UsageError("this model has no layer that is a map over the image: class activation maps need one")

    def _may_be_last(self, name: str) -> bool:
        """Maps that are features: no dropout, and of tokens only norms and blocks, not the projections of attention."""
        seen, module = self._layers()[name], self.model.get_submodule(name)
        if not seen.info.spatial or isinstance(module, _PASSING):
            return False
        return seen.layout != "tokens" or "Norm" in seen.info.kind or any(True for _ in module.children())

    def _reaches_everywhere(self, layer: str, gradient: Tensor) -> bool:
        """Whether at least half of the positions count; in a ViT's last block only the class token does."""
        positions = self.to_map(layer, gradient, (2, *self.input_shape)).abs().amax(dim=-1)
        return bool((positions > 0).float().mean() >= 0.5)


def _mixed(output: Tensor) -> Tensor:
    """A scalar on which every value of an output has its own influence."""
    weights = torch.rand(output.shape[1:], generator=torch.Generator().manual_seed(0)).to(output.device)
    return (output.float() * weights).sum()


def _keep(kept: list[Tensor]) -> Hook:
    def hook(output: Tensor) -> Tensor:
        kept.append(output)
        return output.clone()  # what follows may work in place

    return hook


def _has_own_weights(module: nn.Module) -> bool:
    return any(True for _ in (*module.parameters(recurse=False), *module.buffers(recurse=False)))


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
