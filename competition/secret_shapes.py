"""What a secret looks like: the one place that knows. Whatever is written, printed or traced passes through here.

The kit never reads a credential to compare with, so shapes are all it has. ``without_secrets`` takes out what is one
for certain, and is for the kit's own words (a command line, an error, a log); ``redacted`` takes out what may be one,
and is for the words of a client or a server. ``SHAPES`` also stop a file from being packed (``publish.credentials``).

A password in an address goes, its user and host stay: ``postgresql://me:***@host/sweeps``.
"""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

MASK = "***"
SHAPES: tuple[tuple[str, str], ...] = (
    ("a Kaggle token", r"\bKG[A-Z]{1,3}_[A-Za-z0-9]{20,}"),
    ("a Kaggle key", r"(?i)[\"']?\bkey[\"']?\s*[:=]\s*[\"'][0-9a-f]{32}[\"']"),
    ("a Kaggle key", r"(?i)KAGGLE_(?:KEY|API_TOKEN)[\"'\]]*\s*[:=,]\s*[\"']?[A-Za-z0-9_\-]{16,}"),
    ("a Hugging Face token", r"\bhf_[A-Za-z0-9]{30,}"),
    ("a GitHub token", r"\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,})"),
    ("an AWS key", r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    ("a Google key", r"\bAIza[0-9A-Za-z_\-]{35}"),
    ("an OpenAI key", r"\bsk-(?:proj-)?[A-Za-z0-9_\-]{32,}"),
    ("a Slack token", r"\bxox[abprs]-[A-Za-z0-9\-]{20,}"),
    ("a Weights & Biases key", r"(?i)wandb_api_key[\"'\]]*\s*[:=,]\s*[\"']?[0-9a-f]{40}"),
    ("a private key", r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----"),
    ("a JSON web token", r"\beyJ[A-Za-z0-9_\-]{10,}\.eyJ[A-Za-z0-9_\-]{10,}\.[A-Za-z0-9_\-]{10,}"),
    ("a password in an address", r"\b[a-z][a-z0-9+.\-]*://[^\s/:@\"'{}]+:[^\s/:@\"'{}]{6,}@"),
    (
        "a secret",
        r"(?i)\b(?:api[_-]?key|api[_-]?token|access[_-]?token|secret[_-]?key|client[_-]?secret|password)"
        r"[\"']?\s*[:=]\s*[\"'][A-Za-z0-9+/=_\-]{16,}[\"']",
    ),
)

_ADDRESS = re.compile(r"(?i)\b([a-z][a-z0-9+.\-]*)://([^\s\"'<>]*)|(/[^\s?\"'<>]*)\?[^\s\"'<>=]*=[^\s\"'<>]+")
_WEB = re.compile(r"(?i)https?|wss?|ftps?|socks\w*")
_SECRET_NAME = r"(?:\w*key|\w*token|\w*passw(?:or)?d|pwd|pass|\w*secret\w*|\w*signature|sig|credentials?)"
_QUERY_VALUE = re.compile(rf"(?i)([?&;]{_SECRET_NAME}=)[^&;]+")
_VARIABLE = r"(?:kaggle_key|kaggle_api_token|hf_token|wandb_api_key)[\"'\]]*\s*[:=,]\s*[\"']?"
_CERTAIN = (
    (re.compile(r"\bKG[A-Z]{1,3}_[A-Za-z0-9_\-]{8,}"), MASK),
    (re.compile(rf"(?i)\b({_VARIABLE})[\w\-]{{8,}}"), rf"\1{MASK}"),
    (re.compile(r"(?i)\b(\w*passw(?:or)?d|pwd)(=[\"']?)[^\s\"',;&]+"), rf"\1\2{MASK}"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=\-]{16,}"), rf"\1 {MASK}"),
    *((re.compile(shape), MASK) for what, shape in SHAPES if what not in ("a Kaggle key", "a password in an address")),
)
_NAMED = (
    r"api[_-]?key|kaggle_key|kaggle_api_token|access[_-]?token|refresh[_-]?token|token|password|passwd|secret|"
    r"authorization|credential|signature|x-goog-[a-z]+|key"
)
_LIKELY = (
    (re.compile(r"\beyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]+(\.[A-Za-z0-9_\-]+)?"), MASK),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=\-]{8,}"), rf"\1 {MASK}"),
    (
        re.compile(rf"(?i)\b([A-Z0-9_]*(?:{_NAMED}))([\"']?\s*[:=]\s*[\"']?)(?!\s|\*\*\*)[^\s\"',;&}}\]]{{6,}}"),
        rf"\1\2{MASK}",
    ),
)


def without_secrets(text: str) -> str:
    """The kit's own words without what certainly is a secret; anything else stays as it is."""
    if "/" in text:
        text = _ADDRESS.sub(_shown, text)
    for pattern, replacement in _CERTAIN:
        text = pattern.sub(replacement, text)
    return text


def redacted(text: str) -> str:
    """Somebody else's words without everything that looks like a credential."""
    text = without_secrets(text)
    for pattern, replacement in _LIKELY:
        text = pattern.sub(replacement, text)
    return text


def _shown(found: re.Match[str]) -> str:
    return f"{found[3]}?{MASK}" if found[3] is not None else f"{found[1]}://{_address(found[1], found[2])}"


def _address(scheme: str, rest: str) -> str:
    """What follows ``scheme://``. A database's password may hold any letter, unencoded too: what is in doubt goes."""
    web = _WEB.fullmatch(scheme) is not None
    query_at = _query_at(rest, web)
    head, query = rest[:query_at], rest[query_at:]
    authority = re.match(r"[^/?#]*", head)[0] if web else head  # type: ignore[index]
    user, at, _ = authority.rpartition("@")
    if at and not head.startswith("/"):  # sqlite:///a/path/with:an@
        name, colon, _ = user.partition(":")
        token = web and not colon and len(user) >= 16  # https://TOKEN@host
        shown = MASK if token else f"{name}:{MASK}" if colon else user
        head = f"{shown}@{head[len(user) + 1 :]}"
    if web:  # the query of a signed address is itself a permission to read or write
        return f"{head}?{MASK}" if len(query) > 1 else head + query
    return head + _QUERY_VALUE.sub(rf"\1{MASK}", query)


def _query_at(rest: str, web: bool) -> int:
    """Where the query begins; a question mark inside a database's password does not begin one."""
    found = re.search(r"\?" if web else r"\?[\w.\-]+=", rest)
    if not found:
        return len(rest)
    user_open = ":" in rest[: found.start()] and "@" not in rest[: found.start()] and not rest.startswith("/")
    if not web and user_open and "@" in rest[found.end() :]:
        after = rest.rindex("@")
        later = re.search(r"\?[\w.\-]+=", rest[after:])
        return after + later.start() if later else len(rest)
    return found.start()


def command_line(arguments: Iterable[str]) -> str:
    """A command as it may be written down: the program's bare name, no password.

    Args:
        arguments: as in ``sys.argv``; each is looked at by itself, so that spaces in one hide nothing.
    """
    program, *rest = arguments
    return " ".join([Path(program).name, *map(_argument, rest)])


def _argument(text: str) -> str:
    whole = re.fullmatch(r"(?is)(-[\w-]+=)?([a-z][a-z0-9+.\-]*)://(.*)", text)
    if whole:
        text = f"{whole[1] or ''}{whole[2]}://{_address(whole[2], whole[3])}"
    return without_secrets(text)


def mask(error: BaseException) -> None:
    """Mask the texts of an error and of all that it wraps, in place: a traceback (``--debug``) shows them, too."""
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        found = waiting.pop()
        if found is None or id(found) in seen:
            continue
        seen.add(id(found))
        waiting += [found.__cause__, found.__context__, getattr(found, "reason", None)]
        waiting += [item for item in found.args if isinstance(item, BaseException)]
        found.args = tuple(redacted(item) if isinstance(item, str) else item for item in found.args)


def trace_without_secrets() -> None:
    """From here on the interpreter prints a traceback without them."""

    def show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        sys.stderr.write(redacted("".join(traceback.format_exception(kind, error, trace))))

    sys.excepthook = show
