"""Small JPEG copies of photos for HTML pages: made once, in parallel, whole or not at all.

A thumbnail's file name is a digest of the photo's id and file size: ids come from data and may hold any character, and
another photo under the same id gets another name.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from competition.console import progress
from competition.data.photos.decode import read_photo
from competition.errors import PhotoError
from competition.files import atomic_path
from competition.system_errors import explain_disk_errors


@dataclass(frozen=True)
class Size:
    """How large a thumbnail is: longer side in pixels, JPEG quality, and the letter its file name ends in."""

    side: int
    quality: int
    letter: str


SMALL = Size(side=128, quality=66, letter="s")
LARGE = Size(side=288, quality=80, letter="l")


def shrink(image: np.ndarray, side: int) -> Image.Image:
    """Fit an RGB image (h, w, 3) into a square of ``side`` pixels, aspect ratio kept, never enlarged."""
    small = Image.fromarray(image)
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    return small


def encode(image: np.ndarray, size: Size) -> bytes:
    """Shrink and encode as JPEG without metadata."""
    buffer = io.BytesIO()
    shrink(image, size.side).save(buffer, "JPEG", quality=size.quality, optimize=True, progressive=False)
    return buffer.getvalue()


def inline(path: Path, size: Size = SMALL) -> str | None:
    """A thumbnail as a ``data:`` address for pages that stand alone; None when the photo cannot be read."""
    try:
        content = encode(read_photo(path, size.side), size)
    except PhotoError:
        return None
    return "data:image/jpeg;base64," + base64.b64encode(content).decode("ascii")


class Thumbnails:
    """The thumbnails of a site, under ``folder``.

    Args:
        folder: where the files lie (``report/thumbs``).
        photos: path of every photo by its id.
    """

    def __init__(self, folder: Path, photos: Mapping[str, Path]) -> None:
        self.folder = folder
        self._photos = photos
        self._names: dict[tuple[str, Size], str] = {}

    def make(self, wanted: Mapping[str, Iterable[Size]], workers: int = -1) -> None:
        """Make what is lacking; a photo that cannot be read has no thumbnail afterwards (``address`` gives None).

        Args:
            wanted: the sizes each photo id is shown in.
            workers: threads; -1 takes one per core (decoding and encoding run outside Python's lock).
        """
        with explain_disk_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        threads = workers if workers > 0 else os.cpu_count() or 1
        with progress("thumbnails", len(wanted)) as bar, ThreadPoolExecutor(threads) as pool:
            jobs = ((name, tuple(sizes)) for name, sizes in wanted.items())
            for name, made in pool.map(lambda job: self._make_one(*job), jobs):
                self._names.update({(name, size): file for size, file in made.items()})
                bar.advance()

    def _make_one(self, name: str, sizes: tuple[Size, ...]) -> tuple[str, dict[Size, str]]:
        path = self._photos.get(name)
        if path is None or not path.is_file():
            return name, {}
        stem = hashlib.sha256(f"{name}\n{path.stat().st_size}".encode()).hexdigest()[:16]
        files = {size: f"{stem[:2]}/{stem}{size.letter}.jpg" for size in sizes}
        lacking = [size for size in sizes if not (self.folder / files[size]).is_file()]
        if lacking:
            try:
                image = read_photo(path, max(size.side for size in lacking))
            except PhotoError:
                return name, {}
            for size in lacking:
                write_file(self.folder / files[size], encode(image, size))
        return name, files

    def address(self, name: str, size: Size = SMALL) -> str | None:
        """Path relative to the site's root, or None when there is no such thumbnail."""
        file = self._names.get((name, size))
        return f"{self.folder.name}/{file}" if file else None

    def tidy(self) -> None:
        """Remove thumbnails of an earlier report that this one does not show."""
        kept = set(self._names.values())
        for path in self.folder.glob("??/*.jpg"):
            if path.relative_to(self.folder).as_posix() not in kept:
                path.unlink()


def write_file(path: Path, content: bytes) -> None:
    """Write it whole. The disk is not waited for: ten thousand of them take minutes, and all can be made again."""
    with atomic_path(path, durable=False) as temporary:
        temporary.write_bytes(content)
