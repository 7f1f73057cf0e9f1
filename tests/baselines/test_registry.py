"""What is registered, how a model is asked for, and what a wrong question is answered."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import numpy as np
import pytest

from baselines import create_model, list_models
from baselines.registry import MODELS, find_entry
from baselines.specs.base import initial_range
from baselines.specs.resnet import cifar_resnet
from competition.errors import KitError, UsageError


def test_the_families_of_the_issue_are_registered() -> None:
    wanted = {"mlp", "lenet5", "lenet5_published", "alexnet", "alexnet_small", "googlenet", "googlenet_bn", "xception"}
    wanted |= {f"vgg{depth}{bn}{small}" for depth in (11, 13, 16, 19) for bn in ("", "_bn") for small in ("", "_small")}
    wanted |= {"resnet8", "resnet14", "resnet20", "resnet32", "resnet18", "resnet34", "resnet50"}
    assert wanted <= set(list_models())
    assert list_models("resnet*_small") == ["resnet18_small", "resnet34_small", "resnet50_small"]


def test_an_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'resnet8'"):
        create_model("resnte8")


def test_an_unknown_framework_offers_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'keras'"):
        create_model("lenet5", framework="kears")


def test_an_unknown_option_offers_the_nearest() -> None:
    with pytest.raises(UsageError, match="no option 'droput' - did you mean 'dropout'"):
        create_model("vgg11_small", droput=0.5)


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("lenet5", {"activation": "reluu"}, "did you mean 'relu'"),
        ("lenet5", {"dropout": 1.5}, "dropout=1.5 is impossible"),
        ("resnet8", {"bn_momentum": 1.0}, "bn_momentum=1.0 is impossible"),
        ("lenet5", {"init": "xavir"}, "did you mean 'xavier'"),
        ("lenet5", {"num_classes": 0}, "num_classes=0"),
        ("lenet5", {"connections": "table", "maps": (8, 16, 120)}, "made for 6 and 16 maps"),
        ("vgg16", {"image_size": 28}, "at least 32 px, not 28 px; vgg16_small takes them"),
        ("resnet50", {"shortcut": "identity"}, "needs shortcut='projection'"),
        ("resnet18", {"depths": (2, 2)}, "differ in length"),
        ("googlenet", {"aux_heads": True, "image_size": 64}, "auxiliary heads"),
        ("xception", {"middle": (100, 2)}, "728 filters"),
    ],
)
def test_impossible_values_are_one_clear_line(name: str, options: dict, says: str) -> None:
    with pytest.raises(UsageError, match=says.replace("(", r"\(")) as caught:
        create_model(name, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("missing", ["keras", "tensorflow"])
def test_missing_keras_names_the_extra_and_leaves_pytorch_alone(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec

    def only_one_missing(name: str, *rest: object) -> object:
        # Also where neither is installed (the extra [test] alone), exactly one of them must seem to be missing.
        there = sys.__spec__ if name in ("keras", "tensorflow") else real(name, *rest)
        return None if name == missing else there

    monkeypatch.setattr(importlib.util, "find_spec", only_one_missing)
    with pytest.raises(KitError, match=rf"{missing} not installed: pip install 'dogbreed-kit\[keras\]'"):
        create_model("lenet5", framework="keras")
    assert create_model("lenet5").info.framework == "pytorch"


def test_info_makes_the_same_model_again() -> None:
    model = create_model("vgg11_bn_small", num_classes=7, in_channels=1, image_size=28, hidden=[8], dropout=0.1)
    again = create_model(**model.info.to_dict())
    assert again.info == model.info
    shapes = [[weight.shape for weight in net.parameters()] for net in (model, again)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("depth", [7, 2, 12])
def test_depths_off_the_rule_are_refused(depth: int) -> None:
    with pytest.raises(UsageError, match=r"6n \+ 2"):
        cifar_resnet(depth)


@pytest.mark.parametrize("name", list_models())
def test_the_smallest_size_works_and_one_less_does_not(name: str) -> None:
    import torch

    entry = MODELS[name]
    with torch.device("meta"):
        model = create_model(name, image_size=entry.min_size).eval()
        assert model(torch.zeros(2, entry.in_channels, entry.min_size, entry.min_size)).shape == (2, 10)
    with pytest.raises(UsageError, match="needs images of at least"):
        create_model(name, image_size=entry.min_size - 1)


@pytest.mark.parametrize("scheme", ["xavier", "he", "alexnet", "lenet"])
@pytest.mark.parametrize("framework", ["pytorch", "keras"])
def test_initial_weights_have_the_spread_of_the_scheme(framework: str, scheme: str, request) -> None:
    from baselines.port import weights_of

    if framework == "keras":
        request.getfixturevalue("keras_installed")
    weights = weights_of(create_model("vgg11_small", framework, init=scheme, widths=(64, 128, 256, 8, 8)))
    for name, fans in {"conv3_2.weight": (9 * 256, 9 * 256), "conv2_1.weight": (9 * 64, 9 * 128)}.items():
        kind, value = initial_range(scheme, *fans)
        expected = value if kind == "normal" else value / np.sqrt(3)
        assert weights[name].std() == pytest.approx(expected, rel=0.01)
        assert abs(weights[name].mean()) < 0.02 * expected
        if kind == "uniform":
            assert np.abs(weights[name]).max() <= value
    assert not weights["fc6.bias"].any()


@pytest.mark.parametrize("framework", ["pytorch", "keras"])
def test_depthwise_kernels_start_with_their_own_fans(framework: str, request) -> None:
    from baselines.port import weights_of

    if framework == "keras":
        request.getfixturevalue("keras_installed")
    weights = weights_of(create_model("xception_small", framework, init="he"))
    assert weights["block5.body.sepconv1.depthwise.weight"].std() == pytest.approx(np.sqrt(2 / 9), rel=0.05)
    assert weights["block5.body.sepconv1.pointwise.weight"].std() == pytest.approx(np.sqrt(2 / 728), rel=0.05)


@pytest.mark.parametrize("framework", ["pytorch", "keras"])
def test_alexnets_own_initialisation_sets_five_biases_to_one(framework: str, request) -> None:
    from baselines.port import weights_of

    if framework == "keras":
        request.getfixturevalue("keras_installed")
    weights = weights_of(create_model("alexnet", framework, image_size=63))
    ones = {name for name, array in weights.items() if name.endswith("bias") and (array == 1).all()}
    assert ones == {"conv2.bias", "conv4.bias", "conv5.bias", "fc6.bias", "fc7.bias"}


@pytest.mark.usefixtures("keras_installed")
def test_logits_stay_in_float32_under_mixed_precision() -> None:
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        for name in ("lenet5", "lenet5_published"):
            model = create_model(name, "keras")
            assert model.output.dtype == "float32"
            assert model.get_layer("c5").compute_dtype == "bfloat16"
    finally:
        keras.config.set_dtype_policy(before)


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)


def test_importing_the_package_loads_no_framework() -> None:
    done = run(
        "import sys, baselines, baselines.summary, baselines.port\n"
        "baselines.list_models()\n"
        "print(sorted({'torch', 'keras', 'tensorflow', 'torchvision'} & set(sys.modules)))"
    )
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.usefixtures("keras_installed")
def test_pytorchs_libraries_can_follow_tensorflow() -> None:
    """TensorFlow first and Triton after it ends the process; the package loads Triton in time."""
    done = run("import baselines; baselines.create_model('lenet5', 'keras'); import torchvision; print('alive')")
    assert done.stdout.strip() == "alive", done.stderr[-500:]


def test_find_entry_knows_what_a_model_is_made_for() -> None:
    assert (find_entry("lenet5").image_size, find_entry("lenet5").in_channels) == (28, 1)
    assert find_entry("xception").image_size == 299
