"""Safe extraction of zip and tar: nothing outside the folder, no links, caps on count, size and ratio.

An archive is unpacked into a temporary folder beside its place, by one process at a time, marked complete and renamed:
a folder that carries the marker was whole then. Whenever it is used again, every file must still be there in its size.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from competition.console import progress, say
from competition.data.source.kinds import is_picture, kind_of_file
from competition.data.source.names import shown
from competition.errors import DataError
from competition.files import digest_of, read_json, write_json
from competition.locks import free, only_one_at
from competition.system.disk import require_space
from competition.system_errors import explain_disk_errors

MARKER = ".dogbreed-complete.json"
SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
MAX_MEMBERS = 300_000
MAX_TOTAL_BYTES = 64 * 1024**3
# Photos hardly compress; a uniform sample_submission.csv reaches a few hundred. Deflate itself ends at 1032.
MAX_RATIO = 100.0
RATIO_MATTERS_FROM = 64 * 1024**2
_CHUNK = 1024 * 1024
_CLUTTER = ("__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini")
_MOST_NAMED = 1000  # files left packed that the marker names
_UTF8_FLAG = 0x800
_DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)


@dataclass(frozen=True)
class Member:
    """One file of an archive: its harmless relative name, its size in bytes and how to read it.

    ``clutter`` is what another system left beside a user's files: it stays packed, and is named in the marker.
    """

    name: PurePosixPath
    size: int
    open: Callable[[], IO[bytes]]
    clutter: bool = False


def is_archive(path: Path) -> bool:
    """Whether the name says that this is an archive the kit unpacks."""
    return path.name.casefold().endswith(SUFFIXES) and path.is_file()


def extract(archive: Path, under: Path) -> Path:
    """Unpack ``archive`` once and return the folder, ``under/<name>-<digest>``; an unpacked one is used again.

    Args:
        archive: zip or tar (also compressed by gzip, bzip2 or xz).
        under: folder that holds unpacked archives.

    Raises:
        DataError: the archive is missing, damaged, half downloaded, encrypted, unsafe or beyond the caps.
        StorageError: there is not enough space.
    """
    with _opened(archive) as (members, digest):
        folder = under / f"{_stem(archive)}-{digest}"
        if not _problem(folder, members):
            return folder
        with explain_disk_errors(under), only_one_at(folder):
            _remove_leftovers(under)
            problem = _problem(folder, members)
            if problem and (folder / MARKER).is_file():
                say(f"{folder} {problem}: it is unpacked again")
            if problem:
                _unpack(archive, members, folder)
    return folder


def left_packed(folder: Path) -> tuple[str, ...]:
    """The files of an archive that were not unpacked into ``folder``: what other systems leave beside the user's."""
    marker = folder / MARKER
    return tuple(map(str, read_json(marker).get("left_packed", ()))) if marker.is_file() else ()


def _problem(folder: Path, members: list[Member]) -> str:
    """Why an unpacked folder cannot be used; empty where it can."""
    if not (folder / MARKER).is_file():
        return "is not unpacked yet"
    for member in members:
        try:
            size = os.stat(folder / member.name).st_size  # noqa: PTH116 - twice as fast
        except OSError:
            return f"lacks {_shown(str(member.name))}"
        if size != member.size:
            return f"has {size:,} bytes of {member.size:,} of {_shown(str(member.name))}"
    return ""


def _remove_leftovers(under: Path) -> None:
    """Remove what killed processes left of other archives; those that live hold the lock."""
    for partial in under.glob(".*.partial"):
        with free(partial.with_suffix(".lock")) as dead:
            if dead:
                shutil.rmtree(partial, ignore_errors=True)


def _stem(archive: Path) -> str:
    suffix = max((end for end in SUFFIXES if archive.name.casefold().endswith(end)), key=len, default="")
    return archive.name[: len(archive.name) - len(suffix)] or "archive"


