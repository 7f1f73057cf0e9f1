"""The commands of the studies, from a person's side: what they print, what they leave, how mistakes read."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from baselines import load_dataset
from baselines.cli import app
from baselines.filter_sheet import read_photo, write_sheet
from baselines.generative.autoencoder import ReconstructConfig
from baselines.generative.autoencoder_study import compare_autoencoders, flattened
from baselines.generative.galleries import tiled
from competition.errors import KitError, PhotoError, UsageError


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None:
        raise result.exception
    return result.stdout


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


@pytest.fixture
def photo(tmp_path, rng) -> Path:
    path = tmp_path / "photo.jpg"
    Image.fromarray(rng.integers(0, 256, (60, 90, 3), dtype=np.uint8)).save(path)
    return path


def test_studies_are_listed() -> None:
    text = run("sweep")
    for name in ("lenet-variants", "batch-size", "learning-rate", "optimisers", "regularisation", "initialisation"):
        assert name in text
    assert "4 variants, 5 seeds" in text


def test_a_custom_study_is_compared(tmp_path, monkeypatch) -> None:
    from baselines.training import evaluate

    monkeypatch.setattr(evaluate, "draw_run", lambda *arguments: None)
    place = tmp_path / "run"
    text = run(
        "sweep", "custom", "--model", "mlp", "--framework", "numpy", "--dataset", "digits", "--seeds", "0-1",
        "--vary", "optimiser=adam,sgd", "--set", "epochs=1", "--set", "hidden=6", "--run-dir", place,
    )  # fmt: skip
    assert "| optimiser=adam | 2 |" in text
    assert "`optimiser=sgd`: " in text
    assert (place / "comparison.md").is_file()


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (("sweep", "lenet-variant"), "did you mean 'lenet-variants'"),
        (("sweep", "epochs", "--vary", "lr=1,2"), "belong to 'baselines sweep custom'"),
        (("sweep", "custom"), "compares what --vary names"),
        (("sweep", "custom", "--vary", "lr=0.1:0.2"), "add --trials"),
        (("sweep", "epochs", "--seeds", "a"), "expected numbers"),
        (("sweep", "epochs", "--set", "epoch=3"), "did you mean 'epochs'"),
        (("numpy", "train", "--hidden", "a"), "expected widths"),
        (("autoencoder", "dens"), "did you mean 'dense'"),
        (("gan", "--set", "lrr=1"), "did you mean 'lr'"),
    ],
)
def test_mistakes_are_one_line(arguments, match: str, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=match):
        run(*arguments)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_gradients_are_checked() -> None:
    lines = run("numpy", "check", "--hidden", "6,5").splitlines()
    errors = [float(line.split()[-1]) for line in lines]
    assert len(errors) == 9
    assert max(errors) < 1e-6


def test_a_table_is_walked_through(tmp_path) -> None:
    assert "perceptron" in run("numpy", "table", "--seeds", 1)
    path = tmp_path / "t.csv"
    path.write_text(
        "size,colour,kind\n" + "".join(f"{n},{'red' if n % 2 else 'blue'},{'ab'[n % 2]}\n" for n in range(40))
    )
    text = run("numpy", "table", path, "--target", "kind", "--seeds", 1)
    assert "most frequent class" in text
    with pytest.raises(UsageError, match="did you mean 'kind'"):
        run("numpy", "table", path, "--target", "kin")


def test_filters_draw_a_sheet(photo, tmp_path) -> None:
    run("filters", photo, "--out", tmp_path / "sheet.png")
    assert size_of(tmp_path / "sheet.png")[0] > 1000
    own = ("--kernel", "sharpen", "--kernel", "0 1 0; 1 -4 1; 0 1 0")
    run("filters", photo, *own, "--out", tmp_path / "two.png")
    assert size_of(tmp_path / "two.png") != size_of(tmp_path / "sheet.png")
    assert read_photo(photo, 45).shape == (1, 30, 45, 3)
    with pytest.raises(PhotoError, match="cannot be read as a photo"):
        write_sheet(tmp_path / "none.jpg", tmp_path / "x.png")
    with pytest.raises(UsageError, match="did you mean 'sobel_x'"):
        write_sheet(photo, tmp_path / "x.png", ["sobelx"])
    assert not (tmp_path / "x.png").exists()


def test_an_autoencoder_leaves_its_galleries(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("baselines.generative.autoencoder_study._MAPPED", 120)
    text = run(
        "autoencoder", "dense", "--image-size", 12, "--epochs", 1, "--noise", 0.3, "--set", "train_limit=128",
        "--run-dir", tmp_path / "run",
    )  # fmt: skip
    folder = tmp_path / "run" / "noise-0.3"
    assert "psnr_input" in text
    assert (folder / "metrics.json").is_file()
    assert size_of(folder / "gallery.png")[0] > 800
    assert size_of(folder / "latent.png")[0] > 500


def test_autoencoders_are_compared_and_read_back(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("baselines.generative.autoencoder_study._MAPPED", 60)
    data = load_dataset("digits", image_size=12)
    config = ReconstructConfig(epochs=1, train_limit=64)
    table = compare_autoencoders(data, "pytorch", config, [0.0, 0.4], tmp_path, latent=4)
    lines = table.splitlines()
    assert [line.split("|")[1:3] for line in lines[2:]] == [
        [" 0 ", " dense "], [" 0 ", " conv "], [" 0.4 ", " dense "], [" 0.4 ", " conv "]
    ]  # fmt: skip
    assert (tmp_path / "gallery.png").is_file()
    assert compare_autoencoders(data, "pytorch", config, [0.0, 0.4], tmp_path, latent=4) == table
    with pytest.raises(UsageError, match="each once"):
        compare_autoencoders(data, "pytorch", config, [0.1, 0.1], tmp_path)
    wide = dataclasses.replace(data, train=dataclasses.replace(data.train, images=data.train.images[:, :, :6]))
    with pytest.raises(KitError, match="square"):
        compare_autoencoders(wide, "pytorch", config, [0.0], tmp_path / "wide")


def test_the_middle_is_flattened_by_what_fits(rng) -> None:
    two = rng.normal(size=(30, 2))
    assert flattened(two)[0] is two
    assert flattened(two[:, :1])[0].shape == (30, 2)
    line = np.outer(np.arange(30.0), [1, 2, 3])
    points, way = flattened(line)
    assert way == "two principal components"
    np.testing.assert_allclose(np.abs(np.diff(points[:, 0])), np.sqrt(14), rtol=1e-6)
    assert flattened(rng.normal(size=(210, 5)))[1] == "by t-SNE"


def test_tiles_are_where_they_belong() -> None:
    images = np.stack([np.full((2, 3, 1), value) for value in (0.0, 0.5, 1.0)])
    sheet = tiled(images, columns=2)
    assert sheet.shape == (6, 8, 3)
    assert sheet[0, 0].tolist() == [0, 0, 0]
    assert sheet[0, 5].tolist() == [128, 128, 128]
    assert sheet[4, 0].tolist() == [255, 255, 255]
    assert (sheet[2:4] == 255).all()


def test_a_gan_leaves_its_film(tmp_path) -> None:
    text = run(
        "gan", "--image-size", 8, "--epochs", 1, "--set", "train_limit=64", "--set", "widths=4,6", "--run-dir", tmp_path
    )
    assert "variety" in text
    assert size_of(tmp_path / "film.png")[0] > 500


def test_numpy_training_prints_its_score(tmp_path) -> None:
    text = run("numpy", "train", "--epochs", 2, "--hidden", "none", "--run-dir", tmp_path / "run")
    assert text.startswith("test accuracy 0.")
    assert (tmp_path / "run" / "metrics.json").is_file()
