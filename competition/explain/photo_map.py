"""The embedding map of a run: features of its training photos, computed or from the cache, and their thumbnails."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from competition.console import progress, warn
from competition.data.images import read_photo
from competition.errors import DataError, PhotoError
from competition.explain.backend import Backend, batches
from competition.explain.canvas import resize
from competition.explain.verbs import Output, show_embedding
from competition.training.board_projector import thin

if TYPE_CHECKING:
    from competition.data.layout import Photo

THUMBNAIL = 32
_BATCH = 32


def map_photos(
    run: Path,
    backend: Backend,
    data: Path | None,
    output: Output,
    *,
    method: str,
    most: int,
    breeds: Sequence[str] = (),
    seed: int = 0,
) -> list[Path]:
    """Map a run's training photos by the features of its network; see ``show_embedding``.

    Raises:
        DataError: no photo can be read.
    """
    from competition.data.layout import load_data
    from competition.training.tracking import RunDir

    _ = RunDir(run).config  # says in one line that this is no run, before the data are searched
    train = load_data(data).train
    chosen = [train[i] for i in thin([str(photo.breed) for photo in train], most)]
    kept, features, thumbnails = features_of(backend, chosen)
    return show_embedding(
        features,
        [str(photo.breed) for photo in kept],
        [photo.id for photo in kept],
        thumbnails,
        output,
        method=method,
        seed=seed,
        breeds=breeds,
    )


def features_of(backend: Backend, photos: Sequence[Photo]) -> tuple[list[Photo], np.ndarray, list[np.ndarray]]:
    """Features (n, d) of the photos that can be read, and a thumbnail, uint8 (32, 32, 3), of each.

    Raises:
        DataError: none can be read.
    """
    kept: list[Photo] = []
    features, thumbnails = [], []
    with progress("features", len(photos)) as bar:
        for rows in batches(len(photos), _BATCH):
            images = []
            for photo in photos[rows]:
                try:
                    images.append(backend.prepare(read_photo(photo.path, max(backend.input_shape[:2]))))
                except PhotoError as error:
                    warn(f"{photo.id}: {error}; it is not on the map")
                    continue
                kept.append(photo)
                small = np.broadcast_to(resize(images[-1], THUMBNAIL, THUMBNAIL), (THUMBNAIL, THUMBNAIL, 3))
                thumbnails.append((np.clip(small, 0, 1) * 255).astype(np.uint8))
            if images:
                features.append(backend.embed(np.stack(images)))
            bar.advance(len(photos[rows]))
    if not kept:
        raise DataError("none of the photos can be read: there is nothing to map")
    return kept, np.concatenate(features), thumbnails
