"""The commonest kind of photo, a whole colour JPEG that lies upright, by the shortest way: header, then pixels.

Pillow, OpenCV and simplejpeg all call libjpeg-turbo, so the pixels are the same, reduced sizes included; but OpenCV
writes them straight into the array, where Pillow packs and copies them twice, and simplejpeg, taken where it is
installed, does so without OpenCV's ways round it (224 x 224 pixels: 0.34, 0.20 and 0.16 ms).
"""

from __future__ import annotations

import importlib
import struct
from functools import cache
from typing import Any

import numpy as np

_START, _END = b"\xff\xd8", b"\xff\xd9"
_SIZES = (0xC0, 0xC1, 0xC2)  # baseline, extended and progressive frames
# Segments that say nothing about how the pixels lie: JFIF, tables, restart interval, comment, Photoshop, Adobe. EXIF
# (an orientation) and what else stands in an APP1 or APP2 is for Pillow to read.
_SILENT = frozenset((0xE0, 0xDB, 0xC4, 0xDD, 0xFE, 0xED, 0xEE))


def plain_size(content: bytes) -> tuple[int, int] | None:
    """Width and height that a JPEG's header states; None for every file that Pillow must look at.

    That is: no JPEG, one without the mark of its end (OpenCV would fill a truncated photo with grey), one that is not
    of three colours with eight bits each, or one with segments that may hold an orientation.
    """
    if not content.startswith(_START) or not content.endswith(_END):
        return None
    at = 2
    while at + 10 <= len(content):
        mark, kind, length = struct.unpack_from(">BBH", content, at)
        if mark == 0xFF and kind in _SIZES:
            bits, height, width, colours = struct.unpack_from(">BHHB", content, at + 4)
            return (width, height) if bits == 8 and colours == 3 and width and height else None
        if mark != 0xFF or kind not in _SILENT:
            return None
        at += 2 + length
    return None


def decode_plain(content: bytes, size: tuple[int, int], min_side: int | None) -> np.ndarray | None:
    """Pixels of such a photo, uint8 (h, w, 3), RGB; None where the decoder finds fault with it.

    Args:
        content: the whole file.
        size: width and height that the file states.
        min_side: decode at 1/2, 1/4 or 1/8 of the size, the shorter side never below this; None at full size.
    """
    most = min(size) // max(1, min_side) if min_side is not None else 1
    factor = next((factor for factor in (8, 4, 2) if most >= factor), 1)
    simplejpeg = _simplejpeg()
    return _by_opencv(content, factor) if simplejpeg is None else _by_simplejpeg(simplejpeg, content, size, factor)


@cache
def _simplejpeg() -> Any:
    """The package, or None where it is not installed."""
    try:
        return importlib.import_module("simplejpeg")
    except ImportError:
        return None


def _by_simplejpeg(package: Any, content: bytes, size: tuple[int, int], factor: int) -> np.ndarray | None:
    # It takes the smallest of all sizes in eighths that reaches what is asked for: this one exactly.
    width, height = (-(-side // factor) if factor > 1 else 0 for side in size)
    try:
        pixels: np.ndarray = package.decode_jpeg(content, "RGB", min_width=width, min_height=height, min_factor=factor)
    except ValueError:
        return None
    return pixels


def _by_opencv(content: bytes, factor: int) -> np.ndarray | None:
    import cv2  # 0.1 s: not before a photo is read

    flag = getattr(cv2, f"IMREAD_REDUCED_COLOR_{factor}") if factor > 1 else cv2.IMREAD_COLOR
    in_order = getattr(cv2, "IMREAD_COLOR_RGB", 0)  # OpenCV 4.11 and later write RGB themselves
    if in_order:
        flag = flag & ~cv2.IMREAD_COLOR | in_order
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flag | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        return None
    return pixels if pixels is None or in_order else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels)
