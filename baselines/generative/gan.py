"""Training a DCGAN in either framework: one loop, sample grids over time, and warnings when it goes wrong.

    from baselines.generative.gan import GanConfig, fit_gan
    found = fit_gan(load_dataset("mnist"), "pytorch", GanConfig(epochs=5), "runs/gan")

Two networks play against each other, so no loss says how good the pictures are. Three figures help: how different the
made pictures are from one another (``diversity``, next to that of real ones), how many classes of real pictures they
come near to (``classes``), and whether the discriminator still errs (``d_real``, ``d_fake``).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from baselines.data.datasets import Dataset
from baselines.generative.autoencoder import networks_of, pixels
from baselines.generative.galleries import save_lines, save_rows, save_tiles
from baselines.registry import find_framework
from baselines.specs.autoencoder import DCGANSpec
from competition.config import Config
from competition.console import duration, progress, say, warn
from competition.files import read_json, write_arrays, write_json
from competition.record.history import History
from competition.record.run_dir import RunDir
from competition.record.tensorboard import tensorboard

_JUDGED = 256  # made pictures that the figures are taken over
_REFERENCES = 2000  # real pictures among which the nearest neighbour is looked for
_COLUMNS = 8


@dataclass(frozen=True, kw_only=True)
class GanConfig(Config):
    """Training of a DCGAN.

    Attributes:
        epochs: passes over the training part.
        batch_size: real pictures a step, and as many made ones.
        lr: rate of Adam for both networks (2e-4 in the paper).
        beta1: of Adam (0.5 in the paper: 0.9 oscillates).
        smoothing: one-sided label smoothing of real pictures.
        noise: numbers that a picture is made from.
        widths: filters of the discriminator's convolutions, mirrored in the generator.
        train_limit: use only so many training images; 0 uses all.

    Raises:
        UsageError: a value is impossible.
    """

    epochs: int = 10
    batch_size: int = 64
    lr: float = 2e-4
    beta1: float = 0.5
    smoothing: float = 0.1
    noise: int = 64
    widths: tuple[int, ...] = (32, 64)
    train_limit: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("epochs", "batch_size", "noise"):
            self._require(getattr(self, key) >= 1, key, "1 or more")
        self._require(self.lr > 0, "lr", "above 0")
        self._require(self.train_limit >= 0, "train_limit", "0 or more")
        for key in ("beta1", "smoothing"):
            self._require(0 <= getattr(self, key) < 1, key, "at least 0 and below 1")


class Pair(Protocol):
    """What a framework offers; pictures are float32 (n, h, w, c) in [0, 1].

    It is made of the architecture, the pictures' channels and side in pixels, rate and first beta of both Adams, what
    real pictures' target 1 is lowered by (Salimans et al. 2016, one-sided label smoothing), and a seed.
    """

    def step(self, real: np.ndarray, noise: np.ndarray) -> tuple[float, float, float, float]:
        """One step of each network: both losses, and the mean probability "real" of real and of made pictures."""

    def generate(self, noise: np.ndarray) -> np.ndarray:
        """Pictures from noise (n, noise)."""

    def weights(self) -> dict[str, dict[str, np.ndarray]]:
        """Weights of both networks."""


@dataclass(frozen=True)
class GanResult:
    """A trained pair.

    Attributes:
        pair: both networks behind NumPy; None when a finished run was read back.
        history: one row an epoch.
        metrics: last figures, ``parameters``, ``seconds``, ``warnings``.
    """

    pair: Pair | None
    history: History
    metrics: Mapping[str, Any]


def diversity(images: np.ndarray) -> float:
    """Mean distance of two pictures of a set, root mean square over pixels; 0 when all are the same.

    Args:
        images: float (n, h, w, c), n at least 2.
    """
    flat = images.reshape(len(images), -1).astype(np.float64)
    squares = np.square(flat).sum(axis=1)
    distances = np.sqrt(np.maximum(squares[:, None] + squares[None] - 2 * flat @ flat.T, 0) / flat.shape[1])
    return float(distances.sum() / (len(flat) * (len(flat) - 1)))


def classes_met(images: np.ndarray, references: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Counts, by class, of the nearest real picture of every made one.

    Args:
        images: float (n, h, w, c).
        references: real pictures, float (m, h, w, c).
        labels: their classes, int (m,).

    Returns:
        int64 (classes,).
    """
    made, real = (array.reshape(len(array), -1).astype(np.float32) for array in (images, references))
    distances = np.square(real).sum(axis=1)[None] - 2 * made @ real.T  # up to a constant of each row
    return np.bincount(labels[distances.argmin(axis=1)], minlength=int(labels.max()) + 1)


