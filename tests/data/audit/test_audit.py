from __future__ import annotations

import csv
import io
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from competition.data.audit import audit as auditing
from competition.data.audit import candidates
from competition.data.audit.audit import audit
from competition.data.audit.candidates import find_candidates, perceptual_hashes
from competition.data.audit.report import AuditReport, DuplicatePair
from competition.data.source.layout import load_data
from competition.errors import DataError
from competition.system.workers import map_in_order
from tests.data.conftest import save, write_rows
from tests.data.photos.test_views import png_header


def rich_picture(seed: int, side: int = 160) -> np.ndarray:
    """Large shapes, mild colours and enough corners for local features: what photos are like."""
    rng = np.random.default_rng(seed)
    grey = rng.integers(0, 256, (5, 5, 1)) + rng.integers(-30, 31, (5, 5, 3))
    shapes = Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
    canvas = np.asarray(shapes).astype(int)
    for _ in range(70):
        x, y, w, h = rng.integers(0, side, 2).tolist() + rng.integers(4, side // 8, 2).tolist()
        canvas[y : y + h, x : x + w] += rng.integers(-70, 71)
    return np.clip(canvas, 0, 255).astype(np.uint8)


@pytest.fixture
def rich(kaggle) -> Path:
    """The tiny competition with pictures that have details."""
    for number, path in enumerate(sorted((kaggle / "train").iterdir()) + sorted((kaggle / "test").iterdir())):
        save(path, rich_picture(number), quality=92)
    return kaggle


def pair_of(report: AuditReport, a: str, b: str) -> DuplicatePair:
    return next(pair for pair in report.pairs if {pair.a, pair.b} == {a, b})


def test_clean_data_give_a_clean_report(rich):
    report = audit(load_data(rich), workers=1)
    assert (report.unreadable, report.problems, report.pairs) == ((), (), ())
    assert (report.train_photos, report.test_photos) == (12, 3)
    assert report.quarantined == frozenset()
    assert report.groups() == {}


def changed(image: np.ndarray, how: str) -> np.ndarray:
    if how == "smaller":
        return np.asarray(Image.fromarray(image).resize((90, 90), Image.Resampling.LANCZOS))
    if how == "cropped":
        return image[6:-8, 9:-5]
    if how == "brighter":
        return np.clip(image * 1.15 + 12, 0, 255).astype(np.uint8)
    if how == "mirrored":
        return image[:, ::-1]
    if how == "stretched":
        return np.asarray(Image.fromarray(image).resize((220, 150), Image.Resampling.BICUBIC))
    assert how == "grey"
    return np.repeat(image.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)


@pytest.mark.parametrize("how", ["smaller", "cropped", "brighter", "mirrored", "stretched", "grey"])
def test_near_duplicates_are_found_and_nothing_else(rich, how):
    save(rich / "train" / "p004.jpg", changed(rich_picture(0), how), quality=70)
    report = audit(load_data(rich), workers=1)
    assert len(report.pairs) == 1
    pair = pair_of(report, "p000", "p004")
    assert pair.kind == "near"
    assert pair.mirrored == (how == "mirrored")
    assert (pair.conflict, pair.crosses_split) == (True, False)
    assert {pair.breed_a, pair.breed_b} == {"akita", "boxer"}
    assert pair.matches >= 15


def test_exact_duplicates_within_and_across(rich):
    shutil.copy(rich / "train" / "p000.jpg", rich / "train" / "p003.jpg")
    shutil.copy(rich / "train" / "p000.jpg", rich / "test" / "t001.jpg")
    report = audit(load_data(rich), workers=1)
    assert {pair.kind for pair in report.pairs} == {"exact"}
    assert len(report.pairs) == 2
    assert not pair_of(report, "p000", "p003").conflict
    leak = pair_of(report, "p000", "t001")
    assert leak.crosses_split
    assert not leak.conflict
    assert report.leaks == (leak,)
    assert report.groups() == {"p000": 0, "p003": 0}


def test_a_chain_through_a_test_photo_is_one_group():
    def pair(a, b, split_b):
        return DuplicatePair(a, b, "train", split_b, "x", None, "near", 0, 1.0)

    report = AuditReport(pairs=(pair("a", "t", "test"), pair("b", "t", "test"), pair("c", "d", "train")))
    assert report.groups() == {"a": 0, "b": 0, "c": 1, "d": 1}


BAD_PHOTOS = {
    "a text file": (b"no photo" * 99, "is not a photo"),
    "zero bytes": (b"", r"is empty \(0 bytes\)"),
    "truncated": (None, "is truncated or damaged"),
    "a bomb": (png_header(30000, 30000), "more than 100 megapixels"),
}


@pytest.mark.parametrize("case", BAD_PHOTOS)
@pytest.mark.parametrize("split", ["train", "test"])
def test_unusable_photos_are_listed_and_quarantined_in_train_only(rich, case, split):
    content, words = BAD_PHOTOS[case]
    name = "p005" if split == "train" else "t002"
    path = rich / split / f"{name}.jpg"
    path.write_bytes(path.read_bytes()[:1500] if content is None else content)
    data = load_data(rich)
    report = audit(data, workers=1)
    assert [(found, photo) for found, photo, _ in report.unreadable] == [(split, name)]
    reason = report.unreadable[0][2]
    assert re.search(words, reason)
    assert str(rich) not in reason
    assert reason.startswith(f"{name}.jpg")
    assert report.quarantined == (frozenset({name}) if split == "train" else frozenset())
    assert report.unreadable_test == (frozenset({name}) if split == "test" else frozenset())
    kept = data.without(report.quarantined)
    assert len(kept.train) == (11 if split == "train" else 12)
    assert len(kept.test) == 3


def test_problems_of_lists_and_names(rich):
    save(rich / "train" / "stray.jpg", rich_picture(50))
    (rich / "test" / "t000.jpg").unlink()
    save(rich / "test" / "extra.jpg", rich_picture(51))
    text = (rich / "labels.csv").read_text().replace("p003,akita", "p003,Akita")
    (rich / "labels.csv").write_text(text)
    told = "\n".join(audit(load_data(rich), workers=1).problems)
    for words in (
        "1 photos in train/ have no row in labels.csv, left out: stray",
        "the breeds 'Akita' and 'akita' differ only in spelling",
        "1 breeds have a single photo: Akita",
        "1 ids of sample_submission.csv have no photo in test/: t000",
        "1 photos in test/ are not in sample_submission.csv: extra",
        "1 breeds are not among the columns of sample_submission.csv: Akita",
    ):
        assert words in told


def test_a_broken_sample_submission_is_a_problem_not_an_end(rich):
    (rich / "sample_submission.csv").write_bytes(b"\xff\xfe")
    assert "not a CSV in UTF-8" in audit(load_data(rich), workers=1).problems[0]
    write_rows(rich / "sample_submission.csv", [["name", "akita"], ["t000", 1]])
    assert "does not begin with the column 'id'" in audit(load_data(rich), workers=1).problems[0]


def test_one_process_and_two_find_the_same(rich, monkeypatch):
    save(rich / "train" / "p004.jpg", changed(rich_picture(0), "cropped"), quality=70)
    (rich / "train" / "p007.jpg").write_bytes(b"x")
    data = load_data(rich)
    monkeypatch.setattr(auditing, "map_in_order", lambda *work, **_: map_in_order(*work, chunk=2))
    one, two = audit(data, workers=1), audit(data, workers=2)
    assert (one.pairs, one.unreadable) == (two.pairs, two.unreadable)
    assert len(one.pairs) == 1


def test_features_find_what_thumbnails_cannot_and_are_noted(rich):
    save(rich / "train" / "p004.jpg", rich_picture(0)[40:150, 10:120], quality=90)  # a strong crop
    data = load_data(rich)
    assert audit(data, workers=1).pairs == ()
    features = np.random.default_rng(0).normal(size=(15, 32))
    features[4] = features[0] + 0.1 * features[4]
    features[8] = features[2]  # an embedding that is mistaken: the local features say no
    report = audit(data, workers=1, features=features)
    assert [(pair.a, pair.b) for pair in report.pairs] == [("p000", "p004")]
    assert report.pairs[0].cosine == pytest.approx(0.99, abs=0.02)
    with pytest.raises(DataError, match="3 rows of features do not fit 15 photos"):
        audit(data, workers=1, features=features[:3])


def test_the_report_comes_back_from_its_files(rich, tmp_path):
    save(rich / "train" / "p004.jpg", changed(rich_picture(0), "mirrored"), quality=70)
    (rich / "train" / "p007.jpg").write_bytes(b"x")
    save(rich / "train" / "stray.jpg", rich_picture(50))
    data = load_data(rich)
    report = audit(data, workers=1)
    report.save(tmp_path)
    assert AuditReport.load(tmp_path) == report
    rows = list(csv.DictReader(io.StringIO((tmp_path / "audit.csv").read_text())))
    assert [row["kind"] for row in rows] == ["unreadable", "near", "problem"]
    assert (rows[1]["conflict"], rows[1]["split_a"]) == ("1", "train")
    assert "mirrored" in rows[1]["detail"]
    report.require(data)
    with pytest.raises(DataError, match="other data"):
        report.require(data.without({"p000"}))
    (tmp_path / "audit.json").write_text('{"pairs": [], "unreadable": [[1]], "problems": []}')
    with pytest.raises(DataError, match="no audit of this version"):
        AuditReport.load(tmp_path)


def slow_hash(thumbnail: np.ndarray) -> int:
    """The hash by the book: a DCT written out, one picture at a time."""
    grey = thumbnail.astype(np.float64) @ [0.299, 0.587, 0.114]
    low = np.zeros((8, 8))
    for k in range(8):
        for m in range(8):
            for y in range(32):
                wave = np.cos(np.pi * k * (2 * y + 1) / 64) * np.cos(np.pi * m * (2 * np.arange(32) + 1) / 64)
                low[k, m] += (grey[y] * wave).sum()
            low[k, m] *= (np.sqrt(0.5) if k == 0 else 1) * (np.sqrt(0.5) if m == 0 else 1)
    flat = low.ravel()
    bits = flat > np.median(flat[1:])
    return int.from_bytes(np.packbits([False, *bits[1:]]).tobytes(), "little")


def thumbnails(count: int) -> np.ndarray:
    return np.stack([np.asarray(Image.fromarray(rich_picture(k)).resize((32, 32))) for k in range(count)])


def test_hashes_are_those_of_the_book_and_know_the_mirror():
    small = thumbnails(4)
    assert perceptual_hashes(small).tolist() == [slow_hash(image) for image in small]
    assert (perceptual_hashes(small, mirrored=True) == perceptual_hashes(small[:, :, ::-1])).all()
    assert perceptual_hashes(small[:0]).shape == (0,)


def test_candidates_are_those_of_a_plain_loop(monkeypatch):
    monkeypatch.setattr(candidates, "_BLOCK", 7)
    small = thumbnails(30)
    small[21] = np.clip(small[3].astype(int) + 20, 0, 255)
    small[22] = small[5, :, ::-1]
    small[23] = 128  # a plain picture resembles none
    small[24] = 128
    found = find_candidates(small)
    hashes, flipped = perceptual_hashes(small), perceptual_hashes(small, mirrored=True)
    expected = {}
    for i in range(30):
        for j in range(i + 1, 30):
            for mirrored, other in ((False, hashes[j]), (True, flipped[j])):
                distance = bin(int(hashes[i]) ^ int(other)).count("1")
                a, b = (
                    x - x.mean() for x in (small[i].astype(float), small[j][:, :: -1 if mirrored else 1].astype(float))
                )
                norm = np.linalg.norm(a) * np.linalg.norm(b)
                correlation = (a * b).sum() / norm if norm else 0.0
                if (distance <= 18 and correlation >= 0.7) or (distance <= 10 and correlation >= 0.4):
                    expected.setdefault((i, j), []).append((correlation, mirrored, distance))
    assert {(int(i), int(j)) for i, j in zip(found.first, found.second, strict=True)} == set(expected)
    for i, j, mirrored, distance, correlation in zip(
        found.first, found.second, found.mirrored, found.distance, found.correlation, strict=True
    ):
        best = max(expected[int(i), int(j)])
        assert (bool(mirrored), int(distance)) == best[1:]
        assert correlation == pytest.approx(best[0], abs=1e-4)
    assert (3, 21) in expected
    assert (5, 22) in expected
    assert found.dropped == 0
    assert (np.diff(found.correlation) <= 0).all()


def test_too_many_candidates_are_cut_and_counted(monkeypatch):
    monkeypatch.setattr(candidates, "MAX_CANDIDATES", 10)
    found = find_candidates(np.repeat(thumbnails(1), 20, axis=0))
    assert (len(found), found.dropped) == (10, 180)


def test_features_that_find_everything_alike_are_cut_to_the_best():
    features = np.ones((60, 8)) + 0.1 * np.random.default_rng(0).normal(size=(60, 8))
    features[7] = features[9]
    first, second = candidates._alike_by_features(features)
    assert len(first) == 100
    assert (first[0], second[0]) == (7, 9)
    assert (first < second).all()


@pytest.mark.slow
def test_twenty_thousand_thumbnails_are_searched_in_seconds():
    grids = np.random.default_rng(0).integers(0, 256, (20_000, 6, 6, 3), dtype=np.uint8)
    small = np.stack([np.asarray(Image.fromarray(grid).resize((32, 32), Image.Resampling.BICUBIC)) for grid in grids])
    begun = time.monotonic()
    find_candidates(small)
    assert time.monotonic() - begun < 60


@pytest.mark.shared
@pytest.mark.slow
def test_the_real_photos_hold_known_duplicates(shared):
    report = audit(load_data(shared / "data" / "dog-breed-identification.zip"))
    assert report.unreadable == ()
    assert len(report.pairs) > 200
    assert len(report.conflicts) > 20
    assert report.seconds < 240
