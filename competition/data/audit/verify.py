"""Whether two photos show the same picture: do their local features agree under one affine map?

Hashes and thumbnails of two different white dogs on grass can look alike. SIFT keypoints (Lowe 2004), matched and
fitted by RANSAC to one affine map, do not: of 1,083 candidates among the competition's photos 804 had fewer than 10
agreeing keypoints, 264 had 30 or more, 15 lay between.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from competition.data.photos.decode import read_photo

SIDE = 160  # pixels; both photos are stretched to this square, the affine map takes up the difference of aspect
MIN_MATCHES = 15
# Where thumbnail and hash agree less (crops, chance), more keypoints must: drawings share shapes, shots of one scene
# its background, without being copies.
MIN_MATCHES_UNALIKE = 25
ALIKE_CORRELATION = 0.80
ALIKE_DISTANCE = 12
MIN_COVERAGE = 0.08  # of the square, by the agreeing keypoints' hull: a shared watermark is not a shared picture
_KEYPOINTS = 300
_RATIO = 0.8
_TOLERANCE = 3.0  # pixels
_SCALES = (0.3, 3.3)
# Pictures with hardly any keypoints (plain drawings, tiny scans) are taken as the same only where thumbnails agree.
_FEW_KEYPOINTS = 20
SMOOTH_CORRELATION = 0.98
SMOOTH_DISTANCE = 4


@dataclass(frozen=True)
class Question:
    """A candidate pair: two files, whether the second is to be mirrored, hash distance and thumbnail correlation."""

    first: Path
    second: Path
    mirrored: bool
    distance: int
    correlation: float


@dataclass(frozen=True)
class Answer:
    """Whether the pair shows one picture, and how many keypoints agree."""

    same: bool
    matches: int


def verify(question: Question) -> Answer:
    """Compare two photos by their local features.

    Raises:
        PhotoError: a photo cannot be read.
    """
    points_a, signs_a = _keypoints(question.first, False)
    points_b, signs_b = _keypoints(question.second, question.mirrored)
    if min(len(points_a), len(points_b)) < _FEW_KEYPOINTS:
        smooth = question.correlation >= SMOOTH_CORRELATION and question.distance <= SMOOTH_DISTANCE
        return Answer(smooth, 0)
    matches = [
        best
        for best, second in cv2.BFMatcher().knnMatch(signs_a, signs_b, k=2)
        if best.distance < _RATIO * second.distance
    ]
    if len(matches) < MIN_MATCHES:
        return Answer(False, 0)
    a = points_a[[match.queryIdx for match in matches]]
    b = points_b[[match.trainIdx for match in matches]]
    affine, inside = cv2.estimateAffine2D(a, b, ransacReprojThreshold=_TOLERANCE)
    if affine is None:
        return Answer(False, 0)
    agree = inside[:, 0].astype(bool)
    sizes = np.linalg.svd(affine[:, :2], compute_uv=False)
    plausible = _SCALES[0] <= sizes.min() and sizes.max() <= _SCALES[1]
    spread = min(_coverage(a[agree]), _coverage(b[agree])) >= MIN_COVERAGE
    count = int(agree.sum())
    alike = question.correlation >= ALIKE_CORRELATION and question.distance <= ALIKE_DISTANCE
    enough = MIN_MATCHES if alike else MIN_MATCHES_UNALIKE
    return Answer(count >= enough and plausible and spread, count)


def _coverage(points: np.ndarray) -> float:
    """Area of the points' convex hull over the square's."""
    return float(cv2.contourArea(cv2.convexHull(points))) / SIDE**2 if len(points) >= 3 else 0.0


@lru_cache(maxsize=128)
def _keypoints(path: Path, mirrored: bool) -> tuple[np.ndarray, np.ndarray]:
    """Positions, float32 (k, 2), and SIFT descriptors, float32 (k, 128), in the square."""
    grey = cv2.cvtColor(read_photo(path, min_side=SIDE), cv2.COLOR_RGB2GRAY)
    square = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    if mirrored:
        square = np.ascontiguousarray(square[:, ::-1])
    sift = cv2.SIFT_create(_KEYPOINTS)  # type: ignore[attr-defined]
    found, signs = sift.detectAndCompute(square, None)
    if signs is None:
        return np.zeros((0, 2), np.float32), np.zeros((0, 128), np.float32)
    return np.array([point.pt for point in found], dtype=np.float32), signs
