"""Autoencoders: the same in both frameworks, they learn, runs are recorded; PSNR and SSIM have known values."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from baselines import load_dataset
from baselines.data.datasets import Dataset, Part
from baselines.generative.autoencoder import ReconstructConfig, create_trainer, fit_autoencoder, with_noise
from baselines.generative.image_quality import psnr, ssim
from baselines.port import load_into, weights_of
from baselines.specs.autoencoder import AutoencoderSpec, smallest_side
from competition.errors import ResumeError, UsageError

SMALL = {"dense": {"hidden": (24, 12), "latent": 6}, "conv": {"widths": (4, 6), "latent": 6}}


@pytest.fixture(scope="module")
def blobs() -> Dataset:
    """Bright discs at random places on 12 x 12 pixels: two numbers say all of a picture."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:12, :12]

    def part(count: int) -> Part:
        centre = rng.uniform(3, 9, size=(count, 2, 1, 1))
        distance = np.hypot(rows - centre[:, 0], columns - centre[:, 1])
        images = (255 / (1 + np.exp(3 * (distance - 2.5)))).astype(np.uint8)[..., None]
        return Part(images, (centre[:, 0, 0, 0] > 6).astype(np.int64))

    return Dataset("blobs", "drawn", ("up", "down"), part(600), part(60), part(80))


@pytest.fixture
def quick() -> ReconstructConfig:
    return ReconstructConfig(epochs=3, batch_size=20, lr=5e-3)


@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize("loss", ["bce", "mse"])
def test_both_frameworks_take_the_same_steps(keras_installed, blobs, kind: str, loss: str) -> None:
    config, spec = ReconstructConfig(loss=loss), AutoencoderSpec(kind=kind).replace(**SMALL[kind])
    ours, theirs = (create_trainer(spec, blobs, name, config) for name in ("pytorch", "keras"))
    load_into(theirs.model, weights_of(ours.model))
    clean = blobs.train.images[:16].astype(np.float32) / 255
    noisy = with_noise(clean, 0.2, np.random.default_rng(1))
    np.testing.assert_allclose(ours.encode(noisy), theirs.encode(noisy), atol=1e-5)
    np.testing.assert_allclose(ours.reconstruct(noisy), theirs.reconstruct(noisy), atol=1e-5)
    for _ in range(3):
        assert ours.step(noisy, clean, 1e-3) == pytest.approx(theirs.step(noisy, clean, 1e-3), rel=1e-3)
    expected = weights_of(ours.model)
    for name, array in weights_of(theirs.model).items():
        # The two Adams put epsilon in different places, which shows where gradients are tiny; a step is 1e-3.
        assert np.abs(array - expected[name]).mean() < 2e-4, name


@pytest.mark.parametrize("kind", SMALL)
def test_initial_weights_have_the_same_spread_in_both(keras_installed, blobs, kind: str) -> None:
    spec = AutoencoderSpec(kind=kind).replace(widths=(24, 32), hidden=(96, 64), latent=48)
    ours, theirs = (create_trainer(spec, blobs, name, ReconstructConfig()).weights() for name in ("pytorch", "keras"))
    for name, array in ours.items():
        if name.endswith("weight"):
            assert array.std() == pytest.approx(theirs[name].std(), rel=0.15), name
        else:
            assert not array.any()
            assert not theirs[name].any()


@pytest.mark.parametrize("framework", ["pytorch", "keras"])
def test_it_learns_to_denoise(keras_installed, blobs, framework: str) -> None:
    config = ReconstructConfig(epochs=4, batch_size=20, lr=1e-2, noise=0.4)
    found = fit_autoencoder("conv", blobs, framework, config, widths=(8, 16), latent=8)
    assert found.metrics["psnr"] > found.metrics["psnr_input"] + 5
    assert found.metrics["ssim"] > found.metrics["ssim_input"]
    losses = found.history.column("train_loss")
    assert losses[-1] < 0.6 * losses[0]


