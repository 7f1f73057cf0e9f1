"""How a command line of the kit starts and ends: errors become one line, a traceback only with ``--debug``."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from typing import Any, NoReturn

_INTERRUPTED = ": interrupted; the same command continues where it stopped"


def set_debug(debug: bool) -> None:
    """Let this process (and those it starts) show tracebacks."""
    if debug:
        os.environ["DOGBREED_DEBUG"] = "1"


def hush_imports() -> None:
    """Leave out what torch says when fastai and timm are imported; a user can do nothing about it."""
    warnings.filterwarnings("ignore", r"`torch\.jit\.", FutureWarning)


def run_app(app: Callable[[], Any], name: str) -> None:
    """Run a command line: exit 2 for usage, 1 for other errors, 130 after Ctrl-C.

    Args:
        app: parses the arguments and calls a command.
        name: what the lines begin with.
    """
    from competition.errors import KitError

    hush_imports()
    try:
        app()
    except KitError as error:
        _stop(error, f"{name}: {error}", error.exit_code)
    except KeyboardInterrupt as error:
        _stop(error, name + _INTERRUPTED, 130)
    except SystemExit as stop:
        # Typer takes Ctrl-C for itself and leaves without a word.
        if stop.code == 130:
            _stop(stop, name + _INTERRUPTED, 130)
        raise
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except Exception as error:  # noqa: BLE001 - the last line of defence: a bug is told as such, in one line
        _stop(error, f"{name}: unexpected {type(error).__name__}: {error} (run with --debug for the traceback)", 1)


def _stop(error: BaseException, line: str, code: int) -> NoReturn:
    from competition.secret_shapes import mask, trace_without_secrets, without_secrets

    if os.environ.get("DOGBREED_DEBUG"):
        mask(error)
        trace_without_secrets()
        raise error
    print(without_secrets(" ".join(line.split())), file=sys.stderr)
    sys.exit(code)
