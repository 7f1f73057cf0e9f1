"""What a Keras model needs before ``model.fit``: loss, penalties, dropout, precision, seeds, ``compile``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
from keras import ops

from baselines.contract.config import FitConfig
from baselines.contract.trainer import set_dropout
from baselines.keras_nets.training.optimisers import is_kernel, make_optimiser
from baselines.specs.googlenet import AUX_LOSS_WEIGHT


class SmoothedCrossEntropy(keras.losses.Loss):
    """Cross-entropy of logits with label smoothing, for labels that are class numbers; as PyTorch computes it.

    Args:
        smoothing: share of the target that is spread over all classes, in [0, 1).
    """

    def __init__(self, smoothing: float = 0.0, name: str = "cross_entropy", **options: Any) -> None:
        super().__init__(name=name, **options)
        self.smoothing = smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Loss of every image (n,), from labels (n,) and logits (n, c)."""
        logs = ops.log_softmax(y_pred)
        labels = ops.reshape(ops.cast(y_true, "int32"), (-1, 1))
        own = -ops.squeeze(ops.take_along_axis(logs, labels, axis=-1), -1)
        return (1 - self.smoothing) * own - self.smoothing * ops.mean(logs, axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Arguments that make this loss again."""
        return {**super().get_config(), "smoothing": self.smoothing}


def outputs_of(model: keras.Model) -> int:
    """Number of outputs: 1, or more where there are auxiliary heads."""
    return len(model.outputs)


def compile_model(model: keras.Model, config: FitConfig, half: str = "") -> None:
    """Compile a model that returns logits as the configuration says.

    The metrics are those of the first output: ``accuracy`` and, where the loss is more than the plain cross-entropy,
    ``cross_entropy``.

    Args:
        model: with one output, or with auxiliary heads behind the first.
        config: optimiser, penalties, smoothing.
        half: ``float16`` asks for scaled losses.
    """
    set_penalties(model, config)
    count = outputs_of(model)
    plain = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    loss = SmoothedCrossEntropy(config.smoothing) if config.smoothing else plain
    metrics: list[Any] = [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]
    if config.smoothing or config.l1 or config.l2 or count > 1:
        metrics.append(keras.metrics.SparseCategoricalCrossentropy(from_logits=True, name="cross_entropy"))
    optimiser = make_optimiser(config)
    if half == "float16":
        optimiser = keras.optimizers.LossScaleOptimizer(optimiser)
    options: dict[str, Any] = {"optimizer": optimiser, "loss": loss, "metrics": metrics}
    if count > 1:
        options |= {
            "loss": [loss] * count,
            "loss_weights": [1.0] + [AUX_LOSS_WEIGHT] * (count - 1),
            "metrics": [metrics] + [[] for _ in range(count - 1)],
        }
    # XLA takes longer to compile a small network than it saves, and on a CPU its steps are slower.
    model.compile(**options, auto_scale_loss=False, jit_compile=False)


def set_penalties(model: keras.Model, config: FitConfig) -> None:
    """Let the loss gain ``l1 * sum(abs(w)) + l2 * sum(w ** 2)`` over the kernels; 0 and 0 takes penalties away."""
    penalty = keras.regularizers.L1L2(l1=config.l1, l2=config.l2) if config.l1 or config.l2 else None
    for variable in model.trainable_variables:
        variable.regularizer = penalty if is_kernel(variable) else None


def set_rate(model: keras.Model, rate: float | None) -> None:
    """Give every dropout layer another rate; None leaves them.

    Raises:
        UsageError: there are none.
    """
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    set_dropout(layers, "rate", rate)
    for layer in layers:
        if layer.rate and not hasattr(layer, "seed_generator"):
            # A layer that was made with rate 0 has no generator, and is locked once it is built.
            layer._tracker.unlock()
            layer.seed_generator = keras.random.SeedGenerator()
            layer._tracker.lock()


def seed_everything(model: keras.Model, seed: int) -> None:
    """Seed what is drawn while training; the weights stay as they are."""
    keras.utils.set_random_seed(seed)
    for number, layer in enumerate(model.layers):
        generator = getattr(layer, "seed_generator", None)
        if generator is not None:
            generator.state.assign([seed, number])


@contextmanager
def computing_in(model: keras.Model, half: str) -> Iterator[None]:
    """Let every layer compute in ``float16`` or ``bfloat16`` for the duration of the block; weights and logits do not.

    Args:
        model: of float32.
        half: the type, or empty to leave the model as it is.
    """
    if not half:
        yield
        return
    policy = keras.dtype_policies.DTypePolicy(f"mixed_{half}")
    final = {id(tensor._keras_history.operation) for tensor in model.outputs}
    changed = [(layer, layer.dtype_policy) for layer in model.layers if id(layer) not in final]
    try:
        for layer, _ in changed:
            layer.dtype_policy = policy
        yield
    finally:
        for layer, before in changed:
            layer.dtype_policy = before
        # Functions traced inside compute in the other type.
        model.train_function = model.test_function = model.predict_function = None
