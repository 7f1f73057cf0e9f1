from __future__ import annotations

import io
import struct
import warnings
import zlib

import numpy as np
import PIL
import pytest
from PIL import Image, ImageFile

from competition.data.photos import decode
from competition.data.photos.decode import FORMATS, decode_photo, read_photo
from competition.data.photos.views import render_view, source_side
from competition.errors import PhotoError, StorageError, UsageError
from competition.types import VIEWS
from tests.data.conftest import picture, save

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def gradient(height: int, width: int) -> np.ndarray:
    """A picture that is no other when turned or mirrored, uint8 (h, w, 3)."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([255 * x / (width - 1), 255 * y / (height - 1), 128 + 0 * x], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "gif", "tiff"])
def test_every_format_we_name(tmp_path, suffix):
    image = np.full((20, 30, 3), (200, 30, 60), np.uint8)
    options = {"quality": 95} if suffix in ("jpg", "webp") else {}
    found = read_photo(save(tmp_path / f"x.{suffix}", image, **options))
    assert found.shape == (20, 30, 3)
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - image).max() <= 6


@pytest.mark.parametrize("suffix", ["ppm", "ico", "tga", "pcx", "dds"])
def test_formats_we_do_not_name_are_refused_whatever_their_suffix(tmp_path, suffix):
    save(tmp_path / f"x.{suffix}", picture(1)).rename(tmp_path / "x.jpg")
    with pytest.raises(PhotoError, match=r"x\.jpg is not a photo \(expected JPEG, PNG, WEBP, BMP, GIF, TIFF\)"):
        read_photo(tmp_path / "x.jpg")


def test_a_suffix_may_lie(tmp_path):
    save(tmp_path / "x.png", picture(1)).rename(tmp_path / "x.jpg")
    assert (read_photo(tmp_path / "x.jpg") == picture(1)).all()


@pytest.mark.parametrize("mode", ["L", "P", "1", "RGBA", "LA", "CMYK", "YCbCr", "I;16", "I", "F"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    image = gradient(40, 60)
    grey = np.asarray(Image.fromarray(image).convert("L"))
    if mode == "I;16":
        made = Image.fromarray(grey.astype(np.uint16) * 257)
    elif mode == "I":
        made = Image.fromarray(grey.astype(np.int32) * 257)
    elif mode == "F":
        made = Image.fromarray(grey.astype(np.float32) / 255)
    else:
        made = Image.fromarray(image).convert(mode)
    path = tmp_path / "x.tiff"
    made.save(path)
    if mode == "YCbCr" and int(PIL.__version__.split(".")[0]) < 12:  # Kaggle's and Colab's 11.3 does not read its own
        with pytest.raises(PhotoError, match=r"image file is truncated \(0 bytes not processed\)"):
            read_photo(path)
        return
    found = read_photo(path)
    assert found.shape == (40, 60, 3)
    if mode in ("L", "LA", "I;16", "I", "F"):
        assert (found[..., 0] == found[..., 2]).all()
        assert np.abs(found[..., 0].astype(int) - grey).max() <= 1
    elif mode not in ("1", "P"):
        assert np.abs(found.astype(int) - image).mean() < 3


def test_sixteen_bit_png(tmp_path):
    values = np.linspace(0, 65535, 50 * 40).reshape(40, 50).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "x.png")
    found = read_photo(tmp_path / "x.png")
    assert np.abs(found[..., 1].astype(float) - values / 257).max() <= 0.51


def test_a_dark_sixteen_bit_photo_stays_dark(tmp_path):
    Image.fromarray(np.full((8, 8), 300, np.uint16)).save(tmp_path / "x.png")
    assert (read_photo(tmp_path / "x.png") == 1).all()


@pytest.mark.parametrize("how", ["RGBA", "LA", "P with a transparent colour", "RGB with a transparent colour"])
def test_transparent_pixels_are_laid_on_white(tmp_path, how):
    path = tmp_path / "x.png"
    if how == "RGBA":
        Image.new("RGBA", (8, 8), (10, 200, 30, 0)).save(path)
    elif how == "LA":
        Image.new("LA", (8, 8), (10, 0)).save(path)
    elif how.startswith("P"):
        made = Image.new("RGB", (8, 8), (9, 50, 90)).quantize(4)
        made.save(path, transparency=made.getpixel((0, 0)))
    else:
        Image.new("RGB", (8, 8), (1, 2, 3)).save(path, transparency=(1, 2, 3))
    assert (read_photo(path) == 255).all()


def test_of_an_animation_the_first_frame_counts(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    for suffix in ("gif", "webp", "png", "tiff"):
        frames[0].save(tmp_path / f"x.{suffix}", save_all=True, append_images=frames[1:])
        assert np.abs(read_photo(tmp_path / f"x.{suffix}").astype(int) - (255, 0, 0)).max() <= 8


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("min_side", [None, 30])
def test_exif_orientation(tmp_path, orientation, min_side):
    image = gradient(120, 180)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(image).save(tmp_path / "x.jpg", exif=exif, quality=95)
    turned = {
        1: image,
        2: image[:, ::-1],
        3: image[::-1, ::-1],
        4: image[::-1],
        5: image.transpose(1, 0, 2),
        6: image[::-1].transpose(1, 0, 2),
        7: image[::-1, ::-1].transpose(1, 0, 2),
        8: image[:, ::-1].transpose(1, 0, 2),
    }[orientation]
    found = read_photo(tmp_path / "x.jpg", min_side)
    reference = np.asarray(Image.fromarray(turned).resize((found.shape[1], found.shape[0]), Image.Resampling.BOX))
    assert np.abs(found.astype(int) - reference).mean() < 3


def test_a_damaged_exif_block_does_not_cost_the_photo(tmp_path):
    Image.fromarray(picture(1)).save(
        tmp_path / "x.jpg", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff" + b"\x99" * 30, quality=95
    )
    assert read_photo(tmp_path / "x.jpg").shape == (48, 48, 3)


def png_header(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims to be as large as that."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(30000, 30000), (10000, 10001), (2**31 - 1, 2**31 - 1)])
def test_a_bomb_is_refused_before_it_is_decoded(tmp_path, size):
    (tmp_path / "x.png").write_bytes(png_header(*size))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(PhotoError, match=r"x\.png .*more than 100 megapixels: refused"):
            read_photo(tmp_path / "x.png")


BROKEN = {
    "text": b"this is no photo at all\n" * 40,
    "html": b"<!DOCTYPE html><html><body>404</body></html>",
    "zero bytes": b"",
    "zeros": bytes(5000),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_no_photo(tmp_path, case):
    (tmp_path / "x.jpg").write_bytes(BROKEN[case])
    with pytest.raises(
        PhotoError, match=r"x\.jpg is empty \(0 bytes\)" if case == "zero bytes" else "is not a photo"
    ) as caught:
        read_photo(tmp_path / "x.jpg")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "gif", "tiff"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("lenient", [False, True])
def test_truncated_photos_are_refused_even_where_pillow_was_told_to_be_lenient(
    tmp_path, monkeypatch, suffix, share, lenient
):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", lenient)
    path = save(tmp_path / f"x.{suffix}", picture(1, 200))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    for min_side in (None, 32):
        with pytest.raises(PhotoError, match=rf"x\.{suffix} is (truncated or damaged|not a photo)"):
            read_photo(path, min_side)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is lenient


def saved_bytes(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture(3)).save(buffer, kind)
    return buffer.getvalue()


def decodes_or_says_why(content: bytes) -> bool:
    """Anything but a photo or a PhotoError that names the photo fails the test."""
    try:
        image = decode_photo(content, "x")
    except PhotoError as error:
        return str(error).startswith("x ") and "\n" not in str(error)
    return image.dtype == np.uint8 and image.shape[2] == 3


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_cut_anywhere_gives_a_photo_or_a_photo_error(kind):
    whole = saved_bytes(kind)
    assert all(decodes_or_says_why(whole[:end]) for end in range(1, len(whole), max(1, len(whole) // 60)))


@pytest.mark.parametrize("kind", FORMATS)
def test_bytes_flipped_anywhere_give_a_photo_or_a_photo_error(kind, rng):
    for _ in range(80):
        broken = bytearray(saved_bytes(kind))
        for at in rng.integers(0, min(len(broken), 400), 3):
            broken[at] = rng.integers(256)
        assert decodes_or_says_why(bytes(broken))


def test_missing_unreadable_and_too_large_files(tmp_path, monkeypatch):
    with pytest.raises(PhotoError, match="cannot be opened"):
        read_photo(tmp_path / "no.jpg")
    with pytest.raises(PhotoError, match="cannot be opened"):
        read_photo(tmp_path)
    monkeypatch.setattr(decode, "MAX_BYTES", 100)
    with pytest.raises(PhotoError, match="too large for a photo"):
        read_photo(save(tmp_path / "x.png", picture(1)))


def test_a_failing_disk_is_not_blamed_on_the_photo(tmp_path, monkeypatch):
    path = save(tmp_path / "x.png", picture(1))

    def broken(*_, **__):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(type(path), "open", broken)
    with pytest.raises(StorageError, match="Input/output error"):
        read_photo(path)


def smooth_photo(height: int, width: int) -> np.ndarray:
    """What photos are like: large shapes, some texture."""
    rng = np.random.default_rng(5)
    layers = np.zeros((height, width, 3))
    for cells, weight in ((6, 110), (40, 60), (160, 30)):
        grid = rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        layers += weight / 255 * np.asarray(Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC))
    return np.clip(layers, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("shape", [(1500, 2000), (2000, 1500), (900, 905)])
@pytest.mark.parametrize("min_side", [64, 224, 400])
def test_reduced_decoding_never_falls_below_the_side(tmp_path, shape, min_side):
    path = save(tmp_path / "x.jpg", smooth_photo(*shape), quality=92)
    height, width = read_photo(path, min_side).shape[:2]
    assert min(height, width) >= min_side
    assert min(height, width) < 2 * min_side or min(height, width) * 8 <= min(shape) + 8
    assert height / width == pytest.approx(shape[0] / shape[1], rel=0.01)


def test_reduced_decoding_never_enlarges(tmp_path):
    path = save(tmp_path / "x.jpg", picture(1, 100), quality=92)
    assert read_photo(path, 224).shape == (100, 100, 3)
    assert read_photo(path, 51).shape == (100, 100, 3)


@pytest.mark.parametrize("name", ["model_crop", "identity", "large", "small", "hflip", "top_left"])
def test_views_of_a_reduced_photo_are_within_two_grey_levels_of_the_full_one(tmp_path, name):
    path = save(tmp_path / "x.jpg", smooth_photo(1500, 2000), quality=92)
    view = VIEWS[name]
    reduced = render_view(read_photo(path, source_side(view, 224, 0.875)), view, 224, 0.875)
    full = render_view(read_photo(path), view, 224, 0.875)
    assert reduced.shape == (view.size_for(224),) * 2 + (3,)
    assert np.abs(reduced.astype(int) - full).mean() <= 2.0


def test_whole_view_equals_pillows_own_crop_and_resize():
    image = smooth_photo(300, 400)
    reference = Image.fromarray(image).crop((50, 0, 350, 300)).resize((224, 224), Image.Resampling.BICUBIC)
    assert np.abs(render_view(image, VIEWS["identity"], 224).astype(int) - np.asarray(reference)).mean() < 0.2


def test_model_crop_equals_resize_then_centre_crop_as_timm_does():
    image = smooth_photo(300, 450)  # 256 x 384 after resizing: no rounding, which alone shifts by half a pixel
    resized = Image.fromarray(image).resize((384, 256), Image.Resampling.BICUBIC)
    reference = np.asarray(resized.crop((80, 16, 304, 240)))
    found = render_view(image, VIEWS["model_crop"], 224, crop_pct=0.875)
    assert np.abs(found.astype(int) - reference).mean() <= 0.2


def test_mirrored_views_are_mirror_images():
    image = smooth_photo(200, 300)
    for name, mirrored in (("identity", "hflip"), ("model_crop", "model_crop_hflip"), ("large", "large_hflip")):
        plain, flipped = (render_view(image, VIEWS[key], 96, 0.9) for key in (name, mirrored))
        assert (plain[:, ::-1] == flipped).all()
        assert flipped.flags.c_contiguous


def test_corners_lie_where_they_say():
    image = gradient(200, 200)
    means = {name: render_view(image, VIEWS[name], 64, 0.5).mean(axis=(0, 1)) for name in VIEWS if "_" in name}
    assert means["top_left"][0] < 80 < 170 < means["top_right"][0]
    assert means["top_left"][1] < 80 < 170 < means["bottom_left"][1]
    assert means["bottom_right"][:2].min() > 170


def test_views_know_their_sizes():
    image = picture(1, 60)
    assert render_view(image, VIEWS["large"], 224).shape == (288, 288, 3)
    assert render_view(image, VIEWS["small"], 224).shape == (192, 192, 3)
    assert source_side(VIEWS["model_crop"], 224, 0.875) == 256


@pytest.mark.parametrize(
    ("arguments", "words"), [((0.9, "bicubik"), "did you mean 'bicubic'"), ((0.0, "box"), "crop_pct=0")]
)
def test_impossible_views(arguments, words):
    with pytest.raises(UsageError, match=words):
        render_view(picture(1), VIEWS["identity"], 32, *arguments)
