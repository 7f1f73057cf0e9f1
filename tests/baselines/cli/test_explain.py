"""``baselines explain``, ``ascent`` and ``show`` on trained runs of either framework."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from baselines import create_model, fit, load_dataset
from baselines.cli import app
from baselines.explain.open_run import open_backend
from competition.errors import ResumeError, UsageError
from competition.explain.inside.ascent import AscentConfig, ascend
from competition.explain.inside.objectives import ClassObjective
from competition.explain.networks.protocol import Backend
from competition.files import write_npz
from tests.baselines.toys import CLASSES, quarters

SIDE = 32


@pytest.fixture(scope="module")
def npz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = quarters(train=240, test=40, side=SIDE)
    path = tmp_path_factory.mktemp("sets") / "quarters.npz"
    arrays = {
        f"{axis}_{name}": getattr(getattr(data, name), key)
        for name in ("train", "test")
        for axis, key in (("x", "images"), ("y", "labels"))
    }
    write_npz(path, **arrays)
    return path


@pytest.fixture(scope="module", params=["pytorch", "keras"])
def run(request: pytest.FixtureRequest, npz: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    framework = str(request.param)
    if framework == "keras":
        request.getfixturevalue("keras_installed")
    data = load_dataset(str(npz))
    folder = tmp_path_factory.mktemp(framework) / "run"
    model = create_model("lenet5", framework, data.num_classes, data.in_channels, SIDE, activation="relu")
    result = fit(model, data, run_dir=folder, epochs=4, batch_size=32, optimiser="adam", lr=0.003, device="cpu")
    assert result.accuracy > 0.9
    return folder


def baselines(*arguments: object) -> list[Path]:
    """The paths that a command prints; what it raises is raised."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return [Path(line) for line in result.stdout.splitlines()]


def test_explain_files_and_images_of_the_set(run: Path, npz: Path, tmp_path: Path) -> None:
    data = quarters(train=240, test=40, side=SIDE)
    Image.fromarray(data.test.images[3, :, :, 0]).save(tmp_path / "mine.png")
    written = baselines(
        "explain",
        run,
        "test:0",
        tmp_path / "mine.png",
        "--out",
        tmp_path / "out",
        "--method",
        "gradcam",
        "--method",
        "occlusion",
        "--tensorboard",
        tmp_path / "board",
    )
    assert all(path.is_file() for path in written)
    with (tmp_path / "out" / "explain.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    labels = {name: str(load_dataset(str(npz)).classes[data.test.labels[i]]) for name, i in (("test", 0), ("mine", 3))}
    assert {row["called"] for row in rows if row["photo"] == "mine.png"} == {labels["mine"]}
    assert {row["called"] for row in rows if row["photo"].startswith("test 0")} == {labels["test"]}
    assert list((tmp_path / "board").glob("events.*"))


def test_class_ascent_beats_every_image(run: Path) -> None:
    """The painted picture has a higher logit than any image of the set, and is brightest in its class's quarter."""
    backend: Backend = open_backend(run)
    data = quarters(train=240, test=40, side=SIDE)
    images = np.stack([backend.prepare(image) for image in data.train.images])
    logits = backend.logits(images)
    for index, name in enumerate(backend.classes):
        found = ascend(
            backend,
            ClassObjective(backend, name),
            AscentConfig(steps=60, jitter=0, zoom=0, rate=0.2, octaves=1, total_variation=0, decay=0),
        )
        assert found.values[-1] > logits[:, index].max() + 1
        assert backend.logits(found.image[None]).argmax() == index
        halves = found.image.reshape(2, SIDE // 2, 2, SIDE // 2).mean(axis=(1, 3))
        assert halves.argmax() == index


def test_the_same_verbs_for_both_frameworks(run: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "out")
    backend = open_backend(run)
    conv = backend.last_spatial_layer()
    (filters,) = baselines("show", "filters", run, *out)
    assert filters.name.startswith("filters-")
    (maps,) = baselines("show", "activations", run, "valid:2", *out)
    assert conv.replace("/", "-") in maps.name
    points = baselines("show", "embedding", run, *out, "--method", "pca", "--images", "40")
    assert [path.name for path in points] == ["embedding-pca.png", "embedding-pca-photos.png", "embedding-pca.csv"]
    painted = baselines("ascent", run, "--layer", conv, "--channel", "1", "--steps", "8", "--size", "64", *out)
    with Image.open(painted[0]) as image:
        assert image.size == (64, 64)
    Image.fromarray(np.full((40, 50), 120, np.uint8)).save(tmp_path / "grey.png")
    (dreamt,) = baselines("ascent", run, "--photo", tmp_path / "grey.png", "--layer", conv, "--steps", "2", *out)
    assert dreamt.name == f"dream-grey-{conv.replace('/', '-')}.png"


def test_mistakes(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="images 0 to 39"):
        baselines("explain", run, "test:40")
    with pytest.raises(UsageError, match="is not one of the 4 classes"):
        baselines("explain", run, "test:1", "--target", "north")
    with pytest.raises(UsageError, match="did you mean 'gradcam'"):
        baselines("explain", run, "test:1", "--method", "gradcamm")
    with pytest.raises(UsageError, match="unknown part 'tests'"):
        baselines("show", "embedding", run, "--part", "tests")
    with pytest.raises(ResumeError, match="no run of a baseline"):
        baselines("ascent", tmp_path, "--target", CLASSES[0])
