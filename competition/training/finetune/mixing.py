"""What keeps a fine-tuning from fitting too well: mixup, CutMix, label smoothing, frozen parts, averaged weights."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import nn

from competition.training.backbones.create import classifiers_of, linear_in


class FoldLoss(nn.Module):
    """Cross-entropy of logits against class indices (n,) or mixed targets (n, c); smoothed only while training.

    Label smoothing as in Szegedy et al. (arXiv:1512.00567): the target keeps ``1 - smoothing`` and shares the rest.

    Attributes:
        y_int: tells fastai's ``MixUp`` and ``CutMix`` to mix losses, labels being class indices.
        reduction: ``mean``, or ``none`` while those two ask for the loss of each image.
    """

    y_int = True

    def __init__(self, smoothing: float) -> None:
        super().__init__()
        self.smoothing = smoothing
        self.reduction = "mean"

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Mean loss in nats; whether gradients are recorded says whether this is training."""
        smoothing = self.smoothing if torch.is_grad_enabled() else 0.0
        return F.cross_entropy(logits, target, label_smoothing=smoothing, reduction=self.reduction)


class Mixer:
    """Mixup (Zhang et al., arXiv:1710.09412) or CutMix (Yun et al., arXiv:1905.04899), one draw for a batch.

    Args:
        mixup: alpha of mixup's Beta distribution, 0 for none.
        cutmix: alpha of CutMix's, 0 for none.
        probability: share of batches that are mixed.
        n_classes: length of the targets.
    """

    def __init__(self, mixup: float, cutmix: float, probability: float, n_classes: int) -> None:
        self.mixup, self.cutmix, self.probability, self.n_classes = mixup, cutmix, probability, n_classes

    @property
    def active(self) -> bool:
        """Whether any batch is mixed at all."""
        return self.probability > 0 and (self.mixup > 0 or self.cutmix > 0)

    def __call__(
        self, images: torch.Tensor, labels: torch.Tensor, rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mix a batch with a shuffled copy of itself.

        Args:
            images: float (n, 3, h, w); CutMix writes into it.
            labels: int64 (n,).
            rng: the only source of chance.

        Returns:
            The images, and the labels as they were or as targets (n, c) whose rows sum to 1.
        """
        if rng.random() >= self.probability:
            return images, labels
        cut = self.cutmix > 0 and (self.mixup == 0 or rng.random() < 0.5)
        alpha = self.cutmix if cut else self.mixup
        share = float(rng.beta(alpha, alpha))
        other = torch.from_numpy(rng.permutation(len(labels))).to(images.device)
        if cut:
            top, bottom, left, right = _box(images.shape[2], images.shape[3], share, rng)
            images[:, :, top:bottom, left:right] = images[other, :, top:bottom, left:right]
            share = 1 - (bottom - top) * (right - left) / (images.shape[2] * images.shape[3])
        else:
            images = images.lerp(images[other], 1 - share)
        one_hot = F.one_hot(labels, self.n_classes).to(images.dtype)
        return images, one_hot.lerp(one_hot[other], 1 - share)


def _box(height: int, width: int, share: float, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """A rectangle of about ``1 - share`` of the area around a random centre: top, bottom, left, right."""
    side = (1 - share) ** 0.5
    half_height, half_width = int(height * side / 2), int(width * side / 2)
    y, x = int(rng.integers(height)), int(rng.integers(width))
    top, bottom = max(0, y - half_height), min(height, y + half_height)
    return top, bottom, max(0, x - half_width), min(width, x + half_width)


def set_trainable(model: nn.Module, names: Collection[str]) -> None:
    """Let gradients reach exactly the parameters of these names."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in names)


def set_modes(model: nn.Module, *, freeze_norm: bool) -> None:
    """Training mode, except for batch norms that do not train: they keep the statistics they came with.

    A frozen layer then computes exactly what it computed for the probe's features.
    """
    model.train()
    for module in model.modules():
        own = list(module.parameters(recurse=False))
        frozen = freeze_norm or (bool(own) and not any(parameter.requires_grad for parameter in own))
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and frozen:
            module.eval()


def set_head(model: nn.Module, weight: np.ndarray, bias: np.ndarray) -> None:
    """Put a linear solution into the classifier.

    Args:
        model: a timm model whose classifier is linear on the pooled features; each of two gets the same, so that their
            mean, which such models give, is the solution too.
        weight: (c, d).
        bias: (c,).

    Raises:
        ValueError: the classifier is not linear or of another shape.
    """
    for head in classifiers_of(model):
        layer = linear_in(head)
        if (
            layer is None
            or layer.weight.shape[:2] != weight.shape
            or bias.shape != weight.shape[:1]
            or layer.bias is None
        ):
            own = tuple(layer.weight.shape) if layer is not None else type(head).__name__
            raise ValueError(f"a head of {weight.shape} does not fit this backbone's classifier ({own})")
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(np.array(weight, dtype=np.float32)).view(layer.weight.shape))
            layer.bias.copy_(torch.from_numpy(np.array(bias, dtype=np.float32)))
