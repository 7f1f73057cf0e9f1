"""What the kit adds to a bare PyTorch loop: seconds per epoch, same network, images, optimiser and batch size.

From the root of a checkout, on a quiet machine:

    python -m tests.benchmarks.bench_fit --model lenet5 --images 12800 --epochs 3 --rounds 3

``bare`` is a loop of a dozen lines over float32 tensors that are normalised already; it keeps the running loss and
accuracy, and validates. ``kit`` is ``fit_torch`` on uint8 images with everything it writes. The ways take turns, the
first epoch is not counted. Processor seconds are given beside the clock's: other programs disturb them less. The
same for Keras is ``bench_keras_fit``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from baselines import create_model
from baselines.contract.config import FitConfig
from baselines.data.datasets import Dataset
from competition.record.run_dir import RunDir
from tests.benchmarks.bench_keras_fit import drawn

Epochs = list[tuple[float, float]]  # seconds by the clock and of the processor, one pair per epoch


def bare(model: nn.Module, data: Dataset, config: FitConfig, device: torch.device) -> Epochs:
    """A loop as one writes it by hand."""
    parts = [
        (torch.from_numpy(data.normalised(part.images)).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(part.labels))
        for part in (data.train, data.valid)
    ]
    (images, labels), (valid_images, valid_labels) = [(x.to(device), y.to(device)) for x, y in parts]
    model.to(device)
    optimiser, times = torch.optim.AdamW(model.parameters(), lr=config.rate), Stopwatch()
    for _ in range(config.epochs):
        model.train()
        total, right = 0.0, 0
        order = torch.randperm(len(images))
        for rows in order[: len(order) // config.batch_size * config.batch_size].split(config.batch_size):
            batch, target = images[rows.to(device)], labels[rows.to(device)]
            logits = model(batch)
            loss = functional.cross_entropy(logits, target)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.item() * len(rows)
            right += int((logits.argmax(1) == target).sum())
        model.eval()
        with torch.no_grad():
            for batch, target in zip(
                valid_images.split(config.batch_size), valid_labels.split(config.batch_size), strict=True
            ):
                functional.cross_entropy(model(batch), target).item()
        times.lap()
    return times.laps


def kit(model: nn.Module, data: Dataset, config: FitConfig, device: torch.device) -> Epochs:
    """The kit's own way, with everything it writes."""
    from baselines.torch_nets.training.adapter import fit_torch

    times = Stopwatch()
    with tempfile.TemporaryDirectory() as folder:
        fit_torch(model, data, config, RunDir(Path(folder)), epoch_hooks=[lambda _: times.lap()])
    return times.laps


class Stopwatch:
    """Seconds between laps."""

    def __init__(self) -> None:
        self.laps: Epochs = []
        self._last = (time.perf_counter(), time.process_time())

    def lap(self) -> None:
        """End an epoch."""
        now = (time.perf_counter(), time.process_time())
        self.laps.append((now[0] - self._last[0], now[1] - self._last[1]))
        self._last = now


WAYS: dict[str, Callable[[nn.Module, Dataset, FitConfig, torch.device], Epochs]] = {"bare": bare, "kit": kit}


def measure(model: str, images: int, epochs: int, rounds: int, batch_size: int, device: str) -> dict[str, Any]:
    """Best and median seconds per epoch of both ways, and the ratios."""
    from baselines.registry import find_entry

    entry = find_entry(model)
    data = drawn(images, entry.image_size, entry.in_channels)
    config = FitConfig(
        epochs=epochs, batch_size=batch_size, device=device, precision="float32", schedule="constant", optimiser="adamw"
    )
    found: dict[str, Epochs] = {name: [] for name in WAYS}
    for round_ in range(rounds):
        for name, way in list(WAYS.items()) if round_ % 2 == 0 else list(WAYS.items())[::-1]:
            torch.manual_seed(0)
            network = create_model(model, image_size=entry.image_size, in_channels=entry.in_channels)
            found[name] += way(network, data, config, torch.device(device))[1:]
    best = {name: [min(values) for values in zip(*laps, strict=True)] for name, laps in found.items()}
    middle = {name: [statistics.median(values) for values in zip(*laps, strict=True)] for name, laps in found.items()}
    return {
        "model": model,
        "images": images,
        "best_seconds": best,
        "median_seconds": middle,
        "ratio_best": [kit / bare for kit, bare in zip(best["kit"], best["bare"], strict=True)],
        "ratio_median": [kit / bare for kit, bare in zip(middle["kit"], middle["bare"], strict=True)],
    }


def main() -> None:
    """Measure and print; pairs are clock seconds and processor seconds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--model", default="lenet5")
    parser.add_argument("--images", type=int, default=12_800)
    parser.add_argument("--epochs", type=int, default=3, help="the first is not counted")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--device", default="cpu")
    chosen = parser.parse_args()
    print(json.dumps(measure(**vars(chosen)), indent=2))


if __name__ == "__main__":
    main()
