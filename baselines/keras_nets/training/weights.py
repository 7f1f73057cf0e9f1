"""Weights of any Keras model under Keras' own names (``conv1/kernel``), as safetensors; no pickle, no HDF5."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from baselines.port import require_same
from competition.errors import WeightsError
from competition.files import read_arrays, write_arrays


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
    require_same(own, arrays)
    for variable, name in zip(variables, own, strict=True):
        variable.assign(arrays[name])


def save_own_weights(model: keras.Model, path: Path) -> None:
    """Write the weights atomically.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    arrays = own_weights(model)
    metadata = {"framework": "keras", "model": model.name, "order": json.dumps(list(arrays))}
    write_arrays(path, arrays, metadata)


def load_own_weights(model: keras.Model, path: Path) -> None:
    """Read what ``save_own_weights`` wrote.

    Keras numbers layers without a name by their place in the session (``dense_3``): those numbers may differ.

    Raises:
        WeightsError: the file is missing, damaged or of another model.
    """
    arrays, header = read_arrays(path)
    order = json.loads(header.get("order", "[]"))
    try:
        assign_arrays(model.weights, _renumbered(arrays, order, list(own_weights(model))))
    except WeightsError as error:
        raise WeightsError(f"{path} does not fit this model: {error}") from error


def _renumbered(arrays: Mapping[str, np.ndarray], order: Sequence[str], own: Sequence[str]) -> Mapping[str, np.ndarray]:
    """The arrays under the model's own names, where only the numbers of its layers differ."""

    def plain(names: Sequence[str]) -> list[str]:
        return [re.sub(r"_\d+(?=/)", "", name) for name in names]

    if set(arrays) == set(own) or plain(order) != plain(own):
        return arrays
    return {name: arrays[theirs] for name, theirs in zip(own, order, strict=True)}
