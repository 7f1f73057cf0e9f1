"""What is done to the weights in a step is the same in Keras as PyTorch's own optimisers do it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from baselines import create_model
from baselines.contract.config import ADAM_BETA2, ADAM_EPSILON, RMSPROP_EPSILON, RMSPROP_RHO, FitConfig
from baselines.port import load_into, weights_of

pytestmark = pytest.mark.usefixtures("keras_installed")
STEPS = 3


def torch_optimiser(config: FitConfig, model: Any) -> Any:
    import torch

    kernels = [weight for weight in model.parameters() if weight.ndim > 1]
    others = [weight for weight in model.parameters() if weight.ndim == 1]
    groups = [{"params": kernels, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    rate, name = config.rate, config.optimiser
    if name in ("adam", "adamw"):
        kind = torch.optim.Adam if name == "adam" else torch.optim.AdamW
        return kind(groups, lr=rate, betas=(config.momentum, ADAM_BETA2), eps=ADAM_EPSILON)
    if name == "rmsprop":
        return torch.optim.RMSprop(groups, lr=rate, alpha=RMSPROP_RHO, eps=RMSPROP_EPSILON)
    momentum = 0.0 if name == "sgd" else config.momentum
    return torch.optim.SGD(groups, lr=rate, momentum=momentum, nesterov=name == "nesterov")


def torch_weights(config: FitConfig, model: Any, images: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    import torch

    optimiser = torch_optimiser(config, model)
    for _ in range(STEPS):
        optimiser.zero_grad()
        logits = model(torch.from_numpy(images.transpose(0, 3, 1, 2)))
        loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels), label_smoothing=config.smoothing)
        kernels = [weight for weight in model.parameters() if weight.ndim > 1]
        loss = loss + config.l1 * sum(weight.abs().sum() for weight in kernels)
        loss = loss + config.l2 * sum(weight.square().sum() for weight in kernels)
        loss.backward()
        if config.clip_grad:
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_grad)
        optimiser.step()
    return weights_of(model)


@pytest.mark.parametrize(
    "values",
    [
        {"optimiser": "sgd"},
        {"optimiser": "momentum", "weight_decay": 0.05},
        {"optimiser": "nesterov", "l1": 1e-3, "l2": 2e-3},
        {"optimiser": "adam", "smoothing": 0.2},
        {"optimiser": "adamw", "weight_decay": 0.5},
        {"optimiser": "rmsprop", "weight_decay": 0.05},
        {"optimiser": "momentum", "clip_grad": 0.05, "weight_decay": 0.1},
    ],
    ids=lambda values: "-".join(map(str, values.values())),
)
def test_three_steps_are_those_of_pytorch(values: dict[str, Any], rng: np.random.Generator) -> None:
    from baselines.keras_nets.training.compile import compile_model

    config = FitConfig(lr=0.02, **values)
    options: dict[str, Any] = {"num_classes": 4, "in_channels": 1, "image_size": 6, "hidden": (8, 6)}
    ours, theirs = create_model("mlp", "pytorch", **options), create_model("mlp", "keras", **options)
    load_into(theirs, weights_of(ours))
    start = weights_of(ours)
    images = rng.normal(size=(16, 6, 6, 1)).astype(np.float32)
    labels = rng.integers(4, size=16)
    expected = torch_weights(config, ours.train(), images, labels)
    compile_model(theirs, config)
    for _ in range(STEPS):
        theirs.train_on_batch(images, labels)
    got = weights_of(theirs)
    for name in expected:
        # Adam divides a gradient by its own size, so of a tiny one only rounding is left: the whole counts.
        way = np.linalg.norm(expected[name] - start[name])
        assert way > 1e-4, name
        assert np.linalg.norm(got[name] - expected[name]) < 5e-3 * way, name


def test_the_plain_cross_entropy_stands_beside_a_loss_that_is_more(rng: np.random.Generator) -> None:
    import torch

    from baselines.keras_nets.training.compile import compile_model

    model = create_model("mlp", "keras", num_classes=4, in_channels=1, image_size=6, hidden=(8,))
    compile_model(model, FitConfig(smoothing=0.3, l2=0.1))
    images, labels = rng.normal(size=(32, 6, 6, 1)).astype(np.float32), rng.integers(4, size=32)
    logs = model.test_on_batch(images, labels, return_dict=True)
    logits = torch.from_numpy(np.array(model(images)))
    target = torch.from_numpy(labels)
    plain = torch.nn.functional.cross_entropy(logits, target)
    smooth = torch.nn.functional.cross_entropy(logits, target, label_smoothing=0.3)
    penalty = 0.1 * sum(
        float(np.square(weight.numpy()).sum()) for weight in model.trainable_variables if weight.shape[1:]
    )
    assert logs["cross_entropy"] == pytest.approx(float(plain), rel=1e-5)
    assert logs["loss"] == pytest.approx(float(smooth) + penalty, rel=1e-4)
    compile_model(model, FitConfig())
    assert model.test_on_batch(images, labels, return_dict=True)["loss"] == pytest.approx(float(plain), rel=1e-5)


def test_dropout_can_be_given_to_a_model_that_was_made_without(rng: np.random.Generator) -> None:
    from baselines.keras_nets.training.compile import seed_everything, set_rate

    model = create_model("lenet5", "keras")
    images = rng.normal(size=(4, 28, 28, 1)).astype(np.float32)
    plain = np.asarray(model(images, training=True))
    set_rate(model, 0.5)
    seed_everything(model, 1)
    first = np.asarray(model(images, training=True))
    second = np.asarray(model(images, training=True))
    seed_everything(model, 1)
    again = np.asarray(model(images, training=True))
    assert np.abs(first - plain).max() > 1e-3
    assert np.abs(first - second).max() > 1e-3
    np.testing.assert_array_equal(first, again)
    np.testing.assert_allclose(np.asarray(model(images, training=False)), plain, atol=1e-6)


def test_half_precision_is_over_when_the_training_is(rng: np.random.Generator) -> None:
    from baselines.keras_nets.training.compile import computing_in

    model = create_model("resnet8", "keras")
    images = rng.normal(size=(2, 32, 32, 3)).astype(np.float32)
    before = np.asarray(model(images))
    with computing_in(model, "bfloat16"):
        inside = model(images)
        assert model.layers[1].compute_dtype == "bfloat16"
        assert inside.dtype.name == "float32"
        assert 0 < np.abs(np.asarray(inside) - before).max() < 0.5
        assert {weight.dtype for weight in model.weights} == {"float32"}
    np.testing.assert_array_equal(np.asarray(model(images)), before)
