"""The linear probe as a run: embed, fit every fold at once, keep the heads, predict any photos."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from competition.config import ProbeConfig, TrainConfig
from competition.console import warn
from competition.data.source.competition_data import Photo
from competition.errors import ResumeError
from competition.files import read_arrays, read_json, write_arrays, write_json
from competition.record import board
from competition.record.metrics import accuracy, log_loss
from competition.record.projector import log_projector
from competition.record.run_dir import RunDir
from competition.record.tensorboard import tensorboard
from competition.training.backbones.create import has_fixed_size
from competition.training.backbones.devices import spread_devices
from competition.training.backbones.find import BackboneRef, find_backbones, find_same
from competition.training.probe import linear_probe
from competition.training.probe.embed import Block, embed
from competition.training.run.prepare import Prepared, timed
from competition.types import FoldResult, Predictions, view


def probe_blocks(backbones: Sequence[BackboneRef], views: Sequence[str]) -> list[Block]:
    """Every backbone looking at every view."""
    return [Block(backbone, view(name)) for backbone in backbones for name in views]


@dataclass(frozen=True)
class ProbeOutcome:
    """What the folds gave before the final temperature, and the figures of the search."""

    folds: tuple[FoldResult, ...]
    candidates: tuple[dict[str, Any], ...]
    design: str


def fit_probe(
    prepared: Prepared, config: ProbeConfig, run: RunDir, weights: Path | str | None, *, test: bool = True
) -> ProbeOutcome:
    """Embed the photos, fit the probe over all folds, write ``probe.json`` and ``fold<k>/head.safetensors``."""
    data, table = prepared.usable, prepared.table
    backbones = find_backbones(config.backbones, weights)
    blocks = probe_blocks(backbones, config.views)
    begun = time.monotonic()
    with timed(run, "embed"):
        features = embed(data.train, blocks, config)
        test_features = embed(data.test, blocks, config) if test and data.test else {}
    fold_of = _fold_of(prepared)
    with timed(run, "probe"):
        found = linear_probe.fit(features, data.labels, fold_of, data.classes, backbones, config, run / "probe")
    write_heads(run, found, backbones, config, data.classes)
    tested = (
        linear_probe.predict(found.design, found.heads, found.temperatures, test_features) if test_features else None
    )
    seconds = (time.monotonic() - begun) / table.n_folds
    folds = []
    for fold in table.folds():
        rows = np.flatnonzero(fold_of == fold.index)
        valid = Predictions(tuple(data.train_ids[row] for row in rows), data.classes, found.oof[rows])
        mine = None if tested is None else Predictions(data.test_ids, data.classes, tested[fold.index])
        figures = (log_loss(valid.probabilities, data.labels[rows]), accuracy(valid.probabilities, data.labels[rows]))
        folds.append(FoldResult(fold.index, *figures, valid, mine, seconds))
    return ProbeOutcome(tuple(folds), found.candidates, found.design.name)


def _fold_of(prepared: Prepared) -> np.ndarray:
    """The fold that validates each usable train photo, in the order of the photos, int64 (n,)."""
    of = dict(zip(prepared.table.ids, prepared.table.fold.tolist(), strict=True))
    return np.array([of[name] for name in prepared.usable.train_ids], dtype=np.int64)


def head_config(recipe: TrainConfig) -> ProbeConfig:
    """The probe whose solution a recipe's heads start from: one backbone, the whole photo."""
    device = spread_devices(recipe.device)[0]
    return ProbeConfig(backbones=(recipe.backbone,), views=("identity",), device=device, seed=recipe.seed)


def at_size_of(recipe: TrainConfig, backbones: Sequence[BackboneRef]) -> tuple[BackboneRef, ...]:
    """The backbones at the recipe's image size, where they take any size (features at another size are others)."""
    return tuple(
        ref if has_fixed_size(ref) else replace(ref, spec=replace(ref.spec, size=recipe.image_size))
        for ref in backbones
    )


