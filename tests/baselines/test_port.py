"""The proof that both frameworks hold the same networks: counts, logits and gradient steps of all registered ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from baselines import create_model, list_models
from baselines.port import load_into, load_weights, save_weights, weights_of
from baselines.registry import MODELS
from competition.errors import WeightsError
from tests.baselines.pairs import (
    images,
    keras_logits,
    keras_step,
    narrow,
    pair,
    size_for,
    torch_logits,
    torch_step,
)

pytestmark = pytest.mark.usefixtures("keras_installed")


@pytest.fixture
def float64():
    """Keras and PyTorch compute in double precision, where a wrong gradient cannot hide behind rounding."""
    import keras
    import torch

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
    keras.config.set_dtype_policy(before)


def counts(ours, theirs) -> tuple[int, int]:
    trainable = sum(weight.numel() for weight in ours.parameters() if weight.requires_grad)
    return trainable, sum(int(np.prod(weight.shape)) for weight in theirs.trainable_variables)


@pytest.mark.parametrize("name", list_models())
def test_logits_and_counts_agree(name: str) -> None:
    size = size_for(name) if MODELS[name].image_size <= 64 else MODELS[name].min_size
    ours, theirs = pair(name, size)
    trainable, in_keras = counts(ours, theirs)
    assert trainable == in_keras
    batch = images(name, size, 2)
    expected = torch_logits(ours, batch)
    assert expected.shape == (2, 10)
    assert np.ptp(expected) > 0, "constant logits would agree without proving anything"
    np.testing.assert_allclose(keras_logits(theirs, batch), expected, rtol=1e-4, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", list_models())
def test_a_gradient_step_agrees(name: str, float64: None) -> None:
    size = 16 if name == "googlenet_small" else size_for(name)
    ours, theirs = pair(name, size, dropout=0.0, **narrow(name))
    assert_steps_agree(ours, theirs, images(name, size, 4, "float64"))


def assert_steps_agree(ours, theirs, batch: np.ndarray) -> None:
    before, labels = weights_of(ours), np.array([3, 1, 4, 1])
    after, in_keras = torch_step(ours, batch, labels, 0.125), keras_step(theirs, batch, labels, 0.125)
    moved = 0
    for name, start in before.items():
        if "running_var" in name:  # the one difference by design, see test_running_variance
            continue
        step = np.abs(after[name] - start).max()
        moved += step > 1e-9
        # Keras keeps its constants (rate, momentum, eps) in float32 even here, hence not 1e-12.
        np.testing.assert_allclose(in_keras[name], after[name], rtol=0, atol=1e-9 + 1e-4 * step, err_msg=name)
    assert moved > 0.6 * len(before), "a step that moves nothing proves nothing"


@pytest.mark.parametrize("options", [{"aux_pool": "4x4"}, {"aux_pool": "4x4", "batch_norm": True}])
def test_auxiliary_heads_agree_and_learn(options: dict, float64: None) -> None:
    ours, theirs = pair("googlenet", 64, aux_heads=True, dropout=0.0, **options)
    batch = images("googlenet", 64, 4, "float64")
    np.testing.assert_allclose(keras_logits(theirs, batch), torch_logits(ours, batch), atol=1e-8)
    assert_steps_agree(ours, theirs, batch)


def test_the_published_auxiliary_heads_agree() -> None:
    import torch

    ours, theirs = pair("googlenet", 96, aux_heads=True, dropout=0.0)
    batch = images("googlenet", 96, 2)
    expected = [head.detach().numpy() for head in ours.train()(torch.from_numpy(batch))]
    for have, want in zip(theirs(batch.transpose(0, 2, 3, 1)), expected, strict=True):
        np.testing.assert_allclose(np.asarray(have), want, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mlp", {"batch_norm": True, "activation": "tanh"}),
        ("mlp", {"hidden": ()}),
        ("lenet5", {"head": "gaussian", "pooling": "max"}),
        ("lenet5", {"connections": "table", "batch_norm": True}),
        ("lenet5", {"pooling": "subsampling", "activation": "relu", "init": "he"}),
        ("alexnet_small", {"batch_norm": True, "hidden": (32,)}),
        ("vgg11_small", {"head": "flatten", "hidden": (16, 8)}),
        ("resnet8", {"shortcut": "projection"}),
        ("resnet8", {"batch_norm": False}),
        ("resnet8", {"widths": (4, 10, 12)}),
        ("resnet50", {"bottleneck_stride": "1x1", "widths": (4, 8, 8, 8)}),
        ("googlenet_small", {"batch_norm": False, "local_norm": True}),
        ("xception_small", {"batch_norm": False, "entry": (16, 16, 32), "middle": (32, 1)}),
    ],
)
def test_options_agree(name: str, options: dict) -> None:
    size = size_for(name)
    ours, theirs = pair(name, size, **options)
    batch = images(name, size, 2)
    expected = torch_logits(ours, batch)
    np.testing.assert_allclose(keras_logits(theirs, batch), expected, rtol=1e-4, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("size", [28, 33, 46])
@pytest.mark.parametrize("name", ["lenet5", "resnet8", "vgg11_bn_small", "googlenet_small", "alexnet_small"])
def test_odd_sizes_agree(name: str, size: int) -> None:
    ours, theirs = pair(name, size, **({"widths": (8, 8, 8, 8, 8)} if name.startswith("vgg") else {}))
    batch = images(name, size, 1)
    expected = torch_logits(ours, batch)
    np.testing.assert_allclose(keras_logits(theirs, batch), expected, rtol=1e-4, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["alexnet", "googlenet", "googlenet_bn", "resnet18", "xception"])
def test_odd_sizes_of_full_networks_agree(name: str) -> None:
    size = MODELS[name].min_size + 34
    ours, theirs = pair(name, size, **narrow(name))
    batch = images(name, size, 1)
    expected = torch_logits(ours, batch)
    np.testing.assert_allclose(keras_logits(theirs, batch), expected, rtol=1e-4, atol=2e-5 * np.abs(expected).max())


def test_running_variance_differs_by_the_sample_correction_only(float64: None) -> None:
    """PyTorch keeps the unbiased variance of a batch, Keras the biased one."""
    ours, theirs = pair("resnet8", 32)
    batch, labels = images("resnet8", 32, 4, "float64"), np.array([0, 1, 2, 3])
    before = weights_of(ours)["bn1.running_var"]
    after = torch_step(ours, batch, labels, 0.1)["bn1.running_var"]
    in_keras = keras_step(theirs, batch, labels, 0.1)["bn1.running_var"]
    values = 4 * 32 * 32
    np.testing.assert_allclose(after - 0.9 * before, (in_keras - 0.9 * before) * values / (values - 1), rtol=1e-7)


def test_a_compiled_keras_model_takes_the_same_step_as_pytorch() -> None:
    import keras

    ours, theirs = pair("lenet5_relu", 28)
    batch, labels = images("lenet5_relu", 28, 8), np.arange(8)
    theirs.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    theirs.train_on_batch(batch.transpose(0, 2, 3, 1), labels)
    after = torch_step(ours, batch, labels, 0.1)
    for name, array in weights_of(theirs).items():
        np.testing.assert_allclose(array, after[name], atol=1e-6, err_msg=name)


def test_the_way_back_gives_the_same_weights() -> None:
    ours, theirs = pair("vgg11_small", 32, head="flatten", widths=(4, 4, 8, 8, 8), hidden=(6,))
    other = create_model("vgg11_small", "pytorch", head="flatten", widths=(4, 4, 8, 8, 8), hidden=(6,))
    assert not np.array_equal(weights_of(other)["fc6.weight"], weights_of(ours)["fc6.weight"])
    load_into(other, weights_of(theirs))
    for name, array in weights_of(ours).items():
        np.testing.assert_array_equal(weights_of(other)[name], array)


def test_a_checkpoint_of_one_framework_loads_into_the_other(tmp_path: Path) -> None:
    ours = create_model("lenet5_published", "pytorch")
    theirs = create_model("lenet5_published", "keras")
    save_weights(theirs, tmp_path / "w.safetensors")
    load_weights(ours, tmp_path / "w.safetensors")
    batch = images("lenet5_published", 28, 2)
    np.testing.assert_allclose(torch_logits(ours, batch), keras_logits(theirs, batch), rtol=1e-5)


def test_keras_models_survive_saving_whole(tmp_path: Path) -> None:
    """Keras' own format, custom layers included."""
    import keras

    for name in ("lenet5_published", "resnet8", "googlenet"):
        model = create_model(name, "keras", image_size=32, init="he")
        model.save(tmp_path / f"{name}.keras")
        batch = images(name, 32, 1)
        again = keras.models.load_model(tmp_path / f"{name}.keras")
        np.testing.assert_array_equal(keras_logits(again, batch), keras_logits(model, batch))


