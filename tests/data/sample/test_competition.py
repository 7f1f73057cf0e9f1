from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from competition.data.audit.audit import audit
from competition.data.photos.decode import read_photo
from competition.data.sample import competition as module
from competition.data.sample.breeds import BREEDS
from competition.data.sample.competition import draw_sample
from competition.data.source.layout import load_data
from competition.errors import DataError, UsageError


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> Path:
    return draw_sample(
        tmp_path_factory.mktemp("drawn") / "sample", seed=3, breeds=6, train_per_breed=4, test_per_breed=2
    )


@pytest.fixture(scope="module")
def truth(sample) -> dict:
    return json.loads((sample / "truth.json").read_text())


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*.*")
    }


def test_has_exactly_kaggles_layout(sample):
    data = load_data(sample)
    assert data.layout == "Kaggle layout"
    assert len(data.train) == 6 * 4 + 1
    assert len(data.test) == 6 * 2
    assert data.classes == tuple(breed.name for breed in BREEDS[:6])
    header, *rows = (line.split(",") for line in (sample / "sample_submission.csv").read_text().splitlines())
    assert header == ["id", *data.classes]
    assert [row[0] for row in rows] == list(data.test_ids)
    assert np.allclose(np.array([row[1:] for row in rows], float).sum(axis=1), 1, atol=1e-9)
    assert data.notes == ()


def test_says_everywhere_that_it_is_a_drawing(sample, truth):
    assert "DRAWINGS" in (sample / "README.txt").read_text()
    assert truth["drawing"] is True
    assert all(breed.name.startswith("drawn_") for breed in BREEDS)
    for path in sample.rglob("*.jpg"):
        assert path.name.startswith("drawing_")
        with Image.open(path) as image:
            assert image.info["comment"] == b"a drawing by dogbreed-kit, not a photo"


def test_the_same_seed_draws_the_same_bytes_and_another_does_not(sample, tmp_path):
    options = {"breeds": 6, "train_per_breed": 4, "test_per_breed": 2}
    assert digests(draw_sample(tmp_path / "again", seed=3, **options)) == digests(sample)
    other = draw_sample(tmp_path / "other", seed=4, **options)
    assert not {path.name for path in other.rglob("*.jpg")} & {path.name for path in sample.rglob("*.jpg")}


def test_the_planted_defects_are_what_the_audit_finds(sample, truth):
    defects = truth["defects"]
    data = load_data(sample)
    report = audit(data, workers=1)
    assert report.quarantined == {defects["corrupt"]["id"]}
    twins = defects["near_duplicate"]
    assert [{pair.a, pair.b} for pair in report.pairs] == [{twins["a"], twins["b"]}]
    assert report.pairs[0].conflict
    labels = {photo.id: photo.breed for photo in data.train}
    wrong = {name for name, breed in labels.items() if breed != truth["photos"][name]["breed"]}
    assert wrong == {defects["mislabelled"]["id"], twins["b"]}
    assert labels[defects["mislabelled"]["id"]] == defects["mislabelled"]["labelled"]
    assert len({defects["mislabelled"]["id"], defects["corrupt"]["id"], twins["a"], twins["b"]}) == 4


def test_boxes_outlines_and_ellipses_lie_on_the_animal(sample, truth):
    import cv2

    covered = []
    for name, entry in truth["photos"].items():
        if "box" not in entry or name == truth["defects"]["corrupt"]["id"]:
            continue
        height, width = read_photo(sample / entry["split"] / f"{name}.jpg").shape[:2]
        assert [width, height] == entry["size"]
        left, top, right, bottom = entry["box"]
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        outline = np.array(entry["outline"], np.int32)
        assert ((outline >= (left, top)) & (outline < (right, bottom))).all()
        inside = cv2.fillPoly(np.zeros((height, width), np.uint8), [outline], 1)
        covered.append(inside.mean())
        x, y, long, short, angle = entry["ellipse"]
        round_it = cv2.ellipse(np.zeros_like(inside), ((x, y), (2 * long, 2 * short), angle), 1, -1)
        assert (inside & round_it).sum() / (inside | round_it).sum() > 0.3
        assert long >= short > 0
    assert min(covered) > 0.06
    assert max(covered) < 0.65


def test_breeds_differ_more_than_pictures_of_one_breed(sample, truth):
    """The animals' own colours tell the breeds apart better than chance, and not perfectly: learnable, not trivial."""
    import cv2

    rows, names = [], []
    for name, entry in truth["photos"].items():
        if "box" not in entry or name == truth["defects"]["corrupt"]["id"]:
            continue
        image = read_photo(sample / entry["split"] / f"{name}.jpg")
        mask = cv2.fillPoly(np.zeros(image.shape[:2], np.uint8), [np.array(entry["outline"], np.int32)], 1).astype(bool)
        rows.append(np.concatenate([image[mask].mean(axis=0), image[mask].std(axis=0)]))
        names.append(entry["breed"])
    features, labels = np.array(rows), np.array(names)
    distance = np.linalg.norm(features[:, None] - features[None], axis=2) + np.diag([np.inf] * len(rows))
    right = (labels[distance.argmin(axis=1)] == labels).mean()
    assert 1.5 / 6 < right < 0.98


def test_is_left_alone_when_it_is_there_and_drawn_anew_for_other_numbers(tmp_path):
    options = {"breeds": 2, "train_per_breed": 3, "test_per_breed": 1}
    folder = draw_sample(tmp_path / "x", **options)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.*")}
    assert draw_sample(folder, **options) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.*")} == before
    draw_sample(folder, seed=1, **options)
    assert not set(before) & set(folder.rglob("*.jpg"))
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_another_folder_is_never_overwritten(tmp_path):
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(DataError, match="holds something else"):
        draw_sample(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("options", [{"breeds": 1}, {"breeds": 99}, {"train_per_breed": 2}, {"seed": -1}])
def test_impossible_numbers(tmp_path, options):
    with pytest.raises(UsageError, match="impossible sample"):
        draw_sample(tmp_path / "x", **options)


def test_two_that_draw_the_same_at_once_draw_it_once(tmp_path, monkeypatch):
    drawn = []
    original = module._draw_all
    monkeypatch.setattr(module, "_draw_all", lambda *given: drawn.append(1) or original(*given))
    options = {"breeds": 2, "train_per_breed": 3, "test_per_breed": 1}
    threads = [threading.Thread(target=draw_sample, args=(tmp_path / "x",), kwargs=options) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert drawn == [1]
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
