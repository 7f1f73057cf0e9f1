"""Training an autoencoder, plain or denoising, in either framework: one loop, one set of records.

    from baselines.generative.autoencoder import ReconstructConfig, fit_autoencoder
    found = fit_autoencoder("conv", load_dataset("fashion-mnist"), "keras", ReconstructConfig(noise=0.3), "runs/ae")

Images are looked at in [0, 1] and not normalised: the network gives back pixels, and a sigmoid keeps them there. The
framework sees whole batches only; order, noise and measures come from here and are the same in both.
"""

from __future__ import annotations

import importlib
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from baselines.data.datasets import Dataset
from baselines.generative.image_quality import psnr, ssim
from baselines.registry import find_framework, require_keras
from baselines.specs.autoencoder import AutoencoderSpec, find_autoencoder
from competition.config import Config
from competition.console import duration, progress, say
from competition.errors import KitError
from competition.files import read_json, write_arrays, write_json
from competition.record.history import History
from competition.record.run_dir import RunDir
from competition.record.tensorboard import tensorboard

_PACKAGES = {"pytorch": "torch_nets", "keras": "keras_nets"}
_MEASURED = 2000  # images of the test part that PSNR and SSIM are taken over
_SSIM_SIDE = 10  # SSIM's window does not fit into smaller images


@dataclass(frozen=True, kw_only=True)
class ReconstructConfig(Config):
    """Training of an autoencoder.

    Attributes:
        epochs: passes over the training part.
        batch_size: images a step.
        lr: rate of Adam at the start; it falls to 1 % along half a cosine.
        loss: ``bce`` (cross-entropy of pixels as probabilities) or ``mse``.
        noise: standard deviation of the Gaussian noise on the input, in units of [0, 1]; 0 is a plain autoencoder.
        train_limit: use only so many training images; 0 uses all.

    Raises:
        UsageError: a value is impossible.
    """

    epochs: int = 5
    batch_size: int = 128
    lr: float = 2e-3
    loss: str = "bce"
    noise: float = 0.0
    train_limit: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(self.epochs >= 1, "epochs", "1 or more")
        self._require(self.batch_size >= 1, "batch_size", "1 or more")
        self._require(self.lr > 0, "lr", "above 0")
        self._require(self.loss in ("bce", "mse"), "loss", "bce or mse")
        self._require(self.noise >= 0, "noise", "0 or more")
        self._require(self.train_limit >= 0, "train_limit", "0 or more")


class Trainer(Protocol):
    """What a framework offers; images are float32 (n, h, w, c) in [0, 1].

    It is made of the architecture, the images' channels and side in pixels, the loss (``bce`` or ``mse``) and a seed.
    """

    def step(self, inputs: np.ndarray, targets: np.ndarray, rate: float) -> float:
        """One optimiser step; returns the loss before it."""

    def reconstruct(self, images: np.ndarray) -> np.ndarray:
        """Images after the way down and up."""

    def encode(self, images: np.ndarray) -> np.ndarray:
        """The middle, float32 (n, latent)."""

    def weights(self) -> dict[str, np.ndarray]:
        """Weights in PyTorch's names and layout."""

    def load(self, weights: Mapping[str, np.ndarray]) -> None:
        """Take weights as ``weights`` gives them."""


@dataclass(frozen=True)
class Reconstruction:
    """A trained autoencoder.

    Attributes:
        kind: name in the table of autoencoders.
        spec: its numbers.
        framework: ``pytorch`` or ``keras``.
        trainer: the model behind NumPy.
        history: one row an epoch.
        metrics: ``mse``, ``psnr``, ``ssim`` on test images, the same of the noisy input, ``parameters``, ``seconds``.
    """

    kind: str
    spec: AutoencoderSpec
    framework: str
    trainer: Trainer
    history: History
    metrics: Mapping[str, Any]


def pixels(images: np.ndarray) -> np.ndarray:
    """Images uint8 (n, h, w, c) as float32 in [0, 1]."""
    return images.astype(np.float32) / 255


