from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
import zlib
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from competition.data.photos import photo_cache
from competition.data.photos.decode import read_photo
from competition.data.photos.photo_cache import PhotoCache, shrink
from competition.data.source.competition_data import Photo
from competition.errors import DataError, PhotoError, StorageError
from competition.files import read_npz, write_npz
from competition.system import disk
from tests.data.conftest import picture, save


@pytest.fixture
def photos(tmp_path) -> list[Photo]:
    shapes = [(40, 60), (200, 100), (90, 300), (64, 64)] * 5
    made = []
    for number, (height, width) in enumerate(shapes):
        image = np.asarray(Image.fromarray(picture(number)).resize((width, height)))
        made.append(Photo(f"p{number}", save(tmp_path / "in" / f"p{number}.png", image)))
    return made


@pytest.mark.parametrize("workers", [1, 2])
def test_holds_every_photo_reduced_never_enlarged(photos, tmp_path, workers):
    cache = PhotoCache.build(photos, 64, tmp_path / "cache", workers)
    assert list(cache) == [photo.id for photo in photos]
    for photo in photos:
        found = cache[photo.id]
        assert photo.id in cache
        assert (found == shrink(photo.path, 64)).all()
        assert min(found.shape[:2]) == min(64, *read_photo(photo.path).shape[:2])
        assert not found.flags.writeable
    assert cache["p2"].shape == (64, 213, 3)
    with pytest.raises(KeyError):
        cache["nobody"]


def test_is_one_memory_map_that_travels_to_workers(photos, tmp_path):
    cache = PhotoCache.build(photos, 64, tmp_path / "cache", 1)
    assert isinstance(cache["p0"].base, np.memmap) or isinstance(cache["p0"].base.base, np.memmap)
    assert cache.folder.joinpath("pixels.u8").stat().st_size == sum(cache[name].size for name in cache)
    assert len(bytes(ForkingPickler.dumps(cache))) < 5000
    worker, parent = multiprocessing.Pipe(duplex=False)
    parent.send(cache)
    assert (worker.recv()["p7"] == cache["p7"]).all()


def test_is_built_once_and_again_for_other_photos(photos, tmp_path, monkeypatch):
    first = PhotoCache.build(photos, 64, tmp_path / "cache", 1)
    calls = []
    monkeypatch.setattr(photo_cache, "_build", lambda *_: calls.append(1))
    assert PhotoCache.build(photos, 64, tmp_path / "cache", 1).folder == first.folder
    assert not calls
    monkeypatch.undo()
    assert PhotoCache.build(photos, 32, tmp_path / "cache", 1).folder != first.folder
    save(photos[0].path, picture(999))
    assert PhotoCache.build(photos, 64, tmp_path / "cache", 1).folder != first.folder


def test_unreadable_photos_are_named_not_replaced(photos, tmp_path):
    photos[3].path.write_text("no photo")
    photos[5].path.unlink()
    cache = PhotoCache.build(photos, 64, tmp_path / "cache", 1)
    assert set(cache.unreadable) == {"p3", "p5"}
    assert "p3" not in cache
    assert len(cache) == 18
    with pytest.raises(PhotoError, match="is not a photo"):
        cache["p3"]


def test_a_cache_that_lost_bytes_is_refused(photos, tmp_path):
    cache = PhotoCache.build(photos, 64, tmp_path / "cache", 1)
    with (cache.folder / "pixels.u8").open("ab") as stream:
        stream.truncate(100)
    with pytest.raises(DataError, match="has 100 bytes"):
        PhotoCache(cache.folder)["p0"]


