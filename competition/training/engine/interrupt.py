"""Ctrl-C (or SIGTERM, SIGHUP) as a wish: the training stops at its next step border, with its state on the disk."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from competition.console import say
from competition.system import processes


class Interrupt:
    """Whether the user has asked for a stop."""

    def __init__(self) -> None:
        self.asked = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Ctrl-C asks for a stop at the next step border, a second one stops at once; SIGTERM and SIGHUP only ask."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def ask(number: int, frame: FrameType | None) -> None:
            processes.note_signal(number)
            if self.asked and number == signal.SIGINT:
                raise KeyboardInterrupt
            if not self.asked:
                self.asked = True
                say("stopping after this step (Ctrl-C again: at once, losing what came after the last checkpoint)")

        wanted = [number for number in processes.ENDINGS if signal.getsignal(number) != signal.SIG_IGN]
        before = {number: signal.signal(number, ask) for number in (signal.SIGINT, *wanted)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
