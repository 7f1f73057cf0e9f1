"""What a dry run takes away from a kernel: the network, the checkout, writing to the inputs.

The text of this file becomes ``sitecustomize.py`` of the kernel's process and of every process it starts: standard
library only, and nothing of the kit may be imported here. Audit hooks (PEP 578) cannot be removed again.

``DOGBREED_GUARD`` is JSON: ``hidden`` (folders that are not there on Kaggle), ``open`` (folders inside them that are),
``readonly`` (the inputs), ``parent`` (the process that started the dry run, and with which the kernel ends).
"""

import errno
import json
import os
import signal
import sys
from typing import Any

_RULES = json.loads(os.environ.get("DOGBREED_GUARD", "{}"))
_HIDDEN = tuple(_RULES.get("hidden", ()))
_OPEN = tuple(_RULES.get("open", ()))
_READONLY = tuple(_RULES.get("readonly", ()))
_READING = {"open", "os.listdir", "os.scandir"}
_CHANGING = {"os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.truncate", "os.link", "os.symlink", "os.chmod"}
_LOCAL = {"localhost", "127.0.0.1", "::1", ""}


def _within(path: str, folders: tuple[str, ...]) -> bool:
    return any(path == folder or path.startswith(folder + os.sep) for folder in folders)


def _hidden(path: str) -> bool:
    """The innermost folder decides: an environment inside the checkout is there, the kit inside an environment not."""

    def depth(folders: tuple[str, ...]) -> int:
        return max((len(folder) for folder in folders if _within(path, (folder,))), default=-1)

    return depth(_HIDDEN) > depth(_OPEN)


def _absolute(value: object) -> str:
    """The path of an audit event, or nothing for a file descriptor."""
    if isinstance(value, bytes):
        value = os.fsdecode(value)
    # without following links, and without touching the disk: this runs at every open
    return os.path.abspath(value) if isinstance(value, str | os.PathLike) else ""  # noqa: PTH100


def _writes(arguments: tuple[Any, ...]) -> bool:
    mode, flags = arguments[1] or "", arguments[2] or 0
    return bool(set(str(mode)) & set("wax+")) or bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC))


def _host(event: str, arguments: tuple[Any, ...]) -> str | None:
    """The host that a network call is for; None for what stays on this machine."""
    address = arguments[0] if event == "socket.getaddrinfo" else arguments[1]
    if event != "socket.getaddrinfo":
        if not isinstance(address, tuple) or not address:
            return None  # a socket in the file system
        address = address[0]
    if address is None:
        return None
    host = address.decode() if isinstance(address, bytes) else str(address)
    return None if host in _LOCAL or host.startswith("127.") else host


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        host = _host(event, arguments)
        if host is not None:
            raise OSError(errno.ENETUNREACH, f"no network in a dry run (asked for {host})")
    elif event in _READING or event in _CHANGING:
        path = _absolute(arguments[0])
        if path and _hidden(path):
            raise FileNotFoundError(errno.ENOENT, "not there on Kaggle: only inputs are", path)
        changes = event in _CHANGING or (event == "open" and _writes(arguments))
        if path and changes and _within(path, _READONLY):
            raise PermissionError(errno.EROFS, "the inputs are read-only", path)


def _close_side_doors() -> None:
    """An editable installation leads into the checkout by an import hook or by a path entry."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if "__editable__" not in getattr(finder, "__module__", "")]
    sys.path[:] = [
        path for path in sys.path if not _within(_absolute(path), _HIDDEN) or _within(_absolute(path), _OPEN)
    ]


def _end_with_parent() -> None:
    """Linux ends this process when the dry run is killed; nobody would wait for it any more."""
    if sys.platform == "linux" and os.getppid() == _RULES.get("parent"):
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


if _RULES:
    _end_with_parent()
    _close_side_doors()
    sys.addaudithook(_watch)
