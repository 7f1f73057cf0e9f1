"""``dogbreed explain``, ``ascent``, ``show filters|activations|embedding``, ``report --maps`` on a fake network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from competition.cli import app
from competition.data.source.layout import load_data
from competition.errors import KitError, ResumeError, UsageError
from competition.explain.networks import open_run
from tests.explain import fakes
from tests.explain.fake_backend import FakeBackend

BREEDS = ("chow", "lakeland_terrier", "pug")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run folder on the disk whose network is a fake; what the network was asked for is kept in ``opened``."""
    fakes.make_kaggle(tmp_path / "data", 8)
    folder = fakes.make_run(tmp_path / "run", load_data(tmp_path / "data"), sure=1.0).path
    opened.clear()

    def open_backend(path: Path, **options: Any) -> FakeBackend:
        opened.append(options)
        return FakeBackend((24, 20, 3), BREEDS, seed=options["fold"] or 0)

    monkeypatch.setattr(open_run, "open_backend", open_backend)
    return folder


opened: list[dict[str, Any]] = []


def dogbreed(*arguments: object) -> list[Path]:
    """The paths that a command prints; what it raises is raised."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return [Path(line) for line in result.stdout.splitlines()]


def test_explain(run: Path, tmp_path: Path) -> None:
    photo = run.parent / "data" / "train" / "photo0.jpg"
    written = dogbreed(
        "explain", run, photo, "--fold", 2, "--backbone", "tiny", "--weights", tmp_path, "--target", "Lakeland terrier",
        "--versus", "pug", "--layer", "mix", "--out", tmp_path / "out",
    )  # fmt: skip
    assert opened == [{"fold": 2, "backbone": "tiny", "weights": tmp_path}]
    assert [path.name for path in written] == [
        "explain-photo0.png",
        "faithfulness-deletion.png",
        "faithfulness-insertion.png",
        "explain.csv",
    ]
    assert all(path.is_file() for path in written)


def test_ascent_and_show(run: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "out")
    settings = ("--steps", 6, "--size", 48, "--octaves", 2, "--jitter", 0.05, "--seed", 4)
    painted = dogbreed("ascent", run, "--target", "pug", *settings, "--total-variation", 0.5, *out)
    with Image.open(painted[0]) as image:
        assert image.size == (40, 48)
    assert len(dogbreed("ascent", run, "--layer", "mix", "--channel", 0, "--channel", 3, "--steps", 4, *out)) == 4
    photo = run.parent / "data" / "train" / "photo3.jpg"
    names = [
        dogbreed("show", "filters", run, *out)[0].name,
        dogbreed("show", "activations", run, photo, *out)[0].name,
        dogbreed("ascent", run, "--photo", photo, "--layer", "mix", "--steps", 2, *out)[0].name,
    ]
    assert names == ["filters-stem.png", "activations-photo3-mix.png", "dream-photo3-mix.png"]
    maps = dogbreed("show", "embedding", run, "--data", run.parent / "data", "--method", "pca", "--breed", "pug", *out)
    assert [path.suffix for path in maps] == [".png", ".png", ".csv"]
    assert len(maps[2].read_text().splitlines()) == 1 + 24


def test_mistakes(run: Path, tmp_path: Path) -> None:
    photo = run.parent / "data" / "train" / "photo0.jpg"
    with pytest.raises(UsageError, match="near ones: mix"):
        dogbreed("explain", run, photo, "--layer", "mixx", "--out", tmp_path / "out")
    with pytest.raises(UsageError, match="did you mean 'pug'"):
        dogbreed("explain", run, photo, "--target", "pugg", "--out", tmp_path / "out")
    with pytest.raises(ResumeError, match="not a run folder"):
        dogbreed("show", "embedding", tmp_path)
    assert not (tmp_path / "out").exists()


def test_report_with_maps_without_and_where_there_are_none(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ("--data", run.parent / "data")

    def mapped() -> bool:
        texts = [path.read_text() for path in (run / "report" / "pairs").glob("*.html")]
        assert texts
        return any("../maps/" in text for text in texts)

    dogbreed("report", run, "--no-maps", *data)
    assert not mapped()
    assert opened == []
    dogbreed("report", run, *data)
    assert mapped()

    def refuse(path: Path, **options: Any) -> FakeBackend:
        raise KitError("no weights here")

    monkeypatch.setattr(open_run, "open_backend", refuse)
    dogbreed("report", run, *data)
    assert not mapped()
    with pytest.raises(KitError, match="no weights here"):
        dogbreed("report", run, "--maps", *data)


def test_the_fake_run_is_judged_by_folds(run: Path) -> None:
    dogbreed("report", run, "--data", run.parent / "data")
    assert {options["fold"] for options in opened} == {None, 0, 1, 2}
    images = np.asarray(Image.open(next((run / "report" / "maps").rglob("*.jpg"))))
    assert images.shape == (24, 20, 3)
