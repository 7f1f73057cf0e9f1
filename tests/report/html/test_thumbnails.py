from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from competition.report.html.thumbnails import LARGE, SMALL, Thumbnails, encode, inline, shrink


@pytest.fixture
def photos(tmp_path: Path, rng: np.random.Generator) -> dict[str, Path]:
    found = {}
    for number, name in enumerate(("plain", "../up & <away>?#1", "wide", "grey", "broken", "lost")):
        found[name] = tmp_path / f"{number}.jpg"
    for name, shape in (("plain", (300, 200, 3)), ("../up & <away>?#1", (90, 90, 3)), ("wide", (100, 400, 3))):
        Image.fromarray(rng.integers(0, 255, shape, dtype=np.uint8)).save(found[name])
    Image.fromarray(rng.integers(0, 255, (150, 150), dtype=np.uint8)).save(found["grey"])
    found["broken"].write_bytes(b"\xff\xd8 no photo")
    return found


def test_aspect_ratio_is_kept_and_nothing_enlarged() -> None:
    assert shrink(np.zeros((300, 200, 3), np.uint8), 128).size == (85, 128)
    assert shrink(np.zeros((40, 90, 3), np.uint8), 128).size == (90, 40)
    image = Image.open(io.BytesIO(encode(np.full((300, 200, 3), 77, np.uint8), SMALL)))
    assert (image.format, image.size, image.mode) == ("JPEG", (85, 128), "RGB")
    assert abs(int(np.asarray(image).mean()) - 77) <= 1


def test_made_once_under_harmless_names(tmp_path: Path, photos: dict[str, Path]) -> None:
    thumbs = Thumbnails(tmp_path / "site" / "thumbs", photos)
    wanted = {name: {SMALL, LARGE} for name in photos}
    thumbs.make(wanted, workers=2)
    folder = tmp_path / "site"
    for name in ("plain", "../up & <away>?#1", "wide", "grey"):
        for size in (SMALL, LARGE):
            address = thumbs.address(name, size)
            assert address is not None
            assert set(address) <= set("thumbs/.jpgl0123456789abcdef")
            with Image.open(folder / address) as image:
                assert max(image.size) <= size.side
    assert thumbs.address("broken") is None
    assert thumbs.address("lost") is None
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.jpg")}
    again = Thumbnails(tmp_path / "site" / "thumbs", photos)
    again.make(wanted)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.jpg")} == before
    assert len(before) == 8
    assert not list(folder.rglob("*.tmp"))


def test_another_photo_gets_another_name_and_the_old_one_goes(tmp_path: Path, photos: dict[str, Path]) -> None:
    folder = tmp_path / "thumbs"
    first = Thumbnails(folder, photos)
    first.make({"plain": [SMALL], "grey": [SMALL]})
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(photos["plain"])
    second = Thumbnails(folder, photos)
    second.make({"plain": [SMALL], "grey": [SMALL]})
    assert second.address("plain") != first.address("plain")
    assert second.address("grey") == first.address("grey")
    second.tidy()
    kept = {path.relative_to(tmp_path).as_posix() for path in folder.rglob("*.jpg")}
    assert kept == {second.address("plain"), second.address("grey")}


def test_inline(photos: dict[str, Path]) -> None:
    text = inline(photos["plain"])
    assert text is not None
    head, _, body = text.partition(",")
    assert head == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(body))).size == (85, 128)
    assert inline(photos["broken"]) is None
