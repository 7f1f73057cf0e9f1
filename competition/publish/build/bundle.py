"""The kit's own packages as one deterministic zip inside a text: what a kernel carries with it.

What goes in is an allow list (the kit's packages, their code and templates); a file that looks like it holds a
credential is refused. The zip is stored without compression and compressed as a whole, so that its digest depends on
the files alone, not on the version of a compression library.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import lzma
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath

import competition
from competition.errors import DataError, UsageError
from competition.publish.build.secrets import require_no_secrets

PACKAGES = ("competition", "baselines")
_SUFFIXES = frozenset((".py", ".html", ".css", ".js", ".json", ".typed"))
_EPOCH = (1980, 1, 1, 0, 0, 0)
_LINE = 118
_LARGEST = 64 * 1024**2


@dataclass(frozen=True)
class Bundle:
    """Files by their name in the zip."""

    files: Mapping[str, bytes]

    @cached_property
    def zipped(self) -> bytes:
        """The zip: sorted, one date, one mode, nothing compressed; the same files give the same bytes anywhere."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as target:
            for name in sorted(self.files):
                entry = zipfile.ZipInfo(name, _EPOCH)
                entry.create_system, entry.external_attr = 3, 0o100644 << 16
                target.writestr(entry, self.files[name])
        return buffer.getvalue()

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the zip, 64 hex digits."""
        return hashlib.sha256(self.zipped).hexdigest()

    @property
    def text(self) -> str:
        """The zip, xz-compressed, in base 85 (no quotes, no backslash), in lines."""
        return _written(self.zipped)


@lru_cache(maxsize=4)
def _written(zipped: bytes) -> str:
    """Kernels that carry the same packages share the half second that this takes."""
    packed = lzma.compress(zipped, format=lzma.FORMAT_XZ, check=lzma.CHECK_CRC32, preset=9)
    letters = base64.b85encode(packed).decode("ascii")
    return "\n".join(letters[start : start + _LINE] for start in range(0, len(letters), _LINE))


def pack(packages: Iterable[str], root: Path | None = None) -> Bundle:
    """Pack packages of the kit.

    Args:
        packages: some of ``PACKAGES``.
        root: folder that holds them; where this kit is installed by default.

    Raises:
        CredentialError: a file looks like it holds a credential.
        UsageError: a package that is not the kit's.
        DataError: a package is not there (baselines are left out of some installations).
    """
    where = root if root is not None else Path(competition.__file__).resolve().parents[1]
    files: dict[str, bytes] = {}
    for package in packages:
        if package not in PACKAGES:
            raise UsageError(f"'{package}' is no package of the kit: {' and '.join(PACKAGES)} can be packed")
        if not (where / package / "__init__.py").is_file():
            raise DataError(f"{where / package} is missing: install the whole kit or start in its checkout")
        for path in _allowed(where / package):
            files[path.relative_to(where).as_posix()] = path.read_bytes()
    require_no_secrets(files)
    return Bundle(files)


def _allowed(package: Path) -> list[Path]:
    """Code and templates of a package, without links, caches and hidden files."""

    def fits(path: Path) -> bool:
        inner = path.relative_to(package).parts
        hidden = any(part.startswith(".") or part == "__pycache__" for part in inner)
        return not hidden and path.suffix in _SUFFIXES and path.is_file() and not path.is_symlink()

    return sorted(path for path in package.rglob("*") if fits(path))


def unpack(text: str) -> Bundle:
    """Read back what ``Bundle.text`` made.

    Raises:
        DataError: the text is damaged, or holds names that would leave a folder.
    """
    try:
        raw = lzma.LZMADecompressor(memlimit=256 * 1024**2).decompress(
            base64.b85decode("".join(text.split())), max_length=_LARGEST
        )
        with zipfile.ZipFile(io.BytesIO(raw)) as source:
            files = {entry.filename: source.read(entry) for entry in source.infolist()}
    except (ValueError, lzma.LZMAError, zipfile.BadZipFile, binascii.Error, EOFError) as error:
        raise DataError(f"the embedded packages are damaged ({error}): build the kernel again") from error
    for name in files:
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or ".." in parts or "\\" in name:
            raise DataError(f"the embedded packages hold the name '{name}', which is not one of the kit's")
    return Bundle(files)
