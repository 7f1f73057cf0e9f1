"""Layer tables: equal in both frameworks, and equal to what torchvision publishes."""

from __future__ import annotations

import pytest

from baselines import create_model, list_models
from baselines.registry import MODELS
from baselines.summary import summarise
from tests.baselines.pairs import narrow, size_for

# Multiply-accumulates for one image of 224 px in units of 1e9, from the metadata of torchvision's weights.
TORCHVISION_GMACS = {
    "alexnet": 0.714,
    "vgg11": 7.609,
    "vgg13_bn": 11.308,
    "vgg16": 15.47,
    "vgg19": 19.632,
    "googlenet_bn": 1.498,
    "resnet18": 1.814,
    "resnet34": 3.664,
    "resnet50": 4.089,
}


@pytest.mark.parametrize(("name", "expected"), TORCHVISION_GMACS.items())
def test_macs_equal_torchvisions(name: str, expected: float) -> None:
    import torch

    with torch.device("meta"):
        model = create_model(name, num_classes=1000)
    assert round(summarise(model).macs / 1e9, 3) == expected


@pytest.mark.usefixtures("keras_installed")
@pytest.mark.parametrize("name", list_models())
def test_tables_are_equal_row_by_row_and_the_cam_layer_has_one_name(name: str) -> None:
    options, size = narrow(name), size_for(name)
    model = create_model(name, "keras", image_size=size, **options)
    ours = summarise(create_model(name, "pytorch", image_size=size, **options))
    theirs = summarise(model)
    assert {row.name: row for row in ours.rows} == {row.name: row for row in theirs.rows}
    assert (ours.parameters, ours.trainable, ours.macs) == (theirs.parameters, theirs.trainable, theirs.macs)
    if model.info.spec.cam_layer is not None:
        assert len(model.get_layer(model.info.spec.cam_layer).output.shape) == 4


@pytest.mark.usefixtures("keras_installed")
def test_auxiliary_heads_are_in_both_tables() -> None:
    ours = summarise(create_model("googlenet", image_size=96, aux_heads=True))
    theirs = summarise(create_model("googlenet", "keras", image_size=96, aux_heads=True))
    assert {row.name: row for row in ours.rows} == {row.name: row for row in theirs.rows}
    assert "aux1.fc1" in {row.name for row in ours.rows}


@pytest.mark.parametrize("name", list_models())
def test_the_cam_layer_exists_and_gives_a_map(name: str) -> None:
    import torch

    layer = MODELS[name].spec.cam_layer
    if name == "mlp":
        assert layer is None
        return
    options, size = narrow(name), size_for(name)
    model = create_model(name, image_size=size, **options).eval()
    seen = []
    model.get_submodule(model.info.spec.cam_layer).register_forward_hook(lambda *call: seen.append(call[2].shape))
    with torch.no_grad():
        model(torch.zeros(1, model.info.in_channels, size, size))
    assert len(seen) == 1
    assert len(seen[0]) == 4
    assert seen[0][2] >= 2


def test_lenet_by_hand() -> None:
    summary = summarise(create_model("lenet5"))
    rows = {row.name: row for row in summary.rows}
    assert rows["c1"].shape == (6, 28, 28)
    assert rows["c1"].macs == 25 * 6 * 28 * 28
    assert rows["c3"].macs == 25 * 6 * 16 * 10 * 10
    assert rows["c5"].parameters == 25 * 16 * 120 + 120
    assert summary.parameters == 61_706
    assert summary.macs == 416_520


def test_the_table_ends_with_the_totals() -> None:
    lines = summarise(create_model("lenet5_published")).table().splitlines()
    assert lines[0].split() == ["layer", "kind", "output", "parameters", "MACs"]
    assert lines[-2].split()[-2:] == ["60,840", "328,096"]
    assert lines[-1].split() == ["of", "which", "trainable", "60,000"]


def test_summarising_leaves_the_model_as_it_was() -> None:
    import torch

    model = create_model("resnet8").eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    summarise(model)
    assert not model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_a_foreign_module_needs_its_input_shape() -> None:
    import torch

    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3))
    with pytest.raises(ValueError, match="input_shape"):
        summarise(model)
    assert summarise(model, (3, 8, 8)).macs == 27 * 4 * 36
