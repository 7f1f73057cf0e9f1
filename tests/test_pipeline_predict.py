"""Photos for a finished run, one by one; and a run whose data and folder are called by bytes that are no UTF-8."""

from __future__ import annotations

import csv
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from competition import pipeline
from competition.cli import app
from competition.config import ProbeConfig
from competition.data.sample.competition import draw_sample
from competition.data.source.layout import load_data, load_photos
from competition.errors import DataError, PhotoError, UsageError
from competition.prediction.ledger.ledger import Ledger
from competition.prediction.ledger.record_submission import record_submission
from competition.record.tensorboard import tensorboard
from competition.report.best_breeds import best_lines
from competition.types import Predictions
from tests.training.conftest import save_local_dir

CONFIG = ProbeConfig(n_folds=3, strengths=(1.0, 0.1), batch_size=8, workers=0, device="cpu", precision="float32")
BYTES = os.fsdecode(b"caf\xe9")  # Latin-1


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose name is not UTF-8, with data, weights and a finished run."""
    folder = tmp_path_factory.mktemp("home") / BYTES
    folder.mkdir()
    draw_sample(folder / "data", breeds=3, train_per_breed=8, test_per_breed=2)
    save_local_dir(folder.parent / "weights" / "tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOGBREED_CACHE", str(folder / "cache"))
        pipeline.run(folder / "data", CONFIG, folder / "run", weights=folder.parent / "weights")
    return folder


def said(*arguments: object) -> str:
    done = CliRunner().invoke(app, ["predict", *map(str, arguments)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def photos_of(home: Path, folder: Path) -> list[Path]:
    folder.mkdir()
    paths = sorted((home / "data" / "test").iterdir())[:3]
    return [Path(shutil.copy(path, folder / f"photo{number}.jpg")) for number, path in enumerate(paths)]


def test_a_run_and_data_that_are_not_called_in_utf8(home):
    run = home / "run"
    assert (run / "report" / "index.html").read_text(encoding="utf-8")
    assert (run / "audit.html").is_file()
    assert list((run / "tensorboard" / "probe").glob("events*"))
    assert pipeline.run(home / "data", CONFIG, run, weights=home.parent / "weights").seconds < 30  # read back
    ledger = Ledger(home / "submissions" / "ledger.csv")
    entry, *_ = record_submission(run / "submission.csv", run, load_data(home / "data"), ledger, "")
    assert ledger.entries()[0].file == entry.file
    moved = shutil.copytree(run, home / BYTES)
    (moved / "submission.csv").write_text((run / "submission.csv").read_text() + "\n")
    record_submission(moved / "submission.csv", moved, load_data(home / "data"), ledger, "")
    assert ledger.entries()[1].file == f"{BYTES}/submission.csv"
    assert ledger.find(ledger.entries()[1]) == moved.resolve() / "submission.csv"


def test_one_photo_gives_its_best_breeds_and_a_map_on_request(home, tmp_path):
    photo, *_ = photos_of(home, tmp_path / "photos")
    out = said(home / "run", "--data", photo, "--weights", home.parent / "weights", "--map", tmp_path / "map.png")
    lines = out.splitlines()
    assert lines[0] == "photo0"
    assert len(lines) == 1 + 3 + 1
    shares = [float(line.rsplit(maxsplit=2)[1]) for line in lines[1:4]]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(100, abs=0.2)
    assert np.asarray(Image.open(tmp_path / "map.png")).shape[2] >= 3
    stored = Predictions.load(home / "run" / "test.npz")
    original = sorted((home / "data" / "test").iterdir())[0].stem
    best = stored.probabilities[stored.ids.index(original)]
    assert shares[0] == pytest.approx(100 * best.max(), abs=0.06)


def test_several_photos_and_a_plain_folder(home, tmp_path):
    paths = photos_of(home, tmp_path / "photos")
    (tmp_path / "photos" / "notes.txt").write_text("x")
    one = said(home / "run", *paths, "--weights", home.parent / "weights")
    assert [line for line in one.splitlines() if not line.startswith(" ")] == ["photo0", "photo1", "photo2"]
    assert said(home / "run", "--data", tmp_path / "photos", "--weights", home.parent / "weights") == one
    repeated = [part for path in paths for part in ("--data", path)]
    assert said(home / "run", *repeated, "--weights", home.parent / "weights") == one
    table = tmp_path / "p.csv"
    assert said(home / "run", *paths, "--weights", home.parent / "weights", "--out", table).startswith(
        f"{table}: 3 rows, valid"
    )
    assert [row["id"] for row in csv.DictReader(table.open())] == ["photo0", "photo1", "photo2"]


def test_what_predict_cannot_take_is_one_line(home, tmp_path):
    paths = photos_of(home, tmp_path / "photos")
    text = tmp_path / "photos" / "notes.txt"
    text.write_text("no photo")
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(paths[0].read_bytes()[:300])
    run, weights = home / "run", home.parent / "weights"
    with pytest.raises(DataError, match=r"gone\.jpg does not exist"):
        said(run, paths[0], tmp_path / "gone.jpg")
    with pytest.raises(DataError, match="photos is a folder: give photos"):
        said(run, paths[0], tmp_path / "photos")
    with pytest.raises(DataError, match=r"notes\.txt is no photo that can be read \(its format: none\)"):
        said(run, paths[0], text)
    with pytest.raises(DataError, match="is a table, not the data"):
        said(run, "--data", text)
    with pytest.raises(PhotoError, match=r"broken\.jpg is truncated or damaged"):
        said(run, "--data", broken, "--weights", weights)
    with pytest.raises(UsageError, match=r"--map draws one photo, not 3: 'dogbreed explain"):
        said(run, *paths, "--map", tmp_path / "m.png")


def test_photos_of_one_name_are_told_apart_by_their_folders(home, tmp_path):
    paths = photos_of(home, tmp_path / "a")[:1] + photos_of(home, tmp_path / "b")[:1]
    assert load_photos(paths).test_ids == tuple(map(str, paths))
    assert load_photos([paths[0], paths[0]]).test_ids == ("photo0",)


def test_a_photo_that_is_not_called_in_utf8(home, tmp_path):
    photo = photos_of(home, tmp_path / "photos")[0].rename(tmp_path / "photos" / f"{BYTES}.jpg")
    assert said(home / "run", photo, "--weights", home.parent / "weights").splitlines()[0] == r"caf\xe9"
    with pytest.raises(DataError, match=r"1 photos have names not in UTF-8 \(first: caf\\xe9\): rename them"):
        said(home / "run", photo, "--weights", home.parent / "weights", "--out", tmp_path / "p.csv")


@pytest.mark.parametrize("what", ["photo", "class folder", "labels"])
def test_ids_and_breeds_that_are_not_utf8_are_refused_by_name_at_the_start(tmp_path, what):
    draw_sample(tmp_path / "data", breeds=2, train_per_breed=3, test_per_breed=1)
    photos = sorted((tmp_path / "data" / "train").glob("*.jpg"))
    if what == "labels":
        (tmp_path / "data" / "test" / f"{BYTES}.jpg").write_bytes(photos[0].read_bytes())
        with pytest.raises(DataError, match=r"1 photos have names not in UTF-8 \(first: .*caf\\xe9\.jpg\)"):
            load_data(tmp_path / "data")
        return
    folders = [tmp_path / "classes" / name for name in ("pug", BYTES if what == "class folder" else "akita")]
    for number, folder in enumerate(folders):
        folder.mkdir(parents=True)
        shutil.copy(photos[number], folder / f"{number}.jpg")
    if what == "photo":
        shutil.copy(photos[0], folders[0] / f"{BYTES}.jpg")
    with pytest.raises(DataError, match=r"names not in UTF-8 \(first: .*caf\\xe9") as caught:
        load_data(tmp_path / "classes")
    assert str(caught.value).isascii()


def test_tensorboard_writes_below_such_a_folder(tmp_path):
    with tensorboard(tmp_path / BYTES / "board") as writer:
        writer.add_scalar("a", 1.0, 0)
    assert [path.name[:6] for path in (tmp_path / BYTES / "board").iterdir()] == ["events"]


def test_the_table_is_easy_to_read():
    predicted = Predictions(("a",), ("n02085620-Chihuahua", "border_collie", "pug"), np.array([[0.25, 0.7, 0.05]]))
    assert best_lines(predicted, 2) == ["a", "  Border collie   70.0 %", "  Chihuahua       25.0 %"]
