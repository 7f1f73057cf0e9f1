"""Features of a probe run's photos, for the nearest training photos in its report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from competition.config import ProbeConfig
from competition.console import say
from competition.data.audit import AuditReport
from competition.errors import UsageError, WeightsError

if TYPE_CHECKING:
    from competition.data.layout import CompetitionData
    from competition.training.tracking import RunDir


def run_features(
    run: RunDir, data: CompetitionData, weights: Path | str | None = None
) -> tuple[Sequence[str], np.ndarray] | None:
    """Features of the run's first block (backbone and view): read from the kit's cache, or computed where it lost them.

    Args:
        run: a run; only probe runs have features.
        data: the data of the run.
        weights: folder of pretrained weights; None looks at the usual places.

    Returns:
        Ids of the readable train photos and their features, float32 (n, d); None when the run has none, or when its
        weights are not at the usual places, which is said.

    Raises:
        KitError: ``weights`` was given and does not hold the run's weights.
    """
    values = run.config
    if values.pop("engine", "") != ProbeConfig.__name__:
        return None
    try:
        return _embedded(run, data, ProbeConfig.from_dict(values), weights)
    except (UsageError, WeightsError) as error:
        if weights is not None:
            raise
        say(f"no nearest training photos in the report: {error}")
        return None


def _embedded(
    run: RunDir, data: CompetitionData, config: ProbeConfig, weights: Path | str | None
) -> tuple[Sequence[str], np.ndarray]:
    from competition.training.embed import embed
    from competition.training.models import find_backbones
    from competition.training.probe_run import probe_blocks

    used: dict[str, str] = run.manifest.get("weights", {})
    backbones = find_backbones(config.backbones or tuple(used), weights)
    block = probe_blocks(backbones, config.views)[0]
    if used and used.get(block.backbone.name) != block.backbone.digest:
        raise WeightsError(f"the weights of {block.backbone.name} at hand are not those of {run.path}")
    quarantined = AuditReport.load(run.path).quarantined if (run / "audit.json").is_file() else frozenset()
    photos = data.without(quarantined).train
    return tuple(photo.id for photo in photos), embed(photos, [block], config)[block.name]
