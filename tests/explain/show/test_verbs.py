from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from competition.data.source.competition_data import Photo
from competition.data.source.layout import load_data
from competition.errors import DataError, UsageError
from competition.explain.show import verbs
from competition.explain.show.photo_map import features_of
from competition.explain.show.verbs import Brush, Output, output_to
from competition.pictures import figures
from tests.explain.fake_backend import FakeBackend

QUICK = Brush(steps=20, jitter=0)


@pytest.fixture
def photo(tmp_path: Path, rng: np.random.Generator) -> Path:
    path = tmp_path / "my dog.jpg"
    Image.fromarray(rng.integers(0, 255, (40, 60, 3), dtype=np.uint8)).save(path)
    return path


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def test_paint_writes_the_picture_and_its_curve(tmp_path: Path) -> None:
    backend = FakeBackend()
    written = verbs.paint_or_dream(backend, Output(tmp_path), QUICK, target="pug", versus="chow")
    assert [path.name for path in written] == [
        "ascent-pug-rather-than-chow.png",
        "ascent-pug-rather-than-chow-curve.png",
    ]
    assert size_of(written[0]) == (10, 12)
    assert size_of(written[1])[0] > 500
    large = verbs.paint_or_dream(backend, Output(tmp_path), Brush(steps=4, size=48), layer="mix", channels=[0, 2])
    assert len(large) == 4
    assert size_of(large[0]) == (40, 48)
    assert large[2].name == "ascent-mix-channel-2.png"


