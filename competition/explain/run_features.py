"""Features of a run's photos, for the nearest training photos in its report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from competition.data.audit import AuditReport
from competition.prediction.run_features import cached_features

if TYPE_CHECKING:
    from competition.data.layout import CompetitionData
    from competition.training.tracking import RunDir


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
