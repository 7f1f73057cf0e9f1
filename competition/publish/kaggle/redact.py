"""Words of a client, a server or a kernel made fit to be shown: no secrets, no escapes, bounded."""

from __future__ import annotations

from competition.secret_shapes import redacted


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
