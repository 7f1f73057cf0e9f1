"""Every known trap of a push, caught before the push: a finding says what would happen and what to do.

The order is that of trouble on Kaggle: what the client lets through, what the server renames or drops, what fails after
minutes, what fails after hours, what fails at the submission.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from competition.console import duration
from competition.errors import DataError
from competition.files import read_json
from competition.publish.build.secrets import secrets_in, text_files
from competition.publish.build.spec import KAGGLE_PYTHON, METADATA_FILE, KernelSpec
from competition.publish.images.image import Image, find_image
from competition.publish.preflight.code import check_code
from competition.publish.preflight.dataset import backbones_in, check_dataset
from competition.publish.preflight.finding import Finding
from competition.publish.preflight.imports import distributions_in
from competition.publish.preflight.metadata import check_metadata

# Kaggle ends a session after twelve hours, on a TPU after nine.
SESSION_SECONDS = 12 * 3600.0
TPU_SECONDS = 9 * 3600.0


def check_kernel(
    folder: Path,
    *,
    dataset: Path | None = None,
    cost_seconds: float = 0.0,
    image: Image | None = None,
    python: tuple[int, int] | None = None,
    current: bool = True,
    placeholder_ok: bool = False,
) -> tuple[Finding, ...]:
    """Look at everything that a push of this folder would send, without running it.

    Args:
        folder: holds ``kernel-metadata.json`` and the code file.
        dataset: folder of the dataset that the kernel attaches, where it is at hand: which weights it holds is looked
            at (``check_dataset`` looks at the rest).
        cost_seconds: measured wall time; 0 when it was not measured.
        image: the software there; None means Kaggle's newest list.
        python: another version than the image's.
        current: compare the packages it carries with those of this kit.
        placeholder_ok: whether the account may still be the placeholder (nothing is pushed then).

    Returns:
        Findings in the order of the rules; empty for a clean kernel.
    """
    try:
        values = read_json(folder / METADATA_FILE)
    except DataError as error:
        return (Finding("metadata", METADATA_FILE, str(error), "build the kernel with 'dogbreed kernel build'"),)
    if not isinstance(values, dict):
        return (Finding("metadata", METADATA_FILE, "it is no JSON object", "build the kernel again"),)
    findings = [*check_metadata(values, folder, placeholder_ok=placeholder_ok), *_files(folder, values)]
    code = folder / str(values.get("code_file") or "?")
    weights = backbones_in(dataset) if dataset is not None else None
    wheels = distributions_in(dataset) if dataset is not None else None
    there = image or find_image("kaggle")
    if code.is_file():
        there = dataclasses.replace(there, python=python or there.python)
        findings += check_code(code, values, there, current, weights, wheels)
    findings += _time(cost_seconds, bool(values.get("enable_tpu")))
    return tuple(findings)


def check_all(
    specs: Sequence[KernelSpec],
    folders: Sequence[Path],
    *,
    dataset: Path | None = None,
    image: Image | None = None,
    placeholder_ok: bool = False,
) -> tuple[tuple[Path, Finding], ...]:
    """Check several kernels, that no two have the same title or slug, and the dataset that they attach.

    Args:
        specs: the kernels.
        folders: where each was built, in the same order.
        dataset: see ``check_kernel``.
        image: see ``check_kernel``.
        placeholder_ok: see ``check_kernel``.
    """
    found = [
        (folder, finding)
        for spec, folder in zip(specs, folders, strict=True)
        for finding in check_kernel(
            folder, dataset=dataset, cost_seconds=spec.cost_seconds, image=image, placeholder_ok=placeholder_ok
        )
    ]
    python = image.python if image is not None else KAGGLE_PYTHON
    attached = check_dataset(dataset, placeholder_ok=placeholder_ok, python=python) if dataset is not None else ()
    return (*found, *_taken(folders), *((dataset or Path(), finding) for finding in attached))


def _taken(folders: Sequence[Path]) -> Iterator[tuple[Path, Finding]]:
    for key in ("id", "title"):
        named = [(folder, str(read_json(folder / METADATA_FILE).get(key, "")).casefold()) for folder in folders]
        counts = Counter(name for _, name in named)
        for folder, name in named:
            if counts[name] > 1:
                problem = f"'{name}' is the {key} of {counts[name]} kernels: one would overwrite the other"
                yield folder, Finding("taken", f"{METADATA_FILE} {key}", problem, "rename one folder and its title")


def _files(folder: Path, values: dict[str, object]) -> Iterator[Finding]:
    """Secrets in any file of the folder but the code, which is looked at with its packages apart."""
    rest = [path for path in folder.iterdir() if path.is_file() and path.name != values.get("code_file")]
    for name, content in text_files(rest, folder).items():
        for told in secrets_in(name, content):
            yield Finding("secret", name, f"it holds {told}", "take it out, and make a new one: it may have been seen")


def _time(cost: float, tpu: bool) -> Iterator[Finding]:
    limit = TPU_SECONDS if tpu else SESSION_SECONDS
    if cost > 0.9 * limit:
        problem = f"it took {duration(cost)} when measured, Kaggle ends a session after {duration(limit)}"
        yield Finding("time-limit", "kernel.toml cost_seconds", problem, "fewer folds or epochs, or two kernels")
