"""Weights between PyTorch and Keras: one set of named arrays, PyTorch's layout, that both can give and take.

Layer names are equal in both frameworks, so a table of layer kinds is all it takes. The same arrays are the checkpoint
(safetensors), which either framework loads.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from competition.errors import WeightsError
from competition.files import read_arrays, write_arrays

Change = Callable[[np.ndarray], np.ndarray]


def _same(array: np.ndarray) -> np.ndarray:
    return array


@dataclass(frozen=True)
class _Slot:
    """One variable of a Keras layer: PyTorch's name for it and the changes of layout there and back."""

    theirs: str
    ours: str
    to_torch: Change = _same
    to_keras: Change = _same


def _transposed(there: tuple[int, ...], back: tuple[int, ...]) -> tuple[Change, Change]:
    return (lambda array: array.transpose(there)), (lambda array: array.transpose(back))


_BIAS = _Slot("bias", "bias")
# Keras layer class -> its variables. Kernels: Keras (k, k, in, out), PyTorch (out, in, k, k); depthwise (k, k, in, 1).
_KINDS: Mapping[str, tuple[_Slot, ...]] = {
    "Conv2D": (_Slot("weight", "kernel", *_transposed((3, 2, 0, 1), (2, 3, 1, 0))), _BIAS),
    # Transposed kernels: Keras (k, k, out, in), PyTorch (in, out, k, k).
    "Conv2DTranspose": (_Slot("weight", "kernel", *_transposed((3, 2, 0, 1), (2, 3, 1, 0))), _BIAS),
    "DepthwiseConv2D": (_Slot("weight", "kernel", *_transposed((2, 3, 0, 1), (2, 3, 0, 1))), _BIAS),
    "Dense": (_Slot("weight", "kernel", *_transposed((1, 0), (1, 0))), _BIAS),
    "BatchNormalization": (
        _Slot("weight", "gamma"),
        _Slot("bias", "beta"),
        _Slot("running_mean", "moving_mean"),
        _Slot("running_var", "moving_variance"),
    ),
    "TableConv2D": (_Slot("weight", "kernel"), _BIAS),
    "Subsampling2D": (_Slot("coefficient", "coefficient"), _BIAS),
    "Gaussian": (_Slot("codes", "codes"),),
}


def is_keras(model: Any) -> bool:
    """Whether it is a Keras model; tells without importing Keras."""
    return any(kind.__module__.split(".")[0] == "keras" for kind in type(model).__mro__)


def weights_of(model: Any) -> dict[str, np.ndarray]:
    """Every weight and running statistic, by PyTorch's names and in PyTorch's layout.

    Args:
        model: a PyTorch module, or a flat Keras model of this package.
    """
    if is_keras(model):
        return {name: slot.to_torch(_value(variable)) for name, slot, variable in _keras_slots(model)}
    return {
        name: tensor.detach().cpu().numpy().copy()
        for name, tensor in model.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }


def load_into(model: Any, weights: Mapping[str, np.ndarray]) -> None:
    """Put weights, as ``weights_of`` gives them, into a model; all or none.

    Raises:
        WeightsError: a name is missing or too many, or a shape differs: they belong to another model.
    """
    own = weights_of(model)
    require_same(own, weights)
    if is_keras(model):
        for name, slot, variable in _keras_slots(model):
            variable.assign(slot.to_keras(np.asarray(weights[name])))
        return
    import torch

    state = model.state_dict()
    with torch.no_grad():
        for name in own:
            state[name].copy_(torch.from_numpy(np.ascontiguousarray(weights[name])))


def save_weights(model: Any, path: Path) -> None:
    """Write the weights as safetensors, atomically; what the model was made from goes into the file's header."""
    info = getattr(model, "info", None)
    metadata = {"model": json.dumps(info.to_dict())} if info is not None else None
    write_arrays(path, weights_of(model), metadata)


def load_weights(model: Any, path: Path) -> None:
    """Read what ``save_weights`` wrote, into a model of either framework.

    Raises:
        WeightsError: the file is missing, damaged or of another model.
    """
    weights, header = read_arrays(path)
    described = json.loads(header.get("model", "{}"))
    try:
        load_into(model, weights)
    except WeightsError as error:
        of = f" (it was written for {described['name']})" if "name" in described else ""
        raise WeightsError(f"{path} does not fit this model{of}: {error}") from error


def require_same(own: Mapping[str, np.ndarray], given: Mapping[str, np.ndarray]) -> None:
    """Refuse weights by name that are not a model's own.

    Raises:
        WeightsError: a name is missing or too many, or a shape differs.
    """
    missing, extra = sorted(set(own) - set(given)), sorted(set(given) - set(own))
    if missing or extra:
        parts = [f"{len(missing)} weights missing, first {missing[0]}"] if missing else []
        parts += [f"{len(extra)} weights unknown to it, first {extra[0]}"] if extra else []
        raise WeightsError(f"weights of another architecture: {'; '.join(parts)}")
    for name, array in own.items():
        if array.shape != given[name].shape:
            raise WeightsError(f"weights of another size: {name} is {given[name].shape}, the model has {array.shape}")


def _value(variable: Any) -> np.ndarray:
    from keras import ops

    return np.asarray(ops.convert_to_numpy(variable))


def _keras_slots(model: Any) -> Iterator[tuple[str, _Slot, Any]]:
    """Full PyTorch name, slot and variable for everything a Keras model holds."""
    for layer in model.layers:
        if not layer.weights:
            continue
        kind = type(layer).__name__
        if kind not in _KINDS:
            raise WeightsError(f"layer '{layer.name}' is a {kind}, which has no PyTorch counterpart here")
        for slot in _KINDS[kind]:
            variable = getattr(layer, slot.ours)
            if variable is not None:
                yield f"{layer.name}.{slot.theirs}", _flattened(layer, slot), variable


def _flattened(layer: Any, slot: _Slot) -> _Slot:
    """The slot of a dense kernel that reads a flattened map: PyTorch flattens (c, h, w), Keras (h, w, c)."""
    shape = _map_before(layer) if type(layer).__name__ == "Dense" and slot.ours == "kernel" else None
    if shape is None:
        return slot
    h, w, c = shape
    return _Slot(
        slot.theirs,
        slot.ours,
        lambda array: array.reshape(h, w, c, -1).transpose(3, 2, 0, 1).reshape(-1, c * h * w),
        lambda array: array.reshape(-1, c, h, w).transpose(2, 3, 1, 0).reshape(h * w * c, -1),
    )


def _map_before(layer: Any) -> tuple[int, int, int] | None:
    """Shape (h, w, c) of the map whose flattened values reach this dense layer, if any do."""
    tensor = layer.input
    while True:
        source = tensor._keras_history.operation
        kind = type(source).__name__
        if kind == "Flatten":
            shape = tuple(source.input.shape[1:])
            return shape if len(shape) == 3 else None
        if kind not in ("Dropout", "Activation", "ScaledTanh"):
            return None
        tensor = source.input
