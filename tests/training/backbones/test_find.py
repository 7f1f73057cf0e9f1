"""Backbones of every kind of classifier, name, channel and place: used as they are, or refused in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from competition.config import ProbeConfig
from competition.errors import UsageError, WeightsError
from competition.training.backbones.create import create_model, try_features
from competition.training.backbones.find import MOST_AT_ONCE, find_backbones, find_same
from competition.training.backbones.imagenet import classifier_of, imagenet_classifier
from competition.training.finetune.mixing import set_head
from competition.training.finetune.parameter_groups import parameter_groups
from competition.training.probe import linear_probe
from tests.training.small_fold import small_config

BREEDS = ["beagle", "cardigan", "pug"]


def save(folder: Path, architecture: str, classes: int | None = None, /, seed: int = 0, **config: Any) -> Path:
    """Random weights in timm's local-directory form; ``config`` changes config.json, a None takes a key out."""
    torch.manual_seed(seed)
    channels = config.pop("channels", 3)
    model = timm.create_model(architecture, in_chans=channels, **({} if classes is None else {"num_classes": classes}))
    folder.mkdir(parents=True)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, folder / "model.safetensors")
    stored = timm.get_pretrained_cfg(architecture).to_dict(remove_source=True)
    stored = {**stored, "num_classes": model.num_classes, "input_size": [channels, *stored["input_size"][1:]]}
    written = {"architecture": architecture, "num_classes": model.num_classes, "pretrained_cfg": stored, **config}
    (folder / "config.json").write_text(json.dumps({key: value for key, value in written.items() if value is not None}))
    return folder


# Architecture, classes of the weights, and what is said of their classifier (None: it is ImageNet's and linear).
KINDS = [
    ("test_resnet", None, None),
    ("test_vit", None, None),
    ("test_convnext", None, None),  # norm before the classifier
    ("mobilenetv3_small_050", None, None),  # a hidden convolution before it
    ("resnetv2_50x1_bit", 1000, None),  # the classifier is a 1x1 convolution
    ("test_vit", 0, "has no classifier"),
    ("test_convnext", 0, "has no classifier"),
    ("test_resnet", 1001, "has a classifier of 1,001 classes"),
    ("test_resnet", 120, "has a classifier of 120 classes"),
    ("test_efficientnet", 21841, "has a classifier of 21,841 classes"),
    ("test_vit", 11821, "has a classifier of 11,821 classes"),
    ("levit_128s", None, "has 2 classifiers"),
    ("deit_tiny_distilled_patch16_224", None, "has 2 classifiers"),
    ("efficientformer_l1", None, "has 2 classifiers"),
    ("caformer_s18", None, "has no linear classifier on its pooled features"),  # a hidden layer
]


@pytest.mark.parametrize(("architecture", "classes", "said"), KINDS)
def test_every_kind_of_classifier_is_used_or_left_out(
    architecture: str, classes: int | None, said: str | None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "w" / "it", architecture, classes)
    refs = find_backbones((), tmp_path / "w")
    assert try_features(refs[0]).shape == (1, refs[0].num_features)
    linear_probe.check_backbones(refs, BREEDS, ProbeConfig())
    found = linear_probe._own_classifiers(refs, BREEDS)
    printed = capfd.readouterr().err
    assert set(found) == (set() if said else {"it"})
    assert printed.count("note:") == (1 if said else 0)
    assert ("using its own classifier of 1,000 classes" in printed) == (said is None)
    if said:
        assert f"it {said}: used without the rows" in printed
        assert "imagenet_prior=false" in printed
        with pytest.raises(WeightsError, match=said):
            imagenet_classifier(refs[0])
    else:
        weight, bias = classifier_of(refs[0])
        photo = torch.rand(2, 3, refs[0].spec.size, refs[0].spec.size)
        with torch.inference_mode():
            features, logits = create_model(refs[0], 0).eval()(photo), create_model(refs[0]).eval()(photo)
        torch.testing.assert_close(
            features @ torch.from_numpy(weight).T + torch.from_numpy(bias), logits, atol=1e-4, rtol=1e-3
        )


