"""Decoded, resized photos in one memory-mapped file, so that no epoch decodes a large photo twice.

``pixels.u8`` holds the photos' RGB bytes one after another; ``index.npz`` says where each begins and is written last:
without it the cache is not whole. While building, ``journal.jsonl`` names what has safely reached the disk, so that an
interrupted build goes on from there. Every photo has a CRC-32, which is compared whenever the cache is opened (about
1 GB/s); a cache that does not agree is made again in new files, so that who reads the old ones keeps them.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from PIL import Image

from competition import environment
from competition.console import progress, say
from competition.data.photos.decode import read_photo
from competition.errors import DataError, PhotoError
from competition.files import digest_of, read_npz, write_npz
from competition.locks import only_one
from competition.system.disk import require_space
from competition.system.workers import map_in_order
from competition.system_errors import explain_disk_errors

if TYPE_CHECKING:
    from competition.data.source.competition_data import Photo

_VERSION = 1
_STEP = 256  # photos between two entries of the journal: what a killed build may lose
_LANDSCAPE = 1.5  # a photo's longer over its shorter side, to estimate the space before any is known


class PhotoCache(Mapping[str, np.ndarray]):
    """Photos by id, as read-only uint8 (h, w, 3) arrays that lie in the memory map.

    The object can be sent to worker processes: each opens the map for itself.

    Attributes:
        folder: where ``pixels.u8`` and ``index.npz`` lie.
        unreadable: reason by id of the photos that could not be decoded; they are not in the cache.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        index = read_npz(folder / "index.npz")
        sizes = index["shape"].astype(np.int64)
        ends = np.cumsum(sizes[:, 0] * sizes[:, 1] * 3)
        self._bytes = int(ends[-1]) if len(ends) else 0
        self._places = {
            str(name): (int(end) - 3 * int(h) * int(w), int(h), int(w))
            for name, end, (h, w) in zip(index["ids"], ends, sizes, strict=True)
        }
        self.unreadable = dict(zip(map(str, index["bad_ids"]), map(str, index["bad_reasons"]), strict=True))
        self._pixels: np.ndarray | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pixels": None}

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __contains__(self, photo_id: object) -> bool:
        return photo_id in self._places

    def __getitem__(self, photo_id: str) -> np.ndarray:
        """The photo, uint8 (h, w, 3).

        Raises:
            PhotoError: the photo could not be decoded.
            KeyError: the cache was built without it.
        """
        if photo_id in self.unreadable:
            raise PhotoError(self.unreadable[photo_id])
        start, height, width = self._places[photo_id]
        return self._map()[start : start + height * width * 3].reshape(height, width, 3)

    def _map(self) -> np.ndarray:
        if self._pixels is None:
            path = self.folder / "pixels.u8"
            size = path.stat().st_size if path.is_file() else -1
            if size != self._bytes:
                raise DataError(
                    f"{path} has {size:,} bytes, not {self._bytes:,}: delete {self.folder} to have it made again"
                )
            self._pixels = np.memmap(path, dtype=np.uint8, mode="r")
        return self._pixels

    @classmethod
    def build(cls, photos: Sequence[Photo], short_side: int, folder: Path | None = None, workers: int = -1) -> Self:
        """Open the cache of these photos, building what is lacking of it.

        Args:
            photos: the photos; their ids are unique.
            short_side: larger photos are reduced until the shorter side has this many pixels; none is enlarged.
            folder: folder that holds caches; None takes ``photos`` in the kit's cache folder.
            workers: processes; -1 takes one per core.

        Raises:
            StorageError: there is not enough space.
        """
        holder = folder if folder is not None else environment.cache_folder() / "photos"
        place = holder / f"{short_side}px-{_key(photos, short_side)}"
        if (place / "index.npz").is_file() and not _problem(place):
            return cls(place)
        with explain_disk_errors(place), only_one(place / ".lock", f"the cache of resized photos {place}"):
            problem = _problem(place) if (place / "index.npz").is_file() else ""
            if problem:
                say(f"the cache of resized photos {place} {problem}: it is made again")
                for name in ("index.npz", "journal.jsonl", "pixels.u8"):
                    (place / name).unlink(missing_ok=True)
            if not (place / "index.npz").is_file():
                _build(photos, short_side, place, workers)
        return cls(place)


def _key(photos: Sequence[Photo], short_side: int) -> str:
    """Digest of what decides the cache's content."""

    def facts(path: Path) -> list[int]:
        try:
            status = path.stat()
        except FileNotFoundError:
            return []
        return [status.st_size, status.st_mtime_ns]

    return digest_of([_VERSION, short_side, [[photo.id, *facts(photo.path)] for photo in photos]])


