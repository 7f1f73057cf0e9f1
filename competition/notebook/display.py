"""What any notebook of the kit calls: its mode, its text, its pictures with their captions.

Outside a notebook the same calls print, so that a source runs as a script too.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from matplotlib.figure import Figure

T = TypeVar("T")
_BEGUN = time.monotonic()


def short() -> bool:
    """Whether ``DOGBREED_SHORT`` asks for the short mode: a laptop, or a check that everything runs."""
    return os.environ.get("DOGBREED_SHORT", "") not in ("", "0")


def pick(full: T, brief: T) -> T:
    """The first value, or the second in short mode."""
    return brief if short() else full


def mode(where: str) -> None:
    """Tell, as a notebook's first output, on what it runs and in which mode.

    Args:
        where: the framework and its device, Markdown.
    """
    tell(f"{where}, **{'short' if short() else 'full'} mode**.")


def took() -> None:
    """Tell, as a notebook's last output, how long it took from its first import of the kit."""
    from competition.console import duration

    tell(f"All of this took {duration(time.monotonic() - _BEGUN)}.")


@contextmanager
def quiet() -> Iterator[None]:
    """Without the lines that the kit says while it works: for many trainings in a row."""
    from competition.console import console

    before, console().quiet = console().quiet, True
    try:
        yield
    finally:
        console().quiet = before


def tell(text: str) -> None:
    """Show Markdown; outside a notebook, print it."""
    display = _display()
    if display is None:
        from competition.console import escape_streams

        escape_streams()
        print(text)
        return
    from IPython.display import Markdown

    display(Markdown(text))  # type: ignore[no-untyped-call]


def show(figure: Figure, caption: str) -> None:
    """Show a figure with its caption below; outside a notebook, only the caption is printed."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=90)
    _show_png(stream.getvalue(), caption)


def picture(path: Path | str, caption: str) -> None:
    """Show a PNG file with its caption below; outside a notebook, only the caption is printed.

    Raises:
        FileNotFoundError: there is no such file.
    """
    _show_png(Path(path).read_bytes(), caption)


def _show_png(content: bytes, caption: str) -> None:
    display = _display()
    if display is not None:
        from IPython.display import Image

        display(Image(content))  # type: ignore[no-untyped-call]
    tell(f"*{caption}*")


def _display() -> Any:
    """IPython's ``display`` in a notebook, else None."""
    try:
        from IPython import get_ipython
        from IPython.display import display
    except ModuleNotFoundError:
        return None
    return None if get_ipython() is None else display  # type: ignore[no-untyped-call]
