"""Checkpoints: whole or not at all, digest-checked, the previous one kept, bound to one configuration and one data set.

A checkpoint is one safetensors file (all tensors, and everything else as JSON in its header). ``index.json`` names the
newest and the previous file with their digests; it is replaced after the file is on the disk, so a process killed at
any moment leaves an index whose files are whole. No pickle is written or read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from competition.console import warn
from competition.errors import DataError, ResumeError
from competition.files import atomic_path, differences, digest_of_file, in_utf8, read_json, write_json

FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """Everything a training needs to go on.

    Attributes:
        tensors: by name; on the CPU.
        facts: JSON-able values (position, rates, scores so far).
        files: further files that the checkpoint relies on, by role, as names in the same folder.
    """

    tensors: Mapping[str, torch.Tensor]
    facts: Mapping[str, Any]
    files: Mapping[str, str] = field(default_factory=dict)


class CheckpointStore:
    """The newest checkpoint and the one before it, in one folder.

    Args:
        folder: made when the first checkpoint is written.
        identity: what the training is: configuration, digests of data, folds and weights. Plain values.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self.folder, self.identity = folder, dict(identity)

    @property
    def _index(self) -> Path:
        return self.folder / "index.json"

    def save(self, name: str, checkpoint: Checkpoint) -> Path:
        """Write ``<name>.safetensors`` and make it the newest; files that neither checkpoint needs are removed.

        Raises:
            StorageError: the disk is full or the folder cannot be written; the checkpoints there stay.
        """
        from safetensors.torch import save_file

        path = self.folder / f"{name}.safetensors"
        header = {"facts": json.dumps(checkpoint.facts, allow_nan=False), "format": str(FORMAT)}
        with atomic_path(path) as temporary:
            save_file({key: tensor.contiguous() for key, tensor in checkpoint.tensors.items()}, temporary, header)
        entry = {"file": path.name, "digest": digest_of_file(path), "files": self._digests(checkpoint.files)}
        entries = [entry, *(old for old in self._entries() if old["file"] != path.name)][:2]
        write_json(self._index, {"format": FORMAT, "identity": self.identity, "checkpoints": entries})
        self._remove_others(entries)
        return path

    def load(self) -> Checkpoint | None:
        """Read the newest whole checkpoint; None when there is none yet.

        Raises:
            ResumeError: the folder belongs to another configuration or other data (the difference is named), or
                neither checkpoint is whole.
        """
        if not self._index.is_file():
            return None
        self._refuse_other(self._read_index()["identity"])
        entries = self._entries()
        for number, entry in enumerate(entries):
            problem = self._problem(entry)
            if problem is None:
                return self._read(entry)
            if number + 1 < len(entries):
                warn(f"{problem}; going on from the checkpoint before it")
        raise ResumeError(f"no checkpoint in {self.folder} is whole: delete that folder to start this fold again")

    def write_file(self, name: str, tensors: Mapping[str, torch.Tensor]) -> str:
        """Write a further file (the best weights so far) into the folder; returns its name."""
        from safetensors.torch import save_file

        path = self.folder / f"{name}.safetensors"
        with atomic_path(path) as temporary:
            save_file({key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}, temporary)
        return path.name

    def read_file(self, name: str) -> dict[str, torch.Tensor]:
        """Read what ``write_file`` wrote."""
        from safetensors.torch import load_file

        with in_utf8(self.folder / name) as path:
            return dict(load_file(str(path)))

    def _read_index(self) -> dict[str, Any]:
        try:
            index = dict(read_json(self._index))
            if index["format"] != FORMAT:
                raise ResumeError(f"{self.folder} was written by another version of the kit (format {index['format']})")
            [(entry["file"], entry["digest"], entry["files"]) for entry in index["checkpoints"]]
            index["identity"].keys()
        except (DataError, KeyError, TypeError, AttributeError, ValueError) as error:
            raise ResumeError(f"{self._index} is damaged ({error}): delete {self.folder} to start again") from error
        return index

    def _entries(self) -> list[dict[str, Any]]:
        return list(self._read_index()["checkpoints"]) if self._index.is_file() else []

    def _digests(self, files: Mapping[str, str]) -> dict[str, dict[str, str]]:
        return {role: {"file": name, "digest": digest_of_file(self.folder / name)} for role, name in files.items()}

    def _refuse_other(self, stored: Mapping[str, Any]) -> None:
        changed = differences(flattened(stored), flattened(self.identity))
        if changed:
            raise ResumeError(
                f"{self.folder} holds a training of another kind ({'; '.join(changed[:4])}): "
                "choose another --run-dir or delete that folder"
            )

    def _problem(self, entry: Mapping[str, Any]) -> str | None:
        """What is wrong with a checkpoint's files, or None."""
        for part in (entry, *entry["files"].values()):
            path = self.folder / part["file"]
            if not path.is_file():
                return f"{path} is missing"
            if digest_of_file(path) != part["digest"]:
                return f"{path} is damaged (its digest is not the recorded one)"
        return None

    def _read(self, entry: Mapping[str, Any]) -> Checkpoint:
        from safetensors import safe_open

        with in_utf8(self.folder / entry["file"]) as path, safe_open(str(path), framework="pt") as stored:
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - not a dict
            facts = json.loads(stored.metadata()["facts"])
        return Checkpoint(tensors, facts, {role: part["file"] for role, part in entry["files"].items()})

    def _remove_others(self, entries: Sequence[Mapping[str, Any]]) -> None:
        wanted = {part["file"] for entry in entries for part in (entry, *entry["files"].values())}
        for path in self.folder.glob("*.safetensors"):
            if path.name not in wanted:
                path.unlink()

    def remove(self) -> None:
        """Delete the checkpoints: the training is over."""
        import shutil

        if self.folder.is_dir():
            shutil.rmtree(self.folder)


