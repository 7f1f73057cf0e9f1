"""Weights of any Keras model under Keras' own names (``conv1/kernel``), as safetensors; no pickle, no HDF5."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from competition.errors import WeightsError
from competition.files import atomic_path


def own_weights(model: keras.Model) -> dict[str, np.ndarray]:
    """Every weight and running statistic by its path in the model."""
    return arrays_of(model.weights)


def arrays_of(variables: Sequence[Any]) -> dict[str, np.ndarray]:
    """Values by path; where a path comes twice, the later ones carry a number."""
    named: dict[str, np.ndarray] = {}
    for variable in variables:
        name, number = variable.path, 1
        while name in named:
            number += 1
            name = f"{variable.path}#{number}"
        named[name] = np.ascontiguousarray(ops.convert_to_numpy(variable))
    return named


def assign_arrays(variables: Sequence[Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Put back what ``arrays_of`` gave; all or none.

    Raises:
        WeightsError: a name is missing or too many, or a shape differs: they belong to another model.
    """
    own = arrays_of(variables)
    missing, extra = sorted(set(own) - set(arrays)), sorted(set(arrays) - set(own))
    if missing or extra:
        parts = [f"{len(missing)} weights missing, first {missing[0]}"] if missing else []
        parts += [f"{len(extra)} weights unknown to it, first {extra[0]}"] if extra else []
        raise WeightsError(f"weights of another architecture: {'; '.join(parts)}")
    for name, array in own.items():
        if array.shape != arrays[name].shape:
            raise WeightsError(f"weights of another size: {name} is {arrays[name].shape}, the model has {array.shape}")
    for variable, name in zip(variables, own, strict=True):
        variable.assign(arrays[name])


def save_own_weights(model: keras.Model, path: Path) -> None:
    """Write the weights atomically.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    from safetensors.numpy import save_file

    with atomic_path(path) as temporary:
        save_file(own_weights(model), str(temporary), metadata={"framework": "keras", "model": model.name})


def load_own_weights(model: keras.Model, path: Path) -> None:
    """Read what ``save_own_weights`` wrote.

    Raises:
        WeightsError: the file is missing, damaged or of another model.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays = load_file(str(path))
    except FileNotFoundError as error:
        raise WeightsError(f"{path} is missing") from error
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is no readable safetensors file ({error}); write the checkpoint again") from error
    try:
        assign_arrays(model.weights, arrays)
    except WeightsError as error:
        raise WeightsError(f"{path} does not fit this model: {error}") from error
