"""Predicting several views, against as many bare passes over tensors that are ready."""

from __future__ import annotations

import torch

from competition.data.source.layout import load_data
from competition.training.backbones.create import create_model
from competition.training.backbones.devices import pick_precision
from competition.training.backbones.find import find_backbones
from competition.training.photos.normalise import Normalise
from competition.training.photos.predict_views import predict_views
from competition.types import view
from tests.benchmarks.measure import Claim, Outcome, Setup, figure, in_turn, seconds_of

VIEWS = ("identity", "hflip", "model_crop", "large")
BATCH = 32


def measure(setup: Setup) -> Outcome:
    """Four views of one network."""
    outcome = Outcome("tta", "test-time augmentation")
    torch.set_num_threads(setup.threads)
    photos = load_data(setup.data).train[: setup.count(192, BATCH) // BATCH * BATCH]
    backbone = sorted(find_backbones((), setup.weights), key=lambda ref: "efficientnet" not in ref.name)[0]
    spec, precision = backbone.spec, pick_precision("auto", torch.device("cpu"))
    model = create_model(backbone, 120).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    normalise = Normalise(spec)
    sides = [view(name).size_for(spec.size) for name in VIEWS]
    ready = {side: normalise(torch.randint(0, 256, (BATCH, side, side, 3), dtype=torch.uint8)) for side in set(sides)}
    batches = len(photos) // BATCH

    def kit() -> float:
        return seconds_of(lambda: predict_views(model, spec, photos, VIEWS, spec.size, BATCH, precision=precision))

    @torch.inference_mode()
    def bare() -> float:
        with torch.autocast("cpu", dtype=precision, enabled=precision != torch.float32):
            return seconds_of(lambda: [model(ready[side]) for side in sides for _ in range(batches)])

    case = f"{batches * BATCH} photos, {len(VIEWS)} views"
    for name, seconds in in_turn({"kit": kit, "bare passes": bare}, setup.rounds, warm=setup.scale == 1).items():
        outcome.figures.append(figure(case, name, "s", seconds))
    outcome.claims.append(
        Claim("TTA: time over the bare passes", outcome.ratio(case, "kit", "bare passes"), 1.10, False)
    )
    outcome.notes.append(
        f"{backbone.name}, {', '.join(VIEWS)}, {precision}, {setup.threads} threads; decoding included"
    )
    return outcome
