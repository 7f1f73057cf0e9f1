"""PyTorch models behind the explanation protocol."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from competition.errors import KitError, UsageError
from competition.explain.maps.cam import cam
from competition.explain.networks.protocol import Backend, Target, class_target, contrast_target
from competition.explain.networks.torch_backend import TorchBackend
from tests.explain.nets import CLASSES, GRIDS, MEAN, STD, ZOO, SmallBackend, SmallCNN, images, small, zoo

TARGET = class_target(CLASSES, ["pug", "chow"])


@pytest.mark.parametrize("name", ZOO)
def test_the_grid_is_derived_from_the_model(name: str) -> None:
    backend = zoo(name)
    photos = images(backend)
    layer = backend.last_spatial_layer()
    found, gradient = backend.layer_gradients(photos, layer, TARGET)
    assert found.shape[1:3] == GRIDS[name]
    assert (np.abs(gradient).max(axis=3) > 0).mean() > 0.5  # patch tokens, not the class token
    info = next(item for item in backend.layers() if item.name == layer)
    assert info.shape == found.shape[1:]
    maps = cam(backend, photos, TARGET, "layercam")
    assert maps.shape == photos.shape[:3]
    assert maps.min() >= 0
    assert maps.max() <= 1


def test_tokens_come_back_on_their_grid_in_reading_order() -> None:
    backend = zoo("vit_registers")
    photos = images(backend, 1)
    before = backend.activations(photos, "patch_embed")
    changed = photos.copy()
    changed[0, 14:28, 42:56] = 1 - changed[0, 14:28, 42:56]  # row 1, column 3 of 14-pixel patches
    moved = np.abs(backend.activations(changed, "patch_embed") - before).max(axis=3)[0]
    assert moved[1, 3] > 0
    assert np.delete(moved.reshape(-1), 1 * 4 + 3).max() == 0


def test_another_size_than_the_models_own() -> None:
    backend = small(12)
    photos = np.random.default_rng(0).random((2, 16, 20, 3), dtype=np.float32)
    assert backend.activations(photos, "conv2").shape == (2, 8, 10, 8)
    assert cam(backend, photos, TARGET).shape == (2, 16, 20)


def test_gradients_are_those_of_finite_differences() -> None:
    backend = small()
    backend.model.double()
    backend = SmallBackend(backend.model, CLASSES, MEAN, STD, backend.input_shape)
    photos, step = images(backend, 1), 1e-3
    target = contrast_target(CLASSES, ["pug"], ["chow"], gamma=0.7)
    gradient = backend.input_gradients(photos, target)
    value, ascent = backend.activation_gradients(photos, "conv2", np.arange(8, dtype=np.float32))
    assert value[0] == pytest.approx((backend.activations(photos, "conv2") * np.arange(8)).sum(), rel=1e-4)
    for place in [(0, 3, 4, 1), (0, 0, 11, 2), (0, 7, 7, 0)]:
        up, down = photos.copy(), photos.copy()
        up[place] += step
        down[place] -= step
        difference = (target.scores(backend.logits(up)) - target.scores(backend.logits(down)))[0] / (2 * step)
        assert gradient[place] == pytest.approx(difference, abs=2e-4)
        values = [
            backend.activation_gradients(item, "conv2", np.arange(8, dtype=np.float32))[0][0] for item in (up, down)
        ]
        assert ascent[place] == pytest.approx((values[0] - values[1]) / (2 * step), abs=0.05, rel=0.01)


def test_the_gradient_at_the_last_map_is_the_classifier() -> None:
    """The mean and the linear layer are all that follows: gradient = weight / positions where ReLU lets it pass."""
    backend = small()
    photos = images(backend)
    found, gradient = backend.layer_gradients(photos, "relu", TARGET)
    weight = backend.model.fc.weight.detach().numpy()[[2, 0]]
    assert np.allclose(gradient, np.broadcast_to(weight[:, None, None] / 36, gradient.shape), atol=1e-7)
    assert np.allclose(found.mean(axis=(1, 2)), backend.embed(photos), atol=1e-6)
    assert np.allclose(
        backend.embed(photos) @ backend.model.fc.weight.detach().numpy().T + backend.model.fc.bias.detach().numpy(),
        backend.logits(photos),
        atol=1e-5,
    )


def test_what_follows_in_place_does_not_change_what_is_shown() -> None:
    backend = small()
    photos = images(backend)
    assert backend.activations(photos, "conv2").min() < 0  # before the ReLU, which works in place
    assert backend.layer_gradients(photos, "conv2", TARGET)[0].min() < 0
    assert (backend.activations(photos, "relu") >= 0).all()


def test_the_model_is_left_as_it_was() -> None:
    model = SmallCNN().train()
    model.conv1.weight.requires_grad_(False)
    model(torch.rand(2, 3, 12, 12)).sum().backward()
    before = {name: parameter.grad for name, parameter in model.named_parameters()}
    backend = TorchBackend(model, CLASSES, MEAN, STD, (12, 12, 3))
    photos = images(backend)
    cam(backend, photos, TARGET, "gradcam", "conv2", engine="auto")  # the package, where it is installed
    cam(backend, photos, TARGET, "gradcam", "conv2", engine="numpy")
    backend.guided_gradients(photos, TARGET)
    with pytest.raises(UsageError):
        backend.layer_gradients(photos, "conv2", class_target(CLASSES, ["pug"]))
    with torch.no_grad():
        model.conv2.weight.fill_(float("nan"))
    with pytest.raises(KitError, match="NaN"):
        backend.layer_gradients(photos, "conv2", TARGET)
    assert model.training
    assert model.drop.training
    assert model.relu.inplace
    assert not model.conv1.weight.requires_grad
    assert model.conv2.weight.requires_grad
    assert all(parameter.grad is before[name] for name, parameter in model.named_parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("engine", ["numpy", "auto"])
def test_nan_is_said_and_not_drawn(engine: str) -> None:
    backend = small()
    backend.last_spatial_layer()
    with torch.no_grad():
        backend.model.fc.weight[2, 0] = float("nan")
    with pytest.raises(KitError, match="NaN or infinite"):
        cam(backend, images(backend), TARGET, "gradcam", "conv2", engine=engine)
    with pytest.raises(KitError, match="NaN or infinite"):
        backend.input_gradients(images(backend), TARGET)


def test_guided_backpropagation_of_a_chain_by_hand() -> None:
    """Two ReLUs: gradients pass where they are positive and the input was, at each of them."""

    class Chain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(1, 1, 1)
            self.second = nn.Conv2d(1, 2, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(self.second(torch.relu_(self.first(x)))).sum(dim=(2, 3))

    chain = Chain()
    with torch.no_grad():
        for name, values in (("first.weight", [2.0]), ("first.bias", [-1.0]), ("second.weight", [3.0, -1.0])):
            parameter = chain.get_parameter(name)
            parameter.copy_(torch.tensor(values).view(parameter.shape))
        chain.get_parameter("second.bias").fill_(0.5)
    backend = TorchBackend(chain, ("a", "b"), (0.0,), (1.0,), (1, 3, 1))
    pixels = np.array([0.2, 0.6, 0.9], dtype=np.float32).reshape(1, 1, 3, 1)  # 2x - 1: -0.6, 0.2, 0.8
    both = Target(np.array([[1.0, 1.0]]))
    # Second layer: 3a + 0.5 > 0 everywhere; -a + 0.5 > 0 for a = 0, 0.2 only. Plain: (3 - 1) * 2 and 3 * 2.
    assert backend.input_gradients(pixels, both).ravel().tolist() == pytest.approx([0, 4, 6])
    assert backend.guided_gradients(pixels, both).ravel().tolist() == pytest.approx([0, 4, 6])
    against = Target(np.array([[-1.0, 1.0]]))
    # -1 is stopped at the second ReLU; what passes of channel b is 1 * -1, which the first ReLU stops.
    assert backend.input_gradients(pixels, against).ravel().tolist() == pytest.approx([0, -8, -6])
    assert backend.guided_gradients(pixels, against).ravel().tolist() == pytest.approx([0, 0, 0])


def test_guided_backpropagation_needs_rectifiers() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4))
    backend = TorchBackend(model, CLASSES, MEAN, STD, (8, 8, 3))
    with pytest.raises(UsageError, match="needs rectifiers"):
        backend.guided_gradients(images(backend), TARGET)


def test_an_unknown_layer_offers_near_ones() -> None:
    with pytest.raises(UsageError, match=r"no layer 'conv9'; near ones: conv"):
        small().activations(images(small()), "conv9")


def test_a_layer_that_is_no_map_is_refused() -> None:
    backend = small()
    with pytest.raises(UsageError, match=r"'fc' \(Linear\) is no map over the image.*conv2"):
        cam(backend, images(backend), TARGET, layer="fc")
    value, _ = backend.activation_gradients(images(backend), "fc", np.eye(4, dtype=np.float32)[1])
    assert value == pytest.approx(backend.logits(images(backend))[:, 1], abs=1e-5)


def test_a_network_of_dead_units_still_has_its_last_map() -> None:
    model = nn.Sequential(nn.Conv2d(3, 2, 3, padding=1), nn.Flatten(), nn.Linear(32, 4), nn.ReLU(), nn.Linear(4, 4))
    nn.init.constant_(model[2].bias, -1000.0)  # type: ignore[arg-type]
    backend = TorchBackend(model, CLASSES, MEAN, STD, (4, 4, 3))
    assert backend.last_spatial_layer() == "0"
    _, gradients = backend.layer_gradients(images(backend), "0", TARGET)
    assert not gradients.any()


def test_a_perceptron_has_no_map() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.ReLU(), nn.Linear(8, 4))
    backend = TorchBackend(model, CLASSES, MEAN, STD, (4, 4, 3))
    with pytest.raises(UsageError, match="no layer that is a map"):
        backend.last_spatial_layer()
    assert backend.input_gradients(images(backend), TARGET).shape == (2, 4, 4, 3)


def test_a_layer_off_the_way_to_the_logits() -> None:
    class Side(SmallCNN):
        def __init__(self) -> None:
            super().__init__()
            self.side = nn.Conv2d(3, 2, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.side(x)
            return super().forward(x)

    model = Side()
    backend = TorchBackend(model, CLASSES, MEAN, STD, (12, 12, 3))
    with pytest.raises(KitError, match="do not depend on layer 'side'"):
        backend.layer_gradients(images(backend), "side", TARGET)
    for engine in ("auto", "numpy"):  # the package, where it is installed, and the kit's own
        with pytest.raises(KitError, match="do not depend on layer 'side'"):
            cam(backend, images(backend), TARGET, layer="side", engine=engine)


@pytest.mark.parametrize(
    ("photos", "message"),
    [
        (np.zeros((2, 12, 12, 1), np.float32), r"\(n, h, w, 3\)"),
        (np.zeros((2, 12, 12, 3), np.uint8), "divide by 255"),
        (np.full((2, 12, 12, 3), 200, np.float32), "far outside"),
        (np.full((2, 12, 12, 3), np.nan, np.float32), "NaN"),
    ],
)
def test_impossible_images(photos: np.ndarray, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        small().logits(photos)


def test_a_size_that_the_model_refuses() -> None:
    backend = zoo("vit")
    with pytest.raises(KitError, match="cannot compute images of 64 x 64 pixels"):
        backend.logits(np.zeros((1, 64, 64, 3), np.float32))


def test_filters_of_a_convolution_and_of_nothing_else() -> None:
    backend = small()
    kernel = backend.filters("conv1")
    assert kernel.shape == (3, 3, 3, 6)
    assert kernel[0, 2, 1, 4] == backend.model.conv1.weight[4, 1, 0, 2].item()
    with pytest.raises(UsageError, match="is no convolution; some are: conv1, conv2"):
        backend.filters("fc")


def test_weights_that_do_not_fit_the_layer() -> None:
    with pytest.raises(UsageError, match=r"weights of shape \(5,\) do not fit"):
        small().activation_gradients(images(small()), "conv2", np.ones(5, np.float32))


def test_a_target_names_classes() -> None:
    assert class_target(CLASSES, ["Wire-Haired Fox Terrier"]).weights.argmax() == 3
    assert contrast_target(CLASSES, ["pug"], ["chow"], 0.5).weights.tolist() == [[-0.5, 0, 1, 0]]
    with pytest.raises(
        UsageError, match="'lakland_terier' is not one of the 4 classes - did you mean 'lakeland_terrier'"
    ):
        class_target(CLASSES, ["lakland_terier"])
    with pytest.raises(UsageError, match="cannot be compared with itself"):
        contrast_target(CLASSES, ["pug"], ["Pug"])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_model_on_a_gpu() -> None:
    backend, other = small(), TorchBackend(SmallCNN(), CLASSES, MEAN, STD, (12, 12, 3), device="cuda")
    assert np.allclose(cam(backend, images(backend), TARGET), cam(other, images(backend), TARGET), atol=1e-3)


def test_it_is_a_backend() -> None:
    backend: Backend = small()  # mypy holds the signatures
    photo = np.arange(20 * 30 * 3, dtype=np.uint8).reshape(20, 30, 3)
    assert backend.prepare(photo).shape == (12, 12, 3)
    assert backend.prepare(photo).max() <= 1
