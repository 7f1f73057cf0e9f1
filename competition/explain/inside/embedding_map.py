"""A map of what a network takes for alike: features in two dimensions, by principal components or t-SNE, as photos."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from competition.errors import DataError, UsageError
from competition.explain.networks.protocol import check_finite

METHODS = ("pca", "tsne")
_BEFORE_TSNE = 50  # dimensions that t-SNE is given (van der Maaten and Hinton, 2008, take 30)


def principal_components(features: np.ndarray, dimensions: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates along the directions of largest variance, and the share of the variance in each.

    Args:
        features: float (n, d).
        dimensions: fewer where there are fewer photos or features.

    Returns:
        float64 (n, dimensions) and (dimensions,).

    Raises:
        UsageError: fewer than two photos.
        KitError: a feature is not a number.
    """
    check_finite("features", features)
    if len(features) < 2:
        raise UsageError("a map needs at least two photos")
    from sklearn.decomposition import PCA

    # The eigenvectors of the (d, d) covariance are exact and, with thousands of photos, much the fastest.
    solver = "covariance_eigh" if len(features) > features.shape[1] else "full"
    engine = PCA(min(dimensions, *features.shape), svd_solver=solver)
    found = engine.fit_transform(features.astype(np.float64))
    return found, engine.explained_variance_ratio_


def tsne(features: np.ndarray, *, perplexity: float = 30.0, seed: int = 0) -> np.ndarray:
    """t-SNE of the first 50 principal components, started from the first two: float64 (n, 2), the same for a seed.

    Raises:
        UsageError: fewer than five photos, or a perplexity that so few cannot have.
    """
    if len(features) < 5:
        raise UsageError(f"t-SNE needs at least five photos, not {len(features)}: use pca")
    perplexity = min(perplexity, (len(features) - 1) / 3)
    from sklearn.manifold import TSNE

    reduced, _ = principal_components(features, _BEFORE_TSNE)
    engine = TSNE(2, perplexity=perplexity, init="pca", learning_rate="auto", random_state=seed)
    return np.asarray(engine.fit_transform(reduced.astype(np.float32)), dtype=np.float64)


def embedding(features: np.ndarray, method: str = "pca", *, seed: int = 0) -> np.ndarray:
    """Features (n, d) as points (n, 2).

    Raises:
        UsageError: no such method, or too few photos.
    """
    if method not in METHODS:
        raise UsageError(f"unknown method '{method}': {' or '.join(METHODS)}")
    return principal_components(features)[0] if method == "pca" else tsne(features, seed=seed)


def placed(points: np.ndarray, cells: int) -> np.ndarray:
    """Bring points (n, 2) onto a grid of ``cells`` x ``cells``, one a cell: row and column (n, 2), -1 without a place.

    Whoever lies nearest the middle of a cell has it; nobody is moved, so a crowd shows only some of its photos.
    """
    low, span = points.min(axis=0), np.maximum(np.ptp(points, axis=0), 1e-12)
    scaled = (points - low) / span.max() * (cells - 1e-6)
    scaled += (cells - (span / span.max() * cells)) / 2  # the shorter side is centred
    cell = np.clip(scaled.astype(int), 0, cells - 1)
    away = np.abs(scaled - cell - 0.5).max(axis=1)
    found = np.full((len(points), 2), -1)
    taken: set[tuple[int, int]] = set()
    for index in np.argsort(away, kind="stable"):
        place = (cells - 1 - int(cell[index, 1]), int(cell[index, 0]))  # y grows upwards
        if place not in taken:
            taken.add(place)
            found[index] = place
    return found


def thumbnail_map(
    points: np.ndarray, thumbnails: Sequence[np.ndarray], *, cells: int = 40, side: int = 32, ground: float = 1.0
) -> np.ndarray:
    """Photos at the places of their points, without covering one another.

    Args:
        points: float (n, 2).
        thumbnails: n pictures (side, side, 3), uint8 or float in [0, 1].
        cells: photos in a row at most.
        side: of a thumbnail, pixels.
        ground: shade where there is none.

    Returns:
        float32 (cells * side, cells * side, 3) in [0, 1].

    Raises:
        DataError: not as many pictures as points.
    """
    if len(points) != len(thumbnails):
        raise DataError(f"{len(points)} points and {len(thumbnails)} thumbnails: as many of each are needed")
    sheet = np.full((cells * side, cells * side, 3), ground, dtype=np.float32)
    for (row, column), picture in zip(placed(points, cells), thumbnails, strict=True):
        if row >= 0:
            shown = picture.astype(np.float32) / (255 if picture.dtype == np.uint8 else 1)
            sheet[row * side : (row + 1) * side, column * side : (column + 1) * side] = shown
    return sheet


def together(points: np.ndarray, labels: np.ndarray, neighbours: int = 10) -> float:
    """Share of each point's nearest neighbours that have its label, averaged: how well a map keeps breeds together."""
    from sklearn.neighbors import NearestNeighbors

    count = min(neighbours, len(points) - 1)
    found = NearestNeighbors(n_neighbors=count + 1).fit(points).kneighbors(points, return_distance=False)[:, 1:]
    return float((labels[found] == labels[:, None]).mean())
