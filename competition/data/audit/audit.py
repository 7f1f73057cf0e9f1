"""Whether to trust the photos: unreadable files, exact and near duplicates, label conflicts, leaks.

Every photo is decoded once, by worker processes, into a content digest and a small thumbnail. Hashes of the
thumbnails are compared all with all in blocks of arrays; candidates are verified one by one by their local features.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from competition.console import progress
from competition.data.audit.candidates import THUMBNAIL, Candidates, find_candidates
from competition.data.audit.report import AuditReport, DuplicatePair
from competition.data.photos.decode import decode_photo, read_content
from competition.data.source.arrange import spelling_notes
from competition.data.source.competition_data import CompetitionData, Photo
from competition.data.source.labels import read_csv
from competition.data.source.names import shown
from competition.errors import DataError, PhotoError
from competition.system.workers import map_in_order


@dataclass(frozen=True)
class _Look:
    """What one pass over a photo leaves: content digest and thumbnail, uint8 (32, 32, 3), or why it is unreadable."""

    content: bytes
    thumbnail: np.ndarray | None
    reason: str = ""


def audit(data: CompetitionData, workers: int = -1, features: np.ndarray | None = None) -> AuditReport:
    """Look at every photo of train and test.

    Args:
        data: the photos.
        workers: processes; -1 takes one per core.
        features: float (n_train + n_test, d) embeddings in the order train, test, where they are at hand: they find
            further candidates (strong crops), and their cosine is noted with each pair.

    Raises:
        DataError: ``features`` has another number of rows than there are photos.
    """
    begun = time.monotonic()
    photos = [*data.train, *data.test]
    if features is not None and len(features) != len(photos):
        raise DataError(f"{len(features)} rows of features do not fit {len(photos)} photos")
    looks: list[_Look] = []
    with progress("reading photos", len(photos)) as ticker:
        for look in map_in_order(_look, [photo.path for photo in photos], workers):
            looks.append(look)
            ticker.advance()
    splits = ["train"] * len(data.train) + ["test"] * len(data.test)
    unreadable = tuple(
        (split, photo.id, _told(look.reason, photo.path))
        for split, photo, look in zip(splits, photos, looks, strict=True)
        if look.reason
    )
    exact = _exact_pairs(looks)
    near, dropped = _near_pairs(photos, looks, exact, features, workers)
    pairs = [_pair(photos, splits, *found, features) for found in (*exact, *near)]
    problems = _problems(data)
    if dropped:
        problems += (f"{dropped:,} further pairs of photos look alike and were not compared closely",)
    return AuditReport(
        unreadable, problems, tuple(pairs), len(data.train), len(data.test), data.digest, time.monotonic() - begun,
        tuple((file.name, file.reason) for file in data.left_out),
    )  # fmt: skip


def _look(path: Path) -> _Look:
    try:
        content = read_content(path)
        image = decode_photo(content, str(path), min_side=2 * THUMBNAIL)
    except PhotoError as error:
        return _Look(b"", None, str(error))
    small = Image.fromarray(image).resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    return _Look(hashlib.sha256(content).digest(), np.asarray(small))


def _told(reason: str, path: Path) -> str:
    """The reason with the file's name instead of its whole path, which is the reader's own machine."""
    return shown(reason.replace(str(path), path.name))


Found = tuple[int, int, str, int, float, bool, int]  # first, second, kind, distance, correlation, mirrored, matches


def _exact_pairs(looks: Sequence[_Look]) -> list[Found]:
    """Pairs of files with the same bytes; of three or more copies each is paired with the first."""
    copies: dict[bytes, list[int]] = defaultdict(list)
    for index, look in enumerate(looks):
        if not look.reason:
            copies[look.content].append(index)
    return [(same[0], other, "exact", 0, 1.0, False, 0) for same in copies.values() for other in same[1:]]


def _near_pairs(
    photos: Sequence[Photo],
    looks: Sequence[_Look],
    exact: Sequence[Found],
    features: np.ndarray | None,
    workers: int,
) -> tuple[list[Found], int]:
    """Verified pairs by falling similarity, and how many candidates were never verified."""
    copies = {second for _, second, *_ in exact}
    usable = np.array([i for i, look in enumerate(looks) if look.thumbnail is not None and i not in copies], np.intp)
    if len(usable) < 2:
        return [], 0
    thumbnails = np.stack([thumbnail for i in usable if (thumbnail := looks[i].thumbnail) is not None])
    candidates = find_candidates(thumbnails, None if features is None else features[usable])
    verdicts = _verified(photos, usable, candidates, workers)
    found: list[Found] = []
    for k, (same, matches) in enumerate(verdicts):
        if same:
            ends = int(usable[candidates.first[k]]), int(usable[candidates.second[k]])
            distance, similarity = int(candidates.distance[k]), float(candidates.correlation[k])
            found.append((*ends, "near", distance, similarity, bool(candidates.mirrored[k]), matches))
    return found, candidates.dropped


def _verified(
    photos: Sequence[Photo], usable: np.ndarray, candidates: Candidates, workers: int
) -> list[tuple[bool, int]]:
    """For each candidate: is it one picture, and how many keypoints agree."""
    from competition.data.audit.verify import Question, verify  # OpenCV is needed only here

    questions = [
        Question(photos[usable[i]].path, photos[usable[j]].path, bool(mirrored), int(distance), float(correlation))
        for i, j, mirrored, distance, correlation in zip(
            candidates.first,
            candidates.second,
            candidates.mirrored,
            candidates.distance,
            candidates.correlation,
            strict=True,
        )
    ]
    order = sorted(range(len(questions)), key=lambda k: str(questions[k].first))  # one photo's pairs in one process
    answers: list[tuple[bool, int]] = [(False, 0)] * len(questions)
    with progress("comparing similar photos", len(questions), "pairs") as ticker:
        results = map_in_order(verify, [questions[k] for k in order], workers, chunk=16)
        for k, answer in zip(order, results, strict=True):
            answers[k] = (answer.same, answer.matches)
            ticker.advance()
    return answers


def _pair(
    photos: Sequence[Photo],
    splits: Sequence[str],
    first: int,
    second: int,
    kind: str,
    distance: int,
    similarity: float,
    mirrored: bool,
    matches: int,
    features: np.ndarray | None,
) -> DuplicatePair:
    a, b = photos[first], photos[second]
    cosine = None if features is None else _cosine(features[first], features[second])
    return DuplicatePair(
        a.id,
        b.id,
        splits[first],
        splits[second],
        a.breed,
        b.breed,
        kind,
        distance,
        round(similarity, 4),
        mirrored,
        matches,
        cosine,
    )


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    return round(float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12)), 4)


def _problems(data: CompetitionData) -> tuple[str, ...]:
    """Sentences on labels and lists: what the layout noted, breeds spelt in two ways, ids without photo."""
    problems = list(data.notes)
    problems += spelling_notes(data, "are they one?")
    counts = Counter(photo.breed for photo in data.train)
    single = sorted(str(breed) for breed, count in counts.items() if count == 1)
    if single:
        problems.append(f"{len(single):,} breeds have a single photo: {', '.join(single[:3])}")
    if data.sample_submission is not None:
        problems += _against_sample(data, data.sample_submission)
    return tuple(problems)


def _against_sample(data: CompetitionData, path: Path) -> list[str]:
    """Compare test photos and breeds with sample_submission.csv; a file that cannot be read is a problem itself."""
    try:
        header, rows = read_csv(path)
    except DataError as error:
        return [str(error)]
    if header[0] != "id":
        return [f"{path.name} does not begin with the column 'id'"]
    listed, photos = {row[0] for row in rows}, set(data.test_ids)
    differences = (
        (listed - photos, f"ids of {path.name} have no photo in test/"),
        (photos - listed, f"photos in test/ are not in {path.name}"),
        (set(data.classes) - set(header[1:]), f"breeds are not among the columns of {path.name}"),
        (set(header[1:]) - set(data.classes), f"columns of {path.name} are no breed of the labels"),
    )
    return [f"{len(ids):,} {what}: {', '.join(sorted(ids)[:3])}" for ids, what in differences if ids]
