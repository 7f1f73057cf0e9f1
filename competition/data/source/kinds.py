"""What a file is by its first bytes, whatever it is called."""

from __future__ import annotations

from pathlib import Path

_HEAD = 32
_READABLE = ("JPEG", "PNG", "WebP", "BMP", "GIF", "TIFF")
_NO_PICTURES = ("", "a zip archive", "a gzip archive", "a PDF", "a video")
_RAW_ENDINGS = (".arw", ".cr2", ".dng", ".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2", ".sr2", ".srw")
_STARTS = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"8BPS", "a Photoshop file"),
    (b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"%PDF", "a PDF"),
)
_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)  # sizes of the header that follows: two letters alone prove nothing


def kind_of(head: bytes) -> str:
    """The format that the first bytes of a file belong to; empty where they say nothing.

    Args:
        head: at least the first 32 bytes, or the whole of a shorter file.
    """
    for start, kind in _STARTS:
        if head.startswith(start):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        if brand in (b"avif", b"avis"):
            return "AVIF"
        return "HEIC" if brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1") else "a video"
    return ""


def kind_of_file(path: Path) -> str:
    """``kind_of`` for a file; empty for one that cannot be opened.

    A camera's raw file is a TIFF by its bytes and none by its pixels: its ending tells.
    """
    try:
        with path.open("rb", buffering=0) as stream:
            kind = kind_of(stream.read(_HEAD))
    except OSError:
        return ""
    return "a camera's raw file" if kind == "TIFF" and path.suffix.casefold() in _RAW_ENDINGS else kind


def is_picture(kind: str) -> bool:
    """Whether the format is one of pictures, read by the kit or not."""
    return kind not in _NO_PICTURES


def readable(kind: str) -> bool:
    """Whether the kit's decoder reads the format."""
    return kind in _READABLE
