"""Files that a kernel leaves, fetched and verified.

The names come from a server: one that leads out of the folder, or that two files share, stops the fetch. The files
appear together in one rename, or not at all.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from competition.console import say
from competition.errors import UsageError, nearest
from competition.files import temporary_folder
from competition.publish.kaggle.client import Connection, plain_session
from competition.publish.kaggle.errors import KernelError, translate
from competition.publish.kaggle.transfer import download
from competition.publish.output_record import RECORD, SUBMISSION, check_record, safe_name
from competition.publish.push.kernel_session import KernelName, asked

MAX_FILES, MAX_FILE_BYTES = 5_000, 20 << 30
_MAX_PAGES = 500
_LOCAL = ("localhost", "127.0.0.1")


@dataclass(frozen=True)
class RemoteFile:
    """A file of a kernel: its verified relative name, and where Kaggle says it lies."""

    name: PurePosixPath
    url: str


def list_files(connection: Connection, name: KernelName) -> tuple[RemoteFile, ...]:
    """All files of the session, over all pages, their names verified.

    Raises:
        KernelError: a name is unsafe or there are too many files.
        KaggleError: Kaggle refuses or cannot be reached.
    """
    found: list[RemoteFile] = []
    token, seen = "", {""}
    for _ in range(_MAX_PAGES):
        answer = _page(connection, name, token)
        found += [RemoteFile(safe_name(file.file_name or ""), file.url or "") for file in answer.files or ()]
        token = answer.next_page_token or ""
        if len(found) > MAX_FILES:
            raise KernelError(f"kernel {name} left more than {MAX_FILES:,} files: have it pack them into one archive")
        if token in seen:
            break
        seen.add(token)
    _require_distinct(found)
    return tuple(found)


def _page(connection: Connection, name: KernelName, token: str) -> Any:
    from kagglesdk.kernels.types.kernels_api_service import ApiListKernelSessionOutputRequest

    doing, request = f"list the files of kernel {name}", ApiListKernelSessionOutputRequest()
    request.page_size, request.page_token = 100, token
    return asked(connection, doing, name, request, lambda client, what: client.list_kernel_session_output(what))


def _require_distinct(files: Sequence[RemoteFile]) -> None:
    """No two names may fall on one file, on any file system, and none may be another's folder."""
    folded = [unicodedata.normalize("NFC", file.name.as_posix()).casefold() for file in files]
    known = set(folded)
    parents = {str(parent) for text in folded for parent in PurePosixPath(text).parents} - {"."}
    if len(known) < len(folded) or known & parents:
        raise KernelError("Kaggle offers two files whose names fall together: nothing was fetched")


def fetch(
    connection: Connection, name: KernelName, out: Path, only: Sequence[str] = (), *, record: bool = False
) -> tuple[Path, ...]:
    """Fetch a kernel's files into a new folder.

    Args:
        connection: to Kaggle.
        name: of the kernel.
        out: must not exist yet, or be empty.
        only: names to fetch; all when empty.
        record: whether the kernel's own record of digests must be there; if it is there, it is checked.

    Returns:
        The files.

    Raises:
        KernelError: a name is unsafe, a file is empty that must not be, or a digest differs.
        UsageError: ``out`` holds something already, or a name of ``only`` does not exist.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} holds files already: fetch into a new folder")
    files = _chosen(list_files(connection, name), only, name)
    with temporary_folder(out.parent, f".{out.name}.") as work:
        whole = work / "whole"
        for file in files:
            _download(connection, file, whole, work / "arriving" / "file")
        check_record(whole, required=record, only=only)
        if only and RECORD not in only:
            (whole / RECORD).unlink(missing_ok=True)
        try:
            whole.replace(out)
        except OSError as error:  # somebody else fetched into it meanwhile
            raise UsageError(f"{out} holds files by now: fetch into a new folder") from error
    fetched = tuple(out / file.name for file in files if not only or str(file.name) in only)
    say(f"fetched {len(fetched)} files of {name} into {out}")
    return fetched


def _chosen(files: Sequence[RemoteFile], only: Sequence[str], name: KernelName) -> Sequence[RemoteFile]:
    if not files:
        raise KernelError(f"kernel {name} left no files")
    known = [str(file.name) for file in files]
    for wanted in only:
        if wanted not in known:
            raise UsageError(
                f"kernel {name} left no '{wanted}'{nearest(wanted, known)} It left: {', '.join(known[:10])}"
            )
    return [file for file in files if not only or str(file.name) in (*only, RECORD)]


def _download(connection: Connection, file: RemoteFile, folder: Path, arriving: Path) -> None:
    """Bring one file here under a neutral name, so that no name meets another's unfinished part."""
    import requests

    host = requests.utils.urlparse(file.url)
    if host.scheme != "https" and host.hostname not in _LOCAL:
        raise KernelError(f"Kaggle gives no https address for '{file.name}': nothing was fetched")

    def opened() -> Any:
        try:
            response = plain_session().get(file.url, stream=True)
            response.raise_for_status()
        except requests.exceptions.RequestException as error:
            raise translate(error, f"download {file.name}") from error
        return response

    download(opened, arriving, str(file.name), connection.patience, MAX_FILE_BYTES)
    if str(file.name) == SUBMISSION and arriving.stat().st_size == 0:
        raise KernelError(f"the kernel's {SUBMISSION} is empty (0 bytes): look at its log; nothing was fetched")
    (folder / file.name).parent.mkdir(parents=True, exist_ok=True)
    arriving.replace(folder / file.name)
