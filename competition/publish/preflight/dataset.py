"""Traps in a dataset folder (``--mode wheels``): what its client refuses, and wheels that Kaggle's Python refuses."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from competition.errors import DataError
from competition.files import read_json
from competition.publish.build.secrets import secrets_in, text_files
from competition.publish.build.spec import KAGGLE_PYTHON, OWNER, slug_of
from competition.publish.preflight.finding import Finding

DATASET_METADATA = "dataset-metadata.json"
# Kaggle's limit of one dataset (recalled: raised from 100 to 200 GB in 2024).
DATASET_LIMIT = 200 * 1000**3
KIT_WHEEL = "dogbreed_kit"
_REF = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*/[a-z0-9][a-z0-9-]*")


def check_dataset(
    folder: Path,
    *,
    python: tuple[int, int] = KAGGLE_PYTHON,
    needed: tuple[str, ...] = (),
    limit_bytes: int = DATASET_LIMIT,
    placeholder_ok: bool = False,
) -> tuple[Finding, ...]:
    """Look at everything that a dataset would upload.

    Args:
        folder: what ``offline_dataset.build_dataset`` made.
        python: version on Kaggle.
        needed: distributions that must be there as wheels besides the kit.
        limit_bytes: largest dataset.
        placeholder_ok: whether the account may still be the placeholder.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return (
        *_metadata(folder, placeholder_ok),
        *_sizes(folder, files, limit_bytes),
        *_wheels([path.name for path in files if path.suffix == ".whl"], python, needed),
        *_secrets(folder, files),
    )


def backbones_in(folder: Path) -> tuple[str, ...]:
    """Names under which the dataset's weights can be asked for: their folders and their architectures."""
    names: list[str] = []
    for path in sorted(folder.rglob("model.safetensors")):
        config = path.parent / "config.json"
        if config.is_file():
            names += [path.parent.name, str(read_json(config).get("architecture", ""))]
    return tuple(dict.fromkeys(name for name in names if name))


def _metadata(folder: Path, placeholder_ok: bool) -> Iterator[Finding]:
    try:
        values = read_json(folder / DATASET_METADATA)
    except DataError as error:
        yield Finding("dataset-metadata", DATASET_METADATA, str(error), "make the dataset again")
        return
    yield from _names(values, placeholder_ok)
    licenses = values.get("licenses")
    if not isinstance(licenses, list) or len(licenses) != 1:
        yield _of("dataset-license", "licenses", "exactly one is wanted", 'write [{"name": "other"}]')
    if values.get("isPrivate") is not True:
        yield _of("public", "isPrivate", "the dataset would be published", "write true")
    subtitle = values.get("subtitle")
    if subtitle and not 20 <= len(str(subtitle)) <= 80:
        yield _of("dataset-subtitle", "subtitle", f"{len(str(subtitle))} characters are refused", "use 20 to 80")


def _of(rule: str, key: str, problem: str, fix: str) -> Finding:
    return Finding(rule, f"{DATASET_METADATA} {key}", problem, fix)


def _names(values: Mapping[str, Any], placeholder_ok: bool) -> Iterator[Finding]:
    ref, title = str(values.get("id", "")), str(values.get("title", ""))
    owner, _, slug = ref.partition("/")
    if not _REF.fullmatch(ref):
        yield _of("dataset-id", "id", f"'{ref}' is not owner/slug", "write the account's name, a slash, the slug")
    if "INSERT" in ref or (owner == OWNER and not placeholder_ok):
        yield _of("owner", "id", f"'{owner}' is a placeholder", "build with --owner and your Kaggle user name")
    for key, text in (("id", slug), ("title", title)):
        if not 6 <= len(text) <= 50:
            yield _of("dataset-length", key, f"'{text}' has {len(text)} characters", "use 6 to 50")
    if slug_of(title) != slug:
        yield _of("title-slug", "title", f"it resolves to '{slug_of(title)}', not to '{slug}'", "let them agree")


def _sizes(folder: Path, files: list[Path], limit: int) -> Iterator[Finding]:
    total = sum(path.stat().st_size for path in files)
    if total > limit:
        problem = f"{total:,} bytes, Kaggle takes {limit:,}"
        yield Finding("dataset-size", folder.name, problem, "leave out weights that no kernel needs")
    for path in files:
        if path.stat().st_size == 0:
            yield Finding("empty-file", path.relative_to(folder).as_posix(), "an empty file", "make the dataset again")


def _wheels(names: list[str], python: tuple[int, int], needed: tuple[str, ...]) -> Iterator[Finding]:
    from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

    found = set()
    for name in names:
        try:
            distribution, _, _, tags = parse_wheel_filename(name)
        except InvalidWheelFilename as error:
            yield Finding("wheel-name", name, f"pip refuses this name ({error})", "fetch the wheel again")
            continue
        found.add(distribution)
        if not any(_fits(tag.interpreter, tag.abi, tag.platform, python) for tag in tags):
            problem = f"it is not for Python {python[0]}.{python[1]} on Linux (x86-64)"
            yield Finding("wheel-python", name, problem, f"fetch it with --python {python[0]}.{python[1]}")
    for wanted in (KIT_WHEEL, *needed):
        if canonicalize_name(wanted) not in found:
            problem = "its wheel is not in the dataset, and without network pip cannot fetch it"
            yield Finding("wheel-missing", wanted, problem, "make the dataset again")


def _fits(interpreter: str, abi: str, platform: str, python: tuple[int, int]) -> bool:
    """Whether one tag of a wheel admits CPython of that version on Linux (x86-64)."""
    major, minor = python
    machine = platform == "any" or (platform.startswith(("manylinux", "linux")) and platform.endswith("x86_64"))
    if interpreter in (f"py{major}", f"py{major}{minor}"):
        return machine and abi == "none"
    match = re.fullmatch(r"cp(\d)(\d+)", interpreter)
    if match is None or int(match.group(1)) != major:
        return False
    exact = int(match.group(2)) == minor and abi in (f"cp{major}{minor}", "none")
    return machine and (exact or (abi == "abi3" and int(match.group(2)) <= minor))


def _secrets(folder: Path, files: list[Path]) -> Iterator[Finding]:
    for name, content in text_files(files, folder).items():
        for told in secrets_in(name, content):
            yield Finding("secret", name, f"it holds {told}", "take it out, and make a new one: it may have been seen")
