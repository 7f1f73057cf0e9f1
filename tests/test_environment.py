"""Kaggle's inputs in both layouts: found at any depth, without walking photos, and never taken at random."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from baselines.data.sources import find_or_download
from competition.data.source.layout import load_data
from competition.environment import folders_below, is_competition, kaggle_inputs, mount_of
from competition.errors import DataError
from competition.publish.dry_run.dry_run import _mounts as mounts
from competition.publish.dry_run.dry_run import attached, by_name
from competition.publish.in_kernel import attached_run
from competition.training.backbones.weight_files import local_files, named
from tests.data.conftest import competition

OLD_AND_NEW = ["dogs", "datasets/owner/dogs"]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An ``input`` folder of Kaggle's."""
    (tmp_path / "kaggle" / "input").mkdir(parents=True)
    (tmp_path / "kaggle" / "working").mkdir()
    monkeypatch.setenv("DOGBREED_KAGGLE_ROOT", str(tmp_path / "kaggle"))
    monkeypatch.setenv("DOGBREED_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path / "kaggle" / "working")
    return tmp_path / "kaggle" / "input"


def put(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text('{"architecture": "test_resnet"}' if name.endswith(".json") else "")
    return folder


def test_inputs_are_listed_in_both_layouts(root: Path) -> None:
    made = [
        put(root / "competitions" / "dog-breed-identification" / "train").parent,
        put(root / "datasets" / "owner" / "dogs" / "photos").parent,
        put(root / "models" / "owner" / "resnet" / "pytorch" / "default" / "1", "config.json"),
        put(root / "notebooks" / "user" / "train-cv", "log.txt"),
        put(root / "old-slug", "labels.csv"),
    ]
    assert kaggle_inputs() == made
    assert [is_competition(path) for path in made] == [True, False, False, False, False]
    refs = ("dog-breed-identification", "owner/dogs", "owner/resnet/pytorch/default/1", "user/train-cv")
    kinds = ("competitions", "datasets", "models", "notebooks")
    assert [root / mount_of(kind, ref) for kind, ref in zip(kinds, refs, strict=True)] == made[:4]


def test_an_old_input_may_be_called_like_a_mount(root: Path) -> None:
    old = put(root / "datasets", "labels.csv")
    assert kaggle_inputs() == [old]


@pytest.mark.parametrize(
    "place", ["tiny", "models/o/m/pytorch/default/1", "datasets/o/s/weights/a", "notebooks/u/k/run/w"]
)
def test_weights_are_found_wherever_they_are_attached(root: Path, place: str) -> None:
    folder = put(root / place, "config.json", "model.safetensors")
    put(root / "notebooks" / "u" / "other" / "fold0", "model.safetensors")  # a fold's network, no backbone
    assert local_files() == local_files(root) == [folder / "model.safetensors"]


def test_weights_of_all_inputs_are_found(root: Path) -> None:
    for place in ("models/o/a/pytorch/default/1", "models/o/b/pytorch/default/1", "datasets/o/s/c"):
        put(root / place, "config.json", "model.safetensors")
    names = list(named(local_files()).values())
    assert names == ["c", "a/pytorch/default/1", "b/pytorch/default/1"]


@pytest.mark.parametrize("place", [*OLD_AND_NEW, "datasets/owner/dogs/inside", "competitions/dog-breed-identification"])
def test_a_competition_is_found_under_any_mount(root: Path, place: str) -> None:
    competition(root / place, per_breed=2)
    put(root / "models" / "o" / "m" / "pytorch" / "default" / "1", "config.json", "model.safetensors")
    assert load_data().root == root / place


def test_the_competition_itself_comes_first_and_two_copies_are_both_named(root: Path) -> None:
    for owner in ("ada", "bob"):
        competition(root / "datasets" / owner / "dogs", per_breed=2)
    with pytest.raises(DataError, match=r"datasets/ada/dogs and .*datasets/bob/dogs both look like .* --data"):
        load_data()
    competition(root / "competitions" / "dog-breed-identification", per_breed=2)
    assert load_data().root.parent.name == "competitions"


@pytest.mark.parametrize(
    "place", ["fashion-mnist", "datasets/owner/data/fashion-mnist", "datasets/owner/fashion-mnist"]
)
def test_a_data_set_of_the_baselines_is_found_and_two_are_both_named(root: Path, place: str) -> None:
    with gzip.open(put(root / place) / "train-images-idx3-ubyte.gz", "wb") as stream:
        stream.write(struct.pack(">IIII", 2051, 1, 28, 28) + np.zeros(784, np.uint8).tobytes())
    assert find_or_download("fashion-mnist", None, download=False) == root / place
    put(root / "datasets" / "zoe" / "other" / "FashionMNIST")
    with pytest.raises(DataError, match=r"fashion-mnist is in .*fashion-mnist and in .*FashionMNIST: say which"):
        find_or_download("fashion-mnist", None, download=False)


@pytest.mark.parametrize("place", ["train-cv", "notebooks/user/train-cv/run", "datasets/user/run"])
def test_an_attached_run_is_found(root: Path, place: str) -> None:
    folder = put(root / place, "metrics.json", "config.json", "oof.npz")
    assert attached_run() == folder
    put(root / "notebooks" / "user" / "again", "metrics.json", "config.json", "oof.npz")
    with pytest.raises(DataError, match=r"found: .*again"):
        attached_run()


def test_folders_of_photos_are_not_walked(tmp_path: Path) -> None:
    for number in range(1200):
        put(tmp_path / "train" / f"class{number}")
    for number in range(1500):
        (put(tmp_path / "flat") / f"{number}.JPG").touch()
    put(tmp_path / "deep" / "a" / "b", "wanted")
    (tmp_path / "deep" / "a" / "round").symlink_to(tmp_path / "deep")
    found = dict(folders_below(tmp_path))
    assert set(found) == {tmp_path, *(tmp_path / name for name in ("deep", "deep/a", "deep/a/b", "flat", "train"))}
    assert len(found[tmp_path / "flat"]) == 1000
    assert found[tmp_path / "deep" / "a" / "b"] == {"wanted"}


def test_two_attached_inputs_of_one_slug_have_names_and_mounts_of_their_own() -> None:
    values = {
        "competition_sources": ["dog-breed-identification"],
        "dataset_sources": ["ada/dogs", "bob/dogs"],
        "kernel_sources": ["ada/train-cv"],
        "model_sources": ["ada/resnet/pytorch/small/1", "ada/resnet/pytorch/large/1"],
    }
    assert mounts(values) == {
        "dog-breed-identification": "competitions/dog-breed-identification",
        "ada/dogs": "datasets/ada/dogs",
        "bob/dogs": "datasets/bob/dogs",
        "train-cv": "notebooks/ada/train-cv",
        "ada/resnet/pytorch/small/1": "models/ada/resnet/pytorch/small/1",
        "ada/resnet/pytorch/large/1": "models/ada/resnet/pytorch/large/1",
    }
    assert attached(values)["bob/dogs"] == "dataset_sources"
    assert by_name(values, {"ada/train-cv": Path("x")}) == {"train-cv": Path("x")}
