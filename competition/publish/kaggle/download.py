"""The competition's archive: downloaded once, continued after an interruption, unpacked by the safe extraction."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from competition import environment
from competition.console import say
from competition.data.source.archive import extract
from competition.errors import DataError, UsageError
from competition.locks import only_one_at
from competition.publish.kaggle.client import Connection
from competition.publish.kaggle.errors import KaggleError
from competition.publish.kaggle.transfer import download


@dataclass(frozen=True)
class Downloaded:
    """The archive, and the folder it was unpacked to (None when that was not asked for)."""

    archive: Path
    folder: Path | None


def download_competition(
    connect: Callable[[], Connection],
    out: Path,
    competition: str = environment.COMPETITION,
    *,
    unpack: bool = True,
    force: bool = False,
) -> Downloaded:
    """Download and unpack the competition's data.

    Args:
        connect: called for a Connection when the archive is not here yet.
        out: folder that gets the archive.
        competition: slug.
        unpack: also extract it, into the kit's cache, where ``--data ARCHIVE`` finds it again.
        force: download although a whole archive is there.

    Raises:
        UsageError: the competition is no slug.
        KaggleError: Kaggle refuses or cannot be reached.
        DataError: the archive is not whole, or unsafe.
        StorageError: no space.
    """
    if not re.fullmatch(r"[\w-]+", competition, re.ASCII):
        raise UsageError(f"--competition '{competition}' is no slug: it is the last part of the competition's address")
    if out.exists() and not out.is_dir():
        raise DataError(f"{out} is a file: --out takes a folder")
    archive = out / f"{competition}.zip"
    with only_one_at(archive):
        if archive.is_file() and not force and zipfile.is_zipfile(archive):
            say(f"{archive} is here already ({archive.stat().st_size / 1e6:,.1f} MB); --force downloads it again")
        else:
            _fetch(connect(), archive, competition)
    folder = extract(archive, environment.cache_folder() / "extracted") if unpack else None
    return Downloaded(archive, folder)


def _fetch(connection: Connection, archive: Path, competition: str) -> None:
    from kagglesdk.competitions.types.competition_api_service import ApiDownloadDataFilesRequest

    request = ApiDownloadDataFilesRequest()
    request.competition_name = competition

    def opened() -> Any:
        return connection.call_once(
            f"download {archive.name}",
            lambda services: services.competitions.competition_api_client.download_data_files(request),
        )

    download(opened, archive, archive.name, connection.patience)
    if not zipfile.is_zipfile(archive):
        archive.unlink()
        raise KaggleError(f"{archive.name}: what Kaggle sent is no zip; it was thrown away, try again later")
