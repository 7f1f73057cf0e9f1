"""What the parity tests share: pairs with equal weights, inputs in both layouts, one SGD step in both frameworks."""

from __future__ import annotations

from typing import Any

import numpy as np

from baselines import create_model
from baselines.port import load_into, weights_of
from baselines.registry import MODELS

# The same code and the same depth with few filters, so that a gradient step of all of them takes seconds.
NARROW: dict[str, dict[str, Any]] = {
    "mlp": {"hidden": (16, 8)},
    "vgg": {"widths": (4, 4, 8, 8, 8), "hidden": (16,)},
    "alexnet": {"hidden": (16, 16)},
    "resnet": {},
    "xception": {"stem": (4, 6), "entry": (8, 8, 12), "middle": (12, 2), "exit": (12, 16, 16, 20)},
}
RESNET_WIDTHS = (4, 8, 12, 16)


def narrow(name: str) -> dict[str, Any]:
    """Options that make a registered model small."""
    spec = MODELS[name].spec
    options = dict(NARROW.get(spec.family, {}))
    if spec.family == "resnet" and len(spec.widths) == 4:  # type: ignore[attr-defined]
        options["widths"] = RESNET_WIDTHS
    return options


def size_for(name: str) -> int:
    """A side that is quick and leaves more than one pixel before the last pooling."""
    entry = MODELS[name]
    return entry.image_size if entry.image_size <= 64 else max(64, entry.min_size)


def pair(name: str, image_size: int, **options: Any) -> tuple[Any, Any]:
    """A PyTorch and a Keras model with the same weights; statistics of batch norm are not the initial 0 and 1."""
    ours = create_model(name, "pytorch", image_size=image_size, **options)
    theirs = create_model(name, "keras", image_size=image_size, **options)
    shake(ours)
    load_into(theirs, weights_of(ours))
    return ours, theirs


def shake(model: Any) -> None:
    """Give biases, batch norm weights and running statistics values that a mix-up would show."""
    import torch

    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith("num_batches_tracked"):
                continue
            if name.endswith("running_var"):
                tensor.uniform_(0.8, 1.2)
            elif name.endswith("running_mean") or name.endswith("bias"):
                tensor.uniform_(-0.1, 0.1)
            elif tensor.ndim == 1:
                tensor.mul_(torch.empty_like(tensor).uniform_(0.8, 1.2))


def images(name: str, image_size: int, count: int, dtype: str = "float32") -> np.ndarray:
    """Random images (n, c, h, w)."""
    shape = (count, MODELS[name].in_channels, image_size, image_size)
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


def torch_logits(model: Any, batch: np.ndarray) -> np.ndarray:
    """Logits in evaluation mode."""
    import torch

    with torch.no_grad():
        return model.eval()(torch.from_numpy(batch)).numpy()


def keras_logits(model: Any, batch: np.ndarray) -> np.ndarray:
    """Logits in evaluation mode, for images (n, c, h, w); of several outputs the first."""
    output = model(np.ascontiguousarray(batch.transpose(0, 2, 3, 1)), training=False)
    return np.asarray(output[0] if isinstance(output, list | tuple) else output)


AUX_WEIGHTS = (1.0, 0.3, 0.3)


def torch_step(model: Any, batch: np.ndarray, labels: np.ndarray, rate: float) -> dict[str, np.ndarray]:
    """Weights after one step of SGD on the mean cross-entropy (auxiliary heads weighted 0.3)."""
    import torch

    optimiser = torch.optim.SGD(model.parameters(), lr=rate)
    output = model.train()(torch.from_numpy(batch))
    outputs = output if isinstance(output, tuple) else (output,)
    target = torch.from_numpy(labels)
    loss = sum(
        weight * torch.nn.functional.cross_entropy(logits, target)
        for weight, logits in zip(AUX_WEIGHTS, outputs, strict=False)
    )
    loss.backward()
    optimiser.step()
    return weights_of(model)


def keras_step(model: Any, batch: np.ndarray, labels: np.ndarray, rate: float) -> dict[str, np.ndarray]:
    """The same step in Keras."""
    import keras
    import tensorflow as tf

    with tf.GradientTape() as tape:
        output = model(np.ascontiguousarray(batch.transpose(0, 2, 3, 1)), training=True)
        outputs = output if isinstance(output, list | tuple) else (output,)
        loss = sum(
            weight * tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True))
            for weight, logits in zip(AUX_WEIGHTS, outputs, strict=False)
        )
    gradients = tape.gradient(loss, model.trainable_variables)
    optimiser = keras.optimizers.SGD(rate)
    optimiser.apply(gradients, model.trainable_variables)
    return weights_of(model)
