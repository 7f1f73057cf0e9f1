"""Which photos may show the same picture: perceptual hashes, thumbnails and features, all pairs at once on arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

THUMBNAIL = 32  # side of the colour thumbnails that hashes and correlations are computed from
_HASH_SIDE = 8
# A pair is a candidate where the hashes differ in at most 18 of 64 bits and the thumbnails correlate, or where the
# hashes nearly agree and the thumbnails correlate a little (recolouring). Wide on purpose: each candidate is verified.
MAX_DISTANCE = 18
MIN_CORRELATION = 0.70
CLOSE_DISTANCE = 10
MIN_CORRELATION_CLOSE = 0.40
MIN_COSINE = 0.88
_FEATURE_PAIRS = 0.2  # candidates by features, at most so many per photo: some backbones find everything alike
MAX_CANDIDATES = 6000
_BLOCK = 256


@dataclass(frozen=True)
class Candidates:
    """Pairs that may show the same picture, most similar first.

    Attributes:
        first: intp (m,), index of one photo.
        second: intp (m,), index of the other, larger than ``first``.
        mirrored: bool (m,), whether the second resembles the first as a mirror image.
        distance: int64 (m,), Hamming distance of the hashes.
        correlation: float32 (m,), of the thumbnails, -1 to 1.
        dropped: how many further candidates were left out because there were too many.
    """

    first: np.ndarray
    second: np.ndarray
    mirrored: np.ndarray
    distance: np.ndarray
    correlation: np.ndarray
    dropped: int = 0

    def __len__(self) -> int:
        return len(self.first)


def _cosine_basis(size: int) -> np.ndarray:
    """Orthonormal DCT-II, float32 (size, size); row k is frequency k."""
    k, x = np.mgrid[0:size, 0:size]
    basis = np.cos(np.pi * k * (2 * x + 1) / (2 * size)) * np.sqrt(2.0 / size)
    basis[0] /= np.sqrt(2.0)
    return basis.astype(np.float32)


def perceptual_hashes(thumbnails: np.ndarray, mirrored: bool = False) -> np.ndarray:
    """64-bit hashes, uint64 (n,): signs of low DCT frequencies against their median (pHash, Zauner 2010).

    Args:
        thumbnails: uint8 (n, 32, 32, 3).
        mirrored: hash the mirror images instead; odd horizontal frequencies change their sign.
    """
    grey = thumbnails.astype(np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    basis = _cosine_basis(THUMBNAIL)[:_HASH_SIDE]
    low = basis @ grey @ basis.T  # (n, 8, 8), vertical x horizontal frequency
    if mirrored:
        low[:, :, 1::2] *= -1
    flat = low.reshape(-1, _HASH_SIDE**2)
    bits = flat > np.median(flat[:, 1:], axis=1, keepdims=True)
    bits[:, 0] = False  # the mean brightness says nothing about the content
    return np.packbits(bits, axis=1).view(np.uint64)[:, 0] if len(bits) else np.zeros(0, np.uint64)


def _standardised(thumbnails: np.ndarray) -> np.ndarray:
    """Rows of zero mean and unit length, float32 (n, d): their products are correlations. Constant pictures give 0."""
    rows = thumbnails.reshape(len(thumbnails), -1).astype(np.float32)
    rows -= rows.mean(axis=1, keepdims=True)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-3)


def find_candidates(thumbnails: np.ndarray, features: np.ndarray | None = None) -> Candidates:
    """Pairs of similar photos among n, by hash and thumbnail, and by features where they are given.

    Args:
        thumbnails: uint8 (n, 32, 32, 3).
        features: float (n, d) embeddings, one row per photo; rows of zeros are ignored.
    """
    hashes = perceptual_hashes(thumbnails)
    flipped = perceptual_hashes(thumbnails, mirrored=True)
    fine = _standardised(thumbnails)
    n = len(thumbnails)
    halved = thumbnails.reshape(n, THUMBNAIL // 2, 2, THUMBNAIL // 2, 2, 3).mean(axis=(2, 4), dtype=np.float32)
    coarse = _standardised(halved)
    coarse_flipped = _standardised(halved[:, :, ::-1])
    fine_flipped = _standardised(thumbnails[:, :, ::-1])
    found: list[np.ndarray] = []
    for start in range(0, n, _BLOCK):
        for is_mirror, others, rough, exact in (
            (0, hashes, coarse, fine),
            (1, flipped, coarse_flipped, fine_flipped),
        ):
            distance = np.bitwise_count(hashes[start : start + _BLOCK, None] ^ others[None, start:])
            row, column = np.nonzero(distance <= MAX_DISTANCE)
            row, column = row[column > row] + start, column[column > row] + start
            keep = _products(coarse, rough, row, column) >= MIN_CORRELATION_CLOSE - 0.1
            row, column = row[keep], column[keep]
            found.append(_measured(row, column, is_mirror, hashes, others, fine, exact))
    pairs = np.concatenate(found) if found else np.zeros((0, 5))
    wide = pairs[:, 4] >= MIN_CORRELATION
    close = (pairs[:, 3] <= CLOSE_DISTANCE) & (pairs[:, 4] >= MIN_CORRELATION_CLOSE)
    pairs = pairs[wide | close]
    if features is not None:
        row, column = _alike_by_features(features)
        plain = _measured(row, column, 0, hashes, hashes, fine, fine)
        mirror = _measured(row, column, 1, hashes, flipped, fine, fine_flipped)
        pairs = np.concatenate([pairs, np.where(mirror[:, 4:] > plain[:, 4:], mirror, plain)])
    return _best(pairs)


def _measured(
    row: np.ndarray,
    column: np.ndarray,
    mirrored: int,
    hashes: np.ndarray,
    others: np.ndarray,
    fine: np.ndarray,
    exact: np.ndarray,
) -> np.ndarray:
    """float64 (m, 5): first, second, mirrored, Hamming distance, correlation."""
    distance = np.bitwise_count(hashes[row] ^ others[column])
    correlation = _products(fine, exact, row, column)
    return np.stack([row, column, np.full(len(row), mirrored), distance, correlation], axis=1).astype(np.float64)


def _products(
    left: np.ndarray, right: np.ndarray, row: np.ndarray, column: np.ndarray, chunk: int = 8192
) -> np.ndarray:
    """Scalar products of chosen rows, float32 (m,), a chunk at a time to bound the memory."""
    parts = [
        np.einsum("ij,ij->i", left[row[k : k + chunk]], right[column[k : k + chunk]]) for k in range(0, len(row), chunk)
    ]
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def _alike_by_features(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs whose features' cosine is at least ``MIN_COSINE``, the most similar ones."""
    rows = features.astype(np.float32)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
    first, second, cosine = [np.zeros(0, np.intp)], [np.zeros(0, np.intp)], [np.zeros(0, np.float32)]
    for start in range(0, len(rows), _BLOCK):
        products = rows[start : start + _BLOCK] @ rows[start:].T
        row, column = np.nonzero(np.triu(products, 1) >= MIN_COSINE)
        first.append(row + start)
        second.append(column + start)
        cosine.append(products[row, column])
    most = max(100, int(_FEATURE_PAIRS * len(rows)))
    best = np.argsort(-np.concatenate(cosine), kind="stable")[:most]
    return np.concatenate(first)[best], np.concatenate(second)[best]


def _best(pairs: np.ndarray) -> Candidates:
    """Each pair once, in its better orientation, by falling correlation, at most ``MAX_CANDIDATES``."""
    pairs = pairs[np.lexsort((pairs[:, 3], -pairs[:, 4]))]
    _, first_seen = np.unique(pairs[:, :2], axis=0, return_index=True)
    pairs = pairs[np.sort(first_seen)]
    kept = pairs[:MAX_CANDIDATES]
    return Candidates(
        kept[:, 0].astype(np.intp),
        kept[:, 1].astype(np.intp),
        kept[:, 2].astype(bool),
        kept[:, 3].astype(np.int64),
        kept[:, 4].astype(np.float32),
        len(pairs) - len(kept),
    )