def fit_heads(
    prepared: Prepared, recipe: TrainConfig, run: RunDir, weights: Path | str | None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """One head per fold, weight (c, d) and bias (c,), for the fine-tuning of a recipe to start from.

    Each head is the probe's solution on that fold's training photos, at the recipe's image size.
    """
    config, data = head_config(recipe), prepared.usable
    backbones = at_size_of(recipe, find_backbones(config.backbones, weights))
    with timed(run, "heads from the probe"):
        features = embed(data.train, probe_blocks(backbones, config.views), config)
        fold_of = _fold_of(prepared)
        found = linear_probe.fit(features, data.labels, fold_of, data.classes, backbones, config, run / "probe")
    return [(np.ascontiguousarray(weight.T), bias) for weight, bias in found.heads[0]]


def write_heads(
    run: RunDir,
    found: linear_probe.Probe,
    backbones: Sequence[BackboneRef],
    config: ProbeConfig,
    classes: Sequence[str],
) -> None:
    """Keep everything that ``predict_photos`` needs: per-fold heads (safetensors) and ``probe.json``."""
    for fold in range(len(found.heads[0])):
        arrays = {}
        for number, own in enumerate(found.heads):
            arrays[f"{number}.weight"], arrays[f"{number}.bias"] = np.ascontiguousarray(own[fold][0].T), own[fold][1]
        write_arrays(run.fold(fold) / "head.safetensors", arrays)
    write_json(
        run / "probe.json",
        {
            "design": found.design.name,
            "matrices": [matrix.groups for matrix in found.design.matrices],
            "temperatures": found.temperatures,
            "strengths": [item.strength for item in found.fitted],
            "backbones": {ref.name: {"architecture": ref.architecture, "digest": ref.digest} for ref in backbones},
            "views": config.views,
            "classes": classes,
            "folds": len(found.heads[0]),
        },
    )


def predict_photos(
    run: RunDir, config: ProbeConfig, photos: Sequence[Photo], weights: Path | str | None
) -> tuple[Predictions, ...]:
    """Probabilities of any photos by each fold's heads, before the final temperature.

    Raises:
        ResumeError: the backbone's weights are not those of the run.
    """
    stored = read_json(run / "probe.json")
    backbones = backbones_of(run, stored, weights)
    design = linear_probe.Design(
        stored["design"], tuple(linear_probe.Matrix(tuple(map(tuple, groups))) for groups in stored["matrices"])
    )
    features = embed(photos, probe_blocks(backbones, stored["views"]), config)
    tested = linear_probe.predict(design, read_heads(run, stored), stored["temperatures"], features)
    ids, classes = tuple(photo.id for photo in photos), tuple(stored["classes"])
    return tuple(Predictions(ids, classes, probabilities) for probabilities in tested)


def backbones_of(run: RunDir, stored: dict[str, Any], weights: Path | str | None) -> tuple[BackboneRef, ...]:
    """The backbones of a run, ``stored`` being its ``probe.json``, in the order of that file.

    Raises:
        ResumeError: the weights are not here, or not those of the run.
    """
    digests = {name: facts["digest"] for name, facts in stored["backbones"].items()}
    return find_same(list(digests), digests, weights, run.path)


def read_heads(run: RunDir, stored: dict[str, Any]) -> list[list[linear_probe.Head]]:
    """The heads that ``write_heads`` kept: per matrix, per fold, weight (d, c) and bias (c,).

    Raises:
        ResumeError: a fold's head is not there.
        WeightsError: it cannot be read.
    """
    paths = [run / f"fold{fold}" / "head.safetensors" for fold in range(int(stored["folds"]))]
    lacking = next((path for path in paths if not path.is_file()), None)
    if lacking is not None:
        raise ResumeError(
            f"{lacking} is missing: delete the run's metrics.json and start the same 'dogbreed run' again"
        )
    folds = [read_arrays(path)[0] for path in paths]
    return [
        [(arrays[f"{number}.weight"].T, arrays[f"{number}.bias"]) for arrays in folds]
        for number in range(len(stored["matrices"]))
    ]


def log_probe(
    run: RunDir, prepared: Prepared, config: ProbeConfig, outcome: ProbeOutcome, weights: Path | str | None
) -> None:
    """TensorBoard: the paths of strengths, and the embedding projector with thumbnails."""
    from competition.data.photos.decode import read_photo

    data = prepared.usable
    backbones = find_backbones(config.backbones, weights)
    first = probe_blocks(backbones, config.views)[0]
    with tensorboard(run / "tensorboard" / "probe") as writer:
        for step, row in enumerate(outcome.candidates):
            writer.add_scalar(f"probe/{row['design']}/log_loss", row["log_loss"], step)
            writer.add_scalar(f"probe/{row['design']}/accuracy", row["accuracy"], step)
        try:
            log_projector(
                writer,
                embed(data.train, [first], config)[first.name],
                data.train_ids,
                [photo.breed or "" for photo in data.train],
                lambda name: read_photo(data.by_id[name].path, min_side=64),
                name=first.name,
            )
        except ValueError as error:
            warn(f"no embedding projector in TensorBoard: {error}")
        board.log_hparams(writer, config.to_dict(), {"log_loss": min(row["log_loss"] for row in outcome.candidates)})
