"""What a kernel is made of: the folder ``kernels/<slug>/`` with ``kernel.toml`` and a small readable source."""

from __future__ import annotations

import dataclasses
import re
import tomllib
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from competition.errors import DataError, UsageError, nearest

SPEC_FILE = "kernel.toml"
METADATA_FILE = "kernel-metadata.json"
OWNER = "your-kaggle-name"
GPU_SHAPE = "NvidiaTeslaT4"
DATASET = "dogbreed-kit-offline"
# The Python of Kaggle's newest list of versions (images/kaggle-*.toml).
KAGGLE_PYTHON = (3, 12)

_SUFFIXES = {"script": ".py", "notebook": ".ipynb"}


@dataclass(frozen=True, kw_only=True)
class KernelSpec:
    """One kernel; its folder's name is its slug on Kaggle.

    Attributes:
        folder: where ``kernel.toml`` and the source lie.
        title: on Kaggle; must resolve to the slug.
        about: one line for people.
        source: name of the file with the kernel's own code: ``.py`` (a ``# %%`` script becomes cells in a notebook) or
            ``.ipynb``.
        kind: ``script`` or ``notebook``.
        packages: packages of the kit that it carries.
        gpu: ask for a GPU (a T4).
        internet: let it use the network.
        competition: attach the competition's data; a script must leave ``submission.csv`` then, a notebook where it
            is among its outputs.
        weights: it needs pretrained weights, from the dataset that ``--mode wheels`` makes.
        kernels: slugs of kernels whose output it reads.
        outputs: files that it leaves in its working folder.
        cost_seconds: measured wall time on Kaggle's kind of machine; 0 when not measured.
        small: settings of a dry run on small data, as JSON knows them; ``short = true`` asks a notebook for its short
            mode.

    Raises:
        UsageError: a value is impossible.
    """

    folder: Path
    title: str
    about: str
    source: str = "source.py"
    kind: str = "script"
    packages: tuple[str, ...] = ("competition",)
    gpu: bool = False
    internet: bool = False
    competition: bool = False
    weights: bool = False
    kernels: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    cost_seconds: float = 0.0
    small: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if slug_of(self.title) != self.slug:
            self._refuse(f"the title '{self.title}' resolves to '{slug_of(self.title)}', the folder is '{self.slug}'")
        if self.kind not in _SUFFIXES:
            self._refuse(f"kind '{self.kind}' is neither script nor notebook")
        if not set(self.packages) <= {"competition", "baselines"} or "competition" not in self.packages:
            self._refuse("packages must be competition, or competition and baselines")
        if not (self.folder / self.source).is_file():
            self._refuse(f"its source {self.source} is missing")
        if self.kind == "script" and Path(self.source).suffix != ".py":
            self._refuse("a script is made from a .py file; write kind = 'notebook'")

    def _refuse(self, reason: str) -> None:
        raise UsageError(f"{self.folder / SPEC_FILE}: {reason}")

    @property
    def slug(self) -> str:
        """Name of the folder and of the kernel."""
        return self.folder.name

    @property
    def code_file(self) -> str:
        """Name of the generated file."""
        return self.slug + _SUFFIXES[self.kind]

    @property
    def source_text(self) -> str:
        """The kernel's own code."""
        return (self.folder / self.source).read_text(encoding="utf-8")


def slug_of(title: str) -> str:
    """The slug that Kaggle makes of a title: letters without accents, digits, single hyphens."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain.casefold()).strip("-")


def load_spec(folder: Path) -> KernelSpec:
    """Read ``kernel.toml``.

    Raises:
        DataError: the file is missing or is not TOML.
        UsageError: a key is unknown or lacking, or a value is impossible.
    """
    path = folder / SPEC_FILE
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing: a kernel is a folder with {SPEC_FILE} and its source") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not TOML ({error})") from error
    fields = {item.name: item for item in dataclasses.fields(KernelSpec) if item.name != "folder"}
    for key, value in values.items():
        if key not in fields:
            raise UsageError(f"{path}: unknown key '{key}'{nearest(key, fields)} Known: {', '.join(fields)}")
        _require_kind(path, key, value, str(fields[key].type))
    lacking = [key for key in ("title", "about") if key not in values]
    if lacking:
        raise UsageError(f"{path}: '{lacking[0]}' is lacking")
    plain: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    return KernelSpec(folder=folder, **plain)


def _require_kind(path: Path, key: str, value: object, annotation: str) -> None:
    kinds = {"str": str, "bool": bool, "float": (int, float), "dict[str, Any]": dict}
    if annotation.startswith("tuple"):
        fits = isinstance(value, list) and all(isinstance(item, str) for item in value)
    else:
        fits = isinstance(value, kinds[annotation])  # type: ignore[arg-type]
    if not fits:
        raise UsageError(f"{path}: '{key}' is {value!r}, expected {annotation}")


def list_kernels(root: Path) -> tuple[KernelSpec, ...]:
    """All kernels in a folder, by name.

    Raises:
        DataError: there is no such folder, or none in it.
    """
    if not root.is_dir():
        raise DataError(f"{root} does not exist: start in the kit's checkout, or name the folder with --kernels")
    folders = sorted(path.parent for path in root.glob(f"*/{SPEC_FILE}"))
    if not folders:
        raise DataError(f"{root} holds no kernels (folders with {SPEC_FILE})")
    return tuple(load_spec(folder) for folder in folders)


def find_kernel(name: str, root: Path) -> KernelSpec:
    """The kernel of that name.

    Raises:
        UsageError: there is none; the nearest name is offered.
    """
    if (root / name / SPEC_FILE).is_file() and "/" not in name:
        return load_spec(root / name)
    known = [spec.slug for spec in list_kernels(root)]
    raise UsageError(f"unknown kernel '{name}'{nearest(name, known)} Known: {', '.join(known)}")
