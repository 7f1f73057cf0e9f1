"""Backbones: found by name, loaded strictly, with their own statistics; wrong weights are one clear line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from competition.errors import ResumeError, UsageError, WeightsError
from competition.training.backbones.create import create_model, load_weights, save_weights
from competition.training.backbones.devices import pick_device
from competition.training.backbones.find import find_backbones, find_same
from competition.training.backbones.imagenet import classifier_of, imagenet_rows
from tests.training.conftest import save_local_dir


def test_a_folder_of_weights_is_found_with_its_statistics(weights: Path) -> None:
    (ref,) = find_backbones((), weights)
    assert (ref.name, ref.architecture, ref.num_features) == ("tiny", "test_resnet", create_model(ref).num_features)
    assert ref.spec.mean == (0.5, 0.4, 0.3)
    assert (ref.spec.size, ref.spec.interpolation, ref.spec.crop_pct) == (64, "bilinear", 0.9)
    assert find_backbones(("test_resnet",), weights) == (ref,) == find_backbones((), weights / "tiny")


def test_a_run_folder_named_like_a_backbone_does_not_hide_it(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert find_backbones(("tiny",), weights)[0].folder == weights / "tiny"


def test_the_digest_is_that_of_the_weights(weights: Path, tmp_path: Path) -> None:
    (ref,) = find_backbones((), weights)
    (same,) = find_backbones((), save_local_dir(tmp_path / "a"))
    (other,) = find_backbones((), save_local_dir(tmp_path / "b", seed=1))
    assert ref.digest == same.digest != other.digest


def test_no_weights_and_no_name_says_what_to_do() -> None:
    with pytest.raises(UsageError, match="pass --weights FOLDER"):
        find_backbones(())


def test_an_unknown_backbone_offers_the_nearest(weights: Path) -> None:
    with pytest.raises(UsageError, match="unknown backbone 'tinny' - did you mean 'tiny'"):
        find_backbones(("tinny",), weights)


def test_a_missing_folder_and_an_empty_one_are_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="does not exist"):
        find_backbones((), tmp_path / "no")
    with pytest.raises(WeightsError, match="holds no folder"):
        find_backbones((), tmp_path)


def test_a_runs_backbone_is_found_again_or_it_is_said_what_lacks(weights: Path, tmp_path: Path) -> None:
    (ref,) = find_backbones((), weights)
    made, run = {"tiny": ref.digest}, tmp_path / "run"
    assert find_same(["tiny"], made, weights, run) == (ref,)
    assert find_same(["test_resnet"], made, weights, run) == (ref,)
    save_local_dir(tmp_path / "other" / "tiny", seed=1)
    save_local_dir(tmp_path / "elsewhere" / "small", seed=1)
    save_local_dir(tmp_path / "renamed" / "small")
    (same,) = find_same(["tiny"], made, tmp_path / "renamed", run)
    assert (same.name, same.digest, same.folder) == ("tiny", ref.digest, tmp_path / "renamed" / "small")
    with pytest.raises(ResumeError, match=r"other/tiny holds other weights than those .*run was made with"):
        find_same(["tiny"], made, tmp_path / "other", run)
    with pytest.raises(ResumeError, match=r"weights of 'tiny' from a folder, and here are only small: pass the same"):
        find_same(["tiny"], made, tmp_path / "elsewhere", run)


@pytest.mark.parametrize("name", ["tiny", "test_resnet"])
def test_a_run_opened_without_its_weights_says_that_none_are_here(name: str, tmp_path: Path) -> None:
    # 'test_resnet' is a model of timm's hub as well: its weights must not be said to be other ones.
    with pytest.raises(ResumeError, match=f"weights of '{name}' from a folder, and here are none: pass the same"):
        find_same([name], {name: "a digest"}, None, tmp_path)


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    folder = save_local_dir(tmp_path / "wrong")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architecture": "test_vit"}))
    (ref,) = find_backbones((), folder)
    with pytest.raises(WeightsError, match="cannot be loaded into 'test_vit'"):
        create_model(ref, 3)


def test_weights_that_leave_a_layer_as_it_was_drawn_are_refused(tmp_path: Path) -> None:
    folder = save_local_dir(tmp_path / "less")
    state = load_file(str(folder / "model.safetensors"))
    left = next(name for name in state if name.startswith("layer2") and name.endswith("conv1.weight"))
    save_file({name: tensor for name, tensor in state.items() if name != left}, str(folder / "model.safetensors"))
    (ref,) = find_backbones((), folder)
    with pytest.raises(WeightsError, match=rf"1 of its tensors are not in the file \(first: {left}\)"):
        create_model(ref, 3)


def test_a_cut_file_of_weights_is_refused(tmp_path: Path) -> None:
    folder = save_local_dir(tmp_path / "cut")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    (ref,) = find_backbones((), folder)
    with pytest.raises(WeightsError, match="cannot be loaded"):
        create_model(ref, 3)


def test_saved_weights_come_back_and_others_are_refused(weights: Path, tmp_path: Path) -> None:
    (ref,) = find_backbones((), weights)
    model, other = create_model(ref, 3).eval(), create_model(ref, 3, pretrained=False).eval()
    save_weights(model, tmp_path / "m.safetensors")
    load_weights(other, tmp_path / "m.safetensors")
    image = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(other(image), model(image))
    with pytest.raises(WeightsError, match="another architecture: 0 missing, 0 unknown, 2 of another shape"):
        load_weights(create_model(ref, 5), tmp_path / "m.safetensors")


def test_pooled_features_are_what_the_own_classifier_reads(weights: Path) -> None:
    (ref,) = find_backbones((), weights)
    weight, bias = classifier_of(ref)
    image = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        features = create_model(ref, 0).eval()(image)
        logits = create_model(ref).eval()(image)
    torch.testing.assert_close(features @ torch.from_numpy(weight).T + torch.from_numpy(bias), logits)


def test_breeds_are_found_among_imagenets_classes_by_name() -> None:
    rows = imagenet_rows(["cardigan", "beagle", "black-and-tan_coonhound", "drawn_hound"])
    # The corgi, not the jacket (474).
    assert rows == {"cardigan": 264, "beagle": 162, "black-and-tan_coonhound": 165}


def test_a_missing_gpu_is_one_clear_line() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(UsageError, match="no GPU here"):
        pick_device("cuda")
    with pytest.raises(UsageError, match="unknown device 'gpu'"):
        pick_device("gpu")
