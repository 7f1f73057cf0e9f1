from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from competition.errors import KitError, UsageError
from competition.explain.inside.ascent import AscentConfig, ascend, ascend_channel, ascend_class
from competition.explain.inside.dream import DreamConfig, dream, tiled_gradient
from competition.explain.inside.objectives import ClassObjective, LayerObjective, channel_objective
from tests.explain.fake_backend import FakeBackend
from tests.explain.inside.test_painted_picture import numerical

STILL = AscentConfig(jitter=0, zoom=0, steps=300, rate=0.3, octaves=1, total_variation=0, decay=0)


@pytest.mark.parametrize("channels", [1, 3])
def test_class_ascent_finds_the_template(channels: int) -> None:
    """The logit is the negative squared distance to a template: its only maximum is that template."""
    backend = FakeBackend((12, 10, channels))
    found = ascend(backend, ClassObjective(backend, "lakeland_terrier"), STILL)
    np.testing.assert_allclose(found.image, backend.templates[1], atol=0.03)
    assert found.values[-1] == pytest.approx(0, abs=0.02)
    assert found.values[-1] > found.values[0]
    assert found.steps[0] == 0
    assert found.steps[-1] == 300
    assert len(found.steps) == len(found.values)


def test_channel_ascent_goes_to_the_corner_of_the_cube() -> None:
    """A channel's mean is linear in the image: the best colour is 1 where its weight is positive, else 0."""
    backend = FakeBackend()
    channel = int(np.abs((backend.mixture > 0).sum(axis=0) - 1.5).argmin())
    corner = (backend.mixture[:, channel] > 0).astype(np.float32)
    assert 0 < corner.sum() < 3
    image = ascend_channel(backend, "mix", channel, dataclasses.replace(STILL, decorrelate=False))
    np.testing.assert_allclose(np.median(image, axis=(0, 1)), corner, atol=0.05)


def test_a_neuron_changes_only_what_it_sees() -> None:
    backend = FakeBackend()
    gradient = channel_objective(backend, "mix", 0, neuron=True).gradient(backend.templates[:1])[0]
    rows, columns = np.nonzero(np.abs(gradient).max(axis=2))
    assert (set(rows), set(columns)) == ({6, 7}, {4, 5})  # the middle cell of 6 x 5, two pixels a side


def test_unit_of_a_layer_that_is_no_map() -> None:
    backend = FakeBackend()
    objective = channel_objective(backend, "pool", 1)
    images = backend.templates[:1]
    assert objective.value(images)[0] == pytest.approx(float(backend.embed(images)[0, 1]), rel=1e-5)
    slope = numerical(lambda x: float(objective.value(x[None])[0]), backend.templates[0], step=1e-1)
    np.testing.assert_allclose(objective.gradient(images)[0], slope, atol=1e-3 * np.abs(slope).max() + 1e-5)


@pytest.mark.parametrize("weights", [None, "random"])
def test_fake_gradients_are_right(weights: str | None, rng: np.random.Generator) -> None:
    backend = FakeBackend((4, 4, 3))
    drawn = None if weights is None else rng.normal(size=(2, 2, 4)).astype(np.float32)
    objective = LayerObjective(backend, "mix", drawn)
    slope = numerical(lambda x: float(objective.value(x[None])[0]), backend.templates[0], step=1e-1)
    np.testing.assert_allclose(objective.gradient(backend.templates[:1])[0], slope, atol=1e-4)


def test_versus_raises_the_difference() -> None:
    backend = FakeBackend()
    objective = ClassObjective(backend, "chow", "pug")
    found = ascend(backend, objective, dataclasses.replace(STILL, steps=100))
    logits = backend.logits(found.image[None])[0]
    assert found.values[-1] == pytest.approx(float(logits[0] - logits[2]), rel=1e-4)
    assert found.values[-1] > (backend.templates[0] - backend.templates[2]).std() * 10
    assert objective.name == "chow rather than pug"


def test_same_seed_same_picture() -> None:
    backend = FakeBackend()
    config = AscentConfig(steps=12, octaves=2, views=2)
    first, again = ascend_class(backend, "pug", config=config), ascend_class(backend, "pug", config=config)
    np.testing.assert_array_equal(first, again)
    other = ascend_class(backend, "pug", config=dataclasses.replace(config, seed=1))
    assert np.abs(first - other).max() > 1e-3


def test_octaves_end_at_the_asked_size() -> None:
    backend = FakeBackend()
    config = dataclasses.replace(STILL, octaves=3, size=24)
    found = ascend(backend, ClassObjective(backend, "chow"), config)
    assert found.image.shape == (24, 20, 3)
    assert found.values[-1] > 0.1 * found.values[0]  # seen at the network's size it is nearly the template
    assert ascend_class(backend, "chow", config=dataclasses.replace(config, octaves=1, size=0)).shape == (12, 10, 3)


