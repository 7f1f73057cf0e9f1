from __future__ import annotations

import numpy as np
import pytest

from competition.errors import DataError, KitError, UsageError
from competition.explain.inside import embedding_map


def clusters(rng: np.random.Generator, each: int = 12, d: int = 20) -> tuple[np.ndarray, np.ndarray]:
    centres = 8 * rng.normal(size=(4, d))
    labels = np.arange(4).repeat(each)
    return centres[labels] + rng.normal(size=(4 * each, d)), labels


@pytest.mark.parametrize("shape", [(50, 8), (8, 50)])
def test_pca_is_the_singular_value_decomposition(shape: tuple[int, int], rng: np.random.Generator) -> None:
    features = rng.normal(size=shape) * np.arange(1, shape[1] + 1)
    points, shares = embedding_map.principal_components(features.astype(np.float32), 3)
    u, s, _ = np.linalg.svd(features - features.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(np.abs(points), np.abs(u * s)[:, :3], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(shares, (s**2 / (s**2).sum())[:3], rtol=1e-4)


def test_tsne_keeps_clusters_together_and_its_seed(rng: np.random.Generator) -> None:
    features, labels = clusters(rng)
    points = embedding_map.embedding(features, "tsne", seed=3)
    assert points.shape == (48, 2)
    assert embedding_map.together(points, labels, 5) == 1.0
    np.testing.assert_array_equal(points, embedding_map.tsne(features, seed=3))


def test_together_of_noise_is_chance(rng: np.random.Generator) -> None:
    points, labels = rng.normal(size=(400, 2)), rng.integers(0, 4, 400)
    assert embedding_map.together(points, labels) == pytest.approx(0.25, abs=0.06)


def test_places_are_unique_and_near(rng: np.random.Generator) -> None:
    points = rng.normal(size=(300, 2)) * (3, 1)
    places = embedding_map.placed(points, 20)
    kept = places[:, 0] >= 0
    assert len({tuple(place) for place in places[kept].tolist()}) == kept.sum()
    assert places.max() < 20
    low, span = points.min(axis=0), np.ptp(points, axis=0)
    x = (points[kept, 0] - low[0]) / span[0] * 20
    assert np.abs(places[kept, 1] + 0.5 - x).max() <= 0.5 + 1e-4
    rows = places[kept, 0]
    assert np.corrcoef(rows, points[kept, 1])[0, 1] < -0.9  # upwards on the map is upwards on the page


def test_one_photo_a_cell() -> None:
    points = np.array([[0.0, 0.0], [1.0, 1.0], [0.99, 0.99]])
    pictures = [np.full((4, 4, 3), level, np.uint8) for level in (51, 102, 153)]
    sheet = embedding_map.thumbnail_map(points, pictures, cells=2, side=4)
    np.testing.assert_allclose(sheet[4:, :4], 0.2, atol=1e-6)
    np.testing.assert_allclose(sheet[:4, 4:], 0.6, atol=1e-6)  # the one nearer the middle of the cell
    np.testing.assert_allclose(sheet[:4, :4], 1)
    with pytest.raises(DataError, match="3 points and 2 thumbnails"):
        embedding_map.thumbnail_map(points, pictures[:2])


def test_what_cannot_be_mapped() -> None:
    with pytest.raises(UsageError, match="pca or tsne"):
        embedding_map.embedding(np.zeros((9, 2)), "umap")
    with pytest.raises(UsageError, match="at least five"):
        embedding_map.tsne(np.zeros((3, 2)))
    with pytest.raises(UsageError, match="at least two"):
        embedding_map.principal_components(np.zeros((1, 2)))
    with pytest.raises(KitError, match="NaN"):
        embedding_map.principal_components(np.full((5, 2), np.nan))
