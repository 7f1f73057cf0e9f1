"""One photo as a page shows it: picture, id, what its label says and what the model says."""

from __future__ import annotations

from dataclasses import dataclass

from competition.report.html.pages import percent, pretty


@dataclass(frozen=True)
class Line:
    """A line under a photo: ``kind`` is ``given`` (the label), ``called`` (the model) or empty; ``value`` is right."""

    text: str
    value: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Tile:
    """A photo on a page.

    Attributes:
        id: the photo's id.
        src: address of the picture relative to the site's root, or ``data:``; None when the photo cannot be read.
        alt: what is to be seen, in words.
        lines: what stands under the picture.
        href: where a click leads, relative to the site's root; empty for nowhere.
        tag: a word on the corner of the caption, with ``tag_kind`` ``good`` or ``bad``.
    """

    id: str
    src: str | None
    alt: str
    lines: tuple[Line, ...] = ()
    href: str = ""
    tag: str = ""
    tag_kind: str = ""


def described(photo: str, given: str | None, called: str | None = None) -> str:
    """The alternative text of a photo: what it is labelled and what it is called."""
    text = f"Photo {photo[:12]}, " + (f"labelled {pretty(given)}" if given else "breed not known")
    return f"{text}, called {pretty(called)}" if called is not None and called != given else text


def judged(given: str, p_given: float, called: str, p_called: float) -> tuple[Line, ...]:
    """The lines under a judged photo: its label and, when it differs, the model's first choice, with probabilities."""
    lines = [Line(pretty(given), percent(p_given), "given")]
    if called != given:
        lines.append(Line(pretty(called), percent(p_called), "called"))
    return tuple(lines)
