"""A run folder made by an earlier commit opens: it is continued without fitting, predicts the same, and is blended.

``run_of_43a00d6`` was made before the files of the kit were moved into rooms, by ``dogbreed run --set n_folds=2`` on
the photos and with the weights that are made here again from the same random numbers.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import timm
from PIL import Image
from safetensors.numpy import save_file

from competition import pipeline
from competition.config import ProbeConfig
from competition.prediction.blend.members import load_member
from competition.record.metrics import log_loss

OLD = Path(__file__).with_name("run_of_43a00d6")
BREEDS = ("beagle", "pug", "whippet")


def draw_photos(folder: Path) -> Path:
    """24 train photos of three breeds and 6 test photos: noise of slightly different colours."""
    rng = np.random.default_rng(0)
    labels, sample = ["id,breed"], ["id,beagle,pug,whippet"]
    for number in range(30):
        colour = np.zeros(3)
        colour[number % 3] = 6
        photo = (colour + rng.integers(0, 100, (48, 64, 3))).astype(np.uint8)
        part = folder / ("train" if number < 24 else "test")
        part.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo).save(part / f"p{number:02d}.png")
        if number < 24:
            labels.append(f"p{number:02d},{BREEDS[number % 3]}")
        else:
            sample.append(f"p{number},0.3,0.3,0.4")
    (folder / "labels.csv").write_text("\n".join(labels) + "\n")
    (folder / "sample_submission.csv").write_text("\n".join(sample) + "\n")
    return folder


def make_weights(folder: Path) -> Path:
    """He's initialisation by NumPy, whose numbers are the same everywhere: the run knows the file by its digest."""
    rng = np.random.default_rng(1)
    tensors = {}
    for name, tensor in sorted(timm.create_model("test_resnet", pretrained=False).state_dict().items()):
        shape = tuple(tensor.shape)
        fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 1
        values = rng.normal(0, (2 / fan_in) ** 0.5, shape).astype(np.float32)
        if len(shape) == 1:
            is_one = name.endswith(("running_var", ".weight"))
            values = np.full(shape, float(is_one), np.float32)
        tensors[name] = np.zeros((), np.int64) if name.endswith("num_batches_tracked") else values
    folder.mkdir(parents=True)
    save_file(tensors, folder / "model.safetensors")
    stored = {"input_size": [3, 64, 64], "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2], "interpolation": "bilinear"}
    stored |= {"crop_pct": 0.9, "classifier": "fc", "first_conv": "conv1.0", "num_classes": 1000}
    config = {"architecture": "test_resnet", "num_classes": 1000, "pretrained_cfg": stored}
    (folder / "config.json").write_text(json.dumps(config))
    return folder.parent


def stored_score() -> float:
    return float(json.loads((OLD / "metrics.json").read_text())["log_loss"])


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(OLD, tmp_path / "run"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return draw_photos(tmp_path / "data")


def test_it_is_continued_without_fitting_again(tmp_path: Path, run: Path, data: Path) -> None:
    weights = make_weights(tmp_path / "weights" / "tiny")
    result = pipeline.run(data, ProbeConfig(name="probe", n_folds=2), run, weights=weights)
    assert result.cv.log_loss == pytest.approx(stored_score(), abs=1e-6)
    for name in ("oof.npz", "test.npz", "probe.json", "fold0/head.safetensors", "folds.csv"):
        assert (run / name).read_bytes() == (OLD / name).read_bytes(), name
    assert (run / "report" / "index.html").is_file()
    pd.testing.assert_frame_equal(pd.read_csv(run / "submission.csv"), pd.read_csv(OLD / "expected.csv"), atol=1e-6)


def test_it_predicts_what_it_predicted(tmp_path: Path, run: Path, data: Path) -> None:
    weights = make_weights(tmp_path / "weights" / "tiny")
    pipeline.predict(run, data, tmp_path / "again.csv", weights=weights)
    # 1e-4: another processor sums a convolution in another order
    pd.testing.assert_frame_equal(
        pd.read_csv(tmp_path / "again.csv"), pd.read_csv(OLD / "expected.csv"), rtol=0, atol=1e-4
    )


def test_it_is_a_member_of_a_blend(run: Path) -> None:
    member = load_member(run)
    labels = [BREEDS.index(row.split(",")[1]) for row in (OLD / "truth.csv").read_text().split()[1:]]
    assert log_loss(member.oof.probabilities, np.array(labels)) == pytest.approx(stored_score(), abs=1e-6)
