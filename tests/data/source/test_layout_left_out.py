"""Nothing in a data folder vanishes without a word, whatever it is called."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from competition.data.audit.audit import audit
from competition.data.source.kinds import kind_of
from competition.data.source.layout import load_data
from competition.errors import DataError
from tests.data.conftest import picture, save, zipped

JPEG_NAMES = ("a.jpg", "b.JPG", "c.jpeg", "d.jpe", "e.jfif", "f.jpeg.1", "g", "h.heic", "i.txt", "j.tmp", "k.PNG")
OTHERS = {
    "real.heic": (b"\0\0\0\x18ftypheic" + bytes(20), "HEIC, which cannot be read"),
    "real.avif": (b"\0\0\0\x18ftypavif" + bytes(20), "AVIF, which cannot be read"),
    "raw.nef": (b"II*\0" + bytes(40), "a camera's raw file, which cannot be read"),
    "notes.txt": (b"BMW is no bitmap", "not a photo"),
    "empty": (b"", "not a photo"),
    "Thumbs.db": (b"\xd0\xcf\x11\xe0", "hidden"),
    ".secret.jpg": (b"\xff\xd8\xff", "hidden"),
}


def jpeg(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save(path.parent / "made.jpg", picture(seed)).rename(path)
    return path


def breeds(folder: Path) -> Path:
    for number, breed in enumerate(("akita", "boxer")):
        for place, name in enumerate(JPEG_NAMES):
            jpeg(folder / breed / name, 100 * number + place)
    return folder


def with_others(folder: Path) -> Path:
    for name, (content, _) in OTHERS.items():
        (folder / name).write_bytes(content)
    (folder / "gone.jpg").symlink_to("nowhere")
    jpeg(folder / "inner" / "deep.jpg", 7)
    shutil.copytree(folder / "inner", folder / "__MACOSX")
    return folder


def check_told(data, prefix: str) -> None:
    reasons = {file.name: file.reason for file in data.left_out}
    wanted = {f"{prefix}{name}": reason for name, (_, reason) in OTHERS.items()}
    wanted |= {f"{prefix}gone.jpg": "a link that leads nowhere", f"{prefix}__MACOSX": "hidden"}
    wanted |= {f"{prefix}inner/deep.jpg": "a photo where none is looked for"}
    assert set(reasons) == set(wanted)
    assert all(reasons[name].startswith(reason) for name, reason in wanted.items()), reasons
    (note,) = (note for note in data.notes if note.startswith("left out"))
    assert note.startswith("left out, 10 files: ")
    assert f"3 hidden ({prefix}.secret.jpg, " in note


def test_a_jpeg_is_read_whatever_it_is_called_in_class_folders(tmp_path):
    data = load_data(breeds(tmp_path))
    assert len(data.train) == 2 * len(JPEG_NAMES)
    assert audit(data, workers=1).unreadable == ()
    assert {photo.path.name for photo in data.train} == set(JPEG_NAMES)
    assert data.left_out == ()


def test_everything_else_is_counted_and_named_in_class_folders(tmp_path):
    with_others(breeds(tmp_path) / "akita")
    data = load_data(tmp_path)
    assert len(data.train) == 2 * len(JPEG_NAMES)
    check_told(data, "akita/")


@pytest.mark.parametrize("part", ["train", "test"])
def test_everything_else_is_counted_and_named_in_kaggles_layout(kaggle, part):
    with_others(kaggle / part)
    if part == "test":  # one folder down test/ may name breeds
        shutil.move(kaggle / "test" / "inner", kaggle / "test" / "one" / "inner")
    data = load_data(kaggle)
    assert len(data.train) == 12
    if part == "train":
        check_told(data, "train/")
    else:
        assert "test/one/inner/deep.jpg" in {file.name for file in data.left_out}
    (kaggle / "labels.csv").unlink()
    assert len(load_data(kaggle, need_labels=False).left_out) == (0 if part == "train" else 10)


def test_the_audit_lists_every_file_that_was_left_out(kaggle, tmp_path):
    with_others(kaggle / "train")
    report = audit(load_data(kaggle), workers=1)
    report.save(tmp_path / "audit")
    rows = (tmp_path / "audit" / "audit.csv").read_text().splitlines()
    assert sum(row.startswith("left out,train/") for row in rows) == 10
    assert type(report).load(tmp_path / "audit") == report


def test_what_an_archive_keeps_packed_is_named(kaggle, tmp_path):
    for name in ("__MACOSX/train/._p000.jpg", "train/Thumbs.db", ".DS_Store"):
        (kaggle / name).parent.mkdir(parents=True, exist_ok=True)
        (kaggle / name).write_bytes(b"x")
    for _ in range(2):  # freshly unpacked, then from the cache
        data = load_data(zipped(kaggle, tmp_path / "x.zip"))
        assert {file.name for file in data.left_out} == {"__MACOSX/train/._p000.jpg", "train/Thumbs.db", ".DS_Store"}
        assert data.notes == ("left out, 3 files: 3 hidden (.DS_Store, __MACOSX/train/._p000.jpg, train/Thumbs.db)",)


def test_a_class_without_a_readable_photo_is_told_and_so_is_a_folder_beside_train(tmp_path):
    for split in ("train", "valid"):
        for breed in ("a", "b"):
            save(tmp_path / split / breed / f"{split}{breed}.jpg", picture(len(split) + ord(breed)))
    (tmp_path / "train" / "lost").mkdir()
    (tmp_path / "train" / "lost" / "x.heic").write_bytes(OTHERS["real.heic"][0])
    save(tmp_path / "extra" / "c" / "1.jpg", picture(3))
    data = load_data(tmp_path)
    assert data.classes == ("a", "b")
    assert "the folder lost/ holds no photo: no such breed" in data.notes
    assert {file.name: file.reason for file in data.left_out} == {
        "train/lost/x.heic": "HEIC, which cannot be read (save it as JPEG)",
        "extra/c/1.jpg": "in a folder that is not looked at",
    }


@pytest.mark.parametrize(
    "names", [("Train", "Test", "Validation"), ("TRAIN", "testing", "VAL"), ("training", "test", "valid")]
)
def test_parts_are_found_whatever_their_capitals(tmp_path, names):
    for part in names:
        for breed in ("a", "b"):
            save(tmp_path / part / breed / f"{part}{breed}.jpg", picture(len(part) + ord(breed)))
    data = load_data(tmp_path)
    assert (data.classes, len(data.train), len(data.test)) == (("a", "b"), 4, 2)


def test_kinds_by_first_bytes():
    heads = {
        b"\xff\xd8\xff\xe0": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG", b"RIFF\0\0\0\0WEBPVP8 ": "WebP", b"GIF89a": "GIF",
        b"II*\0": "TIFF", b"BM" + bytes(12) + b"\x28\0\0\0": "BMP", b"BMW and Audi, a list": "", b"": "",
        b"\0\0\0\x1cftypmif1": "HEIC", b"\0\0\0\x1cftypmp42": "a video", b"RIFF\0\0\0\0WAVE": "",
    }  # fmt: skip
    assert {head: kind_of(head) for head in heads} == heads


def test_labels_whose_photos_are_missing_name_the_cause(kaggle):
    labels = (kaggle / "labels.csv").read_text()
    (kaggle / "train").rename(kaggle / "held")
    (kaggle / "train").mkdir()
    with pytest.raises(DataError, match=r"12 ids have no photo .* train/ holds no photo at all \(it is empty\)"):
        load_data(kaggle)
    (kaggle / "held").rename(kaggle / "train" / "held")
    with pytest.raises(DataError, match=r"a photo where none is looked for"):
        load_data(kaggle)
    for path in list((kaggle / "train" / "held").iterdir()):
        path.rename(kaggle / "train" / path.name.removeprefix("p"))
    (kaggle / "labels.csv").write_text(labels.replace("p00", "").replace("p0", ""))
    with pytest.raises(DataError, match="they lost their leading zeros"):
        load_data(kaggle)


ENCODED = {
    "utf-16": ("utf-16", "it is UTF-16"),
    "latin-1": ("latin-1", r"byte 0xe9, an accented letter"),
}


@pytest.mark.parametrize("case", ENCODED)
def test_labels_in_another_encoding_are_told_so(kaggle, case):
    encoding, words = ENCODED[case]
    text = (kaggle / "labels.csv").read_text().replace("akita", "akitaé")
    (kaggle / "labels.csv").write_bytes(text.encode(encoding))
    with pytest.raises(DataError, match=words):
        load_data(kaggle)


def test_semicolons_are_told(kaggle):
    (kaggle / "labels.csv").write_text((kaggle / "labels.csv").read_text().replace(",", ";"))
    with pytest.raises(DataError, match="separated by semicolons"):
        load_data(kaggle)


@pytest.mark.parametrize("ending", [".jpg", ".JPG", ".jpeg"])
def test_ids_that_are_file_names(kaggle, ending):
    plain = load_data(kaggle)
    for table in ("labels.csv", "sample_submission.csv"):
        lines = (kaggle / table).read_text().splitlines()
        lines = [lines[0], *(line.replace(",", f"{ending},", 1) for line in lines[1:])]
        (kaggle / table).write_text("\n".join(lines))
    data = load_data(kaggle)
    assert [photo.path for photo in data.train] == [photo.path for photo in plain.train]
    assert data.train_ids == tuple(f"{name}{ending}" for name in plain.train_ids)
    assert data.test_ids == tuple(f"{name}{ending}" for name in plain.test_ids)
    assert load_data(kaggle, need_labels=False).test_ids == data.test_ids
    assert data.unlabelled == ()


def test_ids_in_another_unicode_form_and_other_capitals(kaggle):
    (kaggle / "train" / "p000.jpg").rename(kaggle / "train" / "cafe\u0301.jpg")
    (kaggle / "train" / "p001.jpg").rename(kaggle / "train" / "P001.JPEG")
    text = (kaggle / "labels.csv").read_text(encoding="utf-8").replace("p000", "caf\u00e9")
    (kaggle / "labels.csv").write_text(text, encoding="utf-8")
    data = load_data(kaggle)
    assert data.train_ids[:2] == ("caf\u00e9", "p001")
    assert data.train[0].path.name == "cafe\u0301.jpg"


def test_looking_at_first_bytes_is_quick(tmp_path):
    content = save(tmp_path / "one.jpg", picture(1, 8)).read_bytes()
    for breed in ("a", "b"):
        (tmp_path / "data" / breed).mkdir(parents=True)
        for number in range(1000):
            (tmp_path / "data" / breed / f"{breed}{number}").write_bytes(content)
    begun = time.process_time()
    assert len(load_data(tmp_path / "data").train) == 2000
    assert time.process_time() - begun < 2.0  # 20,000 take about a second on a free core


def test_a_photo_given_as_data_is_named_so(kaggle):
    photo = kaggle / "test" / "t000.jpg"
    with pytest.raises(DataError, match=r"is a photo, not a data set: .* 'dogbreed predict RUN --data"):
        load_data(photo)
    assert load_data(photo, need_labels=False).test_ids == ("t000",)
    renamed = photo.rename(photo.with_suffix(".zip"))
    assert load_data(renamed, need_labels=False).test[0].path == renamed
    os.truncate(renamed, 0)
    with pytest.raises(DataError, match="is empty"):
        load_data(renamed, need_labels=False)