def test_a_checkpoint_of_another_model_is_refused_by_name(tmp_path: Path) -> None:
    save_weights(create_model("resnet8"), tmp_path / "w.safetensors")
    model = create_model("lenet5")
    before = weights_of(model)
    with pytest.raises(WeightsError, match=r"written for resnet8.*another architecture"):
        load_weights(model, tmp_path / "w.safetensors")
    for name, array in weights_of(model).items():
        np.testing.assert_array_equal(array, before[name])


def test_weights_for_other_classes_are_refused() -> None:
    with pytest.raises(WeightsError, match=r"output.weight is \(7, 84\), the model has \(10, 84\)"):
        load_into(create_model("lenet5"), weights_of(create_model("lenet5", num_classes=7)))


@pytest.mark.parametrize("content", [b"", b"no safetensors at all, but long enough"])
def test_a_damaged_checkpoint_is_one_clear_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(WeightsError, match="no readable safetensors"):
        load_weights(create_model("lenet5"), tmp_path / "w.safetensors")


def test_a_missing_checkpoint_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="is missing"):
        load_weights(create_model("lenet5"), tmp_path / "w.safetensors")


def test_the_memory_of_batch_norms_reaches_both_frameworks() -> None:
    """PyTorch's momentum is the share that is new, Keras' the share that stays."""
    import keras
    import torch

    theirs, ours = (create_model("resnet8", framework, bn_momentum=0.75) for framework in ("keras", "pytorch"))
    kept = {layer.momentum for layer in theirs.layers if isinstance(layer, keras.layers.BatchNormalization)}
    new = {module.momentum for module in ours.modules() if isinstance(module, torch.nn.BatchNorm2d)}
    assert (kept, new) == ({0.75}, {0.25})
