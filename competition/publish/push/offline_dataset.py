"""The offline variant: a private dataset with the kit's wheel, wheels of what Kaggle's image lacks, and weights.

    DATASET/wheels/dogbreed_kit-*.whl   weights/<backbone>/config.json, model.safetensors   dataset-metadata.json

The wheel is made from a copy of what belongs in it, so that neither an old ``build/`` folder nor a stray file of the
checkout gets in, and with fixed times, so that the same checkout gives the same wheel.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import competition
from competition.console import say
from competition.errors import KitError, UsageError, WeightsError
from competition.files import distinct_names, temporary_folder, write_text
from competition.locks import only_one_at
from competition.publish.build.bundle import PACKAGES, pack
from competition.publish.build.secrets import require_no_secrets
from competition.publish.build.spec import DATASET, KAGGLE_PYTHON, OWNER
from competition.publish.preflight.dataset import DATASET_LIMIT, DATASET_METADATA, check_dataset
from competition.publish.preflight.finding import Finding
from competition.system_errors import explain_disk_errors
from competition.training.backbones.weight_files import NUMBER, local_folders

# What the kernels of this repository cannot do without and Kaggle's image lacks: nothing. They do without what it lacks
# (see images/kaggle-*.toml); more by --also.
LACKING: tuple[str, ...] = ()
_PROJECT = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE")
_WEIGHTS = ("config.json", "model.safetensors")
_TIME = "315532800"  # 1980-01-01, the earliest that a zip can hold


@dataclass(frozen=True)
class BuiltDataset:
    """A dataset folder.

    Attributes:
        folder: to be uploaded.
        ref: ``owner/slug``.
        wheels: names of the wheels.
        weights: names of the backbones.
        bytes: of all files.
        findings: what the check says; empty for a clean folder.
    """

    folder: Path
    ref: str
    wheels: tuple[str, ...]
    weights: tuple[str, ...]
    bytes: int
    findings: tuple[Finding, ...]


def build_dataset(
    out: Path,
    weights: Sequence[Path] = (),
    owner: str = OWNER,
    *,
    also: Sequence[str] = LACKING,
    python: tuple[int, int] = KAGGLE_PYTHON,
    limit_bytes: int = DATASET_LIMIT,
) -> BuiltDataset:
    """Make the dataset's folder; an earlier one there is replaced.

    Args:
        out: where; new, empty, or an earlier dataset.
        weights: folders in timm's local-directory form.
        owner: name of the Kaggle account.
        also: distributions to fetch as wheels, as pip names them.
        python: version on Kaggle, for wheels with compiled code.
        limit_bytes: largest dataset.

    Raises:
        UsageError: ``out`` holds something else, or this is no checkout of the kit.
        WeightsError: a folder holds no weights.
        CredentialError: a file looks like it holds a credential.
        KitError: pip cannot make or fetch a wheel.
    """
    root, needed = _checkout(), tuple(_name(text) for text in also)
    if out.is_dir() and any(out.iterdir()) and not (out / DATASET_METADATA).is_file():
        raise UsageError(f"{out} holds something else than an earlier dataset: choose a new folder")
    for folder in weights:
        if not all((folder / name).is_file() for name in _WEIGHTS):
            raise WeightsError(f"{folder} has no {' and '.join(_WEIGHTS)}: give folders in timm's local-directory form")
    with explain_disk_errors(out), only_one_at(out), temporary_folder(out.parent, f".{out.name}.") as temporary:
        made = temporary / "dataset"
        (made / "wheels").mkdir(parents=True)
        _kit_wheel(root, made / "wheels")
        _fetch(also, made / "wheels", python)
        for folder, called in zip(weights, distinct_names(weights, meaningless=NUMBER), strict=True):
            _copy_weights(folder, made / "weights" / called.replace("/", "-"))
        write_text(made / DATASET_METADATA, json.dumps(_metadata(owner), indent=2) + "\n")
        findings = check_dataset(made, python=python, needed=needed, limit_bytes=limit_bytes, placeholder_ok=True)
        shutil.rmtree(out, ignore_errors=True)
        made.replace(out)
    return _described(out, owner, findings)


def weight_folders(places: Sequence[Path]) -> list[Path]:
    """Folders of weights at these places: a place itself, or those in it.

    Raises:
        WeightsError: a place holds none.
    """
    return [folder for place in places for folder in local_folders(place)]


def _described(out: Path, owner: str, findings: tuple[Finding, ...]) -> BuiltDataset:
    files = [path for path in out.rglob("*") if path.is_file()]
    return BuiltDataset(
        out,
        f"{owner}/{DATASET}",
        tuple(sorted(path.name for path in files if path.suffix == ".whl")),
        tuple(sorted(path.parent.name for path in files if path.name == "model.safetensors")),
        sum(path.stat().st_size for path in files),
        findings,
    )


def _checkout() -> Path:
    root = Path(competition.__file__).resolve().parents[1]
    if not all((root / name).is_file() for name in _PROJECT):
        raise UsageError(
            "a wheel can only be made in a checkout of the kit: clone it, and install with 'pip install -e .'"
        )
    return root


def _metadata(owner: str) -> Mapping[str, Any]:
    title = DATASET.replace("-", " ")
    return {
        "title": title,
        "id": f"{owner}/{DATASET}",
        "subtitle": "Wheel of a dog-breed kit and weights of its backbones",
        "description": "For kernels without network. Weights keep the licences of their authors.",
        "isPrivate": True,
        "licenses": [{"name": "other"}],
        "keywords": [],
    }


def _kit_wheel(root: Path, out: Path) -> None:
    """Make the kit's wheel from a copy of the packages and the project's description."""
    bundle = pack([name for name in PACKAGES if (root / name / "__init__.py").is_file()], root)
    project = {name: (root / name).read_bytes() for name in _PROJECT}
    require_no_secrets(project)
    with temporary_folder(Path(tempfile.gettempdir()), "dogbreed-wheel-") as temporary:
        for name, content in {**project, **bundle.files}.items():
            target = temporary / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            target.chmod(0o644)
        say("making the kit's wheel")
        _pip("wheel", "--no-deps", *_isolation(), "--wheel-dir", str(out), str(temporary), what="make the kit's wheel")


def _isolation() -> list[str]:
    """Where setuptools is at hand, nothing is downloaded."""
    from importlib.util import find_spec

    return ["--no-build-isolation"] if find_spec("setuptools") and find_spec("wheel") else []


def _fetch(also: Sequence[str], out: Path, python: tuple[int, int]) -> None:
    if not also:
        return
    version = f"{python[0]}.{python[1]}"
    say(f"fetching wheels for Python {version}: {', '.join(also)}")
    platforms = [word for tag in ("manylinux_2_28_x86_64", "manylinux2014_x86_64") for word in ("--platform", tag)]
    options = ["--no-deps", "--only-binary", ":all:", "--python-version", version, *platforms]
    _pip("download", *options, "--dest", str(out), *also, what=f"fetch {', '.join(also)} as wheels for {version}")


def _pip(command: str, *arguments: str, what: str) -> None:
    environment = {**os.environ, "SOURCE_DATE_EPOCH": _TIME, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    call = [sys.executable, "-m", "pip", command, "--quiet", *arguments]
    done = subprocess.run(call, capture_output=True, encoding="utf-8", errors="replace", check=False, env=environment)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        reason = next((line for line in said if line.startswith("ERROR")), said[-1] if said else "pip said nothing")
        raise KitError(f"pip cannot {what}: {' '.join(reason.split())[:300]}")


def _copy_weights(folder: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for name in _WEIGHTS:
        shutil.copyfile(folder / name, target / name)
    require_no_secrets({f"{folder.name}/config.json": (target / "config.json").read_bytes()})


def _name(requirement: str) -> str:
    """The distribution's name in a requirement such as ``timm>=1.0``."""
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        return Requirement(requirement).name
    except InvalidRequirement as error:
        raise UsageError(f"'{requirement}' is no requirement that pip knows: write a name, as in timm>=1.0") from error
