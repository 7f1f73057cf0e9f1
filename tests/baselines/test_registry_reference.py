"""Against the frameworks' own model zoos: equal counts, and equal outputs with their weights copied."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from baselines import create_model
from baselines.port import load_into, weights_of
from baselines.summary import summarise
from tests.baselines.pairs import keras_logits, shake, torch_logits

# Published or shipped: trainable parameters with 1,000 classes. Xception: 22,910,480 in Keras' accounting, which
# counts the 54,528 running statistics of batch norm.
COUNTS = {
    "alexnet": 61_100_840,
    "vgg11": 132_863_336,
    "vgg13": 133_047_848,
    "vgg16": 138_357_544,
    "vgg16_bn": 138_365_992,
    "vgg19": 143_667_240,
    "googlenet_bn": 6_624_904,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "xception": 22_910_480 - 54_528,
}


@pytest.mark.parametrize(("name", "count"), COUNTS.items())
def test_published_counts(name: str, count: int) -> None:
    import torch

    with torch.device("meta"):
        model = create_model(name, num_classes=1000)
    assert sum(weight.numel() for weight in model.parameters()) == count


@pytest.mark.usefixtures("keras_installed")
@pytest.mark.parametrize("name", ["alexnet", "vgg16", "googlenet_bn", "resnet18", "resnet34", "resnet50", "xception"])
def test_published_counts_in_keras(name: str) -> None:
    model = create_model(name, "keras", num_classes=1000)
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_variables) == COUNTS[name]
    if name == "xception":
        assert model.count_params() == 22_910_480


def test_googlenet_with_its_heads_counts_as_torchvision_does() -> None:
    import torch

    with torch.device("meta"):
        model = create_model("googlenet_bn", num_classes=1000, aux_heads=True)
    assert sum(weight.numel() for weight in model.parameters()) == 13_004_888


def test_lenet_has_the_trainable_parameters_and_connections_of_the_paper() -> None:
    """LeCun et al. 1998, II.B: C1 156, S2 12, C3 1,516, S4 32, C5 48,120, F6 10,164; 60,000 in all."""
    rows = {row.name: row for row in summarise(create_model("lenet5_published")).rows}
    counts = {name: rows[name].trainable for name in ("c1", "s2", "c3", "s4", "c5", "f6", "output")}
    assert counts == {"c1": 156, "s2": 12, "c3": 1516, "s4": 32, "c5": 48120, "f6": 10164, "output": 0}
    assert sum(counts.values()) == 60_000
    # The paper counts the biases as connections: 122,304 for C1 and 151,600 for C3.
    assert rows["c1"].macs + 6 * 28 * 28 == 122_304
    assert rows["c3"].macs + 16 * 10 * 10 == 151_600


@pytest.mark.parametrize(("depth", "millions"), [(20, 0.27), (32, 0.46)])
def test_cifar_resnets_have_the_size_of_table_6(depth: int, millions: float) -> None:
    assert summarise(create_model(f"resnet{depth}")).parameters / 1e6 == pytest.approx(millions, abs=0.005)


def in_order(source: dict[str, np.ndarray], target: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of ``source`` under the names of ``target``, matched by order; the shapes must be equal."""
    assert [array.shape for array in source.values()] == [array.shape for array in target.values()]
    return dict(zip(target, source.values(), strict=True))


