"""What is written to TensorBoard is read back from the event files, as TensorBoard itself reads them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from competition.errors import DataError
from competition.record import board
from competition.record.projector import log_projector, reduce_dimensions, thin

CLASSES = ("affenpinscher", "beagle", "collie", "dingo")


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[SummaryWriter]:
    with SummaryWriter(str(tmp_path / "tensorboard")) as opened:
        yield opened


def read(writer: SummaryWriter) -> EventAccumulator:
    writer.flush()
    return EventAccumulator(writer.get_logdir(), size_guidance={"images": 0, "tensors": 0}).Reload()


def image(events: EventAccumulator, tag: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(events.Images(tag)[-1].encoded_image_string)))


@pytest.fixture
def scored() -> tuple[np.ndarray, np.ndarray]:
    """Eight photos; collies are called dingos twice, a dingo collie once, beagles are right."""
    labels = np.array([1, 1, 2, 2, 2, 3, 3, 0])
    predicted = np.array([1, 1, 3, 3, 2, 2, 3, 0])
    probabilities = np.full((8, 4), 0.1)
    probabilities[np.arange(8), predicted] = 0.7
    return probabilities, labels


def test_a_row_of_history_becomes_scalars(writer: SummaryWriter) -> None:
    row = {
        "epoch": 3, "step": 120, "phase": "all", "fold": 0, "train_loss": 1.5, "valid_loss": 1.25, "log_loss": 1.125,
        "accuracy": 0.5, "log_loss_ema": None, "rate_head": 0.25, "rate_body": 0.125, "gradient_norm": 2.0,
        "images_per_second": 64.0, "waiting": 0.0625, "mixed": 4,
    }  # fmt: skip
    board.log_epoch(writer, row)
    events = read(writer)
    expected = {
        "loss/train": 1.5, "loss/valid": 1.25, "score/log_loss": 1.125, "score/accuracy": 0.5, "rate/head": 0.25,
        "rate/body": 0.125, "optimiser/gradient_norm": 2.0, "throughput/images_per_second": 64.0,
        "throughput/waiting_for_data": 0.0625, "other/mixed": 4.0,
    }  # fmt: skip
    assert {tag: (events.Scalars(tag)[0].step, events.Scalars(tag)[0].value) for tag in events.Tags()["scalars"]} == {
        tag: (3, value) for tag, value in expected.items()
    }


def test_steps_stand_apart_from_epochs(writer: SummaryWriter) -> None:
    board.log_step(writer, 40, {"train_loss": 2.0, "rate": 0.5})
    events = read(writer)
    assert events.Scalars("step/loss/train")[0].step == 40
    assert events.Scalars("step/rate/all")[0].value == 0.5


def test_a_loss_that_is_nan_is_shown(writer: SummaryWriter) -> None:
    board.log_epoch(writer, {"epoch": 0, "train_loss": float("nan")})
    assert np.isnan(read(writer).Scalars("loss/train")[0].value)


@pytest.mark.parametrize("floats", [False, True])
def test_a_batch_becomes_one_picture(writer: SummaryWriter, rng: np.random.Generator, floats: bool) -> None:
    images = rng.integers(0, 256, (5, 8, 10, 3), dtype=np.uint8)
    board.log_batch_images(writer, images / np.float32(255) if floats else images, step=2)
    grid = image(read(writer), "batch/augmented")
    assert grid.shape == (18, 34, 3)  # two rows of three tiles, two pixels between
    np.testing.assert_array_equal(grid[:8, 12:22], images[1])
    np.testing.assert_array_equal(grid[10:18, :10], images[3])
    assert (grid[10:18, 24:] == 255).all()


def test_grey_images_and_a_limit(rng: np.random.Generator) -> None:
    images = rng.integers(0, 256, (9, 4, 4, 1), dtype=np.uint8)
    grid = board.image_grid(images[:4], gap=0)
    np.testing.assert_array_equal(grid[:4, 4:, 2], images[1, ..., 0])
    with pytest.raises(ValueError, match="expected images"):
        board.image_grid(images[0])


def test_the_graph_is_written_and_the_mode_put_back(writer: SummaryWriter) -> None:
    import torch

    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Dropout())
    model.train()
    model[1].eval()  # a frozen batch norm
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    board.log_graph(writer, model, torch.ones(1, 3, 8, 8))
    assert [module.training for module in model.modules()] == [True, True, False, True]
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert "Conv2d" in str(read(writer).Graph())


def test_a_model_that_cannot_be_traced_is_told_of(writer: SummaryWriter, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    class Odd(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("no tracing here")

    board.log_graph(writer, Odd(), torch.ones(1))
    said = capsys.readouterr()
    assert "no graph for TensorBoard: Odd" in said.err
    assert "no tracing here" in said.err


def test_hparams_stay_in_the_run_with_their_final_metrics(writer: SummaryWriter) -> None:
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    board.log_hparams(writer, {"lr": 0.5, "epochs": 3, "views": ("a", "b"), "folder": None}, {"log_loss": 0.25})
    events = read(writer)
    assert events.Scalars("final/log_loss")[0].value == 0.25
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    stored = HParamsPluginData.FromString(content).session_start_info.hparams
    assert stored["lr"].number_value == 0.5
    assert stored["views"].string_value == "a, b"
    assert [path.name for path in Path(writer.get_logdir()).iterdir() if path.is_dir()] == []


def test_the_most_confused_come_first(scored: tuple[np.ndarray, np.ndarray]) -> None:
    assert board.most_confused(*scored, CLASSES, most=8) == [2, 3]
    assert board.most_confused(*scored, CLASSES, most=1) == [2]


def test_curves_and_picture_of_the_most_confused_breeds(
    writer: SummaryWriter, scored: tuple[np.ndarray, np.ndarray]
) -> None:
    board.log_confused(writer, *scored, CLASSES)
    events = read(writer)
    np.testing.assert_array_equal(image(events, "confused/matrix"), board.confusion_picture(*scored, CLASSES, [2, 3]))
    assert set(events.Tags()["tensors"]) == {"confused/pr/collie", "confused/pr/dingo"}
    curve = np.array(events.Tensors("confused/pr/collie")[0].tensor_proto.float_val).reshape(6, -1)
    true_positives, false_positives = curve[0], curve[1]
    assert true_positives[0] == 3  # at threshold 0 every photo is called a collie
    assert false_positives[0] == 5
    at_half = curve.shape[1] // 2
    assert (true_positives[at_half], false_positives[at_half]) == (1, 1)


def test_confusion_counts(scored: tuple[np.ndarray, np.ndarray]) -> None:
    probabilities, labels = scored
    counts = board._chosen_counts(probabilities.argmax(axis=1), labels, [2, 3], 4)
    np.testing.assert_array_equal(counts, [[1, 2, 0], [1, 1, 0]])
    counts = board._chosen_counts(probabilities.argmax(axis=1), labels, [2, 0], 4)
    np.testing.assert_array_equal(counts, [[1, 0, 2], [0, 1, 0]])


def test_nothing_is_drawn_without_errors(writer: SummaryWriter) -> None:
    board.log_confused(writer, np.eye(4), np.arange(4), CLASSES)
    tags = read(writer).Tags()
    assert tags["images"] == []
    assert tags["tensors"] == []


def projector(writer: SummaryWriter) -> object:
    from google.protobuf import text_format
    from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

    text = (Path(writer.get_logdir()) / "projector_config.pbtxt").read_text()
    return text_format.Parse(text, ProjectorConfig())


def test_the_projector_has_points_names_and_thumbnails(writer: SummaryWriter, rng: np.random.Generator) -> None:
    features = rng.normal(size=(5, 3))
    thumbnails = np.zeros((5, 20, 30, 3), np.uint8)
    thumbnails[3] = (250, 0, 0)
    labels = ["beagle", "beagle", "collie", "din\tgo", "collie"]
    log_projector(writer, features, list("abcde"), labels, thumbnails, extra={"predicted": labels[::-1]})
    folder = Path(writer.get_logdir())
    info = projector(writer).embeddings[0]  # type: ignore[attr-defined]
    points = np.loadtxt(folder / info.tensor_path, delimiter="\t")
    np.testing.assert_allclose(points, features, rtol=1e-4)
    rows = [line.split("\t") for line in (folder / info.metadata_path).read_text().splitlines()]
    assert rows[0] == ["breed", "id", "predicted"]
    assert rows[4] == [r"din\tgo", "d", "beagle"]
    assert list(info.sprite.single_image_dim) == [40, 40]
    sprite = np.asarray(Image.open(folder / info.sprite.image_path))
    assert sprite.shape == (120, 120, 3)
    assert (sprite[40:80, :40] == (250, 0, 0)).all()


def test_tensorboard_itself_serves_the_run(writer: SummaryWriter, rng: np.random.Generator) -> None:
    """The real server on a free port: the projector's files and the scalars come out of it as they went in."""
    import json
    from urllib.parse import urlencode
    from urllib.request import urlopen

    from tensorboard import program

    features = rng.normal(size=(4, 3))
    log_projector(writer, features, list("abcd"), list("xxyy"), np.zeros((4, 8, 8, 3), np.uint8))
    board.log_epoch(writer, {"epoch": 0, "train_loss": 0.5})
    server = program.TensorBoard()
    server.configure(argv=["", "--logdir", writer.get_logdir(), "--port", "0", "--load_fast", "false"])
    url = server.launch()

    def fetch(route: str, **arguments: str) -> bytes:
        with urlopen(f"{url}data/plugin/{route}?{urlencode(arguments)}", timeout=20) as answer:
            return bytes(answer.read())

    (run,) = json.loads(fetch("projector/runs"))
    (info,) = json.loads(fetch("projector/info", run=run))["embeddings"]
    assert (info["tensorName"], info["tensorShape"]) == ("features", [4, 3])
    tensor = np.frombuffer(fetch("projector/tensor", run=run, name="features"), np.float32)
    np.testing.assert_allclose(tensor.reshape(4, 3), features, rtol=1e-4)
    assert fetch("projector/metadata", run=run, name="features").startswith(b"breed\tid\nx\ta")
    assert Image.open(io.BytesIO(fetch("projector/sprite_image", run=run, name="features"))).size == (80, 80)
    assert json.loads(fetch("scalars/scalars", run=".", tag="loss/train"))[0][1:] == [0, 0.5]


