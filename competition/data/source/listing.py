"""Which files of a folder are photos, by name or by their first bytes, and why every other file is left out."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from competition.data.photos.decode import SUFFIXES
from competition.data.source.kinds import is_picture, kind_of_file, readable
from competition.data.source.names import shown

HIDDEN = "hidden"
NO_PHOTO = "not a photo"
MISPLACED = "a photo where none is looked for"
UNUSED = "in a folder that is not looked at"
DEAD_LINK = "a link that leads nowhere"
_OTHER_SYSTEMS = ("__macosx", "thumbs.db", "desktop.ini", "$recycle.bin", "system volume information")
_DEPTH = 8  # of folders in folders: links may lead in a circle
_NAMED = 3


@dataclass(frozen=True)
class LeftOut:
    """A file that is not used: its name relative to the data's folder, and why."""

    name: str
    reason: str


def is_hidden(name: str) -> bool:
    """Whether a name is hidden, or one that a system leaves beside a user's files."""
    return name.startswith(".") or name.casefold() in _OTHER_SYSTEMS


def is_photo(path: Path) -> bool:
    """Whether a file is a photo: it is called so, or its first bytes are those of a format that can be read."""
    return path.name.casefold().endswith(SUFFIXES) or readable(kind_of_file(path))


def photo_files(folder: Path) -> list[Path]:
    """Photos directly in a folder, sorted by name; only a file without a photo's ending is opened."""
    with os.scandir(folder) as entries:
        paths = [folder / entry.name for entry in entries if not is_hidden(entry.name) and entry.is_file()]
    return sorted(path for path in paths if is_photo(path))


def subfolders(folder: Path) -> list[Path]:
    """Visible folders directly inside, sorted."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not is_hidden(path.name))


def left_out(folder: Path, used: Collection[Path], root: Path) -> list[LeftOut]:
    """Every file below a folder that is not among ``used``, with the reason; a hidden folder counts as one.

    Args:
        folder: where to look.
        used: files that are used, and folders that are known for something else.
        root: names are relative to it.
    """
    return [LeftOut(_relative(path, root), _reason(path)) for path in _walk(folder, used, _DEPTH)]


def whole_folder(folder: Path, root: Path) -> list[LeftOut]:
    """Every visible file below a folder that nobody looks at."""
    return [LeftOut(_relative(path, root), UNUSED) for path in _walk(folder, (), _DEPTH) if not is_hidden(path.name)]


def _walk(folder: Path, used: Collection[Path], depth: int) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        inside = sorted(entries, key=lambda entry: entry.name)
    for entry in inside:
        path = folder / entry.name
        if path in used:
            continue
        if not entry.is_dir() or is_hidden(entry.name):
            yield path
        elif depth:
            yield from _walk(path, used, depth - 1)


def _reason(path: Path) -> str:
    if is_hidden(path.name):
        return HIDDEN
    if not path.exists():
        return DEAD_LINK
    if path.name.casefold().endswith(SUFFIXES):
        return MISPLACED
    kind = kind_of_file(path)
    if readable(kind):
        return MISPLACED
    return f"{kind}, which cannot be read (save it as JPEG)" if is_picture(kind) else NO_PHOTO


def _relative(path: Path, root: Path) -> str:
    return shown(path.relative_to(root).as_posix() if path.is_relative_to(root) else f"{path.parent.name}/{path.name}")


def told(files: Iterable[LeftOut]) -> tuple[str, ...]:
    """One sentence that counts what was left out by reason and names the first of each; nothing for nothing."""
    by_reason: dict[str, list[str]] = {}
    for file in files:
        by_reason.setdefault(file.reason, []).append(file.name)
    if not by_reason:
        return ()
    total = sum(map(len, by_reason.values()))
    parts = [
        f"{len(names):,} {reason} ({', '.join(names[:_NAMED])}{', ...' if len(names) > _NAMED else ''})"
        for reason, names in by_reason.items()
    ]
    return (f"left out, {total:,} file{'s' * (total > 1)}: {'; '.join(parts)}",)
