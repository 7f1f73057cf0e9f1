"""Plain JPEGs take the fast way through OpenCV: same pixels as Pillow's, same refusals."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from competition.data.photos import decode
from competition.data.photos import jpeg as jpeg_module
from competition.data.photos.decode import decode_photo
from competition.data.photos.jpeg import plain_size
from competition.data.photos.photo_cache import shrink
from competition.errors import PhotoError
from competition.training.photos.augment import CentreSquare


def photo(width: int, height: int, seed: int = 0) -> np.ndarray:
    """Soft shapes under some grain: what a camera writes, uint8 (h, w, 3)."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(20, 236, (9, 12, 3), dtype=np.uint8)
    soft = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), np.float32)
    return np.clip(soft + rng.normal(0, 4, soft.shape), 0, 255).astype(np.uint8)


def jpeg(image: np.ndarray, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", **options)
    return stream.getvalue()


def by_pillow(content: bytes, min_side: int | None) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        if min_side is not None:
            image.draft(None, (min_side, min_side))
        return np.asarray(image)


@pytest.mark.parametrize("min_side", [None, 20, 70, 200])
@pytest.mark.parametrize("options", [{"quality": 92, "subsampling": 0}, {"quality": 80}, {"progressive": True}])
@pytest.mark.parametrize("size", [(333, 251), (160, 320), (1001, 777)])
@pytest.mark.parametrize("decoder", ["simplejpeg", "opencv"])
def test_the_pixels_are_pillows(size, options, min_side, decoder, monkeypatch):
    if decoder == "opencv":
        monkeypatch.setattr(jpeg_module, "_simplejpeg", lambda: None)
    elif jpeg_module._simplejpeg() is None:
        pytest.skip("simplejpeg is not installed")
    content = jpeg(photo(*size), **options)
    expected = by_pillow(content, min_side)
    found = decode_photo(content, "x.jpg", min_side)
    assert found.flags.c_contiguous
    assert found.shape == expected.shape
    # libjpeg-turbo, which both bring along, gives equal pixels; another libjpeg may round differently.
    assert np.abs(found.astype(int) - expected).mean() < 0.5


def test_only_plain_whole_jpegs_go_the_fast_way():
    image = photo(64, 48)
    turned = Image.Exif()
    turned[0x0112] = 6
    contents = {
        "plain": jpeg(image),
        "turned": jpeg(image, exif=turned),
        "tail": jpeg(image) + b"after the end",
        "cut": jpeg(image)[:-200],
    }
    grey = io.BytesIO()
    Image.fromarray(image[..., 0]).save(grey, "JPEG")
    contents["grey"] = grey.getvalue()
    ways = {}
    for name, content in contents.items():
        with Image.open(io.BytesIO(content)) as opened:
            ways[name] = decode._plain_jpeg(opened, content, None) is not None
    assert ways == {"plain": True, "turned": False, "tail": False, "cut": False, "grey": False}
    assert decode_photo(contents["turned"], "x").shape == (64, 48, 3)
    assert decode_photo(contents["tail"], "x").shape == (48, 64, 3)
    assert decode_photo(contents["grey"], "x").shape == (48, 64, 3)
    with pytest.raises(PhotoError, match="x is truncated or damaged"):
        decode_photo(contents["cut"], "x")


@pytest.mark.parametrize(("width", "height"), [(4000, 3000), (500, 375), (224, 224)])
def test_the_resized_photo_is_within_two_grey_levels_of_pillows_full_reference(tmp_path, width, height):
    """Decoding at a reduced size and the faster resampling change nothing that a network would see."""
    content = jpeg(photo(width, height), quality=90)
    (tmp_path / "x.jpg").write_bytes(content)
    with Image.open(io.BytesIO(content)) as image:
        left, top = (width - height) // 2, 0
        reference = image.convert("RGB").resize(
            (224, 224), Image.Resampling.BICUBIC, box=(left, top, left + height, top + height)
        )
    found = CentreSquare(224)(decode_photo(content, "x", min_side=256), np.random.default_rng())
    assert np.abs(found.astype(int) - np.asarray(reference)).mean() <= 2
    cached = CentreSquare(224)(shrink(tmp_path / "x.jpg", 256), np.random.default_rng())
    assert np.abs(cached.astype(int) - np.asarray(reference)).mean() <= 2


def test_the_header_tells_which_jpegs_lie_upright():
    """Three colours of eight bits, whole, nothing that may hold an orientation: all else is for Pillow to read."""
    image = photo(64, 48)
    empty = Image.Exif()
    empty[0x010E] = "a dog"
    plain = jpeg(image)
    contents = {
        "plain": plain,
        "progressive": jpeg(image, progressive=True),
        "comment": jpeg(image, comment=b"a dog"),
        "exif": jpeg(image, exif=empty),
        "grey": jpeg(image[..., :1].repeat(3, axis=2)[..., 0]),
        "cut": plain[:-200],
        "tail": plain + b"after the end",
        "header only": plain[:30] + b"\xff\xd9",
        "png": b"\x89PNG\r\n\x1a\n" + plain,
    }
    found = {name: plain_size(content) for name, content in contents.items()}
    upright = dict.fromkeys(("plain", "progressive", "comment"), (64, 48))
    assert found == dict.fromkeys(contents) | upright


def test_a_header_without_pixels_is_refused():
    content = jpeg(photo(64, 48))
    scan = content.index(b"\xff\xda")
    assert plain_size(content[:scan] + b"\xff\xd9") == (64, 48)
    with pytest.raises(PhotoError, match="x is truncated or damaged"):
        decode_photo(content[:scan] + b"\xff\xd9", "x")


def test_a_bomb_is_refused_before_it_is_decoded(monkeypatch):
    content = jpeg(photo(64, 48))
    monkeypatch.setattr(decode, "MAX_PIXELS", 64 * 48 - 1)
    monkeypatch.setattr(decode, "decode_plain", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(PhotoError, match="64 x 48 pixels"):
        decode_photo(content, "x")