@contextmanager
def _opened(archive: Path) -> Iterator[tuple[list[Member], str]]:
    """Open the archive, check every member, and yield them with a digest of the content list."""
    if not archive.is_file():
        raise DataError(f"{archive} is missing: give the archive as downloaded from Kaggle, or its folder")
    if archive.stat().st_size == 0:
        raise DataError(f"{archive} is empty (0 bytes): download it again")
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as zipped:
                yield _zip_members(archive, zipped)
        elif tarfile.is_tarfile(archive):
            with tarfile.open(archive) as tarred:
                yield _tar_members(archive, tarred)
        elif archive.open("rb").read(4) == b"PK\x03\x04":
            raise DataError(f"{archive} is only part of a zip (its end is missing): download it again")
        else:
            raise DataError(_no_archive(archive))
    except UnicodeDecodeError as error:
        raise DataError(
            f"{archive} holds a file whose name is not in UTF-8 ({error.object!r}) though it says so: unpack it "
            "yourself, rename it, give the folder"
        ) from error
    except _DAMAGE as error:
        raise DataError(f"{archive} is damaged or incomplete ({error}): download it again") from error


def _no_archive(path: Path) -> str:
    """What a file that was taken for an archive seems to be."""
    kind = kind_of_file(path)
    if is_picture(kind):
        return f"{path} is {kind}, a picture that cannot be read: save it as JPEG"
    if kind:
        return f"{path} is {kind}, neither a zip nor a tar: give the archive as downloaded from Kaggle, or its folder"
    with path.open("rb") as stream:
        start = stream.read(512).lstrip().lower()
    if start.startswith((b"<!doctype", b"<html")):
        return f"{path} is a web page, neither a zip nor a tar (a download without login?): download it again"
    if path.suffix.casefold() in (".csv", ".txt", ".json"):
        return f"{path} is a table, not the data: give the folder that it lies in, with train/ and test/"
    if is_archive(path):
        return f"{path} is neither a zip nor a tar, or only part of one: download it again"
    return f"{path} is neither a zip nor a tar, and no photo: give the archive as downloaded from Kaggle, or its folder"


def _zip_name(info: zipfile.ZipInfo) -> str:
    """The member's name; zips of many tools hold UTF-8 without saying so, which then reads as code page 437."""
    if info.flag_bits & _UTF8_FLAG or info.filename.isascii():
        return info.filename
    with contextlib.suppress(UnicodeError):
        return info.filename.encode("cp437").decode("utf-8")
    return info.filename


def _zip_members(archive: Path, zipped: zipfile.ZipFile) -> tuple[list[Member], str]:
    infos = zipped.infolist()
    for info in infos:
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise DataError(f"{archive} is refused: '{_shown(info.filename)}' is a link or a device, not a file")
        if info.flag_bits & 1:
            raise DataError(f"{archive} is encrypted ('{_shown(info.filename)}'): unpack it yourself, give the folder")

    def opener(info: zipfile.ZipInfo) -> Callable[[], IO[bytes]]:
        return lambda: zipped.open(info)

    files = [info for info in infos if not info.is_dir()]
    named = ((_zip_name(info), info.file_size, opener(info)) for info in files)
    members = _checked(archive, named)
    # The central directory holds every member's CRC: the digest identifies the content without reading it.
    return members, digest_of([[info.filename, info.file_size, info.CRC] for info in files])


def _tar_members(archive: Path, tarred: tarfile.TarFile) -> tuple[list[Member], str]:
    def files() -> Iterator[tuple[str, int, Callable[[], IO[bytes]]]]:
        for info in tarred:
            if not (info.isreg() or info.isdir()):
                raise DataError(f"{archive} is refused: '{_shown(info.name)}' is a link or a device, not a file")
            if info.isreg():
                yield info.name, info.size, opener(info)

    def opener(info: tarfile.TarInfo) -> Callable[[], IO[bytes]]:
        def opened() -> IO[bytes]:
            stream = tarred.extractfile(info)
            assert stream is not None  # only links and folders give None, and they are refused above
            return stream

        return opened

    members = _checked(archive, files())
    facts = archive.stat()
    # Compressed streams notice their own end; a plain tar that stops between two files shows only by its last block.
    if isinstance(tarred.fileobj, io.BufferedReader) and facts.st_size < tarred.offset + tarfile.BLOCKSIZE:
        raise DataError(f"{archive} is only part of a tar (its end is missing): download it again")
    return members, digest_of([[str(m.name), m.size] for m in members] + [[facts.st_size, facts.st_mtime_ns]])


