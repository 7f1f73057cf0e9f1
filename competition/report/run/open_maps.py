"""The contrast maps of a run's report: which models, under which key, and what to say where there are none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from competition.console import warn
from competition.errors import KitError
from competition.files import digest_of, digest_of_file
from competition.report.run.contrast_maps import ContrastMaps

if TYPE_CHECKING:
    from competition.data.source.competition_data import CompetitionData
    from competition.explain.networks.protocol import Backend
    from competition.record.run_dir import RunDir

METHOD = "grad-cam of a difference of logits, 1"  # raise the number when the maps of the same models change


def run_maps(
    run: RunDir,
    data: CompetitionData,
    weights: Path | str | None = None,
    backbone: str | None = None,
    *,
    needed: bool = False,
) -> ContrastMaps | None:
    """What makes a run's contrast maps, or None where its models are not at hand (which is said).

    Args:
        run: a run.
        data: the data of the run.
        weights: folder of pretrained weights; None looks at the usual places.
        backbone: of a probe run with several; None joins them all in one network.
        needed: raise instead of doing without.

    Raises:
        KitError: the models cannot be opened, and the maps are ``needed``.
    """
    from competition.explain.networks.open_run import open_backend

    def opened(fold: int) -> Backend:
        return open_backend(run.path, fold=None if fold < 0 else fold, backbone=backbone, weights=weights)

    try:
        first = opened(-1)
    except KitError as error:
        if needed:
            raise
        warn(f"no contrast maps: {error}")
        return None
    # The out-of-fold predictions come from the models: other models, other predictions.
    key = digest_of([METHOD, digest_of_file(run / "oof.npz"), backbone or "", list(first.input_shape)])
    photos = {photo.id: photo.path for photo in data.train}
    return ContrastMaps(run / "report" / "maps", opened, key, photos, _about(run, backbone))


def _about(run: RunDir, backbone: str | None) -> str:
    """Whose maps they are, in words."""
    names = [backbone] if backbone else list(run.manifest.get("weights", {})) or [str(run.config.get("backbone", ""))]
    told = " and ".join(name for name in names if name) or "the run's network"
    return f"Grad-CAM of the difference of the two logits; {told}, as trained without the photo's fold"
