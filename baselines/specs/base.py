"""What every specification has, and the initialisations by name."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from competition.errors import UsageError, nearest

INITS = ("paper", "xavier", "he", "alexnet", "lenet")
ACTIVATIONS = ("relu", "tanh", "scaled_tanh")


@dataclass(frozen=True)
class BatchNorm:
    """Constants of batch normalisation.

    Attributes:
        eps: added to the variance.
        momentum: share of the running statistics that is kept at a step (Keras' convention; PyTorch writes 1 - this).
    """

    eps: float = 1e-5
    momentum: float = 0.9


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What every architecture has.

    Attributes:
        init: ``paper`` (what the paper did, see ``paper_init``), ``xavier`` (Glorot uniform), ``he`` (He normal),
            ``alexnet`` (N(0, 0.01), some biases 1) or ``lenet`` (uniform in +-2.4 / fan-in).
        dropout: share of units dropped in training, at the places the paper names.
        batch_norm: batch normalisation after every convolution (and hidden dense layer of an MLP).
        bn_momentum: share of its running statistics that is kept at a step; None is the architecture's own (``bn``).

    Raises:
        UsageError: a value is impossible.
    """

    family: ClassVar[str]
    paper_init: ClassVar[str] = "he"
    bn: ClassVar[BatchNorm] = BatchNorm()

    init: str = "paper"
    dropout: float = 0.0
    batch_norm: bool = False
    bn_momentum: float | None = None

    def __post_init__(self) -> None:
        self._one_of("init", INITS)
        if not 0 <= self.dropout < 1:
            raise UsageError(f"dropout={self.dropout!r} is impossible: expected 0 or more, below 1")
        if self.bn_momentum is not None and not 0 <= self.bn_momentum < 1:
            raise UsageError(f"bn_momentum={self.bn_momentum!r} is impossible: expected 0 or more, below 1")

    @property
    def norm(self) -> BatchNorm:
        """Constants of this network's batch normalisation."""
        return self.bn if self.bn_momentum is None else dataclasses.replace(self.bn, momentum=self.bn_momentum)

    def _one_of(self, key: str, allowed: tuple[str, ...]) -> None:
        value = str(getattr(self, key))
        if value not in allowed:
            raise UsageError(f"{key}={value!r} is unknown{nearest(value, allowed)} Known: {', '.join(allowed)}")

    @property
    def initialisation(self) -> str:
        """The scheme after ``paper`` is resolved."""
        return self.paper_init if self.init == "paper" else self.init

    @property
    def cam_layer(self) -> str | None:
        """Name, the same in both frameworks, of the last layer whose output is a map; None where there is none."""
        return None

    def replace(self, **options: Any) -> Self:
        """Return this specification with some values changed.

        Raises:
            UsageError: an option is unknown to this architecture, or a value is impossible.
        """
        known = [field.name for field in dataclasses.fields(self)]
        for key in options:
            if key not in known:
                raise UsageError(
                    f"{self.family} has no option '{key}'{nearest(key, known)} Known: {', '.join(sorted(known))}"
                )
        return dataclasses.replace(self, **options)


def initial_range(scheme: str, fan_in: int, fan_out: int) -> tuple[str, float]:
    """Distribution of initial weights: ``("normal", standard deviation)`` or ``("uniform", limit)``.

    Args:
        scheme: ``xavier`` (Glorot and Bengio 2010, equation 16), ``he`` (He et al. 2015, equation 10), ``alexnet``
            (Krizhevsky et al. 2012, section 5) or ``lenet`` (LeCun et al. 1998, appendix A).
        fan_in: inputs of one unit (kernel area times input channels of its group).
        fan_out: outputs that one input reaches (kernel area times output channels of its group).
    """
    if scheme == "xavier":
        return "uniform", math.sqrt(6 / (fan_in + fan_out))
    if scheme == "he":
        return "normal", math.sqrt(2 / fan_in)
    if scheme == "alexnet":
        return "normal", 0.01
    if scheme == "lenet":
        return "uniform", 2.4 / fan_in
    raise ValueError(f"no initialisation called {scheme!r}")
