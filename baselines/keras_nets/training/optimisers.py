"""Keras' optimisers as ``FitConfig`` means them: which weights decay and how, clipping, constants as in PyTorch.

Two differences from PyTorch's optimisers stay: Keras' SGD keeps the rate inside its momentum (a rate that changes acts
on what comes, not on what was gathered), and its Adam adds epsilon before it corrects the second moment's start.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from baselines.contract.config import ADAM_BETA2, ADAM_EPSILON, RMSPROP_EPSILON, RMSPROP_RHO, FitConfig


def is_kernel(variable: Any) -> bool:
    """Whether it is the weight of a convolution or a dense layer: biases, norms and other vectors have one axis."""
    return len(variable.shape) >= 2


def make_optimiser(config: FitConfig) -> keras.optimizers.Optimizer:
    """The configuration's optimiser at its peak rate; callbacks move the rate.

    Weight decay is decoupled in ``adamw`` (Loshchilov and Hutter, arXiv:1711.05101) and added to the clipped gradient
    in all others.
    """
    name, rate, momentum = config.optimiser, config.rate, config.momentum
    if name == "adamw":
        return _AdamW(config, learning_rate=rate, beta_1=momentum, beta_2=ADAM_BETA2, epsilon=ADAM_EPSILON)
    if name == "adam":
        return _Adam(config, learning_rate=rate, beta_1=momentum, beta_2=ADAM_BETA2, epsilon=ADAM_EPSILON)
    if name == "rmsprop":
        # Keras adds epsilon under the root, PyTorch after it: the square makes both the same floor.
        return _RMSprop(config, learning_rate=rate, rho=RMSPROP_RHO, epsilon=RMSPROP_EPSILON**2)
    return _SGD(config, learning_rate=rate, momentum=0.0 if name == "sgd" else momentum, nesterov=name == "nesterov")


class _Changed(keras.optimizers.Optimizer):
    """Changes the gradients before the optimiser of the next class uses them.

    Args:
        config: clipping and weight decay.
        options: of the optimiser.
    """

    def __init__(self, config: FitConfig, **options: Any) -> None:
        super().__init__(name=config.optimiser, **options)
        self._clip, self._decay = config.clip_grad, self._coupled_decay(config)

    def _coupled_decay(self, config: FitConfig) -> float:
        return config.weight_decay

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> None:
        """Clip by the norm of the whole gradient, add the decay, and go on."""
        variables = self._trainable_variables if trainable_variables is None else list(trainable_variables)
        grads = list(grads)
        if self._clip:
            norm = ops.sqrt(sum(ops.sum(ops.square(grad)) for grad in grads))
            share = ops.minimum(1.0, self._clip / (norm + 1e-6))
            grads = [grad * share for grad in grads]
        if self._decay:
            grads = [
                grad + self._decay * variable if is_kernel(variable) else grad
                for grad, variable in zip(grads, variables, strict=True)
            ]
        super().apply(grads, trainable_variables)


class _SGD(_Changed, keras.optimizers.SGD):
    pass


class _Adam(_Changed, keras.optimizers.Adam):
    pass


class _RMSprop(_Changed, keras.optimizers.RMSprop):
    pass


class _AdamW(_Changed, keras.optimizers.AdamW):
    """Its decay is Keras' own, decoupled one."""

    def __init__(self, config: FitConfig, **options: Any) -> None:
        super().__init__(config, weight_decay=config.weight_decay, **options)

    def _coupled_decay(self, config: FitConfig) -> float:
        return 0.0

    def build(self, variables: Sequence[Any]) -> None:
        """Except biases and norms from the decay, while that can still be said."""
        if not self.built:
            self.exclude_from_weight_decay(var_list=[variable for variable in variables if not is_kernel(variable)])
        super().build(variables)
