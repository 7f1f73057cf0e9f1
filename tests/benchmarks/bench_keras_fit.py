"""What the kit adds to Keras' own ``model.fit``: seconds per epoch, same network, images, optimiser and batch size.

From the root of a checkout, on a quiet machine:

    python -m tests.benchmarks.bench_keras_fit --model lenet5 --images 25600 --epochs 5 --rounds 3

``bare`` is ``model.fit`` on arrays that are float32 and normalised already, without callbacks but the clock; ``kit`` is
``fit_keras`` on uint8 images with everything it writes. The ways take turns, the first epoch (tracing) is not counted.
``ratio`` is that of the median epochs, ``best_ratio`` that of the fastest, ``cpu_ratio`` that of the median processor
seconds of an epoch, which other programs on the machine disturb less.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from baselines import create_model
from baselines.contract.config import FitConfig
from baselines.data.datasets import Dataset, Part
from competition.record.run_dir import RunDir


def drawn(images: int, side: int, channels: int) -> Dataset:
    """Random images of ten classes; a tenth of them validates."""
    rng = np.random.default_rng(0)

    def part(count: int) -> Part:
        return Part(rng.integers(0, 256, (count, side, side, channels)).astype(np.uint8), rng.integers(0, 10, count))

    return Dataset("drawn", "drawn", tuple("0123456789"), part(images), part(images // 10), part(10))


class Clock:
    """Wall and processor seconds of every epoch, as a Keras callback."""

    def __init__(self) -> None:
        import keras

        self.wall: list[float] = []
        self.cpu: list[float] = []
        self._began = (0.0, 0.0)
        self.callback = keras.callbacks.LambdaCallback(on_epoch_begin=self._start)

    def _start(self, epoch: int, logs: Any) -> None:
        now = (time.perf_counter(), time.process_time())
        if epoch:  # an epoch lasts until the next begins: what is written after it counts
            self._count(now)
        self._began = now

    def _count(self, now: tuple[float, float]) -> None:
        self.wall.append(now[0] - self._began[0])
        self.cpu.append(now[1] - self._began[1])


def bare(model: Any, data: Dataset, config: FitConfig, clock: Clock) -> None:
    """Keras alone."""
    import keras

    optimiser = keras.optimizers.AdamW(config.rate)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimiser, loss, metrics=["accuracy"], jit_compile=False)
    model.fit(
        data.normalised(data.train.images),
        data.train.labels,
        batch_size=config.batch_size,
        epochs=config.epochs,
        validation_data=(data.normalised(data.valid.images), data.valid.labels),
        validation_batch_size=config.batch_size,
        callbacks=[clock.callback],
        verbose=0,
    )


def kit(model: Any, data: Dataset, config: FitConfig, clock: Clock) -> None:
    """The kit, with history, TensorBoard, best weights and checkpoints."""
    from baselines.keras_nets.training.adapter import fit_keras

    with tempfile.TemporaryDirectory() as folder:
        fit_keras(model, data, config, RunDir(Path(folder)), callbacks=[clock.callback])


def compare(name: str, images: int, config: FitConfig, rounds: int) -> dict[str, float]:
    """Seconds per epoch of both ways, and their ratios; neither the first nor the last epoch counts."""
    size, channels = (28, 1) if name.startswith(("lenet", "mlp")) else (32, 3)
    data = drawn(images, size, channels)
    wall: dict[str, list[float]] = {"bare": [], "kit": []}
    cpu: dict[str, list[float]] = {"bare": [], "kit": []}
    for _ in range(rounds):
        for way in (bare, kit):
            model = create_model(name, "keras", in_channels=channels, image_size=size)
            clock = Clock()
            way(model, data, config, clock)
            wall[way.__name__] += clock.wall[1:]
            cpu[way.__name__] += clock.cpu[1:]
    found = {f"{way}_seconds": median(values) for way, values in wall.items()}
    found |= {f"{way}_best_seconds": min(values) for way, values in wall.items()}
    found |= {f"{way}_cpu_seconds": median(values) for way, values in cpu.items()}
    found["ratio"] = found["kit_seconds"] / found["bare_seconds"]
    found["best_ratio"] = found["kit_best_seconds"] / found["bare_best_seconds"]
    found["cpu_ratio"] = found["kit_cpu_seconds"] / found["bare_cpu_seconds"]
    return found


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="lenet5")
    parser.add_argument("--images", type=int, default=25_600)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    config = FitConfig(epochs=given.epochs, batch_size=given.batch, device="cpu")
    print(json.dumps(compare(given.model, given.images, config, given.rounds), indent=2))


if __name__ == "__main__":
    main()
