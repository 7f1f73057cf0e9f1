"""What the kit says while it works: notes, warnings and progress bars, through rich and only when needed.

Everything goes to standard error, so that standard output stays free for results (``--json``, tables to pipe). What a
terminal's encoding cannot show is escaped, and no work ends because a message could not be shown.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, TextIO

from competition.secret_shapes import without_secrets

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID


@lru_cache(maxsize=1)
def console() -> Console:
    """The one console; rich is imported here so that ``--help`` does not pay for it.

    In a Jupyter kernel it writes plain lines to the cell's output: there standard error is red, and rich's own HTML
    would make every line an output of its own.
    """
    from rich.console import Console

    escape_streams()
    if "ipykernel" in sys.modules:
        return Console(file=sys.stdout, force_jupyter=False, force_terminal=False, highlight=False, soft_wrap=True)
    return Console(stderr=True, highlight=False, soft_wrap=True)


def escape_streams() -> None:
    r"""Let standard output and error escape (``\u2014``, ``\udce9``) what their encoding cannot show."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def shown(text: str) -> str:
    r"""``text`` with the bytes of file names that are no UTF-8 escaped (``\udce9``): any UTF-8 stream takes it."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def say(message: str) -> None:
    """Print a line about what is being done."""
    _print(message)


def warn(message: str) -> None:
    """Print a line that deserves attention; the work goes on."""
    _print(f"note: {message}", "yellow")


def _print(message: str, style: str | None = None) -> None:
    try:
        console().print(shown(without_secrets(message)), style=style, markup=False)
    except BrokenPipeError:
        raise  # nobody reads any more: the end that a pipe asks for
    except OSError:
        silence(sys.stderr)


def silence(stream: TextIO | None) -> None:
    """Send the rest of a stream that takes nothing more (a full disk, a closed pipe) nowhere.

    Otherwise the interpreter tries once more at its end, complains, and changes the exit status.
    """
    if stream is None:
        return
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        stream.flush()


class Ticker:
    """Counts finished items, on a terminal as a bar with an estimate, elsewhere as a line every ten seconds."""

    def __init__(self, label: str, total: int, unit: str, every_seconds: float = 10.0) -> None:
        self._label, self._total, self._unit, self._every = label, total, unit, every_seconds
        self._done = self._start_done = 0
        self._start = self._last = time.monotonic()
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        # A notebook that is executed to be read has no use for how long something was about to take.
        self._silent = os.environ.get("DOGBREED_NOTEBOOK") == "1"
        if console().is_terminal:
            self._open_bar()

    def _open_bar(self) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
        )
        self._bar = Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console(), transient=True)
        self._task = self._bar.add_task(self._label, total=self._total, rate="")
        self._bar.start()

    def start_at(self, done: int) -> None:
        """Say that ``done`` items were there already (a resumed piece of work); they do not count for the rate."""
        self._done = self._start_done = done
        self._start = self._last = time.monotonic()
        self._show()

    def advance(self, count: int = 1) -> None:
        """Count ``count`` more items as finished."""
        self._done += count
        self._show()

    @property
    def rate(self) -> float:
        """Items per second since the start (or since the resumption)."""
        return (self._done - self._start_done) / max(time.monotonic() - self._start, 1e-9)

    def _show(self) -> None:
        rate = (
            f"{self.rate:{',.0f' if self.rate >= 10 else '.2g'}} {self._unit}/s"
            if self._done > self._start_done
            else ""
        )
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._done, rate=rate)
        elif not self._silent and time.monotonic() - self._last >= self._every and self._done < self._total:
            self._last = time.monotonic()
            left = (self._total - self._done) / max(self.rate, 1e-9)
            say(f"{self._label}: {self._done:,}/{self._total:,}, {rate}, about {left:,.0f} s left")

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()


@contextmanager
def progress(label: str, total: int, unit: str = "photos") -> Iterator[Ticker]:
    """Show progress over ``total`` items for the duration of the block."""
    ticker = Ticker(label, total, unit)
    try:
        yield ticker
    finally:
        ticker.close()


def duration(seconds: float) -> str:
    """Write a span of time as a person says it: ``42 s``, ``3 min 05 s``, ``2 h 10 min``."""
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"
