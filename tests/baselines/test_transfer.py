"""Grey images through a pretrained network: the two ways of feeding it agree, and the table is what the data give."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from baselines import transfer  # noqa: E402
from baselines.data.datasets import Dataset, Part  # noqa: E402
from competition.errors import UsageError  # noqa: E402
from competition.training.backbones.find import find_backbones  # noqa: E402
from tests.training.conftest import save_local_dir  # noqa: E402


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    config = save_local_dir(folder / "tiny") / "config.json"
    stored = json.loads(config.read_text())
    stored["pretrained_cfg"] |= {"mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]}
    config.write_text(json.dumps(stored))
    return folder


def grey(channels: int = 1) -> Dataset:
    """Two classes: bright above, bright below."""
    rng = np.random.default_rng(0)

    def part(count: int) -> Part:
        labels = np.arange(count) % 2
        images = rng.integers(0, 120, (count, 16, 16, channels))
        images[labels == 0, :8] += 100
        images[labels == 1, 8:] += 100
        return Part(images.astype(np.uint8), labels)

    return Dataset("stripes", "drawn", ("above", "below"), part(60), part(20), part(20))


def test_summed_kernels_give_what_repeated_channels_give(weights: Path) -> None:
    (found,) = find_backbones(["tiny"], weights)
    images = torch.rand(3, 1, 64, 64)
    with torch.inference_mode():
        repeated = transfer.repeated(found, 1)(images)
        summed = transfer.summed(found, 1)(images)
    torch.testing.assert_close(summed, repeated, rtol=1e-3, atol=1e-4)


def test_every_way_is_measured_and_written(weights: Path, tmp_path: Path) -> None:
    rows = transfer.transfer(grey(), "tiny", weights=weights, image_size=32, device="cpu", out=tmp_path)
    assert [row.way for row in rows] == ["repeat", "sum", "untrained"]
    assert rows[0].test_accuracy == 1.0  # the classes are told apart by any convolution
    assert rows[0].test_log_loss == pytest.approx(rows[1].test_log_loss, abs=0.05)
    table = list(csv.DictReader((tmp_path / "transfer.csv").open()))
    assert [float(row["test_accuracy"]) for row in table] == [row.test_accuracy for row in rows]


def test_what_cannot_be_fed_is_told(weights: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown way 'sun'.*sum"):
        transfer.transfer(grey(), "tiny", ways=("sun",), weights=weights)
    with pytest.raises(UsageError, match="these have colour: use --way repeat"):
        transfer.transfer(grey(3), "tiny", ways=("sum",), weights=weights, image_size=32, device="cpu")
