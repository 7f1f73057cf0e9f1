from __future__ import annotations

import io
import multiprocessing
import os
import signal
import stat
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

from competition.data.source import archive
from competition.errors import DataError, StorageError
from competition.locks import only_one
from competition.system import disk

CONTENT = {"train/a.jpg": b"a" * 5000, "train/b.jpg": os.urandom(3000), "labels.csv": b"id,breed\n"}


def make_zip(path: Path, content=None, **options) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, data in (content or CONTENT).items():
            zipped.writestr(name, data)
    return path


def make_tar(path: Path, content=None, mode="w:gz") -> Path:
    with tarfile.open(path, mode) as tarred:
        for name, data in (content or CONTENT).items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tarred.addfile(info, io.BytesIO(data))
    return path


def files_in(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != archive.MARKER
    }


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("x.zip", make_zip),
        ("x.tar", lambda path: make_tar(path, mode="w")),
        ("x.tar.gz", make_tar),
        ("x.tgz", make_tar),
        ("x.tar.xz", lambda path: make_tar(path, mode="w:xz")),
    ],
)
def test_unpacks_the_very_bytes_once(tmp_path, name, make):
    source = make(tmp_path / name)
    folder = archive.extract(source, tmp_path / "cache")
    assert files_in(folder) == CONTENT
    assert folder.name.startswith("x-")
    before = (folder / archive.MARKER).stat().st_mtime_ns
    assert archive.extract(source, tmp_path / "cache") == folder
    assert (folder / archive.MARKER).stat().st_mtime_ns == before
    assert not [path for path in (tmp_path / "cache").iterdir() if path.name.endswith(".partial")]


def test_the_same_zip_elsewhere_is_not_unpacked_again_and_another_is(tmp_path):
    first = archive.extract(make_zip(tmp_path / "x.zip"), tmp_path / "cache")
    (tmp_path / "moved").mkdir()
    assert archive.extract(make_zip(tmp_path / "moved" / "x.zip"), tmp_path / "cache") == first
    other = make_zip(tmp_path / "moved" / "x.zip", {**CONTENT, "train/a.jpg": b"b" * 5000})
    assert archive.extract(other, tmp_path / "cache") != first


@pytest.mark.parametrize(
    "name",
    ["../evil.txt", "train/../../evil.txt", "/etc/evil.txt", "..\\evil.txt", "C:\\evil.txt", "C:/evil.txt", "train/.."],
)
@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_a_path_that_leads_outside_is_refused_and_nothing_unpacked(tmp_path, name, make):
    source = make(tmp_path / ("x.zip" if make is make_zip else "x.tar.gz"), {"good.txt": b"1", name: b"evil"})
    with pytest.raises(DataError, match="unsafe path"):
        archive.extract(source, tmp_path / "deep" / "cache")
    assert not [path for path in tmp_path.rglob("*") if "evil" in path.name or path.name == "good.txt"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path, kind):
    with tarfile.open(tmp_path / "x.tar", "w") as tarred:
        info = tarfile.TarInfo("train/a.jpg")
        info.type, info.linkname = kind, "/etc/passwd"
        tarred.addfile(info)
    with pytest.raises(DataError, match="link or a device"):
        archive.extract(tmp_path / "x.tar", tmp_path / "cache")


def test_a_link_in_a_zip_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as zipped:
        info = zipfile.ZipInfo("train")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        zipped.writestr(info, "/etc")
    with pytest.raises(DataError, match="'train' is a link or a device"):
        archive.extract(tmp_path / "x.zip", tmp_path / "cache")


@pytest.mark.parametrize("share", [0.05, 0.5, 0.99])
@pytest.mark.parametrize(("name", "make"), [("x.zip", make_zip), ("x.tar.gz", make_tar)])
def test_half_an_archive_is_told_in_one_line(tmp_path, name, make, share):
    source = make(tmp_path / name, {f"train/{i}.jpg": os.urandom(4000) for i in range(20)})
    source.write_bytes(source.read_bytes()[: int(source.stat().st_size * share)])
    with pytest.raises(DataError, match="download it again") as caught:
        archive.extract(source, tmp_path / "cache")
    assert str(source) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "cache").exists()


def test_a_plain_tar_that_stops_between_two_files(tmp_path):
    source = make_tar(tmp_path / "x.tar", {f"{i}.jpg": bytes(512) for i in range(5)}, "w")
    source.write_bytes(source.read_bytes()[: 3 * 1024])
    with pytest.raises(DataError, match="its end is missing"):
        archive.extract(source, tmp_path / "cache")


