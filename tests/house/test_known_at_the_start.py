"""What can be known at the start is told at the start: nothing is decoded, trained or written before."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from competition import pipeline
from competition.data.sample.competition import draw_sample
from competition.data.source.layout import load_data
from competition.errors import DataError, KitError, StorageError, SubmissionError, UsageError, WeightsError
from competition.files import require_writable
from competition.prediction.ledger.ledger import Ledger
from competition.prediction.submission.write import read_submission
from competition.training import cross_validate
from competition.types import Predictions
from tests.test_pipeline import CONFIG
from tests.training.conftest import save_local_dir

Change = Callable[[Path], object]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    save_local_dir(folder / "first")
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return draw_sample(tmp_path / "data", breeds=3, train_per_breed=6, test_per_breed=2)


def rewrite(name: str, change: Callable[[str], str]) -> Change:
    return lambda folder: (folder / name).write_text(change((folder / name).read_text()))


def breed(text: str) -> str:
    return text.splitlines()[1].split(",")[1]


BAD_SAMPLES: dict[str, tuple[Change, str]] = {
    "labels spelt otherwise": (rewrite("labels.csv", lambda t: t.replace(breed(t), "x y")), "1 unknown column"),
    "a breed too few": (rewrite("sample_submission.csv", lambda t: t.replace("id,", "id,zebra,", 1)), "'zebra'"),
    "no column id": (rewrite("sample_submission.csv", lambda t: t.replace("id,", "name,", 1)), "expected 'id'"),
    "empty": (rewrite("sample_submission.csv", lambda t: ""), "it is empty"),
    "a folder's worth of other ids": (
        rewrite("sample_submission.csv", lambda t: t.replace("drawing_", "photo_")),
        "none of its 6 ids has a photo in test/",
    ),
}


@pytest.mark.parametrize("name", BAD_SAMPLES)
def test_a_sample_that_does_not_fit_stops_a_run_before_the_first_photo(
    data: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    change, said = BAD_SAMPLES[name]
    change(data)
    monkeypatch.setattr(pipeline, "check_start", lambda *_: pytest.fail("the weights were loaded before"))
    with pytest.raises(SubmissionError, match=said):
        pipeline.run(data, CONFIG, tmp_path / "run", weights=weights)
    assert not (tmp_path / "run").exists()


def test_an_absent_test_photo_gets_the_class_prior_in_run_and_predict(
    data: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = load_data(data).test[1]
    gone.path.unlink()
    done = pipeline.run(data, CONFIG, tmp_path / "run", weights=weights)
    assert f"1 of the 6 test photos that sample_submission.csv names are not there (first: {gone.id})" in (
        capsys.readouterr().err.replace("\n", " ")
    )
    assert done.submission is not None
    written = read_submission(done.submission, data / "sample_submission.csv")
    labels = load_data(data).without(()).labels
    table = np.bincount(labels[np.isin(load_data(data).train_ids, done.cv.oof.ids)], minlength=3)
    np.testing.assert_allclose(written.aligned_to([gone.id], done.cv.oof.classes).probabilities[0], table / table.sum())
    assert gone.id in Predictions.load(tmp_path / "run" / "test.npz").ids
    report = pipeline.predict(tmp_path / "run", data, tmp_path / "p.csv", weights=weights)
    assert (report.rows, report.ok) == (6, True)


def test_a_run_made_before_the_sample_named_more_photos_is_completed(data: Path, weights: Path, tmp_path: Path) -> None:
    pipeline.run(data, CONFIG, tmp_path / "run", weights=weights)
    sample = data / "sample_submission.csv"
    sample.write_text(sample.read_text() + "late," + sample.read_text().splitlines()[1].split(",", 1)[1] + "\n")
    again = pipeline.run(data, CONFIG, tmp_path / "run", weights=weights)
    assert again.submission is not None
    assert "\nlate,0." in again.submission.read_text()


def test_what_is_finished_is_reported_although_the_submission_cannot_be_written(
    data: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise StorageError("no space left")

    monkeypatch.setattr(pipeline, "write_submission", fail)
    with pytest.raises(StorageError, match="no space left"):
        pipeline.run(data, CONFIG, tmp_path / "run", weights=weights)
    assert (tmp_path / "run" / "report" / "index.html").is_file()


BAD_PREDICTIONS: dict[str, tuple[Change, str, str]] = {
    "the sample": (rewrite("data/sample_submission.csv", lambda t: t.replace("id,", "id,z,", 1)), "p.csv", "'z'"),
    "other photos": (
        rewrite("data/sample_submission.csv", lambda t: t.replace("drawing_", "p_")), "p.csv", "none of its 6 ids",
    ),
    "the weights": (lambda home: shutil.rmtree(home / "weights" / "first"), "p.csv", "holds no folder with"),
    "a head": (lambda home: shutil.rmtree(home / "run" / "fold1"), "p.csv", "fold1/head.safetensors is missing"),
    "the file is a folder": (lambda home: (home / "p.csv").mkdir(), "p.csv", "p.csv is a folder"),
    "the folder is a file": (lambda home: (home / "q").write_text(""), "q/p.csv", "q is a file, not a folder"),
}  # fmt: skip


def test_predict_checks_before_it_looks_at_a_photo(
    data: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.run(data, CONFIG, tmp_path / "run", weights=weights)
    monkeypatch.setattr(pipeline, "audit", lambda *_: pytest.fail("a photo was decoded"))
    for name, (change, out, said) in BAD_PREDICTIONS.items():
        home = tmp_path / name.replace(" ", "-")
        for part in (data, tmp_path / "run"):
            shutil.copytree(part, home / part.name)
        shutil.copytree(weights, home / "weights")
        change(home)
        with pytest.raises(KitError, match=said):
            pipeline.predict(home / "run", home / "data", home / out, weights=home / "weights")


def start(data: Path, tmp_path: Path, weights: Path, **changes: object) -> None:
    config = dataclasses.replace(CONFIG, **changes)  # type: ignore[arg-type]
    cross_validate.cross_validate(load_data(data), config, tmp_path / "run", weights=weights)


@pytest.mark.parametrize(
    ("changes", "kind", "said"),
    [
        ({"n_folds": 30}, DataError, "19 photos cannot fill 30 folds"),
        ({"device": "gpu7"}, UsageError, "gpu7"),
        ({"backbones": ("nowhere",)}, UsageError, "unknown backbone 'nowhere'"),
    ],
)
def test_what_the_recipe_asks_for_in_vain(
    data: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, object], kind: type[KitError], said: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(cross_validate, "prepare", lambda *_: pytest.fail("a photo was decoded"))
    with pytest.raises(kind, match=said):
        start(data, tmp_path, weights, **changes)
    assert not (tmp_path / "run").exists()


def test_a_view_that_a_backbone_of_one_size_cannot_take(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_local_dir(tmp_path / "vit" / "vit", "test_vit3", size=160)
    monkeypatch.setattr(cross_validate, "prepare", lambda *_: pytest.fail("a photo was decoded"))
    with pytest.raises(UsageError, match=r"cannot take images of 192 px .*set views"):
        start(data, tmp_path, tmp_path / "vit", views=("identity", "large"))


def test_space_and_memory(data: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cross_validate, "prepare", lambda *_: pytest.fail("a photo was decoded"))
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))  # type: ignore[attr-defined]
        with pytest.raises(StorageError, match=r"the features take about 0 MB in .*, where 0 MB are free"):
            start(data, tmp_path, weights)
    monkeypatch.setattr(os, "sysconf", lambda _: 10)
    with pytest.raises(StorageError, match=r"this machine has 0\.0 GB: use fewer backbones or views"):
        start(data, tmp_path, weights)


def test_a_run_folder_below_a_file(data: Path, weights: Path, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(StorageError, match="run is a file, not a folder"):
        start(data, tmp_path, weights)


def test_weights_that_are_damaged(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_local_dir(tmp_path / "w" / "first")
    (tmp_path / "w" / "first" / "model.safetensors").write_bytes(b"x" * 100)
    monkeypatch.setattr(cross_validate, "prepare", lambda *_: pytest.fail("a photo was decoded"))
    with pytest.raises(WeightsError):
        start(data, tmp_path, tmp_path / "w")


def test_writable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_writable(tmp_path / "new" / "deep" / "file.csv")
    assert not (tmp_path / "new").exists()
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(StorageError, match="read-only or not yours"):
        require_writable(tmp_path / "file.csv")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file,digest\na.csv\n", "line 2: no file or no digest"),
        ("file,digest\na.csv,0123,more\n", "line 2: more cells than the header"),
        ("file,digest,rows\na.csv,0123,many\n", "cannot be read as a ledger"),
        ("a,b\n1,2\n", "is no ledger"),
    ],
)
def test_a_damaged_ledger_is_told_before_the_work(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "ledger.csv").write_text(text)
    with pytest.raises(DataError, match=said):
        Ledger(tmp_path / "ledger.csv").require_usable()


@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        ("dogbreed", ["submission", "doctor", "s.csv", "--run", "none", "--out"]),
        ("dogbreed", ["data", "audit", "--data", "none", "--out"]),
        ("dogbreed", ["explain", "none", "photo.jpg", "--out"]),
        ("dogbreed", ["ascent", "none", "--out"]),
        ("dogbreed", ["show", "augment", "--out"]),
        ("dogbreed", ["show", "filters", "none", "--out"]),
        ("dogbreed", ["predict", "none", "photo.jpg", "--map"]),
        ("baselines", ["compare", "none", "--out"]),
        ("baselines", ["filters", "none", "--out"]),
        ("baselines", ["explain", "none", "--out"]),
    ],
)
def test_where_nothing_can_be_written_is_said_before_anything_else(
    tmp_path: Path,
    program: str,
    arguments: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The runs and photos do not exist: only what comes first is told."""
    from baselines.cli import main as baselines
    from competition.cli import main as dogbreed

    (tmp_path / "file").write_text("")
    monkeypatch.setattr("sys.argv", [program, *arguments, str(tmp_path / "file" / "below")])
    with pytest.raises(SystemExit) as ended:
        {"dogbreed": dogbreed, "baselines": baselines}[program]()
    assert ended.value.code == 1
    told = capsys.readouterr().err.strip()
    assert "\n" not in told
    assert f"{tmp_path / 'file'} is a file" in told
