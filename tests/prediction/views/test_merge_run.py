"""Merging the views of a run: the choice is made on all folds together, the test photos follow it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from competition.data.source.competition_data import CompetitionData, Photo
from competition.errors import DataError
from competition.files import write_npz
from competition.prediction.views.merge import merge_views
from competition.prediction.views.merge_run import merge_run
from competition.record.metrics import accuracy, log_loss, softmax
from competition.record.run_dir import RunDir

CLASSES = ("beagle", "boxer", "collie")
VIEWS = ("identity", "hflip")
FOLDS, PER_FOLD, TEST = 3, 150, 20


@pytest.fixture
def data(tmp_path: Path) -> CompetitionData:
    train = tuple(Photo(f"p{i:03d}", tmp_path, CLASSES[i % 3]) for i in range(FOLDS * PER_FOLD))
    test = tuple(Photo(f"t{i:02d}", tmp_path) for i in range(TEST))
    return CompetitionData(tmp_path, tmp_path, "Kaggle layout", train, test, CLASSES)


def write_views(path: Path, ids: list[str], logits: np.ndarray, views: tuple[str, ...] = VIEWS) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_npz(path, ids=np.array(ids), classes=np.array(CLASSES), views=np.array(views), logits=logits)


@pytest.fixture
def run(tmp_path: Path, rng: np.random.Generator) -> RunDir:
    """Two views with independent noise; photo i is of class i % 3."""
    for fold in range(FOLDS):
        numbers = np.arange(fold, FOLDS * PER_FOLD, FOLDS)
        truth = 2.0 * np.eye(3)[numbers % 3]
        logits = truth + rng.normal(size=(2, PER_FOLD, 3)) * 1.5
        write_views(tmp_path / f"fold{fold}/valid_views.npz", [f"p{i:03d}" for i in numbers], logits)
        order = rng.permutation(TEST)  # folds need not predict in the same order
        tested = (np.arange(TEST)[order, None] + np.arange(3)) % 5 + fold
        write_views(
            tmp_path / f"fold{fold}/test_views.npz", [f"t{i:02d}" for i in order], np.stack([tested, tested]) * 1.0
        )
    return RunDir(tmp_path)


def test_the_choice_is_applied_to_photos_by_id(run: RunDir, data: CompetitionData) -> None:
    merged = merge_run(run, data)
    assert merged.choice.views == VIEWS
    labels = np.array([CLASSES.index(str(photo.breed)) for photo in data.train])
    probabilities = merged.oof.aligned_to(data.train_ids, CLASSES).probabilities
    assert log_loss(probabilities, labels) == pytest.approx(merged.choice.log_loss, abs=1e-12)
    assert accuracy(probabilities, labels) == merged.choice.accuracy
    single = min(row.log_loss for row in merged.choice.table if len(row.views) == 1)
    assert merged.choice.log_loss < single


def test_test_photos_are_averaged_over_folds_by_id(run: RunDir, data: CompetitionData) -> None:
    merged = merge_run(run, data)
    assert merged.test is not None
    expected = []
    for photo in merged.test.ids:
        logits = ((int(photo[1:]) + np.arange(3)) % 5)[None, None] * 1.0  # the same from every fold and view
        expected.append(softmax(merge_views(logits, ("identity",)), merged.choice.temperature)[0])
    np.testing.assert_allclose(merged.test.probabilities, expected, atol=1e-12)


def test_what_was_tried_is_written_down(run: RunDir, data: CompetitionData) -> None:
    merged = merge_run(run, data)
    stored = json.loads((run / "tta.json").read_text())
    assert stored["views"] == list(merged.choice.views)
    assert len(stored["table"]) == 4
    assert stored["log_loss"] == merged.choice.log_loss


def test_no_test_predictions_unless_every_fold_has_them(run: RunDir, data: CompetitionData) -> None:
    (run / "fold1/test_views.npz").unlink()
    assert merge_run(run, data).test is None


def test_a_run_without_views_is_refused(tmp_path: Path, data: CompetitionData) -> None:
    with pytest.raises(DataError, match="no predictions per view"):
        merge_run(RunDir(tmp_path / "empty"), data)


def test_folds_with_other_views_are_refused(run: RunDir, data: CompetitionData) -> None:
    write_views(run / "fold2/valid_views.npz", ["p002"], np.zeros((2, 1, 3)), ("identity", "large"))
    with pytest.raises(DataError, match="other views"):
        merge_run(run, data)


def test_other_data_are_refused(run: RunDir, data: CompetitionData) -> None:
    with pytest.raises(DataError, match="no breed in these data"):
        merge_run(run, data.without(["p004"]))


def test_the_command_prints_the_table(run: RunDir, data: CompetitionData, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from competition import cli
    from competition.files import write_json

    write_json(run / "config.json", {"engine": "TrainConfig"})
    monkeypatch.setattr("competition.data.source.layout.load_data", lambda where=None, like=None: data)
    done = CliRunner().invoke(cli.app, ["show", "tta", str(run.path)], catch_exceptions=False)
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert len(lines) == 5
    assert [line for line in lines if line.endswith("<- taken")] == [lines[1]]