def test_dream_keeps_the_photo_s_proportions(tmp_path: Path, photo: Path) -> None:
    brush = Brush(steps=2, octaves=2, size=30)
    (written,) = verbs.paint_or_dream(FakeBackend(), Output(tmp_path), brush, photo=photo, layer="mix")
    assert written.name == "dream-my-dog-mix.png"
    assert size_of(written) == (30, 20)
    (grey,) = verbs.paint_or_dream(FakeBackend((12, 10, 1)), Output(tmp_path), brush, photo=photo, layer="mix")
    with Image.open(grey) as image:
        assert np.ptp(np.asarray(image), axis=2).max() == 0


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, "--target BREED, or --layer"),
        ({"target": "pug", "layer": "mix"}, "either --target"),
        ({"layer": "mix"}, r"--channel of 'mix' \(0 to 3\)"),
        ({"photo": Path("x.jpg")}, "needs --layer"),
        ({"layer": "mix", "channels": [7]}, "channels 0 to 3"),
        ({"target": "pugg"}, "did you mean 'pug'"),
    ],
)
def test_what_cannot_be_painted(tmp_path: Path, asked: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        verbs.paint_or_dream(FakeBackend(), Output(tmp_path), QUICK, **asked)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_filters_and_activations(tmp_path: Path, photo: Path) -> None:
    backend, output = FakeBackend(), Output(tmp_path / "out")
    image = verbs.read_prepared(backend, photo)
    assert image.shape == backend.input_shape
    assert verbs.show_filters(backend, output).name == "filters-stem.png"
    assert verbs.show_activations(backend, image, photo.name, output).name == "activations-my-dog-mix.png"
    assert verbs.show_activations(backend, image, photo.name, output, "mix", together=True).is_file()
    with pytest.raises(UsageError, match="no map over the image"):
        verbs.show_activations(backend, image, photo.name, output, "pool")


def test_pictures_reach_tensorboard(tmp_path: Path, photo: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with output_to(tmp_path / "out", tmp_path / "board") as output:
        verbs.show_filters(FakeBackend(), output)
        verbs.paint_or_dream(FakeBackend(), output, QUICK, target="pug")
    events = EventAccumulator(str(tmp_path / "board")).Reload()
    tags = events.Tags()["images"]
    assert sorted(tags) == ["explain/ascent-pug", "explain/ascent-pug-curve", "explain/filters-stem"]
    picture = events.Images("explain/ascent-pug")[0]
    assert (picture.width, picture.height) == (10, 12)


def test_embedding_map_of_photos(tmp_path: Path, rng: np.random.Generator) -> None:
    photos = []
    for number in range(24):
        path = tmp_path / f"{number}.png"
        colour = np.array([[30, 200, 60], [220, 40, 40], [40, 60, 220]], np.uint8)[number % 3]
        Image.fromarray(np.broadcast_to(colour, (20, 20, 3)) + rng.integers(0, 20, (20, 20, 3), dtype=np.uint8)).save(
            path
        )
        photos.append(Photo(f"id{number}", path, ("green", "red", "blue")[number % 3]))
    photos[5].path.write_bytes(b"broken")
    kept, features, thumbnails = features_of(FakeBackend(), photos)
    assert [photo.id for photo in kept] == [f"id{number}" for number in range(24) if number != 5]
    assert features.shape == (23, 4)
    assert thumbnails[0].shape == (32, 32, 3)
    labels = [str(photo.breed) for photo in kept]
    output = Output(tmp_path / "out")
    written = verbs.show_embedding(features, labels, [p.id for p in kept], thumbnails, output, method="pca")
    assert [path.name for path in written] == ["embedding-pca.png", "embedding-pca-photos.png", "embedding-pca.csv"]
    with written[2].open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    points = np.array([[float(row["x"]), float(row["y"])] for row in rows])
    from competition.explain.inside.embedding_map import together

    assert together(points, np.array([row["breed"] for row in rows]), 5) == 1.0  # three colours, three heaps
    with pytest.raises(UsageError, match="labelled 'pug'"):
        verbs.show_embedding(features, labels, labels, [], output, method="pca", breeds=["pug"])
    for photo in photos:
        photo.path.write_bytes(b"broken")
    with pytest.raises(DataError, match="none of the photos"):
        features_of(FakeBackend(), photos)


def test_features_of_the_cache_need_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from competition.explain.show import photo_map
    from competition.training.probe import cached_features
    from tests.explain import fakes

    fakes.make_kaggle(tmp_path / "data", 8)
    data = load_data(tmp_path / "data")
    run = fakes.make_run(tmp_path / "run", data)
    features = np.eye(3)[data.labels] + 0.01 * np.random.default_rng(0).normal(size=(24, 3))
    shuffled = np.random.default_rng(1).permutation(24)
    ids = [data.train_ids[row] for row in shuffled]
    monkeypatch.setattr(cached_features, "run_features", lambda *_: (ids, features[shuffled]))

    def refuse() -> FakeBackend:
        raise AssertionError("no network is needed")

    written = photo_map.map_photos(
        run.path, refuse, tmp_path / "data", Output(tmp_path / "out"), method="pca", most=12, breeds=["pug"]
    )
    with written[-1].open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 12
    breed_of = {photo.id: photo.breed for photo in data.train}
    assert all(row["breed"] == breed_of[row["id"]] for row in rows)
    points = np.array([[float(row["x"]), float(row["y"])] for row in rows])
    pugs = np.array([row["breed"] == "pug" for row in rows])
    assert np.linalg.norm(points[pugs] - points[pugs].mean(axis=0), axis=1).max() < 0.1  # each feature at its photo


def test_sheet_has_a_panel_per_picture() -> None:
    panels = [figures.Panel(np.zeros((4, 4, 1)), f"$name {i}$", "below") for i in range(5)]
    figure = figures.sheet(figures.wrapped(panels, 3), title="a title")
    drawn = [axes for axes in figure.axes if axes.images]
    assert len(drawn) == 5
    assert drawn[0].get_title() == r"\$name 0\$"
    assert figures.as_image(figure).ndim == 3
    with pytest.raises(UsageError, match="no picture"):
        figures.sheet([])


def test_names_on_a_map_do_not_cover_one_another() -> None:
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(size=(30, 2)), rng.normal(size=(30, 2)), rng.normal((40, 60), 1, (5, 2))])
    labels = np.array(["a"] * 30 + ["b"] * 30 + ["c"] * 5)
    places = figures.label_places(points, labels, ["a", "b", "c", "absent"])
    assert set(places) == {"a", "b", "c"}
    assert abs(places["a"][1] - places["b"][1]) >= 0.025 * np.ptp(points[:, 1])
    np.testing.assert_allclose(places["c"], np.median(points[60:], axis=0))  # alone there: not moved


def test_names_become_file_names() -> None:
    assert verbs.safe("../a b/c: d") == "a-b-c-d"
    assert verbs.safe("柴犬") == "picture"
