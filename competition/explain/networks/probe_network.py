"""A linear probe as one network: its backbones, and its heads with design, standardisation and averaging folded in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from competition.training.backbones.create import create_model
from competition.training.backbones.find import BackboneRef, InputSpec
from competition.training.probe.linear_probe import Head


class Part(nn.Module):
    """One backbone with its own size and normalisation: images in [0, 1] (n, 3, h, w) to pooled features (n, d).

    Attributes:
        side: of the square that the backbone is shown, pixels; other images are resized, antialiased.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, spec: InputSpec, side: int) -> None:
        super().__init__()
        self.model, self.side = model, side
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).view(1, 3, 1, 1), persistent=False)

    def maps(self, images: Tensor, size: tuple[int, int]) -> Tensor:
        """The backbone's features before pooling, of images resized to ``size`` where they have another."""
        if tuple(images.shape[2:]) != size:
            images = functional.interpolate(images, size, mode="bilinear", antialias=True)
        features: Tensor = self.model.forward_features((images - self.mean) / self.std)  # type: ignore[operator]
        return features

    def pooled(self, maps: Tensor) -> Tensor:
        """Pooled features (n, d) of what ``maps`` gave."""
        features: Tensor = self.model.forward_head(maps)  # type: ignore[operator]
        return features


class Joined(nn.Module):
    """The maps of all backbones, their channels side by side: where a class activation map sees them together."""

    def forward(self, maps: Tensor) -> Tensor:
        """Return the maps."""
        return maps


class ProbeHead(nn.Module):
    """Logits (n, c) of the features of all backbones side by side (n, d).

    Where the probe averages the probabilities of several heads, the logits are the logarithms of that average.
    """

    weight: Tensor
    bias: Tensor
    temperature: Tensor

    def __init__(self, heads: Sequence[Head], temperatures: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("weight", torch.tensor(np.stack([weight for weight, _ in heads])))  # (m, d, c)
        self.register_buffer("bias", torch.tensor(np.stack([bias for _, bias in heads])))  # (m, c)
        self.register_buffer("temperature", torch.tensor(list(temperatures), dtype=torch.float32))

    def forward(self, features: Tensor) -> Tensor:
        """Map features to logits."""
        logits = torch.einsum("nd,mdc->mnc", features, self.weight) + self.bias[:, None]
        logits = logits / self.temperature[:, None, None]
        if len(logits) == 1:
            return logits[0]
        return functional.log_softmax(logits, dim=2).logsumexp(dim=0) - float(np.log(len(logits)))


class ProbeNetwork(nn.Module):
    """Backbones and heads: images in [0, 1] (n, 3, h, w) to logits (n, c).

    Args:
        parts: the backbones by name.
        head: reads their features side by side, in that order.
        side: of the square that the network is shown, pixels.
    """

    def __init__(self, parts: Mapping[str, Part], head: ProbeHead, side: int) -> None:
        super().__init__()
        self.names, self.side = [re.sub(r"[./]", "_", name) for name in parts], side
        for name, part in zip(self.names, parts.values(), strict=True):
            self.add_module(name, part)
        self.joined, self.head = Joined(), head

    def forward(self, images: Tensor) -> Tensor:
        """Map images to logits."""
        parts: list[Any] = [self.get_submodule(name) for name in self.names]
        size = (int(images.shape[2]), int(images.shape[3]))
        maps = [part.maps(images, self.image_size_at(name, size)) for name, part in zip(self.names, parts, strict=True)]
        if len({tuple(item.shape[2:]) for item in maps}) == 1 and all(item.ndim == 4 for item in maps):
            channels = [item.shape[1] for item in maps]
            maps = list(self.joined(torch.cat(maps, dim=1)).split(channels, dim=1))
        features = [part.pooled(item) for part, item in zip(parts, maps, strict=True)]
        logits: Tensor = self.head(torch.cat(features, dim=1))
        return logits

    def image_size_at(self, layer: str, size: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the image as the backbone that holds a layer sees it, the whole being ``size``."""
        part = getattr(self, layer.partition(".")[0], None)
        share = part.side / self.side if isinstance(part, Part) else 1.0
        return round(size[0] * share), round(size[1] * share)


def probe_network(
    backbones: Sequence[BackboneRef],
    chosen: Sequence[str],
    matrices: Sequence[Sequence[Sequence[str]]],
    heads: Sequence[Head],
    temperatures: Sequence[float],
    sides: Sequence[int],
) -> nn.Module:
    """Put a probe, or the share of some of its backbones, together.

    One view of an image is seen: where a probe averages views, its head reads this view's features; where it sets them
    side by side, the sum of their weights does.

    Args:
        backbones: all of the probe.
        chosen: names of those that take part; what the others add to a logit is left out.
        matrices: groups of block names (``backbone/view``) of each head, as ``probe.json`` has them.
        heads: one per matrix, weight (d, c) for the groups' features side by side, bias (c,).
        temperatures: of each head.
        sides: of the square that each chosen backbone is shown, pixels.

    Returns:
        A plain timm model, normalised images to logits, where one backbone and one head are all there is; else a
        ``ProbeNetwork``, which normalises itself.
    """
    refs = [ref for ref in backbones if ref.name in chosen]
    width_of = {ref.name: ref.num_features for ref in backbones}
    folded: list[Head] = []
    kept: list[float] = []
    for groups, (weight, bias), temperature in zip(matrices, heads, temperatures, strict=True):
        own = _weights_by_backbone(groups, weight, width_of)
        if set(own) & set(chosen):
            folded.append((np.concatenate([own.get(ref.name, _nothing(ref, bias)) for ref in refs]), np.asarray(bias)))
            kept.append(float(temperature))
    if len(refs) == 1 and len(folded) == 1:
        plain = _plain(refs[0], folded[0], kept[0])
        if plain is not None:
            return plain
    parts = {ref.name: Part(create_model(ref, 0), ref.spec, side) for ref, side in zip(refs, sides, strict=True)}
    return ProbeNetwork(parts, ProbeHead(folded, kept), max(sides)).eval()


def _nothing(ref: BackboneRef, bias: np.ndarray) -> np.ndarray:
    return np.zeros((ref.num_features, len(bias)), dtype=np.float32)


def _weights_by_backbone(
    groups: Sequence[Sequence[str]], weight: np.ndarray, width_of: Mapping[str, int]
) -> dict[str, np.ndarray]:
    """A head's weight (d, c), cut into its groups and summed over the groups of each backbone."""
    own: dict[str, np.ndarray] = {}
    at = 0
    for group in groups:
        name = group[0].rpartition("/")[0]
        part = np.asarray(weight[at : at + width_of[name]], dtype=np.float32)
        own[name] = own[name] + part if name in own else part
        at += width_of[name]
    return own


def _plain(ref: BackboneRef, head: Head, temperature: float) -> nn.Module | None:
    """The backbone with the head as its classifier; None where it has no linear one on its pooled features."""
    weight, bias = head
    model = create_model(ref, 0)
    model.reset_classifier(len(bias))  # type: ignore[operator]
    layer = model.get_classifier()  # type: ignore[operator]
    if not isinstance(layer, nn.Linear) or layer.in_features != len(weight) or layer.bias is None:
        return None
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weight.T / temperature))
        layer.bias.copy_(torch.tensor(bias / temperature))
    return model.eval()
