"""HTML pages that open from disk: one base template, one style sheet, one script, nothing from a network.

Every page of the kit (audit, report, submission doctor, blend) extends ``base.html`` and is written by ``write_page``.
Autoescaping is on: breed names and ids come from data and are text, never markup. A content security policy in the page
itself forbids any request beyond the page's own folder and any script but the kit's own.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from competition import __version__
from competition.data.source.names import wordnet
from competition.files import write_text

if TYPE_CHECKING:
    from jinja2 import Environment

    from competition.data.source.competition_data import CompetitionData

TEMPLATES = Path(__file__).parent / "templates"
DRAWING_BANNER = (
    "These photos are drawings made by the kit to try itself out. The figures show that the parts work; "
    "they are not a result."
)


@dataclass(frozen=True)
class Link:
    """A link to another page: where (relative to the site's root) and what it says; ``note`` stands behind it."""

    href: str
    text: str
    note: str = ""


@dataclass(frozen=True)
class Site:
    """What the pages of one site share.

    Attributes:
        name: stands at the top of every page.
        pages: the main pages, in the order of the navigation.
        places: what the finder in the header knows (breeds), ``text`` is what the user types.
        banner: a caution that every page carries, or nothing.
    """

    name: str
    pages: tuple[Link, ...] = ()
    places: tuple[Link, ...] = ()
    banner: str = ""


def is_drawing(data: CompetitionData) -> bool:
    """Whether the photos are the embedded sample's drawings, which ``truth.json`` comes with."""
    return (data.root / "truth.json").is_file()


def caution(data: CompetitionData) -> str:
    """The banner for pages about these data: that they are drawings, or nothing."""
    return DRAWING_BANNER if is_drawing(data) else ""


@lru_cache(maxsize=8)
def environment(folder: Path | None = None) -> Environment:
    """The Jinja2 environment: autoescape on, undefined names are errors; Jinja2 is imported here, late.

    Args:
        folder: further templates, looked at first; they can extend and import those of the kit.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader([folder, TEMPLATES] if folder else TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(breed=pretty, percent=percent, nats=nats, count=count)
    return made


def pretty(name: str) -> str:
    """A breed's name as people write it: ``black-and-tan_coonhound`` becomes ``Black-and-tan coonhound``.

    WordNet's number before it (``n02085620-Chihuahua``) is left out.
    """
    text = wordnet(name)[1].replace("_", " ").strip()
    return text[:1].upper() + text[1:]


def percent(value: float, digits: int = 1) -> str:
    """A share in [0, 1] as ``87.8 %``; a dash where there is none (NaN)."""
    return "\u2013" if value != value else f"{100 * value:.{digits}f}\u202f%"


def nats(value: float, digits: int = 3) -> str:
    """A log loss; a dash where there is none (NaN)."""
    return "\u2013" if value != value else f"{value:.{digits}f}"


def count(value: float, one: str = "", many: str = "") -> str:
    """A whole number with thousands separated and, when given, its noun: ``1,204 photos``."""
    number = f"{int(value):,}"
    if not one:
        return number
    return f"{number} {one if int(value) == 1 else many or one + 's'}"


def slug(text: str) -> str:
    """Text as part of a file name: lower-case ASCII letters, digits and hyphens; may be empty."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60].strip("-")


@lru_cache(maxsize=1)
def _script() -> tuple[Markup, str]:
    """The one script and its digest for the content security policy."""
    text = (TEMPLATES / "site.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
    return Markup(text), f"sha256-{digest}"


@lru_cache(maxsize=1)
def _style() -> Markup:
    """The style sheet without its comments and indentation: every page carries it."""
    text = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    return Markup(re.sub(r"\s*\n\s*", "\n", text).strip())


def render_page(
    template: str, *, title: str, site: Site | None = None, here: str = "", folder: Path | None = None, **values: Any
) -> str:
    """Render a template that extends ``base.html``.

    Args:
        template: file name under ``templates``.
        title: the page's own title.
        site: what the pages of a site share; None for a page that stands alone.
        here: the page's path relative to the site's root (``breeds/chow.html``): links are made relative to it.
        folder: where the template lies, when not among the kit's own.
        values: what the template itself names.
    """
    script, script_digest = _script()
    shared = {
        "title": title,
        "site": site or Site(name=""),
        "here": here,
        "root": "../" * here.count("/"),
        "style": _style(),
        "script": script,
        "script_digest": script_digest,
        "version": __version__,
    }
    return environment(folder).get_template(template).render(**shared, **values)


def write_page(
    path: Path, template: str, *, title: str, site: Site | None = None, here: str = "", **values: Any
) -> Path:
    """Render a page and write it atomically; returns ``path``. Arguments as for ``render_page``."""
    write_text(path, render_page(template, title=title, site=site, here=here, **values))
    return path