def test_a_second_call_replaces_its_own_name_only(writer: SummaryWriter) -> None:
    for name, count in (("net/identity", 3), ("fold0", 4), ("net/identity", 2)):
        log_projector(writer, np.ones((count, 2)), ["i"] * count, ["x"] * count, name=name)
    embeddings = projector(writer).embeddings  # type: ignore[attr-defined]
    assert {info.tensor_name: list(info.tensor_shape) for info in embeddings} == {
        "fold0": [4, 2],
        "net/identity": [2, 2],
    }
    assert len(np.loadtxt(Path(writer.get_logdir()) / "net_identity" / "tensors.tsv")) == 2


def test_only_kept_points_ask_for_thumbnails(writer: SummaryWriter) -> None:
    asked: list[str] = []

    def thumbnail(photo_id: str) -> np.ndarray:
        asked.append(photo_id)
        return np.zeros((4, 4, 3), np.uint8)

    ids = [f"p{i}" for i in range(40)]
    log_projector(writer, np.zeros((40, 2)), ids, ["x"] * 30 + ["y"] * 10, thumbnail, most=8)
    assert len(asked) == 8
    assert sum(int(name[1:]) >= 30 for name in asked) == 2


def test_lengths_must_agree(writer: SummaryWriter) -> None:
    with pytest.raises(DataError, match="as many of each"):
        log_projector(writer, np.zeros((3, 2)), ["a", "b"], ["x"] * 3)
    with pytest.raises(DataError, match="at least one"):
        log_projector(writer, np.zeros((0, 2)), [], [])


def test_thinning_is_even_and_deterministic() -> None:
    labels = ["b"] * 60 + ["a"] * 30 + ["c"] * 10
    kept = thin(labels, 10)
    assert [sum(labels[i] == name for i in kept) for name in "abc"] == [3, 6, 1]
    assert list(thin(labels, 500)) == list(range(100))


def test_reduction_keeps_distances_within_the_main_directions(rng: np.random.Generator) -> None:
    plane = rng.normal(size=(30, 2)) @ rng.normal(size=(2, 200))
    reduced = reduce_dimensions(plane.astype(np.float32))
    assert reduced.shape == (30, 30)

    def distances(points: np.ndarray) -> np.ndarray:
        return np.linalg.norm(points[:, None] - points[None], axis=-1)

    np.testing.assert_allclose(distances(reduced), distances(plane), atol=1e-3)
