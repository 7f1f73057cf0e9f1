"""Photos per second from file to stored features, against the bare forward pass on tensors that are ready."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from competition.config import ProbeConfig
from competition.data.source.competition_data import Photo
from competition.data.source.layout import load_data
from competition.training.backbones.devices import pick_precision
from competition.training.backbones.find import find_backbones
from competition.training.photos.reading import read_batches
from competition.training.probe import embed as module
from competition.training.probe.embed import Block, embed
from competition.training.probe.run import probe_blocks
from tests.benchmarks.measure import Claim, Outcome, Setup, figure, in_turn, seconds_of

BATCH = 64
CPU = torch.device("cpu")


def measure(setup: Setup) -> Outcome:
    """The first backbone of the weights: one view, and with its mirror image."""
    outcome = Outcome("embed", "embedding")
    torch.set_num_threads(setup.threads)
    photos = load_data(setup.data).train[: setup.count(640, BATCH)]
    backbone = sorted(find_backbones((), setup.weights), key=lambda ref: "efficientnet" not in ref.name)[0]
    for views in (("identity",), ("identity", "hflip")):
        _one_case(outcome, setup, photos, probe_blocks([backbone], views))
    outcome.notes += [
        f"{backbone.name}, {pick_precision('auto', CPU)}, batches of {BATCH}, {setup.threads} threads; "
        "loading the model is in neither figure",
        *_profile(photos, probe_blocks([backbone], ("identity",))[0]),
    ]
    return outcome


def _one_case(outcome: Outcome, setup: Setup, photos: Sequence[Photo], blocks: list[Block]) -> None:
    config = ProbeConfig(device="cpu", batch_size=BATCH)
    model = module._load(blocks[0].backbone, CPU, pick_precision("auto", CPU))
    batches = len(photos) * len(blocks) // BATCH
    images = torch.randint(0, 256, (BATCH, blocks[0].rendering.size, blocks[0].rendering.size, 3), dtype=torch.uint8)
    with torch.inference_mode():
        ready = model[1](model[0](images))  # type: ignore[index]

    def bare() -> float:
        with torch.inference_mode():
            seconds = seconds_of(lambda: [model[2](ready) for _ in range(batches)])  # type: ignore[index]
        return batches * BATCH / seconds

    def kit() -> float:
        with tempfile.TemporaryDirectory() as folder:
            return len(photos) * len(blocks) / seconds_of(lambda: embed(photos, blocks, config, folder=Path(folder)))

    loading, module._load = module._load, lambda *_: model
    try:
        found = in_turn({"kit": kit, "bare forward": bare}, setup.rounds, warm=setup.scale == 1)
    finally:
        module._load = loading
    case = " + ".join(block.view.name for block in blocks)
    for name, rates in found.items():
        outcome.figures.append(figure(case, name, "photos x views/s", rates))
    outcome.claims.append(
        Claim(f"embedding, {case}: kit over bare forward", outcome.ratio(case, "kit", "bare forward"), 0.92)
    )


def _profile(photos: Sequence[Photo], block: Block) -> list[str]:
    """Where the time of a photo goes, milliseconds."""
    model = module._load(block.backbone, CPU, pick_precision("auto", CPU))
    spent = dict.fromkeys(("read and decode", "normalise", "forward"), 0.0)
    reader = read_batches(module._Renderings(photos, [block.rendering]), BATCH, CPU)
    with torch.inference_mode():
        while True:
            start = time.perf_counter()
            pictures = next(reader, None)
            if pictures is None:
                break
            read = time.perf_counter()
            ready = model[1](model[0](pictures[0]))  # type: ignore[index]
            prepared = time.perf_counter()
            model[2](ready)  # type: ignore[index]
            for name, seconds in zip(
                spent, (read - start, prepared - read, time.perf_counter() - prepared), strict=True
            ):
                spent[name] += seconds
    parts = ", ".join(f"{name} {1000 * seconds / len(photos):.2f}" for name, seconds in spent.items())
    return [f"profile, one view, ms of wall time a photo: {parts}"]
