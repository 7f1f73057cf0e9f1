"""The networks of a competition run, opened for explanations: fine-tuned folds, probes as backbone + linear head."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from competition.config import TrainConfig
from competition.errors import KitError, ResumeError, UsageError, nearest
from competition.explain.networks.probe_network import ProbeNetwork, probe_network
from competition.explain.networks.protocol import Backend
from competition.explain.networks.torch_backend import TorchBackend
from competition.files import read_json
from competition.record.run_dir import RunDir
from competition.training.backbones.create import create_model, load_weights
from competition.training.backbones.devices import pick_device
from competition.training.finetune.predict_run import backbone_of
from competition.training.photos.rendering import Rendering
from competition.training.probe.embed import Block
from competition.training.probe.run import backbones_of, read_heads
from competition.types import Predictions, View, view


def open_backend(
    run_folder: Path | str,
    fold: int | None = None,
    backbone: str | None = None,
    *,
    weights: Path | str | None = None,
    device: str = "auto",
) -> Backend:
    """Open a network of a run.

    A fine-tuned fold is opened as it was trained. Of a probe run the backbone and the head of the fold become one
    network; several backbones become one network together, whose layer ``joined`` holds the maps of all of them where
    they have the same grid. A photo is prepared as the run's first view shows it, not mirrored; everything is computed
    in float32.

    Args:
        run_folder: folder of a run.
        fold: whose network, the one that did not train on that fold's photos; None takes the first trained fold, of a
            probe run the mean of all heads.
        backbone: one backbone of a probe run: its share of each logit alone (the other backbones' is left out).
        weights: folder of pretrained weights; None looks at the usual places.
        device: where to compute: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        ResumeError: no run folder, no trained fold, or other weights than the run's.
        UsageError: the fold or the backbone doesn't exist.
        KitError: a blend, which has no networks of its own.
    """
    run = RunDir(Path(run_folder))
    values = run.config
    engine = values.pop("engine", "")
    if engine == "ProbeConfig":
        return _open_probe(run, fold, backbone, weights, device)
    if engine == "TrainConfig":
        return _open_fold(run, TrainConfig.from_dict(values), fold, backbone, weights, device)
    members = ", ".join(os.path.normpath(run.path / member) for member in run.manifest.get("member_paths", ()))
    hint = f": explain one of its members, {members}" if members else ""
    raise KitError(f"{run.path} ({engine or 'unknown kind'}) has no networks of its own{hint}")


def _open_fold(
    run: RunDir, config: TrainConfig, fold: int | None, backbone: str | None, weights: Path | str | None, device: str
) -> Backend:
    trained = sorted(int(path.parent.name.removeprefix("fold")) for path in run.path.glob("fold*/model.safetensors"))
    if not trained:
        raise ResumeError(f"{run.path} holds no trained fold: start the same 'dogbreed run' again")
    index = trained[0] if fold is None else fold
    _require_fold(run, index, trained)
    ref = backbone_of(run, config, weights)
    if backbone is not None and backbone not in (ref.name, ref.architecture):
        raise UsageError(f"{run.path} fine-tuned '{ref.name}', not '{backbone}'")
    classes = Predictions.load(run / "oof.npz").classes
    model = create_model(ref, len(classes), pretrained=False, image_size=config.image_size)
    load_weights(model, run / f"fold{index}" / "model.safetensors")
    shown = _unflipped(config.views)
    side, crop_pct = shown.size_for(config.image_size), ref.spec.crop_pct if shown.crop != "whole" else 1.0
    rendering = Rendering(shown.crop, side, crop_pct, ref.spec.interpolation)
    return TorchBackend(
        model.eval(), classes, ref.spec.mean, ref.spec.std, (side, side, 3), pick_device(device), _preparing(rendering)
    )


def _open_probe(
    run: RunDir, fold: int | None, backbone: str | None, weights: Path | str | None, device: str
) -> Backend:
    if not (run / "probe.json").is_file():
        raise ResumeError(f"{run.path} holds no fitted probe: start the same 'dogbreed run' again")
    stored = read_json(run / "probe.json")
    if fold is not None:
        _require_fold(run, fold, list(range(int(stored["folds"]))))
    backbones = backbones_of(run, stored, weights)
    names = [ref.name for ref in backbones]
    if backbone is not None and backbone not in names:
        known = ", ".join(names)
        raise UsageError(f"{run.path} has no backbone '{backbone}'{nearest(backbone, names)} Known: {known}")
    chosen = names if backbone is None else [backbone]
    blocks = [Block(ref, _unflipped(stored["views"])) for ref in backbones if ref.name in chosen]
    sides = [block.rendering.size for block in blocks]
    heads = [_head(own, fold) for own in read_heads(run, stored)]
    network = probe_network(backbones, chosen, stored["matrices"], heads, stored["temperatures"], sides)
    spec = blocks[0].backbone.spec
    normalises = isinstance(network, ProbeNetwork)
    mean, std = ((0.0,) * 3, (1.0,) * 3) if normalises else (spec.mean, spec.std)
    largest = blocks[int(np.argmax(sides))].rendering
    shape = (largest.size, largest.size, 3)
    return TorchBackend(network, stored["classes"], mean, std, shape, pick_device(device), _preparing(largest))


def _head(folds: list[tuple[np.ndarray, np.ndarray]], fold: int | None) -> tuple[np.ndarray, np.ndarray]:
    """One fold's head, or the mean of all: the head is linear, so the mean head gives the mean logits."""
    if fold is not None:
        return folds[fold]
    return np.mean([weight for weight, _ in folds], axis=0), np.mean([bias for _, bias in folds], axis=0)


def _require_fold(run: RunDir, fold: int, known: list[int]) -> None:
    if fold not in known:
        raise UsageError(f"{run.path} has no network of fold {fold}; it has: {', '.join(map(str, known))}")


def _unflipped(names: list[str] | tuple[str, ...]) -> View:
    """The first view, not mirrored: an explanation should lie on the photo as it is."""
    first = view(names[0])
    return View(first.name, first.scale, False, first.crop)


def _preparing(rendering: Rendering) -> Callable[[np.ndarray], np.ndarray]:
    def prepare(photo: np.ndarray) -> np.ndarray:
        return np.asarray(rendering(photo), dtype=np.float32) / 255

    return prepare