def reference(name: str, **options: Any) -> Any:
    """torchvision's own model with statistics that are not 0 and 1."""
    import torchvision

    if name == "googlenet":
        options = {"init_weights": False, "aux_logits": False, **options}
    model = torchvision.models.get_model(name, weights=None, **options)
    shake(model)
    return model.eval()


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("alexnet", "alexnet"),
        ("googlenet_bn", "googlenet"),
        ("resnet18", "resnet18"),
        ("resnet34", "resnet34"),
        ("resnet50", "resnet50"),
    ],
)
def test_outputs_equal_torchvision(name: str, theirs: str) -> None:
    batch = np.random.default_rng(0).normal(size=(1, 3, 224, 224)).astype(np.float32)
    model, expected = create_model(name, num_classes=1000), reference(theirs, num_classes=1000)
    load_into(model, in_order(weights_of(expected), weights_of(model)))
    np.testing.assert_allclose(torch_logits(model, batch), torch_logits(expected, batch), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", [f"vgg{depth}{bn}" for depth in (11, 13, 16, 19) for bn in ("", "_bn")])
def test_convolutions_of_vgg_equal_torchvision(name: str) -> None:
    """Without the dense layers, which are nine tenths of the weights; the slow tests have them."""
    import torch
    import torchvision

    letter = {"11": "A", "13": "B", "16": "D", "19": "E"}[name[3:5]]
    layers = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs[letter], batch_norm=name.endswith("_bn"))
    shake(layers)
    ours = create_model(name, image_size=64, hidden=(8,))
    maps = torch.nn.Sequential(*[module for key, module in ours.named_children() if key.startswith(PARTS)])
    load_into(maps, in_order(weights_of(layers), weights_of(maps)))
    batch = np.random.default_rng(0).normal(size=(1, 3, 64, 64)).astype(np.float32)
    want = torch_logits(layers, batch)
    assert want.shape == (1, 512, 2, 2)
    np.testing.assert_allclose(torch_logits(maps, batch), want, rtol=1e-5, atol=1e-6)


PARTS = tuple(f"{kind}{block}" for kind in ("conv", "bn", "relu", "pool") for block in (*"12345",))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vgg11", "vgg11_bn", "vgg13", "vgg16", "vgg16_bn", "vgg19"])
def test_outputs_equal_torchvision_for_the_heavy_ones(name: str) -> None:
    test_outputs_equal_torchvision(name, name)


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "googlenet"])
def test_state_dicts_of_torchvision_load_by_name(name: str) -> None:
    """The modules are called as torchvision's, so its weights need no table."""
    model = create_model("googlenet_bn" if name == "googlenet" else name, num_classes=1000)
    load_into(model, weights_of(reference(name, num_classes=1000)))


def test_auxiliary_heads_equal_torchvision() -> None:
    import torch

    expected = reference("googlenet", num_classes=1000, aux_logits=True, dropout=0.0, dropout_aux=0.0)
    model = create_model("googlenet_bn", num_classes=1000, aux_heads=True, dropout=0.0)
    load_into(model, weights_of(expected))
    batch = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, 224, 224)).astype(np.float32))
    with torch.no_grad():
        want, have = expected.train()(batch), model.train()(batch)
    for ours, theirs in ((have.logits, want.logits), (have.aux1, want.aux_logits1), (have.aux2, want.aux_logits2)):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=1e-4)


def zoo(builder: str, **options: Any) -> Any:
    """A model of keras.applications with new weights and logits at its end."""
    from keras import applications

    return getattr(applications, builder)(weights=None, classifier_activation=None, **options)


def conv_and_dense(model: Any) -> list[list[np.ndarray]]:
    """Weights of a Keras model, layer by layer, in the order in which the layers were made."""
    return [layer.get_weights() for layer in model.layers if layer.weights]


@pytest.mark.slow
@pytest.mark.usefixtures("keras_installed")
@pytest.mark.parametrize(("name", "builder"), [("vgg16", "VGG16"), ("vgg19", "VGG19")])
def test_outputs_equal_keras_vgg(name: str, builder: str) -> None:
    check_keras_vgg(name, builder, 224)


@pytest.mark.usefixtures("keras_installed")
@pytest.mark.parametrize(("name", "builder"), [("vgg16", "VGG16"), ("vgg19", "VGG19")])
def test_outputs_equal_keras_vgg_at_a_small_size(name: str, builder: str) -> None:
    check_keras_vgg(name, builder, 64)