def test_nothing_is_said_where_the_rows_are_not_wanted(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    save(tmp_path / "it", "test_vit", 0)
    linear_probe.check_backbones(find_backbones((), tmp_path), BREEDS, ProbeConfig(imagenet_prior=False))
    linear_probe.check_backbones(find_backbones((), tmp_path), ["a", "b"], ProbeConfig())
    assert "note" not in capfd.readouterr().err


def test_one_note_names_all_backbones_without_rows(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    save(tmp_path / "a", "test_vit", 0)
    save(tmp_path / "b", "test_resnet", 120)
    save(tmp_path / "c", "test_resnet", seed=1)
    linear_probe.check_backbones(find_backbones((), tmp_path), BREEDS, ProbeConfig())
    printed = " ".join(capfd.readouterr().err.split())
    assert printed.count("note:") == 1
    assert "a has no classifier; b has a classifier of 120 classes: used without" in printed


def test_a_backbone_without_rows_does_not_take_them_from_the_others(rng: np.random.Generator) -> None:
    # Beside ten useful features that start from their rows lie five of noise that start from nothing.
    labels = np.repeat(np.arange(3), 40)
    weight = rng.normal(size=(10, 3))
    useful = rng.normal(size=(120, 10)) + weight.T[labels]
    features = {"a/b/identity": useful.astype(np.float32), "c/identity": rng.normal(size=(120, 5)).astype(np.float32)}
    matrix = linear_probe.Matrix((("a/b/identity",), ("c/identity",)))
    own = {"a/b": (weight, np.zeros(3))}
    config = ProbeConfig(device="cpu")
    path = linear_probe._Path(matrix, features, labels, np.arange(120) % 5, 3, own, config)
    centre = path.problems.centre.reshape(16, 5, 3)
    assert float(centre[:10].abs().min()) > 0
    assert float(centre[10:15].abs().max()) == 0
    assert linear_probe._Path(matrix, features, labels, np.arange(120) % 5, 3, {}, config).problems.centre is None


@pytest.mark.parametrize(
    "architecture", ["test_vit", "levit_128s", "deit_tiny_distilled_patch16_224", "resnetv2_50x1_bit"]
)
def test_the_probes_solution_becomes_the_head_of_one_or_two_classifiers(
    architecture: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    save(tmp_path / "w", architecture, 0 if architecture == "test_vit" else None)
    (ref,) = find_backbones((), tmp_path / "w")
    model = create_model(ref, 3).eval()
    weight, bias = rng.normal(size=(3, ref.num_features)).astype(np.float32), rng.normal(size=3).astype(np.float32)
    set_head(model, weight, bias)
    photo = torch.rand(2, 3, ref.spec.size, ref.spec.size)
    with torch.inference_mode():
        logits, features = model(photo), create_model(ref, 0).eval()(photo)
    torch.testing.assert_close(
        logits, features @ torch.from_numpy(weight).T + torch.from_numpy(bias), atol=1e-3, rtol=1e-3
    )
    groups = parameter_groups(model, small_config())
    in_head = {id(part) for group in groups if group["name"].startswith("head") for part in group["params"]}
    assert all(
        id(part) in in_head
        for part in torch.nn.ModuleList(
            model.get_classifier() if isinstance(model.get_classifier(), tuple) else [model.get_classifier()]
        ).parameters()
    )


def test_what_the_file_holds_is_believed_not_its_configuration(tmp_path: Path) -> None:
    bare = save(tmp_path / "bare", "test_resnet", 120, pretrained_cfg=None, num_classes=None)
    assert json.loads((bare / "config.json").read_text()) == {"architecture": "test_resnet"}
    wrong = save(tmp_path / "wrong", "test_resnet", 0, num_classes=1000, model_args={"num_classes": 1000})
    old = save(tmp_path / "old", "test_resnet", 1001, seed=1)
    config = json.loads((old / "config.json").read_text())
    config["pretrained_cfg"].update(num_classes=1000, label_offset=1)
    (old / "config.json").write_text(json.dumps({**config, "num_classes": 1000}))
    for folder, classes in ((bare, 120), (old, 1000)):
        (ref,) = find_backbones((), folder)
        assert (ref.classes, len(classifier_of(ref)[1])) == (classes, classes)
        assert try_features(ref).shape == (1, ref.num_features)
    (ref,) = find_backbones((), wrong)
    assert try_features(ref).shape == (1, ref.num_features)
    with pytest.raises(WeightsError):
        imagenet_classifier(ref)


def test_a_thousand_other_classes_are_not_taken_for_imagenets(tmp_path: Path) -> None:
    info = timm.data.ImageNetInfo("imagenet-1k")
    synsets = [info.index_to_label_name(index) for index in range(1000)]
    texts = [info.index_to_description(index, detailed=False) for index in range(1000)]
    for number, names in enumerate((synsets, texts, None)):
        (ref,) = find_backbones((), save(tmp_path / f"imagenet{number}", "test_resnet", label_names=names))
        assert imagenet_classifier(ref)[0].shape == (1000, ref.num_features)
    (ref,) = find_backbones(
        (), save(tmp_path / "plants", "test_resnet", label_names=[f"plant {i}" for i in range(1000)])
    )
    with pytest.raises(WeightsError, match="plants has a classifier of other classes than ImageNet-1k's"):
        imagenet_classifier(ref)


def test_kaggles_models_that_end_in_a_version_have_names_of_their_own(tmp_path: Path) -> None:
    for seed, model in enumerate(("mobilenet", "efficientnet")):
        save(tmp_path / model / "pytorch" / "small" / "1", "test_resnet", seed=seed)
    save(tmp_path / "mobilenet" / "pytorch" / "small" / "2", "test_resnet", seed=2)
    refs = find_backbones((), tmp_path)
    names = ["efficientnet/pytorch/small/1", "mobilenet/pytorch/small/1", "small/2"]
    assert [ref.name for ref in refs] == names
    assert len({ref.digest for ref in refs}) == 3
    assert find_backbones(("small/2",), tmp_path) == find_backbones(("2",), tmp_path) == refs[2:]
    with pytest.raises(
        UsageError, match=r"'1' means 2 backbones, 'efficientnet/pytorch/small/1' \(.*\) and 'mobilenet"
    ):
        find_backbones(("1",), tmp_path)
    with pytest.raises(UsageError, match="'test_resnet' means 3 backbones"):
        find_backbones(("test_resnet",), tmp_path)
    # A run of before called them by their folders; one of today is found wherever the weights are now.
    assert find_same(["1"], {"1": refs[1].digest}, tmp_path, tmp_path)[0].folder == refs[1].folder
    shutil.move(tmp_path / "mobilenet", tmp_path / "elsewhere")
    digests = {ref.name: ref.digest for ref in refs}
    assert [ref.name for ref in find_same(names, digests, tmp_path, tmp_path)] == names


def test_equal_weights_are_used_once_and_said(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    first = save(tmp_path / "a", "test_resnet")
    shutil.copytree(first, tmp_path / "b")
    (tmp_path / "c").symlink_to(first)
    assert [ref.name for ref in find_backbones((), tmp_path)] == ["a"]
    assert "the same weights" in " ".join(capfd.readouterr().err.split())


def test_a_snapshot_of_the_hubs_cache_is_named_after_its_model(tmp_path: Path) -> None:
    hub = tmp_path / "models--timm--test_resnet.r160_in1k"
    made = save(tmp_path / "made", "test_resnet")
    snapshot = hub / "snapshots" / ("0" * 40)
    (hub / "blobs").mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        shutil.move(made / name, hub / "blobs" / f"blob-of-{name.split('.')[0]}")
        (snapshot / name).symlink_to(Path("../..") / "blobs" / f"blob-of-{name.split('.')[0]}")
    for where in (tmp_path, hub, snapshot, snapshot / "model.safetensors"):
        (ref,) = find_backbones((), where)
        assert ref.name == "models--timm--test_resnet.r160_in1k"
        assert try_features(ref).shape == (1, ref.num_features)


def test_the_file_of_weights_is_taken_for_its_folder(tmp_path: Path) -> None:
    folder = save(tmp_path / "it", "test_resnet")
    (whole,) = find_backbones((), folder)
    for given in (folder / "model.safetensors", str(folder / "config.json")):
        assert (
            find_backbones((), given)
            == (whole,)
            == find_backbones((str(given),) if "model" in str(given) else (), given)
        )
    (folder / "model.safetensors").rename(folder / "dogs v2#1.safetensors")
    (ref,) = find_backbones((), folder / "dogs v2#1.safetensors")
    assert ref.name == "dogs v2#1"
    assert try_features(ref).shape == (1, ref.num_features)
    (folder / "config.json").unlink()
    with pytest.raises(WeightsError, match=r"says nothing about its network: put a config.json such as .* beside it"):
        find_backbones((), folder / "dogs v2#1.safetensors")
    (tmp_path / "it.pth").write_bytes(b"pickle")
    with pytest.raises(WeightsError, match=r"it.pth is no safetensors file: give a folder with config.json"):
        find_backbones((), tmp_path / "it.pth")
    with pytest.raises(WeightsError, match=r"no.safetensors does not exist"):
        find_backbones((), tmp_path / "no.safetensors")


def test_hundreds_of_backbones_are_not_all_used_by_accident(tmp_path: Path) -> None:
    first = save(tmp_path / "w0", "test_resnet")
    for number in range(1, 300):
        (tmp_path / f"w{number}").mkdir()
        for name in ("config.json", "model.safetensors"):
            (tmp_path / f"w{number}" / name).hardlink_to(first / name)
    assert MOST_AT_ONCE < 300
    with pytest.raises(UsageError, match=r"300 backbones lie there \(w0, w1, .* and 295 more\): name those you mean"):
        find_backbones((), tmp_path)
    assert find_backbones(("w17",), tmp_path)[0].folder == tmp_path / "w17"


def test_folders_of_another_library_are_left_out(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    save(tmp_path / "good", "test_resnet")
    other = save(tmp_path / "bert", "test_resnet", architecture=None, model_type="bert")
    assert [ref.name for ref in find_backbones((), tmp_path)] == ["good"]
    assert "1 folders with weights are not in timm's form, left out" in " ".join(capfd.readouterr().err.split())
    with pytest.raises(WeightsError, match="is not a timm configuration"):
        find_backbones((), other)


@pytest.mark.parametrize("architecture", ["test_resnet", "test_vit", "test_efficientnet", "test_convnext"])
@pytest.mark.parametrize("stated", [True, False])
def test_weights_for_grey_images_see_a_photo_in_grey(architecture: str, stated: bool, tmp_path: Path) -> None:
    folder = save(tmp_path / "grey", architecture, channels=1, **({"model_args": {"in_chans": 1}} if stated else {}))
    if not stated:
        config = json.loads((folder / "config.json").read_text())
        config["pretrained_cfg"]["input_size"][0] = 3
        (folder / "config.json").write_text(json.dumps(config))
    (ref,) = find_backbones((), folder)
    assert (ref.channels, len(ref.spec.mean), len(set(ref.spec.mean))) == (1, 3, 1)
    photo = torch.rand(1, 3, ref.spec.size, ref.spec.size)
    grey = (photo * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    plain = timm.create_model(architecture, in_chans=1, num_classes=0).eval()
    state = load_file(folder / "model.safetensors")
    plain.load_state_dict({name: value for name, value in state.items() if name in plain.state_dict()})
    with torch.inference_mode():
        torch.testing.assert_close(try_features(ref, photo), plain(grey), atol=1e-4, rtol=1e-3)
    assert imagenet_classifier(ref)[0].shape == (1000, ref.num_features)
    # What a fine-tuning saves is loaded again without the grey file.
    model = create_model(ref, 3)
    create_model(ref, 3, pretrained=False).load_state_dict(model.state_dict())


def test_weights_for_other_channels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"is for images of 4 channels: photos have 3"):
        find_backbones((), save(tmp_path / "rgba", "test_resnet", channels=4))