def _problem(place: Path) -> str:
    """Why the cache cannot be used; empty where every photo agrees with its checksum."""
    try:
        index, found = read_npz(place / "index.npz"), PhotoCache(place)
        if "crc" not in index:
            return "was made without checksums by an older version"
        wrong = (name for name, crc in zip(found, index["crc"], strict=True) if _crc(found[name]) != crc)
        name = next(wrong, None)
        return "" if name is None else f"is damaged at photo {name}"
    except (DataError, KeyError, ValueError, OSError) as error:
        return f"is damaged ({error})"


def _crc(image: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(image).data)


def shrink(path: Path, short_side: int) -> np.ndarray:
    """Read a photo and reduce it until its shorter side has ``short_side`` pixels; a smaller one stays as it is.

    Returns:
        uint8 (h, w, 3).

    Raises:
        PhotoError: the photo cannot be decoded.
    """
    image = read_photo(path, min_side=short_side)
    height, width = image.shape[:2]
    if min(height, width) <= short_side:
        return image
    scale = short_side / min(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


def _shrunk_or_reason(path: Path, short_side: int) -> np.ndarray | str:
    try:
        return shrink(path, short_side)
    except PhotoError as error:
        return str(error)


def _build(photos: Sequence[Photo], short_side: int, place: Path, workers: int) -> None:
    """Write the pixels step by step, then the index."""
    entries = _journal(place, photos)
    done, offset = len(entries), sum(_size(entry) for entry in entries)
    guess = int(short_side**2 * 3 * _LANDSCAPE)
    require_space(place, min(len(photos) - done, _STEP) * guess, "cache resized photos")
    say(f"caching {len(photos):,} photos at {short_side} px in {place}" + (f", {done:,} are there" if done else ""))
    results = map_in_order(
        partial(_shrunk_or_reason, short_side=short_side), [photo.path for photo in photos[done:]], workers
    )
    with (
        (place / "pixels.u8").open("ab") as pixels,
        (place / "journal.jsonl").open("ab") as journal,
        progress("caching photos", len(photos)) as ticker,
    ):
        ticker.start_at(done)
        fresh: list[list[Any]] = []
        for photo, result in zip(photos[done:], results, strict=True):
            if isinstance(result, str):
                fresh.append([photo.id, result])
            else:
                pixels.write(np.ascontiguousarray(result).data)
                fresh.append([photo.id, *result.shape[:2], _crc(result)])
            ticker.advance()
            if len(fresh) == _STEP:
                entries += _commit(fresh, pixels, journal)
                offset += sum(_size(entry) for entry in fresh)
                require_space(place, (len(photos) - len(entries)) * offset // len(entries), "cache resized photos")
                fresh = []
        entries += _commit(fresh, pixels, journal)
    _write_index(place, entries)
    (place / "journal.jsonl").unlink()


def _size(entry: Sequence[Any]) -> int:
    """Bytes of a journal entry's photo: [id, height, width, checksum], or [id, reason] for an unreadable one."""
    return int(entry[1]) * int(entry[2]) * 3 if len(entry) == 4 else 0


def _commit(fresh: list[list[Any]], pixels: Any, journal: Any) -> list[list[Any]]:
    """Let the pixels reach the disk before the journal says so."""
    for stream, text in ((pixels, b""), (journal, "".join(json.dumps(entry) + "\n" for entry in fresh).encode())):
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    return fresh


def _journal(place: Path, photos: Sequence[Photo]) -> list[list[Any]]:
    """What an interrupted build has left, with the pixel file cut to it; empty where nothing can be trusted."""
    path, pixels = place / "journal.jsonl", place / "pixels.u8"
    entries: list[list[Any]] = []
    lines = path.read_bytes().split(b"\n")[:-1] if path.is_file() else []
    for line, photo in zip(lines, photos, strict=False):
        entry = json.loads(line)
        if entry[0] != photo.id or len(entry) == 3:  # an older version had no checksum
            break
        entries.append(entry)
    wanted = sum(_size(entry) for entry in entries)
    if wanted > (pixels.stat().st_size if pixels.is_file() else 0):
        entries, wanted = [], 0
    path.write_bytes("".join(json.dumps(entry) + "\n" for entry in entries).encode())
    with pixels.open("ab") as stream:
        stream.truncate(wanted)
    return entries


def _write_index(place: Path, entries: list[list[Any]]) -> None:
    good = [entry for entry in entries if len(entry) == 4]
    bad = [entry for entry in entries if len(entry) == 2]
    write_npz(
        place / "index.npz",
        ids=np.array([entry[0] for entry in good], dtype=str),
        shape=np.array([entry[1:3] for entry in good], dtype=np.int64).reshape(-1, 2),
        crc=np.array([entry[3] for entry in good], dtype=np.uint32),
        bad_ids=np.array([entry[0] for entry in bad], dtype=str),
        bad_reasons=np.array([entry[1] for entry in bad], dtype=str),
    )
