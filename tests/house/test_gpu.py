"""What only a GPU can show; skipped where there is none (CI has none)."""

from __future__ import annotations

import math
import multiprocessing
import re
import signal

import numpy as np
import pytest
import torch

from competition.files import read_npz
from competition.record.run_dir import RunDir
from competition.training.backbones.find import find_backbones
from competition.training.engine.callbacks import KitCallback
from competition.training.finetune.fit_fold import fit_fold
from competition.training.finetune.fit_folds import fit_folds
from competition.types import Fold
from tests.training import interrupted_fold
from tests.training.small_fold import small_config, small_data, small_fold

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

PLAIN: dict[str, object] = {"drop_rate": 0.0, "drop_path_rate": 0.0, "epochs": 3}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small_data(tmp_path_factory.mktemp("photos"), count=96)


def logits(run: RunDir) -> np.ndarray:
    return read_npz(run / "fold0" / "valid_views.npz")["logits"].ravel()


@pytest.fixture(scope="module")
def on_the_cpu(data, tmp_path_factory):
    run = RunDir(tmp_path_factory.mktemp("cpu") / "run")
    return run, fit_fold(data, small_fold(data), small_config(**PLAIN), run, weights=None)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_a_fold_learns_what_it_learns_on_the_cpu(data, tmp_path, on_the_cpu, precision):
    run, expected = on_the_cpu
    here = RunDir(tmp_path / "run")
    config = small_config(**PLAIN, device="cuda", precision=precision, channels_last=True, workers=2)
    found = fit_fold(data, small_fold(data), config, here, weights=None)
    assert found.log_loss == pytest.approx(expected.log_loss, abs=0.1)
    assert np.corrcoef(logits(here), logits(run))[0, 1] > 0.98


def test_compiled(data, tmp_path, on_the_cpu):
    here = RunDir(tmp_path / "run")
    found = fit_fold(data, small_fold(data), small_config(**PLAIN, device="cuda", compile=True), here, weights=None)
    assert found.log_loss == pytest.approx(on_the_cpu[1].log_loss, abs=0.1)


class Greed(KitCallback):
    """Asks the GPU for more memory than it has, as long as a batch is larger than ``photos``."""

    order, run_valid = 9, False

    def __init__(self, photos: int) -> None:
        self.photos = photos

    def before_batch(self) -> None:
        if len(self.learn.xb[0]) > self.photos:
            torch.empty(2**42, dtype=torch.uint8, device="cuda")


def test_out_of_memory_halves_the_batch_and_goes_on(data, tmp_path, capsys):
    config = small_config(**PLAIN, device="cuda", precision="float16", freeze_norm=True, ema_decay=0.0)
    small = fit_fold(data, small_fold(data), config, RunDir(tmp_path / "a"), weights=None, callbacks=[Greed(3)])
    text = " ".join(capsys.readouterr().err.split())
    assert "batch 4 -> 2, now 4 passes per step" in text
    large = fit_fold(data, small_fold(data), config, RunDir(tmp_path / "b"), weights=None)
    assert small.log_loss == pytest.approx(large.log_loss, abs=0.05)


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_killed_and_resumed_is_as_uninterrupted(tmp_path, precision):
    starter = multiprocessing.get_context("forkserver")

    def result(folder, kill: str) -> tuple[int, str]:
        log = folder.parent / f"log-{folder.name}-{kill}.txt"
        process = starter.Process(
            target=interrupted_fold.train, args=(folder, kill, 0, 0, log),
            kwargs={"device": "cuda", "precision": precision},
        )  # fmt: skip
        process.start()
        process.join(240)
        return process.exitcode or 0, " ".join(log.read_text().split())

    assert result(tmp_path / "a", "7")[0] == -signal.SIGKILL
    texts = [result(tmp_path / "a", "never"), result(tmp_path / "b", "never")]
    assert [code for code, _ in texts] == [0, 0], texts
    assert "going on at epoch 2, step 3 of 4" in texts[0][1]
    losses = [float(re.findall(r"result ([\d.e-]+)", text)[-1]) for _, text in texts]
    # Additions on a GPU have no fixed order: the same, but not to the last digit.
    assert losses[0] == pytest.approx(losses[1], abs=0.02)


def test_folds_in_processes_of_their_own(data, tmp_path):
    ids = data.train_ids
    folds = [Fold(k, tuple(name for i, name in enumerate(ids) if i % 2 != k), ids[k::2]) for k in range(2)]
    results = fit_folds(
        data, folds, small_config(device="all"), RunDir(tmp_path / "run"), devices=["cuda:0", "cuda:0"], weights=None
    )
    assert [result.index for result in results] == [0, 1]
    assert all(math.isfinite(result.log_loss) for result in results)


def test_a_network_from_scratch_learns(tmp_path):
    from baselines.data.datasets import load_dataset
    from baselines.registry import create_model
    from baselines.torch_nets.training.adapter import predict
    from baselines.training.fit import fit

    digits = load_dataset("digits", image_size=28)
    model = create_model("lenet5", image_size=digits.image_size, in_channels=1, num_classes=10)
    found = fit(model, digits, run_dir=tmp_path / "run", epochs=12, device="cuda", precision="bfloat16", seed=1)
    assert found.accuracy > 0.9
    given = (digits.test.images, digits.mean, digits.std)
    here = predict(model, *given, batch_size=128, device="cuda")
    there = predict(model, *given, batch_size=128, device="cpu")
    np.testing.assert_allclose(here, there, rtol=0.02, atol=0.02)


@pytest.mark.shared
def test_features_are_those_of_the_cpu(shared, tmp_path, monkeypatch):
    import timm

    from competition.training.backbones.create import create_model
    from competition.training.photos.normalise import Normalise

    for ref in find_backbones((), shared / "weights"):
        model = create_model(ref, 120, pretrained=True, image_size=224).eval()
        images = torch.randint(0, 256, (4, 224, 224, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            there = model.forward_features(Normalise(ref.spec)(images))
            here = model.cuda().forward_features(Normalise(ref.spec).cuda()(images.cuda())).cpu()
        assert torch.corrcoef(torch.stack([here.ravel(), there.ravel()]))[0, 1] > 0.999, timm.__version__
