"""Credentials must not leave the machine: what looks like one stops a file from being packed or uploaded.

Only shapes are known here, never a value: the kit does not read anybody's credentials, not even to compare.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath

from competition.errors import KitError
from competition.secret_shapes import SHAPES

_NAMES = frozenset(
    ("kaggle.json", "access_token", ".env", ".netrc", ".pypirc", ".git-credentials", "credentials.json", "id_rsa",
     "id_ed25519", "token.json")
)  # fmt: skip
_SUFFIXES = (".pem", ".p12", ".pfx", ".key", ".keystore")
_SHAPES = tuple((what, re.compile(shape.encode())) for what, shape in SHAPES)


class CredentialError(KitError):
    """A file that would be uploaded holds what looks like a credential."""


def secrets_in(name: str, content: bytes) -> tuple[str, ...]:
    """What looks like a credential in a file, each as "<what> in line <n>"; the value itself is never repeated.

    Args:
        name: of the file; some names are credentials by themselves.
        content: its bytes.
    """
    base = PurePath(name).name.casefold()
    if base in _NAMES or base.endswith(_SUFFIXES):
        return (f"its name says that it is a credential ({PurePath(name).name})",)
    found = [
        f"{what} in line {len(content[: match.start() + 1].splitlines())}"
        for what, shape in _SHAPES
        for match in shape.finditer(content)
    ]
    return tuple(dict.fromkeys(found))


def require_no_secrets(files: Mapping[str, bytes]) -> None:
    """Check everything that would be packed.

    Raises:
        CredentialError: a file holds a credential; file and line are named, the value is not.
    """
    for name, content in files.items():
        found = secrets_in(name, content)
        if found:
            raise CredentialError(f"{name} would leave this machine with {found[0]}: take it out of the file first")


def text_files(paths: Iterable[Path], root: Path, largest: int = 8_000_000) -> dict[str, bytes]:
    """Contents by relative name of the files that may hold a credential; larger ones (weights) only by name."""
    found = {}
    for path in sorted(paths):
        small = path.stat().st_size <= largest
        found[path.relative_to(root).as_posix()] = path.read_bytes() if small else b""
    return found
