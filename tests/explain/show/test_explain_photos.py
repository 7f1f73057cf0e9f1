from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from competition.errors import PhotoError, UsageError
from competition.explain.maps.cam import cam
from competition.explain.networks.protocol import class_target
from competition.explain.show import explain_photos as module
from competition.explain.show.explain_photos import RANDOM, explain_photos, explained, heat, method_names
from competition.explain.show.verbs import Output
from competition.record.metrics import softmax
from tests.explain.fake_backend import FakeBackend

SHAPE = (24, 20, 3)


@pytest.fixture
def photos(tmp_path: Path, rng: np.random.Generator) -> list[Path]:
    found = [tmp_path / "a" / "dog.png", tmp_path / "b" / "dog.png"]
    for path in found:
        path.parent.mkdir()
        Image.fromarray(rng.integers(0, 255, (40, 36, 3), dtype=np.uint8)).save(path)
    return found


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_each_photo_is_explained_as_what_it_is_called(rng: np.random.Generator) -> None:
    backend = FakeBackend(SHAPE)
    images = np.clip(backend.templates + rng.normal(0, 0.05, backend.templates.shape), 0, 1).astype(np.float32)
    found = explained(backend, images, ["x", "y", "z"], methods=["gradcam", "occlusion"])
    assert found.called == backend.classes  # every image is its own template
    assert found.targets == backend.classes
    np.testing.assert_allclose(found.probabilities, softmax(backend.logits(images)), rtol=1e-5)
    np.testing.assert_allclose(
        found.maps["gradcam"], cam(backend, images, class_target(backend.classes, backend.classes)), atol=1e-6
    )
    assert found.maps["occlusion"].shape == (3, 24, 20)
    assert found.p(0, "chow") == pytest.approx(float(found.probabilities[0, 0]))


def test_files_table_and_curves(tmp_path: Path, photos: list[Path]) -> None:
    backend, output = FakeBackend(SHAPE), Output(tmp_path / "out")
    written = explain_photos(
        backend, photos, output, methods=["gradcam", "gradients"], target="PUG", versus="lakeland terrier"
    )
    names = [path.name for path in written]
    assert names == [
        "explain-dog.png",
        "explain-dog-2.png",
        "explain.png",
        "faithfulness-deletion.png",
        "faithfulness-insertion.png",
        "explain.csv",
    ]
    rows = read(written[-1])
    assert [(row["photo"], row["method"]) for row in rows] == [
        ("dog.png", method) for _ in photos for method in ("gradcam", "gradients", RANDOM)
    ]
    assert {row["target"] for row in rows} == {"pug"}
    assert {row["versus"] for row in rows} == {"lakeland_terrier"}
    assert all(0 <= float(row["deletion"]) <= 1 for row in rows)


def test_without_curves(tmp_path: Path, photos: list[Path]) -> None:
    written = explain_photos(FakeBackend(SHAPE), photos[:1], Output(tmp_path / "out"), curves=False, layer="mix")
    assert [path.name for path in written] == ["explain-dog.png", "explain.csv"]
    (row,) = read(written[-1])
    assert (row["method"], row["layer"], row["deletion"]) == ("gradcam", "mix", "")


def test_all_methods_but_those_that_need_no_layer() -> None:
    assert method_names([]) == ("gradcam",)
    assert set(method_names(["all"])) == set(module.METHODS)
    assert "occlusion" not in method_names(["all"], "mix")
    assert method_names(["guided", "guided", "gradcam"]) == ("guided", "gradcam")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"methods": ["gradkam"]}, "did you mean 'gradcam'"),
        ({"target": "pugg"}, "did you mean 'pug'"),
        ({"target": "pug", "versus": "pug"}, "compared with itself"),
        ({"layer": "pool"}, "no map over the image"),
        ({"layer": "mixx"}, "near ones: mix"),
        ({"methods": ["gradients"], "layer": "mix"}, "leave --layer out"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    tmp_path: Path, photos: list[Path], asked: dict[str, object], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        explain_photos(FakeBackend(SHAPE), photos, Output(tmp_path / "out"), **asked)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_a_photo_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(b"no photo")
    with pytest.raises(PhotoError, match=r"x\.jpg"):
        explain_photos(FakeBackend(SHAPE), [tmp_path / "x.jpg"], Output(tmp_path / "out"))


def test_heat_names_its_methods() -> None:
    with pytest.raises(UsageError, match="occlusion"):
        heat(FakeBackend(SHAPE), np.zeros((1, *SHAPE), np.float32), class_target(("a", "b", "c"), ["a"]), "occlusionn")
