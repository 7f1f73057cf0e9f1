"""How a command line of the kit starts and ends: errors become one line, a traceback only with ``--debug``."""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any, NoReturn, TextIO

_INTERRUPTED = ": interrupted; the same command continues where it stopped"
_BROKEN_PIPE = 141  # what a shell says of a program that SIGPIPE has ended


def set_debug(debug: bool) -> None:
    """Let this process (and those it starts) show tracebacks."""
    if debug:
        os.environ["DOGBREED_DEBUG"] = "1"


def hush_imports() -> None:
    """Leave out what torch says when fastai and timm are imported; a user can do nothing about it."""
    warnings.filterwarnings("ignore", r"`torch\.jit\.", FutureWarning)


def run_app(app: Callable[[], Any], name: str) -> None:
    """Run a command line: exit 2 for usage, 1 for other errors, 130 after Ctrl-C, 128 + n after SIGTERM and SIGHUP.

    Where standard output is a pipe that nobody reads any more, it ends as SIGPIPE would end it: without a word.

    Args:
        app: parses the arguments and calls a command.
        name: what the lines begin with.
    """
    try:
        _prepare()
        app()
    except KeyboardInterrupt as error:
        _stop(error, name + _INTERRUPTED, _interrupted())
    except SystemExit as stop:
        # Typer takes Ctrl-C and a broken pipe for itself and leaves without a word.
        if stop.code == 130:
            _stop(stop, name + _INTERRUPTED, _interrupted())
        if isinstance(stop.__context__, BrokenPipeError):
            _end(stop.__context__, name)
        if not stop.code:
            _flush(name)
        raise
    except Exception as error:  # noqa: BLE001 - the last line of defence: a bug is told as such, in one line
        _end(error, name)
    else:
        _flush(name)


def _prepare() -> None:
    from competition.console import escape_streams
    from competition.system.processes import interrupt_on_signals

    _fill_standard_places()
    hush_imports()
    escape_streams()
    interrupt_on_signals()
    threading.excepthook = _tell_background


def _tell_background(failed: threading.ExceptHookArgs) -> None:
    """A thread's error of the system is one line as well; the main thread ends by it when it needs that thread."""
    from competition.console import warn
    from competition.system_errors import explain

    line = explain(failed.exc_value, everywhere=True) if failed.exc_value is not None else None
    if line is None or os.environ.get("DOGBREED_DEBUG"):
        threading.__excepthook__(failed)
    else:
        warn(f"in the background: {line}")


def _fill_standard_places() -> None:
    """Open what was closed (``>&-``): else the next file takes that number, and a library's messages land in it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _interrupted() -> int:
    from competition.system.processes import interrupted_status

    return interrupted_status()


def _flush(name: str) -> None:
    """Meet here what a full disk or a closed pipe behind standard output refuses, not at the interpreter's end."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        _end(error, name)


def _end(error: BaseException, name: str) -> NoReturn:
    """Tell an error in one line and leave."""
    from competition.console import silence
    from competition.errors import KitError
    from competition.system_errors import explain

    if isinstance(error, KitError):
        _stop(error, f"{name}: {error}", error.exit_code)
    if isinstance(error, OSError) and error.filename is None:
        broken = isinstance(error, BrokenPipeError)
        if broken and (_refuses(sys.__stdout__) or _refuses(sys.__stderr__)):
            silence(sys.__stdout__)
            silence(sys.__stderr__)
            sys.exit(_BROKEN_PIPE)
        if not broken and _refuses(sys.__stdout__):
            silence(sys.__stdout__)
            _stop(error, f"{name}: the result cannot be written to standard output ({error.strerror})", 1)
    line = explain(error, everywhere=True)
    if line is None:
        line = f"unexpected {type(error).__name__}: {error} (run with --debug for the traceback)"
    _stop(error, f"{name}: {line}", 1)


def _refuses(stream: TextIO | None) -> bool:
    """Whether a stream takes nothing more: then an error without a file's name is about it."""
    try:
        if stream is not None:
            stream.flush()
            os.write(stream.fileno(), b"\n")
    except (OSError, ValueError):
        return True
    return False


def _stop(error: BaseException, line: str, code: int) -> NoReturn:
    from competition.secret_shapes import mask, trace_without_secrets, without_secrets

    if os.environ.get("DOGBREED_DEBUG"):
        mask(error)
        trace_without_secrets()
        raise error
    from competition.console import silence

    try:
        print(without_secrets(" ".join(line.split())), file=sys.stderr, flush=True)
    except OSError:
        silence(sys.stderr)
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        silence(sys.stdout)
    sys.exit(code)
