"""Galleries of an autoencoder, its latent map, and dense against convolutional ones at several noise levels."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from baselines.data.datasets import Dataset
from baselines.generative.autoencoder import (
    ReconstructConfig,
    Reconstruction,
    fit_autoencoder,
    in_batches,
    pixels,
    with_noise,
)
from baselines.generative.galleries import save_rows, save_scatter
from competition.errors import UsageError
from competition.files import write_csv, write_text

_SHOWN = 10  # pictures a row
_MAPPED = 1500  # test images on the latent map
_COLUMNS = ("kind", "noise", "parameters", "mse", "psnr", "psnr_input", "ssim", "ssim_input", "seconds")


def shown_images(data: Dataset) -> np.ndarray:
    """Test images for a gallery, as many classes among them as fit: float32 (n, h, w, c)."""
    firsts = [int(np.flatnonzero(data.test.labels == label)[0]) for label in np.unique(data.test.labels)]
    others = [row for row in range(len(data.test)) if row not in firsts]
    return pixels(data.test.images[[*firsts, *others][:_SHOWN]])


def draw_run(found: Reconstruction, data: Dataset, config: ReconstructConfig, folder: Path) -> None:
    """Write ``gallery.png`` (originals, noisy ones, results) and ``latent.png`` (the middle in two dimensions).

    A map that is there already stays: the folder belongs to one training, and t-SNE takes longer than all the rest.
    """
    clean = shown_images(data)
    noisy = with_noise(clean, config.noise, np.random.default_rng([config.seed, 4]))
    rows = [("original", clean), *([(f"noise {config.noise:g}", noisy)] if config.noise else [])]
    rows.append((f"{found.kind}, {found.metrics['psnr']:.1f} dB", found.trainer.reconstruct(noisy)))
    save_rows(folder / "gallery.png", rows)
    if (folder / "latent.png").is_file():
        return
    images, labels = data.test.images[:_MAPPED], data.test.labels[:_MAPPED]
    points, way = flattened(in_batches(found.trainer.encode, pixels(images)))
    title = f"{found.spec.latent} numbers of the {found.kind} autoencoder, {way}"
    save_scatter(folder / "latent.png", points, labels, data.classes, title)


def flattened(latents: np.ndarray, seed: int = 0) -> tuple[np.ndarray, str]:
    """Latents (n, d) in two dimensions, and how: as they are, by t-SNE, or by principal components where n is small."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    if latents.shape[1] == 2:
        return latents, "as they are"
    if latents.shape[1] == 1:
        return np.column_stack([latents[:, 0], np.zeros(len(latents))]), "as they are"
    if len(latents) < 200:
        return PCA(2, random_state=seed).fit_transform(latents), "two principal components"
    return TSNE(2, init="pca", random_state=seed).fit_transform(latents), "by t-SNE"


def compare_autoencoders(
    data: Dataset,
    framework: str,
    config: ReconstructConfig,
    levels: Sequence[float],
    folder: Path,
    kinds: Sequence[str] = ("dense", "conv"),
    **options: Any,
) -> str:
    """Train each kind at each noise level; table, galleries and latent maps. Finished runs are read back.

    Args:
        data: images.
        framework: ``pytorch`` or ``keras``.
        config: how to train; its noise is replaced by each level.
        levels: standard deviations of the noise; 0 is the plain autoencoder.
        folder: gets ``comparison.csv``, ``comparison.md``, ``gallery.png``, and a run for each training.
        kinds: which architectures.
        options: numbers of the architectures, ``latent=16`` for example.

    Returns:
        The table as Markdown.

    Raises:
        UsageError: a level is named twice, or something is unknown.
    """
    if len(set(levels)) != len(levels) or not levels:
        raise UsageError(f"noise levels {list(levels)}: name at least one, each once")
    clean = shown_images(data)
    rows, gallery = [], [("original", clean)]
    for level in levels:
        noisy = with_noise(clean, level, np.random.default_rng([config.seed, 4]))
        gallery += [(f"noise {level:g}", noisy)] if level else []
        for kind in kinds:
            chosen = dataclasses.replace(config, noise=level)
            run = folder / f"{kind}-noise-{level:g}"
            found = fit_autoencoder(kind, data, framework, chosen, run, **options)
            draw_run(found, data, chosen, run)
            rows.append({"kind": kind, "noise": level, **found.metrics})
            gallery.append((f"{kind}, {found.metrics['psnr']:.1f} dB", found.trainer.reconstruct(noisy)))
    write_csv(folder / "comparison.csv", _COLUMNS, [[row[key] for key in _COLUMNS] for row in rows])
    limit = f"{config.train_limit:,} training images, " if config.train_limit else ""
    images = f"{data.name}, {framework}, {limit}{config.epochs} epochs"
    save_rows(folder / "gallery.png", gallery, f"{images}: what comes back")
    table = comparison_table(rows)
    write_text(folder / "comparison.md", f"# Autoencoders on {images}\n\n{table}\n\n![gallery](gallery.png)\n")
    return table


def comparison_table(rows: Sequence[dict[str, Any]]) -> str:
    """Rows of figures as a Markdown table; the noisy input's own figures stand beside."""
    lines = ["| noise | autoencoder | parameters | PSNR, dB | of the input | SSIM | of the input | seconds |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for row in rows:
        psnr_input, ssim, ssim_input = (
            "-" if row[key] is None else form.format(row[key])
            for key, form in (("psnr_input", "{:.2f}"), ("ssim", "{:.3f}"), ("ssim_input", "{:.3f}"))
        )
        lines.append(
            f"| {row['noise']:g} | {row['kind']} | {row['parameters']:,} | {row['psnr']:.2f} | {psnr_input} | {ssim} | "
            f"{ssim_input} | {row['seconds']:.0f} |"
        )
    return "\n".join(lines)