def test_a_damaged_member_leaves_no_folder(tmp_path):
    source = make_zip(tmp_path / "x.zip", {"a.jpg": os.urandom(4000), "b.jpg": os.urandom(4000)})
    content = bytearray(source.read_bytes())
    content[2000] ^= 0xFF
    source.write_bytes(bytes(content))
    with pytest.raises(DataError, match="damaged or incomplete"):
        archive.extract(source, tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache").iterdir() if not path.name.endswith(".lock")] == []


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "is missing"), (b"", "0 bytes"), (b"no archive at all" * 100, "neither a zip nor a tar")],
)
def test_what_is_no_archive(tmp_path, content, words):
    source = tmp_path / "x.zip"
    if content is not None:
        source.write_bytes(content)
    with pytest.raises(DataError, match=words):
        archive.extract(source, tmp_path / "cache")


def test_caps_on_members_total_and_ratio(tmp_path, monkeypatch):
    source = make_zip(tmp_path / "x.zip", {f"{i}.txt": b"0" * 2000 for i in range(30)})
    for name, value, words in (
        ("MAX_MEMBERS", 10, "more than 10 files"),
        ("MAX_TOTAL_BYTES", 1000, "unpacks to more than"),
        ("RATIO_MATTERS_FROM", 1000, "zip bomb"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(archive, name, value)
            if name == "RATIO_MATTERS_FROM":
                patch.setattr(archive, "MAX_RATIO", 2.0)
            with pytest.raises(DataError, match=words):
                archive.extract(source, tmp_path / "cache")
    assert len(files_in(archive.extract(source, tmp_path / "cache"))) == 30


def test_a_tar_bomb_is_refused_while_listing(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "RATIO_MATTERS_FROM", 100_000)
    source = make_tar(tmp_path / "x.tar.gz", {f"{i}": bytes(50_000) for i in range(50)})
    with pytest.raises(DataError, match="zip bomb"):
        archive.extract(source, tmp_path / "cache")


@pytest.mark.parametrize(
    ("names", "words"), [(["a.txt", "a.txt"], "twice"), (["a", "a/b.txt"], "both a file and a folder")]
)
def test_members_that_contradict_each_other(tmp_path, names, words):
    with tarfile.open(tmp_path / "x.tar", "w") as tarred:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = 1
            tarred.addfile(info, io.BytesIO(b"x"))
    with pytest.raises(DataError, match=words):
        archive.extract(tmp_path / "x.tar", tmp_path / "cache")


def test_an_encrypted_zip_is_named_so(tmp_path):
    source = make_zip(tmp_path / "x.zip")
    content = bytearray(source.read_bytes())
    at = content.find(b"PK\x01\x02")
    content[at + 8] |= 1  # general purpose bit 0 in the central directory
    source.write_bytes(bytes(content))
    with pytest.raises(DataError, match="encrypted"):
        archive.extract(source, tmp_path / "cache")


def test_clutter_of_other_systems_is_left_out(tmp_path):
    clutter = {"__MACOSX/train/._a.jpg": b"x", "train/._b.jpg": b"x", ".DS_Store": b"x", "Thumbs.db": b"x"}
    folder = archive.extract(make_zip(tmp_path / "x.zip", {**CONTENT, **clutter}), tmp_path / "cache")
    assert files_in(folder) == CONTENT


def test_no_space_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 70 * 1024**2})
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: usage)
    source = make_zip(tmp_path / "x.zip", {"big": bytes(8 * 1024**2)})
    with pytest.raises(StorageError, match=r"no space to unpack x\.zip: 75 MB needed, 73 MB free"):
        archive.extract(source, tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache").iterdir() if not path.name.endswith(".lock")] == []


def test_a_full_disk_while_writing_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    source = make_zip(tmp_path / "x.zip")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archive, "_write", full)
    with pytest.raises(StorageError, match="no space left"):
        archive.extract(source, tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache").iterdir() if not path.name.endswith(".lock")] == []


def _unpack_slowly(source: Path, cache: Path) -> None:
    write = archive._write

    def slowly(member, target):
        write(member, target)
        time.sleep(0.2)

    archive._write = slowly
    archive.extract(source, cache)


def test_killed_in_the_middle_is_not_taken_for_whole(tmp_path):
    source, cache = make_zip(tmp_path / "x.zip", {f"{i}.txt": b"x" for i in range(40)}), tmp_path / "cache"
    worker = multiprocessing.get_context("fork").Process(target=_unpack_slowly, args=(source, cache))
    worker.start()
    while len(list(cache.glob(".*.partial/*.txt"))) < 2:
        assert worker.is_alive()
        time.sleep(0.02)
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    assert list(cache.glob(".*.partial/*.txt"))
    assert not list(cache.glob("x-*"))
    folder = archive.extract(source, cache)
    assert len(files_in(folder)) == 40
    assert not list(cache.glob(".*.partial"))


def test_a_folder_without_the_marker_is_unpacked_again(tmp_path):
    source = make_zip(tmp_path / "x.zip")
    folder = archive.extract(source, tmp_path / "cache")
    (folder / archive.MARKER).unlink()
    (folder / "train" / "a.jpg").unlink()
    assert files_in(archive.extract(source, tmp_path / "cache")) == CONTENT


@pytest.mark.parametrize("damage", ["lost", "cut", "emptied"])
def test_an_unpacked_folder_that_lost_something_is_unpacked_again_and_said(tmp_path, capsys, damage):
    source = make_zip(tmp_path / "x.zip")
    folder = archive.extract(source, tmp_path / "cache")
    if damage == "lost":
        (folder / "train" / "a.jpg").unlink()
    else:
        (folder / "train" / "a.jpg").write_bytes(b"" if damage == "emptied" else CONTENT["train/a.jpg"][:1])
    capsys.readouterr()
    assert files_in(archive.extract(source, tmp_path / "cache")) == CONTENT
    assert "train/a.jpg: it is unpacked again" in " ".join(capsys.readouterr().err.split())
    archive.extract(source, tmp_path / "cache")
    assert "again" not in capsys.readouterr().err


def test_what_a_killed_process_left_of_another_archive_is_removed(tmp_path):
    cache = tmp_path / "cache"
    (cache / ".dead-123.partial" / "train").mkdir(parents=True)
    (cache / ".dead-123.lock").touch()
    (cache / ".alive-456.partial").mkdir()
    with only_one(cache / ".alive-456.lock"):
        archive.extract(make_zip(tmp_path / "x.zip"), cache)
    assert [path.name for path in cache.glob(".*.partial")] == [".alive-456.partial"]


def named_zip(path: Path, raw: bytes, flag: bool) -> Path:
    """A zip with one member whose name is these bytes, with or without the flag that says UTF-8."""
    placeholder = "x" * len(raw)
    make_zip(path, {f"{placeholder}.txt": b"1"})
    content = bytearray(path.read_bytes().replace(placeholder.encode(), raw))
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = content.find(mark) + at + 1
        content[place] = content[place] | 0x08 if flag else content[place] & ~0x08
    path.write_bytes(bytes(content))
    return path


@pytest.mark.parametrize(
    ("raw", "flag", "name"),
    [
        ("caf\u00e9".encode(), True, "caf\u00e9"),
        ("caf\u00e9".encode(), False, "caf\u00e9"),  # many tools write UTF-8 without saying so
        (b"caf\x82", False, "caf\u00e9"),  # code page 437, as the format has it
        (b"caf\xe9", False, "caf\u0398"),  # Latin-1: not what was meant, but a name that can be used
    ],
)
def test_names_in_a_zip_in_any_encoding(tmp_path, raw, flag, name):
    folder = archive.extract(named_zip(tmp_path / "x.zip", raw, flag), tmp_path / "cache")
    assert list(files_in(folder)) == [f"{name}.txt"]


def test_a_zip_that_calls_other_bytes_utf8_is_refused_by_name(tmp_path):
    with pytest.raises(DataError, match=r"a file whose name is not in UTF-8 \(b'caf\\xe9\.txt'\)") as caught:
        archive.extract(named_zip(tmp_path / "x.zip", b"caf\xe9", True), tmp_path / "cache")
    assert "download" not in str(caught.value)


def test_a_tars_name_that_is_not_utf8_keeps_its_bytes(tmp_path):
    name = os.fsdecode(b"caf\xe9.txt")
    folder = archive.extract(make_tar(tmp_path / "x.tar", {name: b"1"}), tmp_path / "cache")
    assert [os.fsencode(path) for path in files_in(folder)] == [b"caf\xe9.txt"]


WRONG = {
    "x.csv": (b"id,breed\n", "is a table, not the data"),
    "x.pdf": (b"%PDF-1.7", "is a PDF, neither a zip nor a tar"),
    "x.heic": (b"\0\0\0\x18ftypheic", "is HEIC, a picture that cannot be read: save it as JPEG"),
    "page.zip": (b"<!DOCTYPE html><html>", "is a web page, neither a zip nor a tar"),
    "half.tgz": (b"nothing", "or only part of one: download it again"),
    "thing": (b"nothing", "neither a zip nor a tar, and no photo"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_given_for_an_archive_is_named(tmp_path, name):
    content, words = WRONG[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=words):
        archive.extract(tmp_path / name, tmp_path / "cache")
