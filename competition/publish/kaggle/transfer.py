"""Files from Kaggle: continued where they stopped, checked for size and digest, whole or not at all."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from competition.console import progress, say
from competition.errors import DataError
from competition.files import read_json
from competition.publish.kaggle.backoff import Patience, persistently
from competition.publish.kaggle.client import plain_session
from competition.publish.kaggle.errors import KaggleError, Kind, translate
from competition.system.disk import require_space
from competition.system_errors import explain_disk_errors

_CHUNK = 1 << 16  # what a cut connection loses at most


@dataclass(frozen=True)
class Remote:
    """What a server says about a file: its size in bytes (None when untold), identity and MD5 (base64)."""

    size: int | None
    identity: str
    md5: str

    @classmethod
    def of(cls, headers: Any) -> Remote:
        """Read the headers of a full response."""
        length = headers.get("Content-Length", "")
        encoded = headers.get("Content-Encoding", "identity") not in ("", "identity")
        size = int(length) if length.isdigit() and not encoded else None
        parts = dict(part.strip().split("=", 1) for part in headers.get("x-goog-hash", "").split(",") if "=" in part)
        return cls(size, headers.get("ETag") or headers.get("Last-Modified") or "", parts.get("md5", ""))


def download(opened: Callable[[], Any], target: Path, what: str, patience: Patience, largest: int = 64 << 30) -> Path:
    """Bring a file here; an interrupted one is continued if the server still has the same.

    Args:
        opened: sends the request and returns the streaming response of the whole file; called for every attempt,
            since signed addresses expire.
        target: where the file appears, once whole; until then its bytes are in ``<name>.part`` beside it.
        what: for messages, as in "dog-breed-identification.zip".
        patience: how often to go on after a cut connection.
        largest: bytes; a larger file is refused.

    Raises:
        KaggleError: the server refuses, the connection breaks too often, or what arrives is not what was promised.
        StorageError: the disk is full.
    """
    with explain_disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    persistently(lambda: _attempt(opened, target, what, largest), patience)
    return target


def part_of(target: Path) -> Path:
    """Where the bytes wait until the file is whole."""
    return target.with_name(target.name + ".part")


def _facts_of(target: Path) -> Path:
    return target.with_name(target.name + ".part.json")


def _attempt(opened: Callable[[], Any], target: Path, what: str, largest: int) -> None:
    import requests

    try:
        response = opened()
        remote = Remote.of(response.headers)
        if remote.size is not None and remote.size > largest:
            response.close()
            raise KaggleError(f"{what} has {remote.size / 1e6:,.0f} MB, more than the {largest / 1e6:,.0f} MB allowed")
        have = _continued(target, remote)
        if have:
            response.close()
            response, have = (None, have) if have == remote.size else _rest(response, remote, have)
        if response is not None:
            with response:
                _receive(response, target, what, remote, have, largest)
    except requests.exceptions.RequestException as error:
        raise translate(error, f"download {what}") from error
    _finish(target, what, remote)


def _continued(target: Path, remote: Remote) -> int:
    """Bytes that are here already and certainly belong to this very file."""
    part, facts = part_of(target), _facts_of(target)
    if not (part.is_file() and facts.is_file() and remote.identity) or remote.size is None:
        return 0
    try:
        same = read_json(facts) == {"identity": remote.identity, "size": remote.size}
    except DataError:  # half a record says nothing: start again
        return 0
    have = part.stat().st_size
    return have if same and have <= remote.size else 0


def _rest(response: Any, remote: Remote, have: int) -> tuple[Any, int]:
    """Ask for the bytes that are lacking; ``If-Range`` makes the server send all when the file has changed.

    Returns:
        The response, and how many bytes precede what it brings.
    """
    request = response.request.copy()  # after a redirect this is the storage's address, without credentials
    request.headers.update({"Range": f"bytes={have}-", "If-Range": remote.identity, "Accept-Encoding": "identity"})
    session = plain_session()
    again = session.send(request, **session.merge_environment_settings(request.url, {}, True, None, None))
    again.raise_for_status()
    if again.status_code != 206:
        return again, 0
    if not again.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
        again.close()
        raise KaggleError("the server sent another range than was asked for")
    return again, have


def _receive(response: Any, target: Path, what: str, remote: Remote, have: int, largest: int) -> None:
    part, most = part_of(target), largest if remote.size is None else remote.size
    with explain_disk_errors(part):
        require_space(target.parent, (remote.size or 0) - have, f"download {what}")
        # only a hint, read with suspicion: it need not survive a power cut
        _facts_of(target).write_text(json.dumps({"identity": remote.identity, "size": remote.size}), encoding="utf-8")
        if have:
            say(f"{what}: continuing after {have:,} of {most:,} bytes")
        with part.open("ab" if have else "wb") as sink, progress(what, remote.size or 0, "bytes") as ticker:
            ticker.start_at(have)
            for chunk in response.iter_content(_CHUNK):
                have += len(chunk)
                if have > most:
                    break
                sink.write(chunk)
                ticker.advance(len(chunk))
            sink.flush()
            os.fsync(sink.fileno())
    if have > most:
        forget(target)
        raise KaggleError(f"{what}: the server sends more than the {most:,} bytes expected; nothing was kept")


def _finish(target: Path, what: str, remote: Remote) -> None:
    """Check what has arrived, and only then give it its name."""
    part = part_of(target)
    size = part.stat().st_size
    if remote.size is not None and size < remote.size:
        raise KaggleError(f"{what}: the connection ended after {size:,} of {remote.size:,} bytes", Kind.NETWORK)
    if remote.md5:
        with part.open("rb") as stream:
            digest = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).digest()
        if base64.b64encode(digest).decode() != remote.md5:
            forget(target)
            raise KaggleError(f"{what}: what arrived has another digest than Kaggle states; it was thrown away")
    part.replace(target)
    _facts_of(target).unlink(missing_ok=True)


def forget(target: Path) -> None:
    """Throw away what an interrupted download left."""
    part_of(target).unlink(missing_ok=True)
    _facts_of(target).unlink(missing_ok=True)
