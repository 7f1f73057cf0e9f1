"""Keras models behind the explanation protocol: flat, Sequential, nested, reloaded and subclassed ones agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from competition.errors import KitError, UsageError
from competition.explain.maps.cam import METHODS, cam
from competition.explain.networks.protocol import Target, class_target

pytest.importorskip("tensorflow")
from competition.explain.networks.keras_backend import KerasBackend

CLASSES = ("chow", "pug", "whippet")
SHAPE = (12, 12, 3)
TARGET = class_target(CLASSES, ["pug", "chow"])
KINDS = ("flat", "sequential", "nested", "reloaded", "subclassed", "softmax")


def layers_of() -> list[Any]:
    import keras

    return [
        keras.layers.Conv2D(6, 3, padding="same", activation="relu", name="conv1"),
        keras.layers.Conv2D(8, 3, strides=2, padding="same", name="conv2"),
        keras.layers.ReLU(name="relu"),
        keras.layers.GlobalAveragePooling2D(name="pool"),
        keras.layers.Dropout(0.5, name="drop"),
        keras.layers.Dense(3, name="fc"),
    ]


def build(kind: str, folder: Path) -> Any:
    """The same network in another form, with the same weights."""
    import keras

    layers = layers_of()
    if kind == "sequential":
        model = keras.Sequential(layers)  # not built: no Input
    elif kind == "nested":
        inner = keras.Sequential([keras.Input(SHAPE), *layers[:3]], name="backbone")
        image = keras.Input(SHAPE)
        model = keras.Model(image, layers[5](layers[4](layers[3](inner(image)))))
    elif kind == "subclassed":

        class Net(keras.Model):
            def __init__(self) -> None:
                super().__init__()
                self.parts = layers

            def call(self, x: Any, training: bool = False) -> Any:
                for layer in self.parts:
                    x = layer(x, training=training) if layer.name == "drop" else layer(x)
                return x

        model = Net()
    else:
        image = x = keras.Input(SHAPE)
        for layer in layers[:-1]:
            x = layer(x)
        model = keras.Model(image, (keras.layers.Dense(3, "softmax", name="fc") if kind == "softmax" else layers[5])(x))
    model(np.zeros((1, *SHAPE), np.float32))
    rng = np.random.default_rng(3)
    model.set_weights([rng.normal(scale=0.4, size=weight.shape) for weight in model.get_weights()])
    if kind == "reloaded":
        model.save(folder / "model.keras")
        model = keras.saving.load_model(folder / "model.keras")
    return model


def opened(kind: str, folder: Path) -> KerasBackend:
    return KerasBackend(build(kind, folder), CLASSES, (0.5, 0.4, 0.3), (0.2, 0.25, 0.3), SHAPE)


@pytest.fixture(scope="module")
def photos() -> np.ndarray:
    return np.random.default_rng(0).random((2, *SHAPE), dtype=np.float32)


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> KerasBackend:
    return opened("flat", tmp_path_factory.mktemp("flat"))


@pytest.mark.parametrize("kind", KINDS[1:])
def test_every_form_of_a_model_gives_the_same(
    kind: str, tmp_path: Path, flat: KerasBackend, photos: np.ndarray
) -> None:
    backend = opened(kind, tmp_path)
    outer = "backbone/" if kind == "nested" else ""
    assert backend.last_spatial_layer() == f"{outer}relu"
    assert np.allclose(backend.logits(photos), flat.logits(photos), atol=1e-5)
    assert np.allclose(backend.embed(photos), flat.embed(photos), atol=1e-5)
    for layer in ("conv1", "conv2"):
        for found, wanted in zip(
            backend.layer_gradients(photos, outer + layer, TARGET),
            flat.layer_gradients(photos, layer, TARGET),
            strict=True,
        ):
            assert np.abs(wanted).max() > 0
            assert np.allclose(found, wanted, atol=1e-5)
    assert np.allclose(backend.guided_gradients(photos, TARGET), flat.guided_gradients(photos, TARGET), atol=1e-5)
    assert np.allclose(cam(backend, photos, TARGET), cam(flat, photos, TARGET), atol=1e-4)


def test_the_gradient_at_the_last_map_is_the_classifier(flat: KerasBackend, photos: np.ndarray) -> None:
    gradient = flat.layer_gradients(photos, "relu", TARGET)[1]
    weight = flat.model.get_layer("fc").get_weights()[0].T[[1, 0]]
    assert np.allclose(gradient, np.broadcast_to(weight[:, None, None] / 36, gradient.shape), atol=1e-7)


def test_gradients_are_those_of_finite_differences(flat: KerasBackend, photos: np.ndarray) -> None:
    gradient = flat.input_gradients(photos, TARGET)
    direction = np.random.default_rng(1).normal(size=photos.shape).astype(np.float32) * 1e-3
    ends = [TARGET.scores(flat.logits(photos + sign * direction)) for sign in (1, -1)]
    along = (gradient * direction).sum(axis=(1, 2, 3))
    assert (ends[0] - ends[1]) / 2 == pytest.approx(along, rel=0.03, abs=2e-5)
    value, ascent = flat.activation_gradients(photos, "conv2", None)
    assert value == pytest.approx((flat.activations(photos, "conv2") ** 2).mean(axis=(1, 2, 3)), rel=1e-5)
    ends = [flat.activation_gradients(photos + sign * direction, "conv2", None)[0] for sign in (1, -1)]
    assert (ends[0] - ends[1]) / 2 == pytest.approx((ascent * direction).sum(axis=(1, 2, 3)), rel=0.03, abs=2e-5)


def test_guided_backpropagation_gates_every_rectifier(flat: KerasBackend, photos: np.ndarray) -> None:
    """By hand through the two ReLUs, the second a layer, the first an argument of the convolution."""
    import tensorflow as tf

    model = flat.model
    found, gradient = flat.layer_gradients(photos, "relu", TARGET)
    gated = np.maximum(gradient, 0) * (found > 0)
    x = tf.constant((photos - flat.mean) / flat.std)
    first, second = model.get_layer("conv1"), model.get_layer("conv2")
    with tf.GradientTape() as tape:
        middle = first(x)
        tape.watch(middle)
        after = second(middle)
    at_middle = tape.gradient(after, middle, output_gradients=tf.constant(gated)).numpy()
    gated = np.maximum(at_middle, 0) * (middle.numpy() > 0)
    with tf.GradientTape() as tape:
        tape.watch(x)
        linear = tf.nn.conv2d(x, first.kernel, 1, "SAME") + first.bias
    wanted = tape.gradient(linear, x, output_gradients=tf.constant(gated)).numpy() / flat.std
    assert np.allclose(flat.guided_gradients(photos, TARGET), wanted, atol=1e-5)


def test_the_model_is_left_as_it_was(flat: KerasBackend, photos: np.ndarray) -> None:
    flat.guided_gradients(photos, TARGET)
    flat.layers()
    with pytest.raises(UsageError):
        flat.layer_gradients(photos, "conv2", class_target(CLASSES, ["pug"]))
    assert not any("call" in vars(layer) for layer in flat.model.layers)
    assert flat.model.get_layer("conv1").activation.__name__ == "relu"


@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_a_map(method: str, flat: KerasBackend, photos: np.ndarray) -> None:
    maps = cam(flat, photos, TARGET, method)
    assert maps.shape == (2, 12, 12)
    assert maps.min() >= 0
    assert 0.99 < maps.max() <= 1


def test_mistakes_are_named(flat: KerasBackend, photos: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no layer 'conv3'; near ones: conv"):
        flat.activations(photos, "conv3")
    with pytest.raises(UsageError, match=r"'fc' \(Dense\) is no map over the image"):
        cam(flat, photos, TARGET, layer="fc")
    with pytest.raises(UsageError, match="is no convolution; some are: conv1, conv2"):
        flat.filters("fc")
    with pytest.raises(UsageError, match="does not serve 'gradcam' here"):
        cam(flat, photos, TARGET, engine="grad-cam")
    with pytest.raises(UsageError, match=r"the model gives \(2, 3\) for 2 classes"):
        KerasBackend(flat.model, CLASSES[:2], (0.0,) * 3, (1.0,) * 3, SHAPE).logits(photos)
    with pytest.raises(KitError, match="cannot compute images of 12 x 12 pixels"):
        KerasBackend(build("sequential", tmp_path), CLASSES, (0.0,), (1.0,), (12, 12, 1)).logits(photos[..., :1])
    assert flat.filters("conv1").shape == (3, 3, 3, 6)


def test_nan_is_said_and_not_drawn(tmp_path: Path, photos: np.ndarray) -> None:
    backend = opened("flat", tmp_path)
    backend.last_spatial_layer()
    backend.model.get_layer("fc").kernel.assign(np.full((8, 3), np.nan, np.float32))
    with pytest.raises(KitError, match="NaN or infinite"):
        cam(backend, photos, Target(TARGET.weights), layer="conv2")


def test_auxiliary_heads_are_passed_over(flat: KerasBackend, photos: np.ndarray) -> None:
    import keras

    inner = flat.model
    side = keras.layers.Dense(3, name="aux")(keras.layers.Flatten()(inner.get_layer("conv2").output))
    model = keras.Model(inner.input, [inner.output, side])
    backend = KerasBackend(model, CLASSES, (0.5, 0.4, 0.3), (0.2, 0.25, 0.3), SHAPE)
    assert np.allclose(backend.logits(photos), flat.logits(photos), atol=1e-6)
    assert np.allclose(backend.embed(photos), flat.embed(photos), atol=1e-6)
    assert backend.last_spatial_layer() == "relu"


def test_a_network_of_dead_units_still_has_its_last_map() -> None:
    import keras

    layers = [
        keras.layers.Conv2D(2, 3, padding="same", name="conv"),
        keras.layers.Flatten(name="flat"),
        keras.layers.Dense(4, activation="relu", bias_initializer=keras.initializers.Constant(-1000.0), name="dead"),
        keras.layers.Dense(3, name="fc"),
    ]
    backend = KerasBackend(
        keras.Sequential([keras.Input((4, 4, 3)), *layers]), CLASSES, (0.0,) * 3, (1.0,) * 3, (4, 4, 3)
    )
    assert backend.last_spatial_layer() == "conv"
    _, gradients = backend.layer_gradients(np.full((1, 4, 4, 3), 0.5, np.float32), "conv", Target(TARGET.weights[:1]))
    assert not gradients.any()


def test_a_perceptron_has_no_map() -> None:
    import keras

    model = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Flatten(), keras.layers.Dense(3)])
    with pytest.raises(UsageError, match="no layer that is a map"):
        KerasBackend(model, CLASSES, (0.0,) * 3, (1.0,) * 3, (4, 4, 3)).last_spatial_layer()
