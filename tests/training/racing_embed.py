"""A process that computes features slowly, for two of them to race; ``test_feature_store`` starts it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from competition.config import ProbeConfig
from competition.data.source.competition_data import Photo
from competition.files import digest_of_array, write_json
from competition.training.backbones.find import find_backbones
from competition.training.probe import embed as module
from competition.types import view

CONFIG = ProbeConfig(batch_size=4, workers=0, precision="float32", device="cpu")
VIEWS = ("identity", "hflip")


def compute(photos: Sequence[Photo], weights: Path, folder: Path, views: tuple[str, ...] = VIEWS) -> dict[str, Any]:
    """Features of the photos by block name."""
    (ref,) = find_backbones((), weights)
    blocks = [module.Block(ref, view(name)) for name in views]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # beside another process, threads that wait for each other take seconds
    try:
        return module.embed(photos, blocks, CONFIG, folder=folder)
    finally:
        torch.set_num_threads(threads)


def slowly(photos: Sequence[Photo], weights: Path, folder: Path, result: Path, views: tuple[str, ...] = VIEWS) -> None:
    """The same, recorded after every batch, each batch taking its time; digests go to ``result``."""
    forward = module._forward

    def slow(*arguments: Any) -> Any:
        time.sleep(0.01)
        return forward(*arguments)

    module._forward = slow
    module.CHUNK_BATCHES = 1
    found = compute(photos, weights, folder, views)
    write_json(result, {name: digest_of_array(values) for name, values in found.items()})
