from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from competition.data.source.competition_data import CompetitionData, Photo
from competition.data.source.layout import load_data
from competition.errors import DataError
from tests.data.conftest import BREEDS, competition, picture, save, write_rows, zipped


def check_whole(data: CompetitionData) -> None:
    assert data.layout == "Kaggle layout"
    assert data.train_ids == tuple(f"p{i:03d}" for i in range(12))
    assert data.test_ids == ("t000", "t001", "t002")
    assert data.classes == BREEDS
    assert data.labels.tolist() == [0, 1, 2] * 4
    assert data.labels.dtype == np.int64
    assert data.sample_submission is not None
    assert all(photo.path.is_file() for photo in (*data.train, *data.test))
    assert all(photo.breed is None for photo in data.test)


def test_a_folder_in_kaggles_layout(kaggle):
    check_whole(load_data(kaggle))


def test_one_folder_deeper(kaggle, tmp_path):
    (tmp_path / "outer").mkdir()
    kaggle.rename(tmp_path / "outer" / "dog-breed-identification")
    check_whole(load_data(tmp_path / "outer"))


@pytest.mark.parametrize("prefix", ["", "dog-breed-identification/"])
def test_the_zip_as_downloaded(kaggle, tmp_path, prefix):
    data = load_data(zipped(kaggle, tmp_path / "x.zip", prefix))
    check_whole(data)
    assert data.source == tmp_path / "x.zip"
    assert data.digest == load_data(kaggle).digest


@pytest.mark.parametrize("repeats_its_name", [True, False])
def test_zips_inside_the_zip_as_kaggle_once_packed_it(kaggle, tmp_path, repeats_its_name):
    outer = tmp_path / "outer"
    outer.mkdir()
    for name in ("train", "test"):
        zipped(kaggle / name, outer / f"{name}.zip", f"{name}/" if repeats_its_name else "")
    for name in ("labels.csv", "sample_submission.csv"):
        (tmp_path / name).mkdir()
        shutil.copy(kaggle / name, tmp_path / name / name)
        zipped(tmp_path / name, outer / f"{name}.zip")
    check_whole(load_data(outer))
    check_whole(load_data(zipped(outer, tmp_path / "all.zip")))


def test_a_folder_that_holds_only_the_archive(kaggle, tmp_path):
    (tmp_path / "downloads").mkdir()
    zipped(kaggle, tmp_path / "downloads" / "dog-breed-identification.zip")
    check_whole(load_data(tmp_path / "downloads"))


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "\ufeff" + text.replace("\n", "\r\n") + "\r\n\r\n",
        lambda text: text.replace(",", " , "),
    ],
    ids=["bom", "crlf", "bom and crlf and empty lines", "blanks"],
)
def test_labels_as_spreadsheets_leave_them(kaggle, damage):
    text = (kaggle / "labels.csv").read_text().replace("\r\n", "\n")
    (kaggle / "labels.csv").write_bytes(damage(text).encode())
    check_whole(load_data(kaggle))


BAD_LABELS = {
    "missing column": (b"id,bread\np000,akita\n", r"labels.csv: the column 'breed' is missing .*did you mean 'bread'"),
    "unknown id": (b"id,breed\np000,akita\nnobody,boxer\n", r"1 ids have no photo in train/ \(first: nobody\)"),
    "duplicate id": (b"id,breed\np000,akita\np000,akita\n", "row 2: the id 'p000' is listed twice"),
    "two breeds": (b"id,breed\np000,akita\np000,boxer\n", r"'p000' is listed with two breeds \(akita, boxer\)"),
    "empty breed": (b"id,breed\np000,akita\np001,\n", "row 2: the photo 'p001' has an empty breed"),
    "blank breed": (b"id,breed\np000,akita\np001,  \n", "row 2: the photo 'p001' has an empty breed"),
    "empty id": (b"id,breed\n,akita\n", "row 1: the id is empty"),
    "cells": (b"id,breed\np000,akita,extra\n", "line 2: 3 cells where the header has 2"),
    "no rows": (b"id,breed\n", "no rows below its header"),
    "empty": (b"", "is empty"),
    "not text": (b"\xff\xfe\x00i\x00d", "not a CSV in UTF-8"),
    "one breed": (b"id,breed\np000,akita\np001,akita\n", "1 breed"),
    "nul": (b"id,breed\np0\x0000,akita\n", r"no photo in train/|not a CSV"),
}


@pytest.mark.parametrize("case", BAD_LABELS)
def test_bad_labels_give_one_clear_line(kaggle, case):
    content, words = BAD_LABELS[case]
    (kaggle / "labels.csv").write_bytes(content)
    with pytest.raises(DataError, match=words) as caught:
        load_data(kaggle)
    assert "\n" not in str(caught.value)