def check_keras_vgg(name: str, builder: str, size: int) -> None:
    expected = zoo(builder, input_shape=(size, size, 3), classes=100)
    model = create_model(name, "keras", num_classes=100, image_size=size)
    for ours, theirs in zip((layer for layer in model.layers if layer.weights), conv_and_dense(expected), strict=True):
        ours.set_weights(theirs)
    ours_in_torch = create_model(name, num_classes=100, image_size=size)
    load_into(ours_in_torch, weights_of(model))
    batch = np.random.default_rng(0).normal(size=(1, 3, size, size)).astype(np.float32)
    want = keras_logits(expected, batch)
    assert np.ptp(want) > 0
    np.testing.assert_allclose(keras_logits(model, batch), want, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(torch_logits(ours_in_torch, batch), want, rtol=1e-3, atol=1e-4 * np.abs(want).max())


@pytest.mark.usefixtures("keras_installed")
@pytest.mark.parametrize("size", [71, 128])
def test_outputs_equal_keras_xception(size: int) -> None:
    expected = zoo("Xception", input_shape=(size, size, 3), classes=100)
    model = create_model("xception", "keras", num_classes=100, image_size=size)
    copy_xception(expected, model)
    in_torch = create_model("xception", num_classes=100, image_size=size)
    load_into(in_torch, weights_of(model))
    batch = np.random.default_rng(0).normal(size=(1, 3, size, size)).astype(np.float32)
    want = keras_logits(expected, batch)
    np.testing.assert_allclose(keras_logits(model, batch), want, rtol=1e-4, atol=1e-5 * np.abs(want).max())
    np.testing.assert_allclose(torch_logits(in_torch, batch), want, rtol=1e-3, atol=1e-4 * np.abs(want).max())


def copy_xception(source: Any, target: Any) -> None:
    """By Keras' names: its separable convolution is one layer, and its shortcuts have no name of their own."""
    rng = np.random.default_rng(1)
    for layer in source.layers:  # statistics that a mix-up would show
        if "BatchNorm" in type(layer).__name__:
            layer.set_weights([array + rng.uniform(0, 0.2, array.shape) for array in layer.get_weights()])
    names = {layer.name: layer for layer in target.layers}
    shortcuts = iter(["block2", "block3", "block4", "block13"])
    shortcut = ""
    for layer in source.layers:
        kind, weights = type(layer).__name__, layer.get_weights()
        block, _, rest = layer.name.partition("_")
        inner = f"{block}.body." if block not in ("block1", "block14") else f"{block}_"
        if kind == "SeparableConv2D":
            names[f"{inner}{rest}.depthwise"].set_weights(weights[:1])
            names[f"{inner}{rest}.pointwise"].set_weights(weights[1:])
        elif kind == "Dense":
            names["fc"].set_weights(weights)
        elif kind == "Conv2D" and block == "block1":
            names[layer.name].set_weights(weights)
        elif kind == "Conv2D":
            shortcut = next(shortcuts)
            names[f"{shortcut}.shortcut.conv"].set_weights(weights)
        elif kind == "BatchNormalization" and block.startswith("block"):
            names[f"{inner}bn{rest.removesuffix('_bn')[-1]}"].set_weights(weights)
        elif kind == "BatchNormalization":
            # Layers are sorted by depth, so each unnamed batch norm follows its unnamed convolution.
            names[f"{shortcut}.shortcut.bn"].set_weights(weights)


@pytest.mark.usefixtures("keras_installed")
def test_outputs_equal_keras_resnet50_with_the_papers_stride() -> None:
    """Keras strides in the first 1 x 1 convolution, as the paper does, has biases (0 here) and eps 1.001e-5."""
    expected = zoo("ResNet50", input_shape=(64, 64, 3), classes=100)
    model = create_model("resnet50", "keras", num_classes=100, image_size=64, bottleneck_stride="1x1")
    by_name = {layer.name: layer for layer in expected.layers}
    for layer in model.layers:
        if layer.weights:
            weights = by_name[keras_resnet_name(layer.name)].get_weights()
            layer.set_weights(weights if len(layer.weights) == len(weights) else weights[:1])
    batch = np.random.default_rng(0).normal(size=(1, 3, 64, 64)).astype(np.float32)
    want = keras_logits(expected, batch)
    np.testing.assert_allclose(keras_logits(model, batch), want, rtol=1e-3, atol=1e-4 * np.abs(want).max())


def keras_resnet_name(name: str) -> str:
    """``layer2.0.conv1`` as keras.applications calls it: ``conv3_block1_1_conv``."""
    simple = {"conv1": "conv1_conv", "bn1": "conv1_bn", "fc": "predictions"}
    if name in simple:
        return simple[name]
    stage, block, *rest = name.split(".")
    part = {"0": "0_conv", "1": "0_bn"}[rest[1]] if rest[0] == "downsample" else f"{rest[0][-1]}_{rest[0][:-1]}"
    return f"conv{int(stage[-1]) + 1}_block{int(block) + 1}_{part}"