def warnings_of(row: Mapping[str, Any]) -> list[str]:
    """What an epoch's figures say is going wrong, in words; empty when nothing does.

    The limits are rules of thumb: half the variety of real pictures, half of the classes, and a discriminator that is
    sure of itself nearly everywhere (its answers then teach the generator nothing).
    """
    found = []
    share = row["diversity"] / max(row["diversity_real"], 1e-12)
    if share < 0.5:
        found.append(f"the made pictures differ {share:.0%} as much as real ones: the generator may have collapsed")
    if row["classes"] * 2 <= row["classes_real"]:
        found.append(
            f"the made pictures come near {row['classes']} of {row['classes_real']} classes: modes are missing"
        )
    if row["d_real"] - row["d_fake"] > 0.9 - row["smoothing"]:
        found.append("the discriminator is right nearly every time: the generator has little to learn from")
    return found


def fit_gan(
    data: Dataset, framework: str = "pytorch", config: GanConfig | None = None, run_dir: str | Path | None = None
) -> GanResult:
    """Train a DCGAN; a finished run is read back, an unfinished one starts anew.

    Args:
        data: square images; labels serve only to count the classes met.
        framework: ``pytorch`` or ``keras``.
        config: how to train.
        run_dir: where records and pictures go: ``history.csv``, ``samples/``, ``film.png``, ``losses.png``, weights.

    Raises:
        UsageError: unknown framework, or images that cannot be halved often enough.
        KitError: the framework is not installed, or the images are not square.
        ResumeError: the folder holds another run.
    """
    config = config or GanConfig()
    pair = create_pair(data, framework, config)
    if run_dir is None:
        history = History()
        return GanResult(pair, history, _train(pair, data, config, history, None))
    run = RunDir(Path(run_dir))
    with run.claimed():
        run.open(config, data.digest, gan=find_framework(framework))
        if (run / "metrics.json").is_file():
            return GanResult(None, History(run / "history.csv"), dict(read_json(run / "metrics.json")))
        history = History(run / "history.csv")
        history.truncate(0)
        metrics = _train(pair, data, config, history, run)
        _keep(run, pair, history, metrics)
    return GanResult(pair, history, metrics)


def create_pair(data: Dataset, framework: str, config: GanConfig) -> Pair:
    """Make new networks for the images of a data set.

    Raises:
        UsageError: unknown framework, or images that cannot be halved often enough.
        KitError: the framework is not installed, or the images are not square.
    """
    module, side, channels = networks_of("dcgan", "a DCGAN", data, framework)
    spec = DCGANSpec(noise=config.noise, widths=config.widths)
    pair: Pair = module.Pair(spec, channels, side, config.lr, config.beta1, config.smoothing, config.seed)
    return pair


