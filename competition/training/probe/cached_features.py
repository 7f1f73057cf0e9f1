"""Features that a run left in the kit's cache: for the doctor's comparison of photos, for a report's nearest ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from competition.config import ProbeConfig
from competition.console import say
from competition.data.audit.report import AuditReport
from competition.errors import KitError
from competition.record.run_dir import RunDir

if TYPE_CHECKING:
    from competition.data.source.competition_data import CompetitionData


def cached_features(
    run: RunDir, data: CompetitionData, weights: Path | str | None = None
) -> tuple[np.ndarray, np.ndarray] | None:
    """Features of train (n, d) and test (t, d) photos by the first backbone and view of a probe run.

    Read from the cache only, in the order of the readable photos; nothing is computed. For a blend, the first member
    that has them answers.

    Args:
        run: a run or a blend.
        data: the data of the run.
        weights: folder of pretrained weights; None looks at the usual places.

    Returns:
        The features, or None where the run has none, or they or their weights are not at hand (which is said).
    """
    members = run.manifest.get("member_paths")
    if members:
        found = (cached_features(RunDir(run.path / path), data, weights) for path in members)
        return next((features for features in found if features is not None), None)
    if not (run / "config.json").is_file():
        return None
    values = run.config
    if values.pop("engine", "") != ProbeConfig.__name__:
        return None
    try:
        return _read(run, _readable(run, data), ProbeConfig.from_dict(values), weights)
    except KitError as error:
        say(f"no comparison of embeddings: {error}")
        return None


def run_features(
    run: RunDir, data: CompetitionData, weights: Path | str | None = None
) -> tuple[Sequence[str], np.ndarray] | None:
    """Ids of the readable train photos and their features (n, d), as a probe run left them in the kit's cache.

    Args:
        run: a run or a blend.
        data: the data of the run.
        weights: folder of pretrained weights; None looks at the usual places.

    Returns:
        None where the run has no features, or they or its weights are not at hand (which is said).
    """
    found = cached_features(run, data, weights)
    if found is None:
        return None
    quarantined = AuditReport.load(run.path).quarantined if (run / "audit.json").is_file() else frozenset()
    return data.without(quarantined).train_ids, found[0]


def _readable(run: RunDir, data: CompetitionData) -> CompetitionData:
    """The data without what the run's audit could not read."""
    if not (run / "audit.json").is_file():
        return data
    report = AuditReport.load(run.path)
    test = tuple(photo for photo in data.test if photo.id not in report.unreadable_test)
    return dataclasses.replace(data.without(report.quarantined), test=test)


def _read(
    run: RunDir, data: CompetitionData, config: ProbeConfig, weights: Path | str | None
) -> tuple[np.ndarray, np.ndarray] | None:
    from competition.training.backbones.find import find_backbones, find_same
    from competition.training.probe.embed import cached
    from competition.training.probe.run import probe_blocks

    used: dict[str, str] = run.manifest.get("weights", {})
    names = config.backbones or tuple(used)
    backbones = find_same(names[:1], used, weights, run.path) if used else find_backbones(names, weights)
    block = probe_blocks(backbones, config.views)[0]
    train, test = cached(data.train, block, config), cached(data.test, block, config)
    return None if train is None or test is None else (train, test)
