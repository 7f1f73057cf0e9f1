"""Back-propagation against finite differences and against PyTorch; optimisers against torch.optim."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from baselines import create_model
from baselines.numpy_nets.gradient_check import gradient_errors
from baselines.numpy_nets.losses import LOSSES, loss_called
from baselines.numpy_nets.mlp import MLP
from baselines.numpy_nets.optimisers import OPTIMISERS, create_optimiser
from baselines.port import load_into, weights_of
from competition.errors import UsageError, WeightsError

TORCH_LOSSES = {
    "mse": torch.nn.functional.mse_loss,
    "bce": torch.nn.functional.binary_cross_entropy_with_logits,
    "cross_entropy": torch.nn.functional.cross_entropy,
}
TORCH_ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid, "identity": lambda z: z}


def batch(rng: np.random.Generator, loss: str, rows: int = 12, inputs: int = 5, outputs: int = 3):
    x = rng.normal(size=(rows, inputs))
    if loss == "cross_entropy":
        return x, rng.integers(0, outputs, rows)
    return x, rng.normal(size=(rows, outputs)) if loss == "mse" else rng.integers(0, 2, (rows, outputs)).astype(float)


def shaken(net: MLP, rng: np.random.Generator) -> MLP:
    """Biases that are not 0, so that a lost one shows."""
    for bias in net.biases:
        bias[:] = rng.normal(0, 0.3, bias.shape)
    return net


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu"])
@pytest.mark.parametrize("hidden", [(), (6,), (7, 4, 5)])
def test_the_gradient_is_that_of_finite_differences(rng, loss: str, activation: str, hidden) -> None:
    net = shaken(MLP((5, *hidden, 3), activation, loss, "xavier", dtype=np.float64, l1=1e-3, l2=0.05), rng)
    errors = gradient_errors(net, *batch(rng, loss))
    assert set(errors) == {f"fc{n}.{kind}" for n in range(1, len(hidden) + 2) for kind in ("weight", "bias")}
    assert max(errors.values()) < 1e-6


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", TORCH_ACTIVATIONS)
def test_loss_and_gradient_are_those_of_autograd(rng, loss: str, activation: str) -> None:
    net = shaken(MLP((5, 7, 4, 3), activation, loss, "xavier", dtype=np.float64), rng)
    x, y = batch(rng, loss)
    state = {name: torch.tensor(array, requires_grad=True) for name, array in net.state().items()}
    z = torch.tensor(x)
    for number in (1, 2, 3):
        z = torch.nn.functional.linear(z, state[f"fc{number}.weight"], state[f"fc{number}.bias"])
        z = TORCH_ACTIVATIONS[activation](z) if number < 3 else z
    expected = TORCH_LOSSES[loss](z, torch.tensor(y))
    expected.backward()
    assert net.loss_and_gradient(x, y) == pytest.approx(expected.item(), rel=1e-12)
    for number, (matrix, bias) in enumerate(zip(*net._views(net.gradient), strict=True), start=1):
        np.testing.assert_allclose(matrix.T, state[f"fc{number}.weight"].grad.numpy(), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(bias, state[f"fc{number}.bias"].grad.numpy(), rtol=1e-9, atol=1e-12)


def test_a_wrong_gradient_is_noticed(rng) -> None:
    class Wrong(MLP):
        def loss_and_gradient(self, x, y):
            loss = super().loss_and_gradient(x, y)
            self._bias_gradients[0] *= -1
            return loss

    errors = gradient_errors(Wrong((5, 4, 3), "tanh", dtype=np.float64), *batch(rng, "cross_entropy"))
    assert errors["fc1.bias"] > 0.9
    assert errors["fc1.weight"] < 1e-6


def test_the_check_refuses_single_precision_and_takes_a_sample(rng) -> None:
    with pytest.raises(UsageError, match="float64"):
        gradient_errors(MLP((5, 3)), *batch(rng, "cross_entropy"))
    errors = gradient_errors(MLP((5, 8, 3), dtype=np.float64), *batch(rng, "cross_entropy"), sample=4)
    assert max(errors.values()) < 1e-6


@pytest.mark.parametrize("name", OPTIMISERS)
def test_optimisers_take_the_steps_of_torch(rng, name: str) -> None:
    start, gradients = rng.normal(size=9), rng.normal(size=(25, 9))
    theirs = torch.tensor(start.copy(), requires_grad=True)
    optimiser = {
        "sgd": lambda: torch.optim.SGD([theirs], lr=0.1),
        "momentum": lambda: torch.optim.SGD([theirs], lr=0.1, momentum=0.8),
        "nesterov": lambda: torch.optim.SGD([theirs], lr=0.1, momentum=0.8, nesterov=True),
        "adam": lambda: torch.optim.Adam([theirs], lr=0.1, betas=(0.8, 0.999), eps=1e-7),
        "adamw": lambda: torch.optim.AdamW([theirs], lr=0.1, betas=(0.8, 0.999), eps=1e-7, weight_decay=0),
        "rmsprop": lambda: torch.optim.RMSprop([theirs], lr=0.1, alpha=0.9, eps=1e-7),
    }[name]()
    ours, mine = start.copy(), create_optimiser(name, 9, np.float64, momentum=0.8)
    for gradient in gradients:
        theirs.grad = torch.tensor(gradient)
        optimiser.step()
        mine.update(ours, gradient, 0.1)
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-10)


def test_the_registered_mlp_in_torch_gives_the_same_logits(rng) -> None:
    theirs = create_model("mlp", image_size=6, hidden=(9, 8), num_classes=4)
    ours = shaken(MLP((36, 9, 8, 4), seed=3), rng)
    load_into(theirs, ours.state())
    x = rng.normal(size=(5, 1, 6, 6)).astype(np.float32)
    with torch.no_grad():
        np.testing.assert_allclose(ours.outputs(x.reshape(5, -1)), theirs.eval()(torch.tensor(x)).numpy(), atol=1e-5)
    copy = MLP((36, 9, 8, 4), seed=4)
    copy.load_state(weights_of(theirs))
    np.testing.assert_array_equal(copy.theta, ours.theta)


def test_losses_survive_extreme_logits() -> None:
    extreme = np.array([[1000.0, -1000.0], [-1000.0, 1000.0]])
    loss, gradient = LOSSES["cross_entropy"].evaluate(extreme, np.array([0, 0]))
    assert loss == pytest.approx(1000.0)
    np.testing.assert_allclose(gradient, [[0, 0], [-0.5, 0.5]])
    loss, gradient = LOSSES["bce"].evaluate(extreme, np.array([[1.0, 0.0], [1.0, 1.0]]))
    assert loss == pytest.approx(250.0)
    np.testing.assert_allclose(gradient, [[0, 0], [-0.25, 0]])
    np.testing.assert_allclose(LOSSES["cross_entropy"].predict(extreme), [[1, 0], [0, 1]])


def test_mistakes_are_told_in_one_line() -> None:
    for wrong, match in (
        (lambda: MLP((3, 2), activation="rely"), "did you mean 'relu'"),
        (lambda: MLP((3, 2), loss="cross-entropy"), "did you mean 'cross_entropy'"),
        (lambda: MLP((3,)), "sizes"),
        (lambda: create_optimiser("nestrov", 3), "did you mean 'nesterov'"),
        (lambda: loss_called("x"), "Known"),
    ):
        with pytest.raises(UsageError, match=match):
            wrong()
    with pytest.raises(WeightsError, match="another network"):
        MLP((3, 2)).load_state(MLP((3, 4)).state())
    with pytest.raises(ValueError, match="do not fit"):
        MLP((3, 1), loss="mse").loss_and_gradient(np.ones((4, 3), np.float32), np.ones((4, 4)))
