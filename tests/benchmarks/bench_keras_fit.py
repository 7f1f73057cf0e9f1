"""What the kit adds to Keras' own ``model.fit``: seconds per epoch, same network, images, optimiser and batch size.

From the root of a checkout, on a quiet machine:

    python -m tests.benchmarks.bench_keras_fit --model lenet5 --images 25600 --epochs 4 --rounds 3

``bare`` is ``model.fit`` on arrays that are float32 and normalised already, without callbacks but the clock; ``kit`` is
``fit_keras`` on uint8 images with everything it writes. The ways take turns, the first epoch (tracing) is not counted.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from baselines import create_model
from baselines.datasets import Dataset, Part
from baselines.fit_config import FitConfig
from competition.training.tracking import History, RunDir


def drawn(images: int, side: int, channels: int) -> Dataset:
    """Random images of ten classes; a tenth of them validates."""
    rng = np.random.default_rng(0)

    def part(count: int) -> Part:
        return Part(rng.integers(0, 256, (count, side, side, channels)).astype(np.uint8), rng.integers(0, 10, count))

    return Dataset("drawn", "drawn", tuple("0123456789"), part(images), part(images // 10), part(10))


def bare(model: Any, data: Dataset, config: FitConfig) -> list[dict[str, Any]]:
    """Keras alone."""
    import keras

    from baselines.keras_nets.callbacks import Records, Throughput

    optimiser = keras.optimizers.AdamW(config.rate)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimiser, loss, metrics=["accuracy"], jit_compile=False)
    history = History()
    steps = len(data.train) // config.batch_size
    model.fit(
        data.normalised(data.train.images),
        data.train.labels,
        batch_size=config.batch_size,
        epochs=config.epochs,
        validation_data=(data.normalised(data.valid.images), data.valid.labels),
        validation_batch_size=config.batch_size,
        callbacks=[Throughput(steps * config.batch_size), Records(history)],
        verbose=0,
    )
    return history.rows


def kit(model: Any, data: Dataset, config: FitConfig) -> list[dict[str, Any]]:
    """The kit, with history, TensorBoard, best weights and checkpoints."""
    from baselines.keras_nets.adapter import fit_keras

    with tempfile.TemporaryDirectory() as folder:
        fit_keras(model, data, config, RunDir(Path(folder)))
        return History(Path(folder) / "history.csv").rows


def compare(name: str, images: int, config: FitConfig, rounds: int) -> dict[str, float]:
    """Least seconds per epoch of both ways, and their ratio."""
    size, channels = (28, 1) if name.startswith(("lenet", "mlp")) else (32, 3)
    data = drawn(images, size, channels)
    seconds: dict[str, list[float]] = {"bare": [], "kit": []}
    for _ in range(rounds):
        for way in (bare, kit):
            model = create_model(name, "keras", in_channels=channels, image_size=size)
            seconds[way.__name__] += [row["seconds"] for row in way(model, data, config)[1:]]
    best = {way: min(values) for way, values in seconds.items()}
    median = {f"{way}_median": float(np.median(values)) for way, values in seconds.items()}
    return {
        **best, **median, "ratio": best["kit"] / best["bare"],
        "ratio_of_medians": median["kit_median"] / median["bare_median"],
    }  # fmt: skip


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="lenet5")
    parser.add_argument("--images", type=int, default=25_600)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    config = FitConfig(epochs=given.epochs, batch_size=given.batch, device="cpu")
    print(json.dumps(compare(given.model, given.images, config, given.rounds), indent=2))


if __name__ == "__main__":
    main()
