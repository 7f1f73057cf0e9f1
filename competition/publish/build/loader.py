"""How a kernel comes by the kit: from the packages it carries, else from a wheel among its inputs, else installed.

The text of this file is put into every generated kernel, before the kernel's own code: standard library only, and
nothing of the kit may be imported here. ``kernels`` puts the kit's own ``folders_below`` in the place of this one.
"""

import base64
import contextlib  # noqa: F401 - for the kit's folders_below
import hashlib
import io
import lzma
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path


def folders_below(root: Path) -> Iterator[tuple[Path, frozenset[str]]]:
    """Stand for the kit's function of this name: in a kernel its text is here."""
    from competition.environment import folders_below as search

    return search(root)


def load_kit(packages: str, digest: str) -> str:
    """Make the kit's packages importable and return where they came from.

    Args:
        packages: a zip, xz-compressed, in base 85; empty when the kernel carries none.
        digest: SHA-256 of the zip.

    Raises:
        SystemExit: the packages are damaged, or there is no kit at all.
    """
    if packages.strip():
        return _from_text(packages, digest)
    inputs = Path(os.environ.get("DOGBREED_KAGGLE_ROOT", "/kaggle")) / "input"
    try:
        for folder, names in folders_below(inputs):
            if any(name.startswith("dogbreed_kit-") and name.endswith(".whl") for name in names):
                return _from_wheels(folder)
        import competition
    except ImportError:
        raise SystemExit(
            "this kernel carries no packages and no dataset with the kit's wheel is attached: "
            "build it with 'dogbreed kernel build', or attach what 'dogbreed kernel build --mode wheels' makes"
        ) from None
    return str(Path(competition.__file__).parent.parent)


def _from_text(packages: str, digest: str) -> str:
    raw = lzma.decompress(base64.b85decode("".join(packages.split())))
    if hashlib.sha256(raw).hexdigest() != digest:
        raise SystemExit("the packages in this kernel are damaged: build it again")
    os.environ["DOGBREED_KIT_DIGEST"] = digest
    folder = Path(tempfile.mkdtemp(prefix="dogbreed-kit-"))
    with zipfile.ZipFile(io.BytesIO(raw)) as source:
        for name in source.namelist():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(source.read(name))
    return _first(folder)


def _from_wheels(folder: Path) -> str:
    """Install without an index and without looking for dependencies: the image has them, in versions of its own."""
    target = Path(tempfile.mkdtemp(prefix="dogbreed-kit-"))
    names = [str(path) for path in sorted(folder.glob("*.whl"))]
    options = ["--no-index", "--no-deps", "--quiet", "--no-compile", "--target", str(target)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, *names], check=True)
    return _first(target)


def _first(folder: Path) -> str:
    """Put a folder before all others, for this process and for those it starts."""
    sys.path.insert(0, str(folder))
    known = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = f"{folder}{os.pathsep}{known}" if known else str(folder)
    return str(folder)
