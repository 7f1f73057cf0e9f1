"""One photo from its bytes: RGB whatever the mode, upright, guarded against bombs and truncation.

Transparent pixels are laid on white; a 16-bit picture is scaled to eight bits; of an animation the
first frame counts.
"""

from __future__ import annotations

import io
import os
import threading
import warnings
from errno import EACCES, EISDIR, ENOENT, ENOTDIR, EPERM
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from competition.data.photos.jpeg import decode_plain, plain_size
from competition.errors import PhotoError, StorageError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
_JPEG = (".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".pjpeg", ".pjp")
SUFFIXES = (*_JPEG, ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
MAX_PIXELS = 100_000_000
MAX_BYTES = 256 * 1024**2
_ORIENTATION = 0x0112
_LOCK = threading.Lock()
_loading = 0  # threads that decode at this moment
_lenient = False  # Pillow's setting before the first of them
_END_OF_JPEG = b"\xff\xd9"
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# MAX_PIXELS is checked here before anything is decoded; Pillow's warning below its own limit would only repeat it.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# What Pillow warns of (odd EXIF, odd TIFF tags) does not concern the pixels; what does, raises.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


def read_photo(path: Path | str, min_side: int | None = None) -> np.ndarray:
    """Read a photo as uint8 (h, w, 3), RGB, upright.

    Args:
        path: a JPEG, PNG, WebP, BMP, GIF or TIFF file.
        min_side: decode a large JPEG at 1/2, 1/4 or 1/8 of its size, the shorter side never below this many pixels.

    Raises:
        PhotoError: the file is missing, empty, truncated, too large or none of the formats.
        StorageError: the disk or the system failed, which says nothing about the photo.
    """
    return decode_photo(read_content(Path(path)), str(path), min_side)


def read_content(path: Path) -> bytes:
    """The file's bytes.

    Raises:
        PhotoError: the file is missing, empty, not yours to read or larger than 256 MiB.
        StorageError: the disk or the system failed.
    """
    try:
        with path.open("rb", buffering=0) as stream:
            size = os.fstat(stream.fileno()).st_size
            if size > MAX_BYTES:
                raise PhotoError(f"{path} has {size / 1e6:,.0f} MB: too large for a photo")
            content = stream.readall()
    except OSError as error:
        if error.errno in (ENOENT, EACCES, EPERM, EISDIR, ENOTDIR):
            raise PhotoError(f"{path} cannot be opened ({error.strerror})") from error
        raise StorageError(f"reading {path} failed ({error.strerror}): check the disk and start again") from error
    if not content:
        raise PhotoError(f"{path} is empty (0 bytes)")
    return content


def decode_photo(content: bytes, name: str, min_side: int | None = None) -> np.ndarray:
    """Decode a photo's bytes to uint8 (h, w, 3); see ``read_photo``.

    Args:
        content: the file's bytes.
        name: how the photo is called in messages.
        min_side: shorter side below which a JPEG is not reduced while decoding; None decodes at full size.

    Raises:
        PhotoError: truncated, damaged, too large or none of the formats.
    """
    size = plain_size(content)
    if size is not None and size[0] * size[1] <= MAX_PIXELS:
        quickly = decode_plain(content, size, min_side)
        if quickly is not None:
            return quickly
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            _refuse_bomb(image, name)
            quickly = _plain_jpeg(image, content, min_side)
            if quickly is not None:
                return quickly
            if min_side is not None:
                image.draft(None, (min_side, min_side))
            _load_whole(image)
            return _rgb(_upright(image))
    except (PhotoError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        if size is not None:  # a JPEG's header; whether Pillow knows it without pixels differs between its versions
            raise PhotoError(f"{name} is truncated or damaged (no pixels after the header)") from error
        raise PhotoError(f"{name} is not a photo (expected {', '.join(FORMATS)})") from error
    except Image.DecompressionBombError as error:
        raise PhotoError(
            f"{name} has more than {MAX_PIXELS / 1e6:.0f} megapixels: refused, it could be a bomb"
        ) from error
    except Exception as error:  # Pillow's readers raise a dozen kinds for damaged files
        raise PhotoError(f"{name} is truncated or damaged ({error})") from error


def _plain_jpeg(image: Image.Image, content: bytes, min_side: int | None) -> np.ndarray | None:
    """A JPEG whose header needed Pillow but turned out to lie upright; None for all other photos."""
    whole = content.endswith(_END_OF_JPEG)
    if image.format != "JPEG" or image.mode != "RGB" or not whole or _orientation(image) in _TURNS:
        return None
    return decode_plain(content, image.size, min_side)


def _refuse_bomb(image: Image.Image, name: str) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        most = f"{MAX_PIXELS / 1e6:.0f} megapixels"
        raise PhotoError(f"{name} is {width} x {height} pixels, more than {most}: refused, it could be a bomb")


def _load_whole(image: Image.Image) -> None:
    """Decode; a truncated file raises even where another library has told Pillow to fill it with grey."""
    global _loading, _lenient
    with _LOCK:  # several threads may decode at a time: the first keeps Pillow's setting, the last gives it back
        if _loading == 0:
            _lenient, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
        _loading += 1
    try:
        image.load()
    finally:
        with _LOCK:
            _loading -= 1
            if _loading == 0:
                ImageFile.LOAD_TRUNCATED_IMAGES = _lenient


def _upright(image: Image.Image) -> Image.Image:
    """Turn by the EXIF orientation."""
    turn = _TURNS.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation; a photo whose EXIF block is damaged is taken as it lies."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except (OSError, SyntaxError, ValueError, KeyError, TypeError, IndexError):
        return 1


def _rgb(image: Image.Image) -> np.ndarray:
    """Any mode as uint8 (h, w, 3)."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return np.asarray(image)
    if image.mode.startswith("I") or image.mode == "F":
        grey = _eight_bits(np.asarray(image))
        return np.repeat(grey[:, :, None], 3, axis=2)
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        layer = image.convert("RGBA")
        paper = Image.new("RGBA", layer.size, "white")
        return np.asarray(Image.alpha_composite(paper, layer).convert("RGB"))
    return np.asarray(image.convert("RGB"))


def _eight_bits(grey: np.ndarray) -> np.ndarray:
    """Grey values of more than eight bits, or floats, as uint8 of the same shape.

    Integers are taken as 8 or 16 bits by their largest value, floats as [0, 1] or [0, 255]; beyond, the maximum
    is white.
    """
    values = np.nan_to_num(grey.astype(np.float64))
    top = float(values.max(initial=0.0))
    sixteen_bits = np.issubdtype(grey.dtype, np.integer) and (grey.dtype.itemsize == 2 or top > 255)
    if sixteen_bits:
        white = 65535.0 if top <= 65535 else top
    elif np.issubdtype(grey.dtype, np.integer):
        white = 255.0
    else:
        white = 1.0 if top <= 1 else max(255.0, top)
    return np.clip(np.rint(values * (255.0 / white)), 0, 255).astype(np.uint8)
