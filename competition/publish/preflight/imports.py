"""Imports that an image lacks: in the kernel's own code, and late ones inside the kit that its calls lead to."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from competition.publish.build import bundle
from competition.publish.images.image import Image, distribution_of, normal
from competition.publish.preflight.finding import Finding
from competition.publish.preflight.reached import Reached, reached

_INSTALLS = re.compile(r"\bpip3?\b.*\binstall\b", re.IGNORECASE)


def check_imports(
    name: str,
    own: str,
    raw: str,
    carried: Mapping[str, bytes] | None,
    beside: frozenset[str],
    internet: bool,
    wheels: tuple[str, ...] | None,
    image: Image,
) -> Iterator[Finding]:
    """One finding for each module that would not be there.

    Args:
        name: of the code file.
        own: the kernel's own code, Python.
        raw: the same with a notebook's shell lines.
        carried: the kit's files in the kernel; None where a wheel brings them.
        beside: modules that other rules look at.
        internet: whether the network is there.
        wheels: distributions that the attached dataset has as wheels; None where its content is not known.
        image: what is there on Kaggle or Colab.
    """
    files = carried if carried is not None else bundle.pack(bundle.PACKAGES).files
    told: set[str] = set()
    for item in reached(own, files):
        if item.module in beside or item.module in bundle.PACKAGES or item.module in sys.stdlib_module_names:
            continue
        distribution = distribution_of(item.module, image)
        known = distribution or normal(item.module)
        if known in told or (distribution is not None and image.has(distribution)):
            continue
        told.add(known)
        if _installed(raw, known) or (carried is None and wheels is not None and known in wheels):
            continue
        yield _finding(name, item, distribution, known, internet, image)


def _installed(raw: str, distribution: str) -> bool:
    """Whether the kernel's own code installs it, from the network or from a dataset."""
    lines = [normal(line) for line in raw.splitlines() if _INSTALLS.search(line)]
    return any(re.search(rf"(?<![a-z0-9]){re.escape(distribution)}(?![a-z0-9])", line) for line in lines)


def _finding(name: str, item: Reached, distribution: str | None, known: str, internet: bool, image: Image) -> Finding:
    where = f"line {item.line} of its own code imports {item.module}"
    if item.within:
        path = item.within.replace(".", "/")
        where = f"what it calls imports {item.module} late ({path}.py, line {item.line})"
    if distribution is None:
        problem = f"{where}, which the list of {image.name} does not know"
        return Finding(
            "import", name, problem, "look whether the image has it, or take the way of a wheel", blocking=False
        )
    network = "" if internet else "set internet = true and "
    fix = f"make the dataset with --also {known} and build with --mode wheels, or {network}pip install {known} first"
    return Finding("import", name, f"{where}, and {image.name} has no {known}", fix)


def distributions_in(folder: Path) -> tuple[str, ...]:
    """Distributions that a dataset's folder has as wheels."""
    return tuple(sorted({normal(path.name.split("-")[0]) for path in folder.rglob("*.whl")}))