def flattened(values: Mapping[str, Any]) -> dict[str, Any]:
    """One level, so that a difference is named by the key of the setting itself."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(flattened(value))
        else:
            flat[key] = value
    return flat


def rng_state(device: torch.device) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """States of the generators that training may draw from: torch's (and the device's), NumPy's and Python's."""
    import random

    import numpy as np

    kind, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002 - libraries still draw from it
    version, numbers, gauss = random.getstate()
    tensors = {"torch": torch.get_rng_state(), "numpy": torch.from_numpy(np.asarray(keys).astype(np.int64))}
    if device.type == "cuda":
        tensors["cuda"] = torch.cuda.get_rng_state(device)
    facts = {"numpy": [kind, position, has_gauss, cached], "python": [version, list(numbers), gauss]}
    return tensors, facts


def set_rng_state(tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any], device: torch.device) -> None:
    """Put back what ``rng_state`` gave."""
    import random

    import numpy as np

    kind, position, has_gauss, cached = facts["numpy"]
    keys = tensors["numpy"].numpy().astype(np.uint32)
    np.random.set_state((kind, keys, position, has_gauss, cached))  # noqa: NPY002
    version, numbers, gauss = facts["python"]
    random.setstate((version, tuple(numbers), gauss))
    torch.set_rng_state(tensors["torch"])
    if device.type == "cuda" and "cuda" in tensors:
        torch.cuda.set_rng_state(tensors["cuda"], device)


def pack_optimiser(optimiser: torch.optim.Optimizer) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    """An optimiser's state as tensors named ``<parameter number>.<what>`` and its groups as plain values."""
    state = optimiser.state_dict()
    tensors = {
        f"{number}.{what}": torch.as_tensor(value).detach().cpu()
        for number, values in state["state"].items()
        for what, value in values.items()
        if value is not None
    }
    return tensors, [dict(group) for group in state["param_groups"]]


def unpack_optimiser(
    optimiser: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor], groups: Sequence[Mapping[str, Any]]
) -> None:
    """Put back what ``pack_optimiser`` gave.

    Raises:
        ResumeError: the optimiser has other groups.
    """
    own = optimiser.state_dict()["param_groups"]
    if [group["params"] for group in own] != [list(group["params"]) for group in groups]:
        raise ResumeError("the checkpoint's optimiser has other groups of parameters")
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        number, what = name.split(".", 1)
        state.setdefault(int(number), {})[what] = tensor
    restored = [{key: tuple(value) if key == "betas" else value for key, value in group.items()} for group in groups]
    optimiser.load_state_dict({"state": state, "param_groups": restored})
    _match_layout(optimiser)


def _match_layout(optimiser: torch.optim.Optimizer) -> None:
    """Moments in their parameter's memory format, as a training that was not interrupted has them."""
    for parameter, values in optimiser.state.items():
        for what, value in values.items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape and value.ndim:
                values[what] = torch.empty_like(parameter, requires_grad=False).copy_(value)
