"""What the kit adds to a bare training: seconds per epoch, same network, images, optimiser and batch size.

From the root of a checkout, on a quiet machine:

    python -m tests.benchmarks.bench_fit --model lenet5 --images 12800 --epochs 3 --rounds 3
    python -m tests.benchmarks.bench_fit --framework keras --images 25600 --epochs 5

``bare`` is a PyTorch loop of a dozen lines that keeps the running loss and accuracy, and validates; in Keras it is
``model.fit`` without callbacks but the clock. Its images are float32 and normalised already. ``kit`` trains on uint8
images with everything it writes. The ways take turns, the first epoch (Keras traces in it) is not counted.
Processor seconds are given beside the clock's: other programs disturb them less.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from baselines import create_model
from baselines.contract.config import FitConfig
from baselines.data.datasets import Dataset, Part
from baselines.registry import find_entry
from baselines.training.frameworks import adapter_for, seed_framework
from competition.record.run_dir import RunDir

Epochs = list[tuple[float, float]]  # seconds by the clock and of the processor, one pair per epoch


class Stopwatch:
    """Seconds between laps."""

    def __init__(self) -> None:
        self.laps: Epochs = []
        self._last = (time.perf_counter(), time.process_time())

    def lap(self, *_: Any) -> None:
        """End an epoch."""
        now = (time.perf_counter(), time.process_time())
        self.laps.append((now[0] - self._last[0], now[1] - self._last[1]))
        self._last = now


def drawn(images: int, side: int, channels: int) -> Dataset:
    """Random images of ten classes; a tenth of them validates."""
    rng = np.random.default_rng(0)

    def part(count: int) -> Part:
        return Part(rng.integers(0, 256, (count, side, side, channels)).astype(np.uint8), rng.integers(0, 10, count))

    return Dataset("drawn", "drawn", tuple("0123456789"), part(images), part(images // 10), part(10))


def bare_torch(model: Any, data: Dataset, config: FitConfig, times: Stopwatch) -> None:
    """A loop as one writes it by hand."""
    import torch
    from torch.nn import functional

    parts = [
        (torch.from_numpy(data.normalised(part.images)).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(part.labels))
        for part in (data.train, data.valid)
    ]
    (images, labels), (valid_images, valid_labels) = [(x.to(config.device), y.to(config.device)) for x, y in parts]
    optimiser = torch.optim.AdamW(model.to(config.device).parameters(), lr=config.rate)
    size = config.batch_size
    for _ in range(config.epochs):
        model.train()
        total, right = 0.0, 0
        for rows in torch.randperm(len(images))[: len(images) // size * size].split(size):
            batch, target = images[rows.to(config.device)], labels[rows.to(config.device)]
            logits = model(batch)
            loss = functional.cross_entropy(logits, target)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.item() * len(rows)
            right += int((logits.argmax(1) == target).sum())
        model.eval()
        with torch.no_grad():
            for batch, target in zip(valid_images.split(size), valid_labels.split(size), strict=True):
                functional.cross_entropy(model(batch), target).item()
        times.lap()


def bare_keras(model: Any, data: Dataset, config: FitConfig, times: Stopwatch) -> None:
    """Keras alone."""
    import keras

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(config.rate), loss, metrics=["accuracy"], jit_compile=False)
    model.fit(
        data.normalised(data.train.images),
        data.train.labels,
        batch_size=config.batch_size,
        epochs=config.epochs,
        validation_data=(data.normalised(data.valid.images), data.valid.labels),
        validation_batch_size=config.batch_size,
        callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=times.lap)],
        verbose=0,
    )


def measure(
    framework: str, model: str, images: int, epochs: int, rounds: int, batch_size: int, device: str
) -> dict[str, Any]:
    """Best and median seconds per epoch of both ways, and the ratios; pairs are the clock's and the processor's."""
    adapter, entry = adapter_for(framework), find_entry(model)
    data = drawn(images, entry.image_size, entry.in_channels)
    config = FitConfig(
        epochs=epochs, batch_size=batch_size, device=device, precision="float32", schedule="constant", optimiser="adamw"
    )

    def kit(network: Any, data: Dataset, config: FitConfig, times: Stopwatch) -> None:
        with tempfile.TemporaryDirectory() as folder:
            adapter.fit(
                network, data, config, RunDir(Path(folder)), save_every=300.0, callbacks=(), epoch_hooks=[times.lap]
            )

    ways: dict[str, Callable[..., None]] = {"bare": bare_keras if framework == "keras" else bare_torch, "kit": kit}
    found: dict[str, Epochs] = {name: [] for name in ways}
    for round_ in range(rounds):
        for name, way in list(ways.items())[:: 1 if round_ % 2 == 0 else -1]:
            seed_framework(framework, 0)
            network = create_model(model, framework, image_size=entry.image_size, in_channels=entry.in_channels)
            times = Stopwatch()
            way(network, data, config, times)
            found[name] += times.laps[1:]
    best, middle = (
        {name: [pick(values) for values in zip(*laps, strict=True)] for name, laps in found.items()}
        for pick in (min, median)
    )
    ratios = {
        f"ratio_{name}": [kit / bare for kit, bare in zip(seconds["kit"], seconds["bare"], strict=True)]
        for name, seconds in (("best", best), ("median", middle))
    }
    return {"model": model, "images": images, "best_seconds": best, "median_seconds": middle, **ratios}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--framework", default="pytorch", choices=("pytorch", "keras"))
    parser.add_argument("--model", default="lenet5")
    parser.add_argument("--images", type=int, default=12_800)
    parser.add_argument("--epochs", type=int, default=3, help="the first is not counted")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--device", default="cpu")
    print(json.dumps(measure(**vars(parser.parse_args())), indent=2))


if __name__ == "__main__":
    main()
