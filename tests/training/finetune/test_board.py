"""A fold's TensorBoard: graph, batch, scores of the recipe, confused breeds and the projector's points."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from competition.record.run_dir import RunDir
from competition.training.finetune.board import FoldPictures, log_fold_end
from competition.training.finetune.fit_fold import fit_fold
from tests.training.small_fold import small_config, small_data, small_fold


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """TensorBoard folder of a tiny training."""
    root = tmp_path_factory.mktemp("fold")
    data = small_data(root / "photos")
    config, folder = small_config(epochs=2, freeze_epochs=0), root / "board"
    with SummaryWriter(str(folder)) as writer:
        result = fit_fold(
            data, small_fold(data), config, RunDir(root / "run"), weights=None, callbacks=[FoldPictures(writer)]
        )
    log_fold_end(folder, config, result, data)
    return folder


@pytest.fixture(scope="module")
def events(fitted: Path) -> EventAccumulator:
    return EventAccumulator(str(fitted), size_guidance={"images": 0, "tensors": 0}).Reload()


def test_the_graph_is_there(events: EventAccumulator) -> None:
    assert events.Tags()["graph"]


def test_one_batch_is_shown_when_the_side_does_not_change(events: EventAccumulator) -> None:
    assert [shown.step for shown in events.Images("batch/augmented")] == [1]


def test_the_recipe_and_its_final_scores(events: EventAccumulator) -> None:
    assert set(events.Tags()["scalars"]) >= {"final/log_loss", "final/accuracy"}
    assert 0 <= events.Scalars("final/accuracy")[0].value <= 1


def test_every_validation_photo_is_a_point(fitted: Path, tmp_path: Path) -> None:
    rows = [line.split("\t") for line in (fitted / "log_probabilities" / "metadata.tsv").read_text().splitlines()]
    data = small_data(tmp_path / "photos")
    breed_of = {photo.id: photo.breed for photo in data.train}
    assert rows[0] == ["breed", "id", "predicted"]
    assert {row[1] for row in rows[1:]} == set(small_fold(data).valid_ids)
    assert all(breed_of[row[1]] == row[0] for row in rows[1:])
    points = np.loadtxt(fitted / "log_probabilities" / "tensors.tsv", delimiter="\t")
    assert points.shape == (len(rows) - 1, len(data.classes))
    np.testing.assert_allclose(np.exp(points).sum(axis=1), 1, rtol=1e-3)
    assert (fitted / "log_probabilities" / "sprite.png").is_file()
