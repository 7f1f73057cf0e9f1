"""A whole run with ids and breeds that other programs take for formulas, markup, numbers or nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from competition import pipeline
from competition.config import ProbeConfig
from competition.data.folds import FoldTable
from competition.data.source.layout import load_data
from competition.files import write_csv
from competition.prediction.submission.check import check_submission
from competition.prediction.submission.write import read_submission
from competition.types import Predictions
from tests.data.conftest import picture, save
from tests.training.conftest import save_local_dir

BREEDS = (
    'the "real" basset',
    "<b>&amp;</b>",
    "a, b",
    "=1+1",
    "'-1",
    r"$\alpha_{$",
    "NA",
    "n02085620-Chihuahua",
    "\u72ac",
)
IDS = (
    *("'-1", "=1+1", '"a""b"', "<script>", "&amp;", "a,b", "NA", "null", "001", "1e5", "True", "x" * 240),
    *("caf\u00e9", "a\tb", "two\nlines", "%s", "-0", "1"),
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> pipeline.RunResult:
    home = tmp_path_factory.mktemp("odd")
    photos = [(name, BREEDS[number % len(BREEDS)]) for number, name in enumerate(IDS)]
    photos += [(f"plain{number}", BREEDS[number % len(BREEDS)]) for number in range(2 * len(BREEDS))]
    for number, (name, _) in enumerate(photos):
        save(home / "data" / "train" / f"{name}.jpg", picture(number))
    for number, name in enumerate(IDS):
        save(home / "data" / "test" / f"{name} .jpg", picture(500 + number))
    write_csv(home / "data" / "labels.csv", ["id", "breed"], photos, harmless=False)
    save_local_dir(home / "weights" / "tiny")
    config = ProbeConfig(n_folds=3, strengths=(1.0,), batch_size=8, workers=0, device="cpu", precision="float32")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOGBREED_CACHE", str(home / "cache"))
        first = pipeline.run(home / "data", config, home / "run", weights=home / "weights")
        again = pipeline.run(home / "data", config, home / "run", weights=home / "weights")
    assert again.cv.oof.digest == first.cv.oof.digest
    return again


def test_the_run_can_be_continued_and_its_files_agree(finished):
    folder = finished.folder
    data = load_data(folder.parent / "data")
    assert set(data.classes) == set(BREEDS)
    assert set(FoldTable.load(folder / "folds.csv").ids) == set(data.train_ids)
    assert Predictions.load(folder / "oof.npz").classes == data.classes
    assert check_submission(folder / "submission.csv", data).ok
    assert read_submission(folder / "submission.csv", data).ids == data.test_ids


def test_the_report_shows_them_as_text(finished):
    pages = [path.read_text(encoding="utf-8") for path in (finished.folder / "report").rglob("*.html")]
    whole = "\n".join(pages)
    assert "&lt;b&gt;&amp;amp;&lt;/b&gt;" in whole
    assert "<b>&amp;</b>" not in whole
    assert "<script>&" not in whole
    assert ">Chihuahua<" in whole
    assert "the &#34;real&#34; basset" in whole.replace("The", "the")


def test_suspects_go_back_into_a_run(finished, tmp_path: Path):
    data = load_data(finished.folder.parent / "data")
    write_csv(tmp_path / "suspects.csv", ["id", "given", "suggested"], [[p.id, p.breed, BREEDS[3]] for p in data.train])
    assert {photo.breed for photo in pipeline.relabelled(data, tmp_path / "suspects.csv").train} == {BREEDS[3]}