def test_photos_without_label_are_left_out_and_told(kaggle):
    save(kaggle / "train" / "stray.jpg", picture(77))
    data = load_data(kaggle)
    assert [photo.id for photo in data.unlabelled] == ["stray"]
    assert "stray" not in data.train_ids
    assert any("1 photos in train/ have no row" in note and "stray" in note for note in data.notes)


def test_files_that_are_no_photos_are_told(kaggle):
    (kaggle / "train" / "notes.txt").write_text("x")
    (kaggle / "train" / ".hidden.jpg").write_text("x")
    told = "left out, 2 files: 1 hidden (train/.hidden.jpg); 1 not a photo (train/notes.txt)"
    assert load_data(kaggle).notes == (told,)


def test_two_photos_of_one_id(kaggle):
    save(kaggle / "train" / "p000.png", picture(5))
    with pytest.raises(DataError, match=r"two photos have the id 'p000' \(train/p000.jpg and train/p000.png\)"):
        load_data(kaggle)


def test_an_id_in_train_and_test(kaggle):
    shutil.copy(kaggle / "train" / "p000.jpg", kaggle / "test" / "p000.jpg")
    with pytest.raises(DataError, match="two photos have the id 'p000'"):
        load_data(kaggle)


def test_labels_without_train(kaggle):
    shutil.rmtree(kaggle / "train")
    with pytest.raises(DataError, match="no train/ folder"):
        load_data(kaggle)


def test_nothing_of_use(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"neither labels\.csv with train/ nor class folders"):
        load_data(tmp_path / "empty")


def test_a_file_that_is_no_archive(tmp_path):
    (tmp_path / "x.pdf").write_bytes(b"%PDF" * 200)
    with pytest.raises(DataError, match="neither a zip nor a tar"):
        load_data(tmp_path / "x.pdf")


def test_a_missing_place_names_it_and_its_origin(tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"no\.zip \(--data\) does not exist"):
        load_data(tmp_path / "no.zip")
    monkeypatch.setenv("DOGBREED_DATA", str(tmp_path / "gone"))
    with pytest.raises(DataError, match=r"gone \(DOGBREED_DATA\) does not exist"):
        load_data()


def test_where_data_are_looked_for_and_in_which_order(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"no competition data found \(looked at data\).*kaggle competitions download"):
        load_data()
    competition(tmp_path / "data", per_breed=1)
    assert len(load_data().train) == 3
    monkeypatch.setenv("DOGBREED_KAGGLE_ROOT", str(tmp_path / "kaggle"))
    save(tmp_path / "kaggle" / "input" / "a-weights" / "figure.png", picture(1))
    competition(tmp_path / "kaggle" / "input" / "dog-breed-identification", per_breed=2)
    assert len(load_data().train) == 6
    monkeypatch.setenv("DOGBREED_DATA", str(competition(tmp_path / "named", per_breed=3)))
    assert len(load_data().train) == 9
    assert len(load_data(competition(tmp_path / "given", per_breed=4)).train) == 12
    said = capfd.readouterr().err
    for words in (
        "data (./data), Kaggle layout",
        "(Kaggle input)",
        "(DOGBREED_DATA)",
        "given (--data)",
        "12 train photos",
    ):
        assert words in said