def test_a_run_is_recorded_and_read_back(blobs, quick, tmp_path) -> None:
    first = fit_autoencoder("dense", blobs, "pytorch", quick, tmp_path / "run", **SMALL["dense"])
    expected = {"config.json", "manifest.json", "history.csv", "metrics.json", "model.safetensors", "tensorboard"}
    assert expected <= {path.name for path in (tmp_path / "run").iterdir()}
    written = (tmp_path / "run" / "history.csv").stat().st_mtime_ns
    again = fit_autoencoder("dense", blobs, "pytorch", quick, tmp_path / "run", **SMALL["dense"])
    assert (tmp_path / "run" / "history.csv").stat().st_mtime_ns == written
    assert again.metrics == pytest.approx(dict(first.metrics))
    image = blobs.test.images[:2].astype(np.float32) / 255
    np.testing.assert_array_equal(again.trainer.reconstruct(image), first.trainer.reconstruct(image))
    with pytest.raises(ResumeError, match="noise"):
        fit_autoencoder("dense", blobs, "pytorch", dataclasses.replace(quick, noise=0.1), tmp_path / "run")
    with pytest.raises(ResumeError, match="autoencoder"):
        fit_autoencoder("conv", blobs, "pytorch", quick, tmp_path / "run")


def test_the_same_seed_gives_the_same_run(blobs, quick) -> None:
    runs = [fit_autoencoder("conv", blobs, "pytorch", quick, **SMALL["conv"]) for _ in range(2)]
    assert runs[0].history.column("train_loss") == runs[1].history.column("train_loss")


def test_mistakes_are_told_in_one_line(quick) -> None:
    digits = load_dataset("digits")
    for wrong, match in (
        (lambda: fit_autoencoder("convo", digits, config=quick), "did you mean 'conv'"),
        (lambda: fit_autoencoder("conv", digits, "torhc", quick), "did you mean"),
        (lambda: fit_autoencoder("conv", digits, config=quick, laten=3), "did you mean 'latent'"),
        (lambda: fit_autoencoder("conv", digits, config=quick, widths=(4, 4, 4, 4)), "no multiple of 16"),
        (lambda: smallest_side(30, (8, 8), "it"), "load the images at 32 px"),
        (lambda: ReconstructConfig(noise=-1), "0 or more"),
    ):
        with pytest.raises(UsageError, match=match):
            wrong()


def test_psnr_of_a_known_error() -> None:
    grey = np.full((2, 12, 12, 1), 0.5)
    off = grey.copy()
    off[1] += 0.1
    np.testing.assert_allclose(psnr(grey, off), [np.inf, 20.0])


def test_ssim_against_its_definition_and_known_cases(rng) -> None:
    images = rng.random((2, 16, 16, 1))
    np.testing.assert_allclose(ssim(images, images), 1)
    # Flat images: no variance, so only the luminance term is left.
    flat = ssim(np.full((1, 16, 16, 1), 0.5), np.full((1, 16, 16, 1), 0.7))
    assert flat[0] == pytest.approx((2 * 0.35 + 1e-4) / (0.25 + 0.49 + 1e-4))
    other = np.clip(images + rng.normal(0, 0.2, images.shape), 0, 1)
    line = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(line, line) / line.sum() ** 2
    values = []
    for top in range(6):
        for left in range(6):
            x, y = (array[0, top : top + 11, left : left + 11, 0] for array in (images, other))
            mx, my = (window * x).sum(), (window * y).sum()
            vx, vy = (window * x * x).sum() - mx**2, (window * y * y).sum() - my**2
            cov = (window * x * y).sum() - mx * my
            top_term = (2 * mx * my + 1e-4) * (2 * cov + 9e-4)
            values.append(top_term / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4)))
    assert ssim(images, other)[0] == pytest.approx(np.mean(values), abs=1e-12)
    with pytest.raises(ValueError, match="larger than 10"):
        ssim(images[:, :8, :8], images[:, :8, :8])