def test_no_space(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(StorageError, match="no space to cache resized photos"):
        PhotoCache.build(photos, 64, tmp_path / "cache", 1)
    assert not list((tmp_path / "cache").rglob("index.npz"))


def _slow_build(photos: list[Photo], folder: Path) -> None:
    shrunk = photo_cache._shrunk_or_reason

    def slowly(path, short_side):
        time.sleep(0.05)
        return shrunk(path, short_side)

    photo_cache._shrunk_or_reason = slowly
    photo_cache._STEP = 4
    PhotoCache.build(photos, 64, folder, 1)


def test_killed_in_the_middle_goes_on_and_ends_the_same(photos, tmp_path, monkeypatch):
    photos[2].path.write_text("no photo")
    whole = PhotoCache.build(photos, 64, tmp_path / "whole", 1)
    worker = multiprocessing.get_context("fork").Process(target=_slow_build, args=(photos, tmp_path / "cache"))
    worker.start()

    def journal() -> list[bytes]:
        return b"".join(path.read_bytes() for path in (tmp_path / "cache").rglob("journal.jsonl")).splitlines()

    while len(journal()) < 8:
        assert worker.is_alive()
        time.sleep(0.02)
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    assert not list((tmp_path / "cache").rglob("index.npz"))
    kept = len(journal())
    seen = []
    shrunk = photo_cache._shrunk_or_reason
    monkeypatch.setattr(
        photo_cache, "_shrunk_or_reason", lambda path, short_side: seen.append(path) or shrunk(path, short_side)
    )
    cache = PhotoCache.build(photos, 64, tmp_path / "cache", 1)
    assert [path.stem for path in seen] == [photo.id for photo in photos[kept:]]
    assert (cache.folder / "pixels.u8").read_bytes() == (whole.folder / "pixels.u8").read_bytes()
    assert (cache.folder / "index.npz").read_bytes() == (whole.folder / "index.npz").read_bytes()


@pytest.mark.parametrize("damage", ["journal cut", "pixels lost", "journal of others", "journal without checksums"])
def test_a_journal_is_trusted_only_as_far_as_it_agrees(photos, tmp_path, damage):
    whole = PhotoCache.build(photos, 64, tmp_path / "cache", 1)
    pixels = (whole.folder / "pixels.u8").read_bytes()
    entries = [[name, *whole[name].shape[:2], zlib.crc32(whole[name].tobytes())] for name in list(whole)[:10]]
    (whole.folder / "index.npz").unlink()
    lines = "".join(f'["{name}", {height}, {width}, {crc}]\n' for name, height, width, crc in entries)
    if damage == "journal cut":
        lines = lines[:-5]
    if damage == "journal of others":
        lines = lines.replace('"p4"', '"q4"')
    if damage == "journal without checksums":
        lines = "".join(f"{json.dumps(entry[:3])}\n" for entry in entries)
    if damage == "pixels lost":
        (whole.folder / "pixels.u8").write_bytes(pixels[:1000])
    (whole.folder / "journal.jsonl").write_text(lines)
    again = PhotoCache.build(photos, 64, tmp_path / "cache", 1)
    assert (again.folder / "pixels.u8").read_bytes() == pixels
    assert not (again.folder / "journal.jsonl").exists()


@pytest.mark.parametrize(
    ("damage", "said"),
    [("a bit", "is damaged at photo p19"), ("cut", "is damaged ("), ("old", "without checksums by an older version")],
)
def test_what_the_checksums_do_not_prove_is_made_again_and_said_once(photos, tmp_path, capsys, damage, said):
    cache = PhotoCache.build(photos, 64, tmp_path, 1)
    pixels, held = (cache.folder / "pixels.u8").read_bytes(), cache["p0"]
    if damage == "a bit":
        (cache.folder / "pixels.u8").write_bytes(pixels[:-1] + bytes([pixels[-1] ^ 1]))
    if damage == "cut":
        (cache.folder / "index.npz").write_bytes(b"PK half")
    if damage == "old":
        index = read_npz(cache.folder / "index.npz")
        del index["crc"]
        write_npz(cache.folder / "index.npz", **index)
    capsys.readouterr()
    again = PhotoCache.build(photos, 64, tmp_path, 1)
    assert (again.folder / "pixels.u8").read_bytes() == pixels
    lines = [line for line in capsys.readouterr().err.splitlines() if "made again" in line]
    assert len(lines) == 1
    assert said in lines[0]
    assert (held == again["p0"]).all()
    PhotoCache.build(photos, 64, tmp_path, 1)
    assert "made again" not in capsys.readouterr().err
