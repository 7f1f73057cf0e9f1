"""Build a kernel: its metadata, written in full, and one code file that carries the kit or takes it from a dataset.

A kernel is made in one of two modes.

``bundle``: the code file carries the kit's packages, so that it runs as it is; it changes with every line of the kit.

``wheels``: the code file installs the kit from an attached dataset, without network; it changes only with the kernel's
own source.

Both are written to ``build/kernels/<slug>/``. The repository keeps a notebook's files in wheels mode (people open them
where they lie), and CI compares them with what would be made; of a script it keeps ``kernel.toml`` and the source.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from inspect import getsource
from pathlib import Path
from typing import Any

from competition.environment import COMPETITION, folders_below
from competition.errors import DataError, UsageError
from competition.files import write_text
from competition.locks import only_one_at
from competition.publish.build import loader as kernel_loader
from competition.publish.build.bundle import Bundle, pack, unpack
from competition.publish.build.ipynb import cells_of, code_cell, joined, markdown_cell, notebook_text, read_notebook
from competition.publish.build.secrets import require_no_secrets
from competition.publish.build.spec import DATASET, GPU_SHAPE, METADATA_FILE, OWNER, KernelSpec, list_kernels

MODES = ("bundle", "wheels")
KERNELS = Path("kernels")
BUILD = Path("build") / "kernels"
_OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{1,49}")
_LOADER_MARK = "# ---- how the kit gets here; the kernel's own code is at the end ----"
_SOURCE_MARK = "# ---- the kernel's own code ----"
_PACKAGES = re.compile(r'^KIT_DIGEST = "([0-9a-f]*)"\nKIT_PACKAGES = """\n(.*?)"""$', re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class BuiltKernel:
    """A folder that can be pushed.

    Attributes:
        folder: holds ``kernel-metadata.json`` and the code file.
        ref: ``owner/slug``.
        code: path of the code file.
        mode: ``bundle`` or ``wheels``.
        digest: of the packages it carries, 64 hex digits; empty in wheels mode.
    """

    folder: Path
    ref: str
    code: Path
    mode: str
    digest: str


def metadata(spec: KernelSpec, owner: str = OWNER, mode: str = "bundle") -> dict[str, Any]:
    """Every key that decides how the kernel runs, none left to a default of Kaggle or of its client.

    Args:
        spec: the kernel.
        owner: name of the Kaggle account.
        mode: see the module.

    Raises:
        UsageError: an impossible owner or mode.
    """
    if not _OWNER.fullmatch(owner):
        raise UsageError(f"--owner '{owner}' is no Kaggle user name: it is the last part of your profile's address")
    if mode not in MODES:
        raise UsageError(f"--mode {mode} is impossible: bundle or wheels")
    return {
        "id": f"{owner}/{spec.slug}",
        "title": spec.title,
        "code_file": spec.code_file,
        "language": "python",
        "kernel_type": spec.kind,
        "is_private": True,
        "enable_gpu": spec.gpu,
        "enable_tpu": False,
        "enable_internet": spec.internet,
        "machine_shape": GPU_SHAPE if spec.gpu else "",
        "dataset_sources": [f"{owner}/{DATASET}"] if mode == "wheels" or spec.weights else [],
        "competition_sources": [COMPETITION] if spec.competition else [],
        "kernel_sources": [f"{owner}/{slug}" for slug in spec.kernels],
        "model_sources": [],
        "keywords": [],
        "docker_image_pinning_type": "latest",
    }


def code_text(spec: KernelSpec, bundle: Bundle | None) -> str:
    """The code file: how the kit gets there, then the kernel's own code.

    Args:
        spec: the kernel.
        bundle: packages to carry; None in wheels mode.

    Raises:
        UsageError: the source has ``from __future__`` imports (they would not come first).
        DataError: the source is missing or is no notebook.
    """
    if spec.kind == "notebook":
        cells = [
            markdown_cell(f"# {spec.title}\n\n{spec.about}\n\n{_origin(spec)}"),
            code_cell(loader(bundle), hidden=True),
            *cells_of(spec.folder / spec.source),
        ]
        return notebook_text(cells)
    source = spec.source_text
    if re.search(r"^from __future__ import", source, re.MULTILINE):
        raise UsageError(f"{spec.folder / spec.source}: 'from __future__' cannot follow other code; leave it out")
    head = f'"""{spec.title}: {spec.about}\n\n{_origin(spec)}\n"""\n'
    return f"{head}\n{_LOADER_MARK}\n{loader(bundle)}\n\n{_SOURCE_MARK}\n{source.rstrip()}\n"


def _origin(spec: KernelSpec) -> str:
    return f"Made by 'dogbreed kernel build {spec.slug}' from {spec.source}: change that file, not this one."


def loader(bundle: Bundle | None) -> str:
    """Code that makes the kit importable: from the packages it carries, or, without any, from what is there."""
    text = Path(kernel_loader.__file__).read_text(encoding="utf-8")
    docstring = ast.parse(text).body[0]
    code = "\n".join(text.splitlines()[docstring.end_lineno :]).strip()
    code = code.replace(getsource(kernel_loader.folders_below), getsource(folders_below))
    digest, packages = (bundle.digest, f"{bundle.text}\n") if bundle is not None else ("", "")
    values = f'KIT_DIGEST = "{digest}"\nKIT_PACKAGES = """\n{packages}"""'
    return f'{code}\n\n\n{values}\nprint(f"kit: {{load_kit(KIT_PACKAGES, KIT_DIGEST)}}")'


def build(spec: KernelSpec, out: Path, mode: str = "bundle", owner: str = OWNER) -> BuiltKernel:
    """Write a folder that can be pushed; the same checkout gives the same bytes.

    Args:
        spec: the kernel.
        out: the folder to write into.
        mode: see the module.
        owner: name of the Kaggle account.

    Raises:
        CredentialError: a file that would leave the machine looks like it holds a credential.
        KitError: the specification, the source or the owner is not what it should be.
    """
    bundle = pack(spec.packages) if mode == "bundle" else None
    texts = _texts(spec, owner, mode, bundle)
    with only_one_at(out):
        for name, text in texts.items():
            write_text(out / name, text)
    return BuiltKernel(out, f"{owner}/{spec.slug}", out / spec.code_file, mode, bundle.digest if bundle else "")


def _texts(spec: KernelSpec, owner: str, mode: str, bundle: Bundle | None) -> dict[str, str]:
    """The built files by name, the metadata last: a folder with metadata is whole."""
    values = metadata(spec, owner, mode)
    require_no_secrets({f"{spec.slug}/{spec.source}": spec.source_text.encode()})
    return {spec.code_file: code_text(spec, bundle), METADATA_FILE: json.dumps(values, indent=2) + "\n"}


def refresh(spec: KernelSpec) -> None:
    """Write the built files that the repository keeps: a notebook's, nothing of a script."""
    if spec.kind == "notebook":
        build(spec, spec.folder, "wheels")


