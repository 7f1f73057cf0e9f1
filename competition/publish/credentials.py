"""Credentials must not leave the machine: what looks like one stops a file from being packed or uploaded.

Only shapes are known here, never a value: the kit does not read anybody's credentials, not even to compare.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath

from competition.errors import KitError

_NAMES = frozenset(
    ("kaggle.json", "access_token", ".env", ".netrc", ".pypirc", ".git-credentials", "credentials.json", "id_rsa",
     "id_ed25519", "token.json")
)  # fmt: skip
_SUFFIXES = (".pem", ".p12", ".pfx", ".key", ".keystore")
_SHAPES: tuple[tuple[str, re.Pattern[bytes]], ...] = (
    ("a Kaggle token", re.compile(rb"\bKG[A-Z]{1,3}_[A-Za-z0-9]{20,}")),
    ("a Kaggle key", re.compile(rb"(?i)[\"']?\bkey[\"']?\s*[:=]\s*[\"'][0-9a-f]{32}[\"']")),
    ("a Kaggle key", re.compile(rb"(?i)KAGGLE_(?:KEY|API_TOKEN)[\"'\]]*\s*[:=,]\s*[\"']?[A-Za-z0-9_\-]{16,}")),
    ("a Hugging Face token", re.compile(rb"\bhf_[A-Za-z0-9]{30,}")),
    ("a GitHub token", re.compile(rb"\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,})")),
    ("an AWS key", re.compile(rb"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b")),
    ("a Google key", re.compile(rb"\bAIza[0-9A-Za-z_\-]{35}")),
    ("an OpenAI key", re.compile(rb"\bsk-(?:proj-)?[A-Za-z0-9_\-]{32,}")),
    ("a Slack token", re.compile(rb"\bxox[abprs]-[A-Za-z0-9\-]{20,}")),
    ("a Weights & Biases key", re.compile(rb"(?i)wandb_api_key[\"'\]]*\s*[:=,]\s*[\"']?[0-9a-f]{40}")),
    ("a private key", re.compile(rb"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----")),
    ("a JSON web token", re.compile(rb"\beyJ[A-Za-z0-9_\-]{10,}\.eyJ[A-Za-z0-9_\-]{10,}\.[A-Za-z0-9_\-]{10,}")),
    ("a password in an address", re.compile(rb"https?://[^\s/:@\"'{}]+:[^\s/:@\"'{}]{6,}@")),
    (
        "a secret",
        re.compile(
            rb"(?i)\b(?:api[_-]?key|api[_-]?token|access[_-]?token|secret[_-]?key|client[_-]?secret|password)"
            rb"[\"']?\s*[:=]\s*[\"'][A-Za-z0-9+/=_\-]{16,}[\"']"
        ),
    ),
)


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
