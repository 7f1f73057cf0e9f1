"""timm backbones found: by name, by path, or all that lie in a folder, each with the digest of its weights.

Weights come from a folder in timm's local-directory form (``config.json`` + ``model.safetensors``), from a folder of
such folders, or from timm's hub. What a file holds is read from its header, not believed of its configuration: how many
classes, how many input channels. A backbone is the digest of its weights; its name is for people.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from competition.errors import ResumeError, UsageError, WeightsError, nearest
from competition.files import digest_of
from competition.training.backbones.weight_files import (
    digest_of_weights,
    few,
    fitting,
    given_weights,
    local_files,
    named,
    note_once,
    read_config,
)

MOST_AT_ONCE = 32  # backbones that are used because they lie there: all are in memory together


@dataclass(frozen=True)
class InputSpec:
    """What a backbone expects: square side in pixels, RGB mean and std in [0, 1], interpolation, centre-crop share."""

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str
    crop_pct: float


@dataclass(frozen=True)
class BackboneRef:
    """A backbone that can be built, and the digest of the weights it would have.

    Attributes:
        name: how people call it: the end of the folder's path that tells it from others, or timm's name.
        architecture: timm's name of the architecture.
        folder: the local-directory folder with the weights, None for timm's hub.
        digest: of the weights (local) or of their address (hub).
        spec: what it expects as input.
        num_features: length of the pooled feature vector.
        file: the weights in that folder, None for timm's hub.
        classes: outputs of its own classifier, 0 without one; None where only its download would tell.
        channels: of the images that the weights were made for, 3 or 1 (grey).
    """

    name: str
    architecture: str
    folder: Path | None
    digest: str
    spec: InputSpec
    num_features: int
    file: Path | None = None
    classes: int | None = None
    channels: int = 3


def find_backbones(names: Sequence[str], where: Path | str | None = None) -> tuple[BackboneRef, ...]:
    """Find backbones by name, or all that lie in a folder of weights; equal weights are taken once.

    Args:
        names: timm names, ends of paths (``small/1``), paths of local-directory folders or of their weights; empty
            takes all that are found.
        where: one local-directory folder, its weights, or a folder of folders; None looks at ``DOGBREED_WEIGHTS`` and
            Kaggle's inputs.

    Raises:
        UsageError: an unknown name (the nearest is offered), one that fits several, or no name and no weights.
        WeightsError: ``where`` does not exist or holds no weights.
    """
    found = local_files(where)
    if not names and not found:
        raise UsageError(
            "no pretrained weights here: pass --weights FOLDER, set DOGBREED_WEIGHTS, or name a timm model "
            "with --set backbones=NAME (its weights will be downloaded)"
        )
    if not names and len(found) > MOST_AT_ONCE:
        raise UsageError(
            f"{len(found)} backbones lie there ({few(list(named(found).values()))}): name those you mean with "
            "--set backbones=NAME,NAME"
        )
    known = named([*found, *(path for path in map(given_weights, names) if path is not None)])
    refs = [_find(name, known) for name in names] if names else [_local_ref(file, known[file]) for file in found]
    return _each_once(refs)


def _each_once(refs: Sequence[BackboneRef]) -> tuple[BackboneRef, ...]:
    """Refs without those of the same weights; the first stays."""
    first: dict[str, BackboneRef] = {}
    for ref in refs:
        same = first.setdefault(ref.digest, ref)
        if same is not ref and (same.file, same.name) != (ref.file, ref.name):
            note_once(f"{ref.file} holds the same weights as {same.file}: they are used once, as '{same.name}'")
    return tuple(first.values())


def find_same(
    names: Sequence[str], digests: Mapping[str, str], where: Path | str | None, run: Path
) -> tuple[BackboneRef, ...]:
    """The backbones that a run was made with, known by their digests and called as the run calls them.

    Args:
        names: as for ``find_backbones``, at least one.
        digests: of the run's weights, by the backbones' own names.
        where: as for ``find_backbones``.
        run: the run's folder, for people.

    Raises:
        ResumeError: a backbone is not here, or its weights are others.
        WeightsError: ``where`` holds no weights.
    """
    known = named(local_files(where))
    return tuple(_find_same(name, digests, known, run) for name in names)


def _find_same(name: str, digests: Mapping[str, str], known: Mapping[Path, str], run: Path) -> BackboneRef:
    called = name if name in digests or len(digests) != 1 else next(iter(digests))
    # A run may ask for an architecture where its weights have the name of a folder.
    name_of = {digests[called]: called} if called in digests else {digest: key for key, digest in digests.items()}
    given = given_weights(name)
    likely = [given] if given else fitting(name, known) or fitting(called, known)
    for file in dict.fromkeys([*likely, *(known if called in digests else ())]):
        if digest_of_weights(file) in name_of:
            return _local_ref(file, name_of[digest_of_weights(file)])
    import timm

    if not likely and timm.is_model(name) and _hub_ref(name).digest in name_of:
        return _hub_ref(name)
    if likely:
        raise ResumeError(
            f"{likely[0].parent} holds other weights than those {run} was made with: pass the same --weights"
        )
    here = f"only {few(list(known.values()))}" if known else "none"
    raise ResumeError(
        f"{run} was made with weights of '{name}' from a folder, and here are {here}: pass the same --weights FOLDER"
    )


def _find(name: str, known: Mapping[Path, str]) -> BackboneRef:
    given = given_weights(name)
    likely = [given] if given else fitting(name, known)
    if len(likely) > 1 and len({digest_of_weights(file) for file in likely}) > 1:
        where = " and ".join(f"'{known[file]}' ({file.parent})" for file in likely[:2])
        raise UsageError(f"'{name}' means {len(likely)} backbones, {where}: name the one you mean in full")
    if likely:
        return _local_ref(likely[0], known[likely[0]])
    import timm

    if not timm.is_model(name):
        raise UsageError(f"unknown backbone '{name}'{nearest(name, [*known.values(), *timm.list_models()])}")
    return _hub_ref(name)


def _local_ref(file: Path, name: str) -> BackboneRef:
    """A backbone on the disk.

    Raises:
        WeightsError: its configuration is none of timm's, or its images have neither one nor three channels.
    """
    import timm

    config = read_config(file.parent)
    architecture = config["architecture"]
    if not timm.is_model(architecture):
        raise WeightsError(f"{file.parent} is of architecture '{architecture}', which this timm does not know")
    facts, arguments = pretrained_facts(file), model_arguments(file)
    try:
        num_features = _measure(architecture, json.dumps(arguments))[0]
    except (RuntimeError, TypeError, ValueError, AssertionError, AttributeError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(f"{file.parent / 'config.json'} does not fit '{architecture}' ({reason})") from error
    channels, classes = facts["input_size"][0], facts["num_classes"]
    if channels not in (1, 3):
        raise WeightsError(f"{file} is for images of {channels} channels: photos have 3 (or 1, as grey ones)")
    return BackboneRef(
        name,
        architecture,
        file.parent,
        digest_of_weights(file),
        _spec(facts, file.parent),
        num_features,
        file,
        classes,
        channels,
    )


def model_arguments(file: Path) -> dict[str, Any]:
    """What weights on the disk want their architecture built with, beside classes and channels."""
    own = read_config(file.parent).get("model_args") or {}
    return {key: value for key, value in own.items() if key not in ("num_classes", "in_chans")}


def pretrained_facts(file: Path) -> dict[str, Any]:
    """What timm calls ``pretrained_cfg``: config.json over the architecture's own, mended by the weights themselves.

    ``num_classes``, ``label_offset`` and the channels of ``input_size`` are those of the tensors, where they are there.
    """
    import timm
    from timm.models import PretrainedCfg

    config = read_config(file.parent)
    stored = dict(config.get("pretrained_cfg") or config)
    stored.setdefault("label_names", config.get("label_names") or config.get("labels"))
    default = timm.get_pretrained_cfg(config["architecture"])
    facts = {
        **(default.to_dict() if default else {}),
        **{key: value for key, value in stored.items() if value is not None},
    }
    facts["num_classes"] = config.get("num_classes", facts.get("num_classes", 1000))
    channels = (config.get("model_args") or {}).get("in_chans") or facts.get("input_size", (3,))[0]
    shapes = _shapes_in(file, [*_names_of(facts, "classifier")[:1], *_names_of(facts, "first_conv")[:1]])
    rows, first = (next((shapes[name] for name in _names_of(facts, key)[:1] if name in shapes), ()) for key in _TENSORS)
    if rows:
        offset = int(facts.get("label_offset") or 0)
        offset = offset if rows[0] - offset == facts["num_classes"] else 0
        facts.update(num_classes=rows[0] - offset, label_offset=offset)
    if len(first) == 4:
        width = _measure(config["architecture"], json.dumps(model_arguments(file)), _names_of(facts, "first_conv")[0])[
            1
        ]
        channels = 3 * first[1] // width if width else channels
    facts["input_size"] = (int(channels), *facts.get("input_size", (3, 224, 224))[1:])
    # Only this file is read, never a download, and never one that would have to be unpickled.
    facts.update(file=str(file), source="", url=None, hf_hub_id=None, state_dict=None, custom_load=False)
    known = {field.name for field in fields(PretrainedCfg)}
    return {key: value for key, value in facts.items() if key in known}


_TENSORS = ("classifier", "first_conv")


def _names_of(facts: Mapping[str, Any], key: str) -> list[str]:
    """Names of the weights of the layers that a ``pretrained_cfg`` names under ``key``."""
    named = facts.get(key) or ()
    return [f"{name}.weight" for name in ([named] if isinstance(named, str) else named)]


def _shapes_in(file: Path, names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Shapes of tensors by name, from the header; nothing of a file that cannot be read (loading it will say why)."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(file), framework="numpy") as stored:
            there = set(stored.keys())
            return {name: tuple(stored.get_slice(name).get_shape()) for name in names if name in there}
    except (OSError, SafetensorError):
        return {}


def _hub_ref(name: str) -> BackboneRef:
    import timm

    config = timm.get_pretrained_cfg(name)
    stored = config.to_dict() if config else {}
    address = stored.get("hf_hub_id") or stored.get("url") or ""
    classes = stored.get("num_classes") if config else None
    return BackboneRef(
        name, name, None, digest_of([name, address]), _spec(stored), _measure(name, "{}")[0], classes=classes
    )


def _spec(stored: Mapping[str, Any], where: Path | None = None) -> InputSpec:
    """What a ``pretrained_cfg`` says of the input.

    Raises:
        WeightsError: as many means or deviations as no image has channels.
    """
    statistics = {}
    for key, usual in (("mean", (0.485, 0.456, 0.406)), ("std", (0.229, 0.224, 0.225))):
        values = [float(value) for value in np.atleast_1d(stored.get(key, usual))]
        if len(values) not in (1, 3):
            raise WeightsError(f"{where}/config.json has {len(values)} values of '{key}': 3 are needed, or 1 for grey")
        if stored.get("input_size", (3,))[0] == 1:
            values = [float(np.mean(values))]
        statistics[key] = tuple(values * (3 // len(values)))
    return InputSpec(
        size=int(stored.get("input_size", (3, 224, 224))[-1]),
        mean=statistics["mean"],  # type: ignore[arg-type]
        std=statistics["std"],  # type: ignore[arg-type]
        interpolation=str(stored.get("interpolation", "bicubic")),
        crop_pct=float(stored.get("crop_pct", 0.875)),
    )


@lru_cache(maxsize=256)
def _measure(architecture: str, arguments: str, first: str = "") -> tuple[int, int]:
    """Length of the pooled features and input width of a layer in colour, from a model without memory (meta device)."""
    import timm

    with torch.device("meta"):
        model = timm.create_model(architecture, pretrained=False, num_classes=0, **json.loads(arguments))
    width = dict(model.named_parameters()).get(first)
    features = getattr(model, "head_hidden_size", None) or model.num_features
    return int(features), 0 if width is None or width.ndim < 2 else int(width.shape[1])
