"""Where pretrained weights lie, what they are called, and their digests: timm's local-directory form on the disk.

A name is the shortest end of the path that tells some weights from the others (``small/1``): Kaggle's models end in a
version number, folds in ``best``. What they are is the digest of the weights with their ``config.json``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from competition.console import warn
from competition.environment import folders_below, weights_candidates
from competition.errors import WeightsError
from competition.files import digest_of, digest_of_file, distinct_names

WEIGHTS_FILE = "model.safetensors"
NUMBER = r"\d+"
_FORM = 'a config.json such as {"architecture": "resnet50", "num_classes": 1000} (timm\'s name)'


def local_folders(where: Path | str | None = None) -> list[Path]:
    """Folders in timm's local-directory form, at ``where`` or at the usual places, sorted.

    Raises:
        WeightsError: ``where`` was given and holds none.
    """
    return [file.parent for file in local_files(where)]


def local_files(where: Path | str | None = None) -> list[Path]:
    """Weights with their ``config.json`` beside them, at ``where`` or at the usual places, sorted.

    Raises:
        WeightsError: ``where`` was given and holds none.
    """
    for reason, place in weights_candidates(where):
        place = place.expanduser()
        if place.is_file():
            return [_weights_of(place, reason)]
        found = sorted(_files_in(place))
        timms = [file for file in found if _is_timms(file)]
        if timms or (found and reason != "Kaggle input"):
            if timms and len(timms) < len(found):
                other = next(file.parent for file in found if file not in timms)
                note_once(f"{len(found) - len(timms)} folders with weights are not in timm's form, left out: {other}")
            return timms or found
        if reason != "Kaggle input":
            problem = f"holds no folder with config.json + {WEIGHTS_FILE}" if place.is_dir() else "does not exist"
            raise WeightsError(f"{reason} {place} {problem}: give a folder in timm's local-directory form")
    return []


def _weights_of(file: Path, reason: str) -> Path:
    """The weights that a file stands for: itself, or those beside a ``config.json``.

    Raises:
        WeightsError: it is no safetensors file, or has no ``config.json`` beside it.
    """
    if file.name == "config.json" and (file.parent / WEIGHTS_FILE).is_file():
        return file.parent / WEIGHTS_FILE
    if file.suffix != ".safetensors":
        raise WeightsError(f"{reason} {file} is no safetensors file: give a folder with config.json + {WEIGHTS_FILE}")
    if not (file.parent / "config.json").is_file():
        raise WeightsError(f"{reason} {file} says nothing about its network: put {_FORM} beside it")
    return file


def _files_in(place: Path) -> Iterator[Path]:
    """Weights in ``place`` and below, but not below a folder that has some."""
    found: set[Path] = set()
    for folder, names in folders_below(place):
        both = {WEIGHTS_FILE, "config.json"}
        # A link of a cache may lead nowhere.
        if both <= names and found.isdisjoint(folder.parents) and all((folder / name).is_file() for name in both):
            found.add(folder)
            yield folder / WEIGHTS_FILE


def given_weights(name: str) -> Path | None:
    """The weights that ``name`` is the path of; a run's folder, with a config.json alone, is not meant."""
    path = Path(name).expanduser()
    if path.suffix == ".safetensors" and path.is_file():
        return _weights_of(path, "backbone")
    both = (path / "config.json").is_file() and (path / WEIGHTS_FILE).is_file()
    return path / WEIGHTS_FILE if both else None


def named(files: Sequence[Path]) -> dict[Path, str]:
    """Weights by file, each with a name of its own."""
    files = list(dict.fromkeys(files))
    labels = [_label(file) for file in files]
    labels = [file.parent if labels.count(label) > 1 else label for file, label in zip(files, labels, strict=True)]
    return dict(zip(files, distinct_names(labels, meaningless=NUMBER), strict=True))


def _label(file: Path) -> Path:
    """The path that tells what the weights are: of their folder, of a file with a name, of the model in a cache."""
    if file.name != WEIGHTS_FILE:
        return file.with_suffix("")
    # The hub's cache: models--OWNER--NAME/snapshots/COMMIT/model.safetensors, a link to a blob.
    return file.parent.parent.parent if file.parent.parent.name == "snapshots" else file.parent


def fitting(name: str, known: Mapping[Path, str]) -> list[Path]:
    """The weights that are called so: by their name, by the end of their path, by their architecture."""
    ends = tuple(name.strip("/").split("/"))
    tests = (
        lambda file: known[file] == name,
        lambda file: _label(file).parts[-len(ends) :] == ends or file.parent.parts[-len(ends) :] == ends,
        lambda file: read_config(file.parent)["architecture"] == name,
    )
    return next((found for test in tests if (found := [file for file in known if test(file)])), [])


def read_config(folder: Path) -> dict[str, Any]:
    """A folder's ``config.json``.

    Raises:
        WeightsError: it is not in timm's form.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if not isinstance(config["architecture"], str):
            raise TypeError("'architecture' is no text")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{folder / 'config.json'} is not a timm configuration ({error})") from error
    return dict(config)


def _is_timms(file: Path) -> bool:
    try:
        return bool(read_config(file.parent))
    except WeightsError:
        return False


def digest_of_weights(file: Path) -> str:
    """What weights are, whatever they are called: a digest of them and their configuration."""
    facts = [(path, path.stat().st_size, path.stat().st_mtime_ns) for path in (file, file.parent / "config.json")]
    return _digest_of_version(*facts)


@lru_cache(maxsize=1024)
def _digest_of_version(weights: tuple[Path, int, int], config: tuple[Path, int, int]) -> str:
    """Of weights and configuration, read once for each version of them: a run asks several times."""
    return digest_of([digest_of_file(weights[0]), digest_of_file(config[0])])


def few(names: Sequence[str]) -> str:
    """The first of many names, for a line."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


@lru_cache(maxsize=64)
def note_once(text: str) -> None:
    """Say it once: backbones are looked for at several steps of a run."""
    warn(text)