def stale(root: Path) -> tuple[str, ...]:
    """What is wrong with the kernels of a folder, one line each.

    A notebook's files must be what would be made now. A script is built twice, and both must be the same to the byte.
    """
    return tuple(
        line for spec in list_kernels(root) for line in (_outdated if spec.kind == "notebook" else _unsteady)(spec)
    )


def _outdated(spec: KernelSpec) -> Iterator[str]:
    for name, text in _texts(spec, OWNER, "wheels", None).items():
        path = spec.folder / name
        if not path.is_file():
            yield f"{path} is missing"
        elif path.read_bytes() != text.encode("utf-8"):
            yield f"{path} is not what its sources give"


def _unsteady(spec: KernelSpec) -> Iterator[str]:
    first, second = (_texts(spec, OWNER, "bundle", pack(spec.packages)) for _ in range(2))
    yield from (f"{spec.folder}: two builds gave two kinds of {name}" for name in first if first[name] != second[name])


@dataclass(frozen=True)
class KernelCode:
    """A code file taken apart.

    Attributes:
        own: the kernel's own code, cells joined.
        digest: what the file says its packages' digest is; empty without packages.
        packages: the packages it carries, or None.
    """

    own: str
    digest: str
    packages: Bundle | None


def read_code(path: Path) -> KernelCode:
    """Take a code file apart; one that this module did not make is all the kernel's own.

    Raises:
        DataError: it is no UTF-8, no notebook, or its packages are damaged.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 ({error.reason} at byte {error.start})") from error
    if path.suffix == ".ipynb":
        cells = [joined(cell) for cell in read_notebook(text, path)["cells"] if cell["cell_type"] == "code"]
        text = "\n\n".join(cells)
        own = "\n\n".join(cell for cell in cells if not _PACKAGES.search(cell))
    else:
        own = text.split(f"{_SOURCE_MARK}\n", 1)[-1]
    found = _PACKAGES.search(text)
    if found is None or not found.group(2).strip():
        return KernelCode(own, "", None)
    return KernelCode(own, found.group(1), unpack(found.group(2)))