def test_total_variation_smooths() -> None:
    backend = FakeBackend()
    rough = ascend_class(backend, "chow", config=STILL)
    smooth = ascend_class(backend, "chow", config=dataclasses.replace(STILL, total_variation=2.0))
    assert np.abs(np.diff(smooth, axis=0)).mean() < 0.5 * np.abs(np.diff(rough, axis=0)).mean()


def test_jitter_asks_for_shift_invariance() -> None:
    """Under random shifts the best picture of a template is a blurred one: still near it, but smoother."""
    backend = FakeBackend()
    shaken = ascend_class(backend, "chow", config=dataclasses.replace(STILL, jitter=0.2, views=4))
    assert np.abs(np.diff(shaken, axis=0)).mean() < 0.6 * np.abs(np.diff(backend.templates[0], axis=0)).mean()


class Broken(FakeBackend):
    def input_gradients(self, images: np.ndarray, target: object) -> np.ndarray:
        return np.full(images.shape, np.nan, np.float32)

    def activation_gradients(
        self, images: np.ndarray, layer: str, weights: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros(len(images), np.float32), np.full(images.shape, np.nan, np.float32)


def test_nan_is_said() -> None:
    with pytest.raises(KitError, match="gradient of chow"):
        ascend_class(Broken(), "chow", config=STILL)
    with pytest.raises(KitError, match="gradient of mix"):
        dream(Broken(), np.full((12, 10, 3), 0.5, np.float32), "mix")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"steps": 2, "octaves": 3}, "no fewer than octaves"),
        ({"zoom": 1.0}, "below 1"),
        ({"jitter": 8}, "share of the sides"),
        ({"rate": 0.0}, "above 0"),
    ],
)
def test_impossible_settings(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        AscentConfig(**wrong)  # type: ignore[arg-type]


def test_unknown_names_are_said() -> None:
    backend = FakeBackend()
    with pytest.raises(UsageError, match=r"channels 0 to 3"):
        channel_objective(backend, "mix", 4)
    with pytest.raises(UsageError, match="near ones: mix"):
        channel_objective(backend, "mixx", 0)
    with pytest.raises(UsageError, match="lakeland_terrier"):
        ClassObjective(backend, "lakeland terier")
    with pytest.raises(UsageError, match="expected more"):
        DreamConfig(octaves=0)


@pytest.mark.parametrize("size", [(12, 10), (31, 22), (8, 8)])
def test_tiles_cover_the_picture_once(size: tuple[int, int]) -> None:
    """A gradient that is the same everywhere stays so, whatever the tiles and the shift between them."""

    class Even:
        name = "even"

        def value(self, images: np.ndarray) -> np.ndarray:
            return images.sum(axis=(1, 2, 3))

        def gradient(self, images: np.ndarray) -> np.ndarray:
            return np.ones_like(images)

    picture = np.zeros((*size, 3), np.float32)
    found = tiled_gradient(Even(), picture, (12, 10, 3), np.random.default_rng(0))
    tiles = max(1, size[0] // 12) * max(1, size[1] // 10)
    assert found.sum() == pytest.approx(tiles * 12 * 10 * 3, rel=1e-4)  # the adjoint of an average keeps the sum
    assert found.min() > 0


def test_dream_raises_the_layer_and_keeps_the_size(rng: np.random.Generator) -> None:
    backend = FakeBackend()
    photo = rng.uniform(0.3, 0.7, (25, 33, 3)).astype(np.float32)
    config = DreamConfig(steps=4, octaves=2, rate=0.02)
    found = dream(backend, photo, "mix", config)
    assert found.shape == photo.shape
    assert found.min() >= 0
    assert found.max() <= 1
    objective = LayerObjective(backend, "mix")

    def seen(image: np.ndarray) -> float:
        return float(objective.value(backend.prepare((255 * image).astype(np.uint8))[None])[0])

    assert seen(found) > 1.2 * seen(photo)
    np.testing.assert_array_equal(found, dream(backend, photo, "mix", config))
    only_one = np.zeros((1, 1, 4), np.float32)
    only_one[..., 3] = 1.0
    weighted = dream(backend, photo, "mix", config, weights=only_one)
    assert backend.activations(backend.prepare((255 * weighted).astype(np.uint8))[None], "mix")[..., 3].mean() > (
        backend.activations(backend.prepare((255 * photo).astype(np.uint8))[None], "mix")[..., 3].mean()
    )