def _checked(archive: Path, files: Iterable[tuple[str, int, Callable[[], IO[bytes]]]]) -> list[Member]:
    """Hold every cap while listing, so that a bomb is refused before it is unrolled."""
    members: list[Member] = []
    total, seen, packed = 0, set[PurePosixPath](), archive.stat().st_size
    for name, size, open_member in files:
        safe = _safe_name(archive, name)
        total += size
        if len(members) >= MAX_MEMBERS:
            raise DataError(f"{archive} is refused: more than {MAX_MEMBERS:,} files")
        if total > MAX_TOTAL_BYTES:
            raise DataError(f"{archive} is refused: it unpacks to more than {MAX_TOTAL_BYTES / 1024**3:.0f} GiB")
        if total > RATIO_MATTERS_FROM and total > MAX_RATIO * packed:
            raise DataError(f"{archive} is refused: it unpacks to over {MAX_RATIO:.0f} times its size, like a zip bomb")
        if any(part in _CLUTTER or part.startswith("._") for part in safe.parts):
            members.append(Member(safe, 0, open_member, clutter=True))
            continue
        if safe in seen:
            raise DataError(f"{archive} is refused: it holds '{_shown(name)}' twice")
        seen.add(safe)
        members.append(Member(safe, size, open_member))
    for member in members:
        inside = next((parent for parent in member.name.parents if parent in seen and not member.clutter), None)
        if inside is not None:
            raise DataError(f"{archive} is refused: '{inside}' is both a file and a folder in it")
    if all(member.clutter for member in members):
        raise DataError(f"{archive} holds no files")
    return members


def _safe_name(archive: Path, name: str) -> PurePosixPath:
    """The name as a path below the folder.

    Raises:
        DataError: it is absolute, leads to a parent, or names a drive.
    """
    plain = PurePosixPath(name.replace("\\", "/"))
    unsafe = plain.is_absolute() or ".." in plain.parts or not plain.parts or "\0" in name
    if unsafe or plain.parts[0].endswith(":"):
        raise DataError(f"{archive} is refused: it holds the unsafe path '{_shown(name)}'; nothing was unpacked")
    return plain


def _shown(name: str) -> str:
    """A member's name for a message: printable and short, whatever the archive says."""
    printable = "".join(letter if letter.isprintable() else "?" for letter in name)
    return printable if len(printable) <= 120 else printable[:117] + "..."


def _unpack(archive: Path, members: list[Member], folder: Path) -> None:
    """Write all members into a temporary folder, mark it complete, rename it."""
    packed = [str(member.name) for member in members if member.clutter]
    members = [member for member in members if not member.clutter]
    total = sum(member.size for member in members)
    partial = folder.parent / f".{folder.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)  # a process that was killed left it; the lock says nobody writes there
    require_space(folder.parent, total, f"unpack {archive.name}")
    facts = {"archive": archive.name, "files": len(members), "bytes": total, "left_packed": packed[:_MOST_NAMED]}
    say(f"unpacking {shown(archive)} ({len(members):,} files, {total / 1e6:,.0f} MB) to {folder}")
    try:
        with progress("unpacking", len(members), "files") as ticker:
            for member in members:
                _write(member, partial / member.name)
                ticker.advance()
        if hasattr(os, "sync"):
            os.sync()  # the marker must not reach the disk before the files: one call instead of twenty thousand
        write_json(partial / MARKER, facts)
        shutil.rmtree(folder, ignore_errors=True)  # without the marker it is no whole extraction
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write(member: Member, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with closing(member.open()) as source, target.open("xb") as sink:
        while chunk := source.read(_CHUNK):
            written += len(chunk)
            sink.write(chunk)
    if written != member.size:
        raise EOFError(f"'{_shown(str(member.name))}' ends after {written:,} of {member.size:,} bytes")
