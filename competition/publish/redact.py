"""Secrets taken out of anything that is shown: messages of the client, of the server, logs of a kernel.

The kit never reads a credential, so it cannot compare with one: what looks like one is masked.
"""

from __future__ import annotations

import re

_MASK = "***"
_NAMED = (
    r"api[_-]?key|kaggle_key|kaggle_api_token|access[_-]?token|refresh[_-]?token|token|password|passwd|secret|"
    r"authorization|credential|signature|x-goog-[a-z]+|key"
)
_PATTERNS = (
    # the query of a signed address is itself a permission to read or write
    (re.compile(r"(/[^\s?\"'<>]*)\?[^\s\"'<>]+"), rf"\1?{_MASK}"),
    (re.compile(r"(https?://)[^\s/@:]+:[^\s/@]+@"), rf"\1{_MASK}@"),
    (re.compile(r"\bKG[A-Z]{1,3}_[A-Za-z0-9_\-]{8,}"), _MASK),
    (re.compile(r"\beyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]+(\.[A-Za-z0-9_\-]+)?"), _MASK),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=\-]{8,}"), rf"\1 {_MASK}"),
    (
        re.compile(rf"(?i)\b([A-Z0-9_]*(?:{_NAMED}))([\"']?\s*[:=]\s*[\"']?)(?!\s)[^\s\"',;&}}\]]{{6,}}"),
        rf"\1\2{_MASK}",
    ),
)


def redacted(text: str) -> str:
    """Return ``text`` with everything that looks like a credential masked."""
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def one_line(text: object, longest: int = 300) -> str:
    """What a server said, fit for one line of a terminal: redacted, printable, bounded.

    Args:
        text: anything with a string form.
        longest: characters kept.
    """
    words = " ".join(redacted(str(text)).split())
    printable = "".join(letter if letter.isprintable() else "?" for letter in words)
    return printable if len(printable) <= longest else printable[: longest - 3] + "..."


def terminal_safe(text: str) -> str:
    """Several lines from elsewhere (a log): redacted, and without the escapes that drive a terminal."""
    lines = redacted(text).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return "\n".join("".join(c if c.isprintable() or c == "\t" else "?" for c in line) for line in lines)


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
