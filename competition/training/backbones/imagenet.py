"""The rows of a backbone's own classifier that speak of the classes at hand."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from competition.data.source.names import wordnet
from competition.errors import WeightsError
from competition.training.backbones.create import _alike, classifiers_of, create_model, linear_in, try_features
from competition.training.backbones.find import (
    BackboneRef,
    pretrained_facts,
)


def imagenet_rows(classes: Sequence[str]) -> dict[str, int]:
    """Which of ImageNet-1k's 1,000 classes the competition's classes are; classes without one are left out.

    WordNet's number in a name (``n02085620-Chihuahua``) decides, else the name does. A name that means two things in
    ImageNet (the Cardigan is a corgi and a jacket) is taken where the others lie.
    """
    from timm.data import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    index_of: dict[str, list[int]] = {}
    for index in range(info.num_classes()):
        for lemma in _lemmas(info, index):
            index_of.setdefault(lemma, []).append(index)
    numbers = {wnid: index for index, wnid in enumerate(info.label_names())}
    found: dict[str, list[int]] = {}
    for name in classes:
        wnid, bare = wordnet(name)
        if wnid in numbers:
            found[name] = [numbers[wnid]]
        elif _letters(bare) in index_of:
            found[name] = sorted(set(index_of[_letters(bare)]))
    certain = [indices[0] for indices in found.values() if len(indices) == 1]
    middle = float(np.median(certain)) if certain else 0.0
    return {name: min(indices, key=lambda index: abs(index - middle)) for name, indices in found.items()}


def _lemmas(info: Any, index: int) -> list[str]:
    """The letters of each name that ImageNet has for a class."""
    return [_letters(lemma) for lemma in info.index_to_description(index, detailed=False).split(",")]


def _letters(name: str) -> str:
    return re.sub(r"[^a-z]+", "", name.casefold())


@lru_cache(maxsize=8)
@torch.no_grad()
def classifier_of(ref: BackboneRef) -> tuple[np.ndarray, np.ndarray]:
    """The backbone's own linear classifier: weight (classes, d) and bias (classes,), float32; not to be written to.

    Raises:
        WeightsError: it has none, or not a linear one on the pooled features.
    """
    if ref.classes == 0:
        raise WeightsError(f"{ref.name} has no classifier")
    model = create_model(ref).eval()
    heads = classifiers_of(model)
    layer = linear_in(heads[0])
    if len(heads) > 1:
        raise WeightsError(f"{ref.name} has {len(heads)} classifiers")
    if layer is None or layer.weight.shape[1] != ref.num_features:
        raise WeightsError(f"{ref.name} has no linear classifier on its pooled features")
    weight = layer.weight.float().flatten(1)
    bias = layer.bias.float() if layer.bias is not None else torch.zeros(len(weight))
    photo = torch.rand(1, 3, ref.spec.size, ref.spec.size, generator=torch.Generator().manual_seed(0))
    # Some normalise or scale in between, which no type tells: what is used must be what the network computes.
    if not _alike(model(photo), try_features(ref, photo) @ weight.T + bias):
        raise WeightsError(f"{ref.name} has no linear classifier on its pooled features")
    return weight.numpy(), bias.numpy()


def imagenet_classifier(ref: BackboneRef) -> tuple[np.ndarray, np.ndarray]:
    """The backbone's own linear classifier of ImageNet-1k's classes: weight (1000, d) and bias (1000,), float32.

    Raises:
        WeightsError: it has none, not a linear one, or one of other classes.
    """
    if ref.classes not in (None, 0, 1000):
        raise WeightsError(f"{ref.name} has a classifier of {ref.classes:,} classes")
    if ref.file and not _are_imagenets(pretrained_facts(ref.file).get("label_names")):
        raise WeightsError(f"{ref.name} has a classifier of other classes than ImageNet-1k's")
    weight, bias = classifier_of(ref)
    if len(bias) != 1000:
        raise WeightsError(f"{ref.name} has a classifier of {len(bias):,} classes")
    return weight, bias


def _are_imagenets(labels: Any) -> bool:
    """Whether label names, where a configuration lists them, are those of ImageNet-1k in its order."""
    if not isinstance(labels, list | tuple) or len(labels) != 1000:
        return True
    from timm.data import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    known = [{info.index_to_label_name(index), *_lemmas(info, index)} for index in range(1000)]
    fitting = sum(
        str(label) in own or _letters(str(label).split(",")[0]) in own for label, own in zip(labels, known, strict=True)
    )
    return fitting > 900