def with_noise(images: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
    """Images float32 in [0, 1] with Gaussian noise of that standard deviation, clipped to [0, 1]."""
    if not level:
        return images
    noise = rng.standard_normal(images.shape, dtype=np.float32)
    return np.clip(images + np.float32(level) * noise, 0, 1)


def create_trainer(spec: AutoencoderSpec, data: Dataset, framework: str, config: ReconstructConfig) -> Trainer:
    """Make a new autoencoder for the images of a data set.

    Raises:
        UsageError: unknown framework, or images that cannot be halved as often as the table asks.
        KitError: the framework is not installed, or the images are not square.
    """
    module, side, channels = networks_of("autoencoder", "an autoencoder", data, framework)
    trainer: Trainer = module.Trainer(spec, channels, side, config.loss, config.seed)
    return trainer


def networks_of(name: str, what: str, data: Dataset, framework: str) -> tuple[Any, int, int]:
    """A framework's module of generative networks, and side and channels of the images.

    Raises:
        UsageError: unknown framework.
        KitError: the framework is not installed, or the images are not square.
    """
    height, width, channels = data.train.images.shape[1:]
    if height != width:
        raise KitError(f"{what} takes square images, not {height}x{width}: load them with an image size")
    chosen = find_framework(framework)
    if chosen == "keras":
        require_keras()
    return importlib.import_module(f"baselines.{_PACKAGES[chosen]}.generative.{name}"), height, channels


def fit_autoencoder(
    kind: str,
    data: Dataset,
    framework: str = "pytorch",
    config: ReconstructConfig | None = None,
    run_dir: str | Path | None = None,
    **options: Any,
) -> Reconstruction:
    """Train an autoencoder; a finished run is read back, an unfinished one starts anew (it is a matter of minutes).

    Args:
        kind: ``dense`` or ``conv``.
        data: images; labels are not looked at.
        framework: ``pytorch`` or ``keras``.
        config: how to train.
        run_dir: where config, manifest, history, TensorBoard, weights and metrics go; None keeps nothing.
        options: numbers of the architecture to change, see ``AutoencoderSpec``.

    Raises:
        UsageError: an unknown kind, framework or option.
        ResumeError: the folder holds another run.
    """
    config = config or ReconstructConfig()
    spec = find_autoencoder(kind).replace(**options)
    trainer = create_trainer(spec, data, framework, config)
    if run_dir is None:
        history = History()
        figures = _train(trainer, data, config, history)
        return Reconstruction(kind, spec, framework, trainer, history, figures)
    run = RunDir(Path(run_dir))
    with run.claimed():
        run.open(config, data.digest, autoencoder=_identity(kind, spec, framework))
        history, metrics = _recorded(run, trainer, data, config)
    return Reconstruction(kind, spec, framework, trainer, history, metrics)


def _identity(kind: str, spec: AutoencoderSpec, framework: str) -> dict[str, Any]:
    """What ``manifest.json`` says of the architecture, in JSON's types."""
    import dataclasses

    values = dataclasses.asdict(spec)
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
    return {"kind": kind, "framework": find_framework(framework), **plain}


def _recorded(
    run: RunDir, trainer: Trainer, data: Dataset, config: ReconstructConfig
) -> tuple[History, Mapping[str, Any]]:
    """Train into a run folder, or read back what is finished there."""
    from safetensors.numpy import load_file

    done, weights = run / "metrics.json", run / "model.safetensors"
    if done.is_file() and weights.is_file():
        trainer.load(load_file(weights))
        return History(run / "history.csv"), dict(read_json(done))
    history = History(run / "history.csv")
    history.truncate(0)
    metrics = _train(trainer, data, config, history)
    write_arrays(weights, trainer.weights())
    with tensorboard(run / "tensorboard") as writer:
        for row in history.rows:
            for key in ("train_loss", "valid_mse", "valid_psnr", "rate"):
                writer.add_scalar(key, row[key], row["epoch"])
    write_json(done, metrics)
    return history, metrics


def _train(trainer: Trainer, data: Dataset, config: ReconstructConfig, history: History) -> dict[str, Any]:
    """All epochs, then the measures on the test part."""
    images = data.train.images[: config.train_limit or None]
    share = min(config.batch_size, len(images))
    steps = len(images) // share
    start = time.monotonic()
    with progress("autoencoder", config.epochs * steps * share, "images") as ticker:
        for epoch in range(config.epochs):
            begun = time.monotonic()
            order = np.random.default_rng([config.seed, epoch]).permutation(len(images))
            losses = []
            for step in range(steps):
                rate = config.lr * (0.01 + 0.99 * (1 + math.cos(math.pi * (epoch + step / steps) / config.epochs)) / 2)
                batch = pixels(images[order[step * share : (step + 1) * share]])
                noisy = with_noise(batch, config.noise, np.random.default_rng([config.seed, epoch, step, 1]))
                losses.append(trainer.step(noisy, batch, rate))
                ticker.advance(share)
            seconds = time.monotonic() - begun
            valid = measure(trainer, data.valid.images[:_MEASURED], config.noise, config.seed)
            row = {"epoch": epoch + 1, "train_loss": float(np.mean(losses)), "valid_mse": valid["mse"]}
            row |= {"valid_psnr": valid["psnr"], "rate": rate, "images_per_second": steps * share / seconds}
            history.append(**row, seconds=seconds)
            say(
                f"epoch {epoch + 1}/{config.epochs}: loss {row['train_loss']:.4f}, validation PSNR "
                f"{valid['psnr']:.2f} dB, {row['images_per_second']:,.0f} images/s, {duration(seconds)}"
            )
    return {
        **measure(trainer, data.test.images[:_MEASURED], config.noise, config.seed),
        "parameters": sum(array.size for array in trainer.weights().values()),
        "seconds": time.monotonic() - start,
        "test_images": min(_MEASURED, len(data.test)),
    }


def measure(trainer: Trainer, images: np.ndarray, noise: float, seed: int) -> dict[str, float | None]:
    """Quality of the reconstruction of noisy images uint8 (n, h, w, c) against the clean ones.

    Returns:
        ``mse``, ``psnr`` (mean over images, dB), ``ssim`` (None below 11 pixels), and ``psnr_input``, ``ssim_input`` of
        the noisy images themselves (None without noise): what a network that changes nothing would reach.
    """
    clean = pixels(images)
    noisy = with_noise(clean, noise, np.random.default_rng([seed, 2]))
    found = in_batches(trainer.reconstruct, noisy)
    large = min(clean.shape[1:3]) > _SSIM_SIDE
    return {
        "mse": float(np.square(found - clean).mean()),
        "psnr": float(psnr(clean, found).mean()),
        "ssim": float(ssim(clean, found).mean()) if large else None,
        "psnr_input": float(psnr(clean, noisy).mean()) if noise else None,
        "ssim_input": float(ssim(clean, noisy).mean()) if noise and large else None,
    }


def in_batches(function: Any, images: np.ndarray, size: int = 256) -> np.ndarray:
    """Apply a function of images batch by batch, so that memory stays small."""
    return np.concatenate([function(images[at : at + size]) for at in range(0, len(images), size)])
