"""The embedding map of a run: features of its training photos, computed or from the cache, and their thumbnails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from competition.console import progress, say, warn
from competition.data.photos.decode import read_photo
from competition.errors import DataError, PhotoError
from competition.explain.inside.painted_picture import resize
from competition.explain.networks.protocol import Backend, batches, square_input
from competition.explain.show.verbs import Output, show_embedding
from competition.record.projector import thin

if TYPE_CHECKING:
    from competition.data.source.competition_data import Photo

THUMBNAIL = 32
_BATCH = 32


def map_photos(
    run: Path,
    opener: Callable[[], Backend],
    data: Path | None,
    output: Output,
    *,
    method: str,
    most: int,
    breeds: Sequence[str] = (),
    seed: int = 0,
    weights: Path | None = None,
    cached: bool = True,
) -> list[Path]:
    """Map a run's training photos by the features of its network; see ``show_embedding``.

    Args:
        run: folder of a run.
        opener: opens its network; not called where a probe run left its features in the cache.
        data: the run's data; None looks at the usual places.
        output: where to.
        method: ``pca`` or ``tsne``.
        most: photos at most, evenly through the breeds.
        breeds: to name on the map.
        seed: of t-SNE.
        weights: folder of pretrained weights; None looks at the usual places.
        cached: whether features from the cache (of the run's first backbone) will do.

    Raises:
        DataError: no photo can be read.
    """
    from competition.data.source.layout import load_data
    from competition.record.run_dir import RunDir
    from competition.training.probe.cached_features import run_features

    folder = RunDir(run)
    _ = folder.config  # says in one line that this is no run, before the data are searched
    loaded = load_data(data, like=run)
    stored = run_features(folder, loaded, weights) if cached else None
    photos = loaded.photos_of(stored[0]) if stored is not None else list(loaded.train)
    rows = thin([str(photo.breed) for photo in photos], most)
    chosen = [photos[row] for row in rows]
    if stored is None:
        kept, features, thumbnails = features_of(opener(), chosen)
    else:
        say("features from the cache, of the run's first backbone and view")
        kept, features, thumbnails = chosen, np.asarray(stored[1][rows], dtype=np.float32), thumbnails_of(chosen)
    labels, ids = [str(photo.breed) for photo in kept], [photo.id for photo in kept]
    return show_embedding(features, labels, ids, thumbnails, output, method=method, seed=seed, breeds=breeds)


def thumbnails_of(photos: Sequence[Photo]) -> list[np.ndarray]:
    """The centre square of every photo, uint8 (32, 32, 3); white where one cannot be read any more."""
    found = []
    with progress("thumbnails", len(photos)) as bar:
        for photo in photos:
            try:
                image = read_photo(photo.path, THUMBNAIL)
            except PhotoError as error:
                warn(f"{photo.id}: {error}")
                image = np.full((THUMBNAIL, THUMBNAIL, 3), 255, dtype=np.uint8)
            square = square_input(image, (THUMBNAIL, THUMBNAIL, 3))
            found.append((np.clip(square, 0, 1) * 255).astype(np.uint8))
            bar.advance()
    return found


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
