"""A network whose every output and gradient is known in closed form: squared distances to templates, and one layer."""

from __future__ import annotations

import numpy as np

from competition.explain.inside.painted_picture import resize
from competition.explain.networks.protocol import LayerInfo, Target, find_layer


class FakeBackend:
    """Logit k is ``-|x - template_k|^2 / 2``; layer ``mix`` is a 2 x 2 mean of linear mixtures of the channels."""

    framework = "fake"

    def __init__(
        self,
        shape: tuple[int, int, int] = (12, 10, 3),
        classes: tuple[str, ...] = ("chow", "lakeland_terrier", "pug"),
        seed: int = 0,
    ) -> None:
        rng = np.random.default_rng(seed)
        self.input_shape = shape
        self.classes = classes
        self.templates = rng.uniform(0.1, 0.9, (len(classes), *shape)).astype(np.float32)
        self.mixture = rng.normal(size=(shape[2], 4)).astype(np.float32)

    def prepare(self, photo: np.ndarray) -> np.ndarray:
        image = resize(photo.astype(np.float32) / 255, *self.input_shape[:2])
        return image if self.input_shape[2] == 3 else image.mean(axis=2, keepdims=True)

    def layers(self) -> tuple[LayerInfo, ...]:
        height, width, _ = self.input_shape
        return (
            LayerInfo("stem", "Conv", (height, width, 5), True),
            LayerInfo("mix", "Mix", (height // 2, width // 2, 4), True),
            LayerInfo("pool", "Pool", (4,), False),
        )

    def last_spatial_layer(self) -> str:
        return "mix"

    def logits(self, images: np.ndarray) -> np.ndarray:
        difference = images[:, None] - self.templates[None]
        return -(difference**2).sum(axis=(2, 3, 4)) / 2

    def embed(self, images: np.ndarray) -> np.ndarray:
        return self.activations(images, "mix").mean(axis=(1, 2))

    def activations(self, images: np.ndarray, layer: str) -> np.ndarray:
        find_layer(self, layer)
        mixed = images @ self.mixture
        n, height, width, channels = mixed.shape
        return mixed.reshape(n, height // 2, 2, width // 2, 2, channels).mean(axis=(2, 4))

    def _pull(self, gradient: np.ndarray) -> np.ndarray:
        return np.repeat(np.repeat(gradient, 2, axis=1), 2, axis=2) / 4 @ self.mixture.T

    def layer_gradients(self, images: np.ndarray, layer: str, target: Target) -> tuple[np.ndarray, np.ndarray]:
        found = self.activations(images, layer)
        back = np.linalg.pinv(self.mixture.T).astype(np.float32)
        gradient = self.input_gradients(images, target) @ back
        n, height, width, channels = gradient.shape
        return found, gradient.reshape(n, height // 2, 2, width // 2, 2, channels).sum(axis=(2, 4))

    def input_gradients(self, images: np.ndarray, target: Target) -> np.ndarray:
        difference = self.templates[None] - images[:, None]
        return np.einsum("nk,nkhwc->nhwc", target.weights, difference).astype(np.float32)

    def guided_gradients(self, images: np.ndarray, target: Target) -> np.ndarray:
        return np.maximum(self.input_gradients(images, target), 0)

    def activation_gradients(
        self, images: np.ndarray, layer: str, weights: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        if layer == "pool":
            found = self.embed(images)
            spread = np.ones((len(images), *self.layers()[1].shape), np.float32) / np.prod(self.layers()[1].shape[:2])
            assert weights is not None
            return found @ weights, self._pull(spread * weights)
        found = self.activations(images, layer)
        size = found[0].size
        if weights is None:
            return (found**2).mean(axis=(1, 2, 3)), self._pull(2 * found / size)
        spread = np.broadcast_to(weights, found.shape)
        return (found * weights).sum(axis=(1, 2, 3)), self._pull(spread)

    def filters(self, layer: str) -> np.ndarray:
        find_layer(self, layer)
        return np.random.default_rng(1).normal(size=(3, 3, self.input_shape[2], 5)).astype(np.float32)
