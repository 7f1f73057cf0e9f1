"""Images for explanations of a baseline: files, or images of its own data set as ``test:17``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from baselines.training.evaluate import load_for, sample_of
from competition.errors import UsageError
from competition.explain.inside.painted_picture import resize
from competition.explain.networks.protocol import batches
from competition.explain.show.verbs import Output, read_prepared, show_embedding

if TYPE_CHECKING:
    from baselines.data.datasets import Part
    from competition.explain.networks.protocol import Backend

PARTS = ("train", "valid", "test")
_NUMBERED = re.compile(rf"({'|'.join(PARTS)}):(\d+)")
_BATCH = 64
_THUMBNAIL = 32


def read_images(
    backend: Backend, run: Path, texts: Sequence[str], folder: Path | None = None
) -> tuple[np.ndarray, list[str]]:
    """Images as the network is shown them, float32 (n, h, w, c) in [0, 1], and their names.

    Args:
        backend: the network.
        run: its run's folder.
        texts: paths of image files, or ``train:N``, ``valid:N``, ``test:N`` for images of the run's data set.
        folder: where data sets lie; None looks at the usual places.

    Raises:
        PhotoError: a file cannot be read.
        UsageError: the data set has no such image.
    """
    numbered = [_NUMBERED.fullmatch(text) for text in texts]
    data = load_for(run, None, folder) if any(numbered) else None
    images, names = [], []
    for text, found in zip(texts, numbered, strict=True):
        if found is None or data is None:
            images.append(read_prepared(backend, Path(text)))
            names.append(Path(text).name)
            continue
        part: Part = getattr(data, found[1])
        index = int(found[2])
        if index >= len(part):
            raise UsageError(f"'{text}' does not exist: {found[1]} of {data.name} has images 0 to {len(part) - 1}")
        images.append(backend.prepare(part.images[index]))
        names.append(f"{found[1]} {index}, {data.classes[part.labels[index]]}")
    return np.stack(images), names


def map_dataset(
    backend: Backend,
    run: Path,
    output: Output,
    *,
    part: str = "test",
    most: int = 3000,
    method: str = "tsne",
    seed: int = 0,
    classes: Sequence[str] = (),
    folder: Path | None = None,
) -> list[Path]:
    """Map images of a run's data set by the network's features; see ``show_embedding``.

    Raises:
        UsageError: there is no such part.
    """
    if part not in PARTS:
        raise UsageError(f"unknown part '{part}': {', '.join(PARTS)}")
    data = load_for(run, None, folder)
    chosen: Part = sample_of(getattr(data, part), most, seed)
    features, thumbnails = [], []
    for rows in batches(len(chosen), _BATCH):
        images = np.stack([backend.prepare(image) for image in chosen.images[rows]])
        features.append(backend.embed(images))
        thumbnails += [_thumbnail(image) for image in images]
    labels = [data.classes[label] for label in chosen.labels]
    ids = [str(number) for number in range(len(chosen))]
    return show_embedding(
        np.concatenate(features), labels, ids, thumbnails, output, method=method, seed=seed, breeds=classes
    )


def _thumbnail(image: np.ndarray) -> np.ndarray:
    small = np.clip(resize(image, _THUMBNAIL, _THUMBNAIL), 0, 1)
    return (np.broadcast_to(small, (_THUMBNAIL, _THUMBNAIL, 3)) * 255).astype(np.uint8)