def test_a_competition_mounted_one_level_deeper_on_kaggle(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DOGBREED_KAGGLE_ROOT", str(tmp_path))
    competition(tmp_path / "input" / "competitions" / "dog-breed-identification", per_breed=2)
    assert len(load_data().train) == 6


def test_class_folders_with_train_valid_test(tmp_path):
    for split in ("train", "valid", "test"):
        for breed in ("b", "a"):
            for number in range(2):
                save(
                    tmp_path / split / breed / f"{split}{breed}{number}.png",
                    picture(len(split) * 100 + ord(breed) + number),
                )
    data = load_data(tmp_path)
    assert data.layout == "class folders"
    assert data.classes == ("a", "b")
    assert len(data.train) == 8
    assert {photo.breed for photo in data.train if photo.id.startswith("validb")} == {"b"}
    assert data.test_ids == ("testa0", "testa1", "testb0", "testb1")
    assert [photo.breed for photo in data.test] == ["a", "a", "b", "b"]
    assert "valid/ joins train/" in data.notes[0]


def test_plain_class_folders_whose_file_names_repeat(tmp_path):
    for breed in ("great dane", "pug"):
        for number in range(2):
            save(tmp_path / "birds" / breed / f"{number}.jpg", picture(number))
    data = load_data(tmp_path)
    assert data.train_ids == ("great_dane_0", "great_dane_1", "pug_0", "pug_1")
    assert data.classes == ("great dane", "pug")
    assert data.test == ()
    assert "no test/" in data.notes[0]


def test_names_that_repeat_in_every_split_take_the_split_too(tmp_path):
    for split in ("train", "test"):
        for breed in ("a", "b"):
            save(tmp_path / split / breed / "0.png", picture(3))
    data = load_data(tmp_path)
    assert data.train_ids == ("train_a_0", "train_b_0")
    assert data.test_ids == ("test_a_0", "test_b_0")


def test_prediction_needs_no_labels(kaggle, tmp_path):
    (kaggle / "labels.csv").write_text("broken")
    data = load_data(kaggle, need_labels=False)
    assert (data.train, data.classes, data.test_ids) == ((), (), ("t000", "t001", "t002"))
    assert data.layout == "photos"
    assert data.sample_submission is not None
    only_test = tmp_path / "only"
    shutil.copytree(kaggle / "test", only_test / "test")
    assert load_data(zipped(only_test, tmp_path / "only.zip"), need_labels=False).test_ids == data.test_ids


def test_a_folder_inside_test_is_a_breed_only_where_it_is_called_like_one(kaggle):
    (kaggle / "test").rename(kaggle / "moved")
    (kaggle / "test").mkdir()
    (kaggle / "moved").rename(kaggle / "test" / "unknown")
    assert [photo.breed for photo in load_data(kaggle).test] == [None, None, None]
    (kaggle / "test" / "unknown").rename(kaggle / "test" / "boxer")
    assert [photo.breed for photo in load_data(kaggle).test] == ["boxer"] * 3
    assert [photo.breed for photo in load_data(kaggle, need_labels=False).test] == [None, None, None]


def test_a_photo_that_vanishes_is_named(kaggle):
    data = load_data(kaggle)
    data.train[3].path.unlink()
    with pytest.raises(DataError, match=r"p003\.jpg has vanished"):
        _ = data.digest


def test_prediction_takes_loose_photos(tmp_path):
    for number in range(3):
        save(tmp_path / "loose" / f"{number}.webp", picture(number))
    assert load_data(tmp_path / "loose", need_labels=False).test_ids == ("0", "1", "2")
    assert load_data(zipped(tmp_path / "loose", tmp_path / "z.zip"), need_labels=False).test_ids == ("0", "1", "2")
    assert load_data(zipped(tmp_path / "loose", tmp_path / "y.zip", "in/"), need_labels=False).test_ids == (
        "0",
        "1",
        "2",
    )


def test_prediction_without_photos(tmp_path):
    (tmp_path / "test").mkdir()
    with pytest.raises(DataError, match="no photos to predict"):
        load_data(tmp_path, need_labels=False)


def test_without_drops_train_photos_only(kaggle):
    data = load_data(kaggle)
    rest = data.without({"p000", "t000"})
    assert rest.train_ids == data.train_ids[1:]
    assert rest.test == data.test
    assert rest.classes == data.classes
    assert len(rest.labels) == 11
    assert rest.digest != data.digest
    with pytest.raises(DataError, match=r"no readable photo is left of 1 breeds \(akita\)"):
        data.without({"p000", "p003", "p006", "p009"})


def test_the_digest_tells_labels_and_files(kaggle):
    before = load_data(kaggle).digest
    assert load_data(kaggle).digest == before
    rows = (kaggle / "labels.csv").read_text().replace("p000,akita", "p000,boxer")
    (kaggle / "labels.csv").write_text(rows)
    assert load_data(kaggle).digest != before


def test_data_that_contradict_themselves_are_refused(tmp_path):
    photo = Photo("a", tmp_path / "a.jpg", "pug")
    with pytest.raises(DataError, match="sorted"):
        CompetitionData(tmp_path, tmp_path, "photos", (), (), ("b", "a"))
    with pytest.raises(DataError, match="not among the classes"):
        CompetitionData(tmp_path, tmp_path, "photos", (photo,), (), ("a", "b"))


def test_hostile_ids_are_only_names(kaggle):
    write_rows(kaggle / "labels.csv", [["id", "breed"], ["p000", "akita"], ["../../etc/passwd", "boxer"]])
    with pytest.raises(DataError, match=r"1 ids have no photo in train/ \(first: \.\./\.\./etc/passwd\)"):
        load_data(kaggle)


@pytest.mark.shared
def test_the_real_competition(shared: Path, tmp_path, monkeypatch):
    data = load_data(shared / "data" / "dog-breed-identification.zip")
    assert (len(data.train), len(data.test), len(data.classes)) == (10222, 1000, 120)
    assert data.notes == ()
    assert np.bincount(data.labels).min() > 50
