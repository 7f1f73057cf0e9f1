"""A list of an image made from what ``pip freeze`` prints there, so that the lists can follow Kaggle and Colab."""

from __future__ import annotations

import importlib.metadata
import json
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

from competition.errors import DataError, KitError, UsageError
from competition.publish.images.image import Image, normal

# What the libraries under the kit break over, or take the kit's pictures and tables through.
BESIDE = (
    "albucore", "alembic", "click", "fastcore", "fastdownload", "fastprogress", "fasttransform", "h5py",
    "huggingface-hub", "ipykernel", "ipython", "joblib", "jupyter-client", "kagglesdk", "markupsafe", "ml-dtypes",
    "nbclient", "nbformat", "packaging", "plum-dispatch", "protobuf", "pydantic", "pytest", "pyyaml", "requests",
    "setuptools", "spacy", "sqlalchemy", "tensorflow", "thinc", "threadpoolctl", "tqdm", "urllib3", "wheel",
)  # fmt: skip
# Extras of setup.cfg that a run may use; the others are a developer's.
_EXTRAS = ("", "explain", "fast", "kaggle", "keras")
_PYTHON = re.compile(r"\bPython[ =:/]*(3\.\d+)(\.\d+)?\b", re.IGNORECASE)
_PINNED = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(\[[^\]]*\])?\s*===?\s*(?P<version>[^\s;#]+)")
_ADDRESS = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(\[[^\]]*\])?\s*@\s*(?P<address>\S+)")
_BARE = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(\[[^\]]*\])?\s*(?P<rest>[^\s]*.*)")
_WIDTH = 116


def from_freeze(path: Path, name: str, python: str = "") -> Image:
    """Make a list from a file that holds what ``pip freeze`` printed.

    Args:
        path: the file; a line of ``python --version`` in it says which Python.
        name: of the image.
        python: version of its Python, as in ``3.12``; empty takes it from the file.

    Raises:
        DataError: the file is missing, holds no versions, or none of something that the kit needs.
        UsageError: the Python version is neither given nor in the file.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text ({error})") from error
    found: dict[str, str] = {}
    bare: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        for distribution, version in _entries(line):
            found.update({distribution: version} if version else {})
            bare.update({} if version else {distribution: number})
    bare = {item: line for item, line in bare.items() if item not in found}
    if not found:
        raise DataError(f"{path} names no version in its {len(bare)} entries: bring what 'pip freeze' prints there")
    touched = {*used(), *BESIDE}
    unknown = sorted(touched & bare.keys())
    if unknown:
        raise DataError(f"{path}, line {bare[unknown[0]]}: {unknown[0]} has no version; write {unknown[0]}==VERSION")
    versions = {item: version for item, version in sorted(found.items()) if item in touched}
    others = sorted((found.keys() | bare.keys()) - versions.keys())
    made = Image(name, f"made from {path.name}", _python(python, text, path), versions, (), tuple(others))
    lacks = tuple(item for item in used() if not made.has(item))
    return Image(name, made.about, made.python, versions, lacks, made.others)


def _entries(line: str) -> Iterator[tuple[str, str]]:
    """The distribution in a line and its version; empty where it has none."""
    plain = re.sub(r"(^|\s)#.*$", "", line).strip()
    if not plain or _PYTHON.match(plain):
        return
    if plain.startswith("-e "):
        egg = re.search(r"#egg=([A-Za-z0-9._-]+)", line)
        yield from ((normal(egg.group(1)), ""),) if egg else ()
    elif plain.startswith("-"):
        return
    elif match := _PINNED.match(plain):
        yield normal(match["name"]), match["version"].split("+")[0]
    elif match := _ADDRESS.match(plain):
        wheel = re.search(r"/([^/]+?)-([0-9][^-/]*)-[^/]*\.whl", match["address"])
        yield normal(match["name"]), wheel.group(2).split("%2B")[0].split("+")[0] if wheel else ""
    elif match := _BARE.fullmatch(plain):
        yield normal(match["name"]), ""


def _python(given: str, text: str, path: Path) -> tuple[int, int]:
    found = _PYTHON.search(text)
    version = given or (found.group(1) if found else "")
    if not version:
        raise UsageError(f"{path} does not say which Python it is of: add --python 3.12, or a line 'Python 3.12.13'")
    match = re.fullmatch(r"3\.(\d+)(\.\d+)?", version)
    if match is None:
        raise UsageError(f"--python {version} is impossible: write a version as in 3.12")
    return 3, int(match.group(1))


def used() -> tuple[str, ...]:
    """Distributions that the kit asks for, what only developers need left out.

    Raises:
        KitError: the kit is not installed, so that nothing says what it needs.
    """
    from packaging.requirements import Requirement

    try:
        texts = importlib.metadata.requires("dogbreed-kit") or []
    except importlib.metadata.PackageNotFoundError as error:
        raise KitError("the kit is not installed, so its requirements are unknown: pip install -e .") from error
    chosen = []
    for requirement in map(Requirement, texts):
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in _EXTRAS):
            chosen.append(normal(requirement.name))
    return tuple(sorted(set(chosen) - {"dogbreed-kit"}))


def list_text(image: Image) -> str:
    """The file's text."""

    def listed(names: tuple[str, ...]) -> str:
        words = ", ".join(json.dumps(name) for name in names)
        lines = textwrap.wrap(words, _WIDTH, break_long_words=False, break_on_hyphens=False)
        return "[]" if not lines else f"[{lines[0]}]" if len(lines) == 1 else "[\n    " + "\n    ".join(lines) + ",\n]"

    head = [
        f"about = {json.dumps(image.about, ensure_ascii=False)}",
        f'python = "{image.python_text}"',
        "# disk space of an environment with these versions",
        f"gigabytes = {image.gigabytes:g}",
        "# what the kit can use and the image has not",
        f"lacks = {listed(image.lacks)}",
        "",
        "[versions]",
        *(f'{name} = "{version}"' for name, version in sorted(image.versions.items())),
    ]
    # A key of the whole file must come before the first table.
    others = ["# what else is there, in versions that play no part", f"others = {listed(image.others)}"]
    return "\n".join([*head[:6], *others, *head[6:]]) + "\n"