def _train(pair: Pair, data: Dataset, config: GanConfig, history: History, run: RunDir | None) -> dict[str, Any]:
    images = data.train.images[: config.train_limit or None]
    share = min(config.batch_size, len(images))
    steps, start = len(images) // share, time.monotonic()
    judge = _Judge(data, config)
    strip = [("start", judge.look(pair)[:_COLUMNS])]
    with progress("DCGAN", config.epochs * steps * share, "images") as ticker:
        for epoch in range(config.epochs):
            begun = time.monotonic()
            order = np.random.default_rng([config.seed, epoch]).permutation(len(images))
            noises = np.random.default_rng([config.seed, epoch, 1])
            figures = []
            for step in range(steps):
                real = pixels(images[order[step * share : (step + 1) * share]])
                figures.append(pair.step(real, noises.standard_normal((share, config.noise), dtype=np.float32)))
                ticker.advance(share)
            seconds = time.monotonic() - begun
            means = dict(zip(("d_loss", "g_loss", "d_real", "d_fake"), np.mean(figures, axis=0).tolist(), strict=True))
            made = judge.look(pair)
            row = {"epoch": epoch + 1, **means, **judge.figures(made)}
            history.append(**row, images_per_second=steps * share / seconds, seconds=seconds)
            _tell(row, config, seconds)
            strip.append((f"epoch {epoch + 1}", made[:_COLUMNS]))
            if run is not None:
                save_tiles(run / "samples" / f"epoch_{epoch + 1:03d}.png", made[:64], _COLUMNS)
                save_rows(run / "film.png", _thinned(strip), "the same noise over time")
    return {
        **row,
        "warnings": warnings_of({**row, "smoothing": config.smoothing}),
        "parameters": {name: sum(map(np.size, arrays.values())) for name, arrays in pair.weights().items()},
        "seconds": time.monotonic() - start,
    }


class _Judge:
    """The fixed noise, and real pictures to compare with."""

    def __init__(self, data: Dataset, config: GanConfig) -> None:
        self._noise = np.random.default_rng([config.seed, 2]).standard_normal((_JUDGED, config.noise), dtype=np.float32)
        rows = np.random.default_rng([config.seed, 3]).permutation(len(data.train))[:_REFERENCES]
        self._real, self._labels = pixels(data.train.images[rows]), data.train.labels[rows]
        self._diversity = diversity(self._real[:_JUDGED])

    def look(self, pair: Pair) -> np.ndarray:
        """Pictures made from the fixed noise."""
        return pair.generate(self._noise)

    def figures(self, made: np.ndarray) -> dict[str, float | int]:
        """Variety of made and of real pictures, classes met and classes there are."""
        counts = classes_met(made, self._real, self._labels)
        return {
            "diversity": diversity(made),
            "diversity_real": self._diversity,
            "classes": int((counts >= 0.01 * len(made)).sum()),
            "classes_real": len(np.unique(self._labels)),
        }


def _tell(row: Mapping[str, Any], config: GanConfig, seconds: float) -> None:
    say(
        f"epoch {row['epoch']}/{config.epochs}: discriminator {row['d_loss']:.3f}, generator {row['g_loss']:.3f}, "
        f"variety {row['diversity'] / row['diversity_real']:.0%} of real, {row['classes']} of {row['classes_real']} "
        f"classes, {duration(seconds)}"
    )
    for line in warnings_of({**row, "smoothing": config.smoothing}):
        warn(line)


def _thinned(strip: Sequence[tuple[str, np.ndarray]], rows: int = 10) -> list[tuple[str, np.ndarray]]:
    """At most so many rows, first and last among them."""
    places = np.unique(np.linspace(0, len(strip) - 1, min(rows, len(strip))).round().astype(int))
    return [strip[place] for place in places]


def _keep(run: RunDir, pair: Pair, history: History, metrics: Mapping[str, Any]) -> None:

    for name, arrays in pair.weights().items():
        write_arrays(run / f"{name}.safetensors", arrays)
    losses = {"discriminator": history.column("d_loss"), "generator": history.column("g_loss")}
    save_lines(run / "losses.png", losses, "epoch", "loss")
    with tensorboard(run / "tensorboard") as writer:
        for row in history.rows:
            for key in ("d_loss", "g_loss", "d_real", "d_fake", "diversity"):
                writer.add_scalar(key, row[key], row["epoch"])
    write_json(run / "metrics.json", dict(metrics))
