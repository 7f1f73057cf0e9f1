"""Breeds that differ only in spelling: told with their counts, joined on request, and remembered by the run."""

from __future__ import annotations

from pathlib import Path

import pytest

from competition.config import ProbeConfig, TrainConfig
from competition.data.source.arrange import arranged
from competition.data.source.layout import load_data
from competition.data.source.names import spelling
from competition.errors import DataError, ResumeError
from competition.files import write_json
from competition.record.run_dir import RunDir
from tests.data.conftest import picture, save, write_rows

SPELLINGS = {
    "Chow Chow": "chow_chow",
    "chow-chow": "chow_chow",
    "CHOW  CHOW ": "chowchow",
    "caf\u00e9": "cafe\u0301",
    "cafe": "caf\u00e9",
    "St. Bernard": "st_bernard",
    "n02085620-Chihuahua": "chihuahua",
    "black\u2013and\u2013tan": "black-and-tan",
    "Stra\u00dfe": "strasse",
    "O\u2019Neil": "o'neil",
    "a\u00a0b": "a b",
    "\uff21kita": "akita",
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_spellings_of_one_name(name):
    assert spelling(name) == spelling(SPELLINGS[name])


@pytest.mark.parametrize(
    ("one", "other"), [("akita", "akita2"), ("border_terrier", "border_collie"), ("\u72ac", "\u732b"), ("-", "_")]
)
def test_other_names_stay_apart(one, other):
    assert spelling(one) != spelling(other)


def class_folders(folder: Path, counts: dict[str, int]) -> Path:
    for number, (name, photos) in enumerate(counts.items()):
        for copy in range(photos):
            save(folder / name / f"{number}_{copy}.jpg", picture(100 * number + copy))
    return folder


def test_class_folders_are_told_with_both_names_and_counts(tmp_path, capfd):
    counts = {"Chow Chow": 2, "chow_chow": 4, "caf\u00e9": 1, "cafe\u0301": 3, "pug": 2}
    data = load_data(class_folders(tmp_path, counts))
    said = capfd.readouterr().err
    assert (
        "the breeds 'Chow Chow' and 'chow_chow' differ only in spelling (2 and 4 photos): join them with --set merge"
        in said
    )
    assert r"the breeds 'cafe\u0301' and 'café' differ only in spelling (3 and 1 photos)" in said
    assert len(data.classes) == 5
    joined = arranged(data, ProbeConfig(merge_classes="true"))
    assert joined.classes == ("cafe\u0301", "chow_chow", "pug")
    assert [int((joined.labels == k).sum()) for k in range(3)] == [4, 6, 2]
    assert arranged(joined, ProbeConfig(merge_classes="true")) == joined
    assert arranged(data, ProbeConfig()) is data
    assert joined.digest != data.digest


def test_parts_that_spell_a_breed_in_two_ways(tmp_path, capfd):
    class_folders(tmp_path / "train", {"Great Dane": 3, "pug": 3})
    class_folders(tmp_path / "valid", {"great_dane": 1, "pug": 1})
    class_folders(tmp_path / "test", {"great-dane": 2, "pug": 1, "unknown": 1})
    data = load_data(tmp_path)
    said = capfd.readouterr().err
    assert (
        "the breeds 'Great Dane' and 'great-dane' and 'great_dane' differ only in spelling (3 and 2 and 1 photos)"
        in said
    )
    assert "1 photos in test/ lie in folders that are called like no breed of train/: unknown" in said
    joined = arranged(data, ProbeConfig(merge_classes="true"))
    assert joined.classes == ("Great Dane", "pug")
    assert sorted(str(photo.breed) for photo in joined.test) == ["Great Dane", "Great Dane", "None", "pug"]


def test_labels_and_the_samples_columns(kaggle, capfd):
    text = (kaggle / "labels.csv").read_text().replace(",akita", ",Akita")
    (kaggle / "labels.csv").write_text(text)
    data = load_data(kaggle)
    assert "the breed 'Akita' of the labels is spelt 'akita' in sample_submission.csv: join" in capfd.readouterr().err
    assert arranged(data, TrainConfig(merge_classes="true")).classes == ("akita", "boxer", "collie")


def test_a_mapping_file(tmp_path):
    data = load_data(class_folders(tmp_path / "data", {"Chow Chow": 2, "chow": 4, "pug": 2}))
    table = write_rows(tmp_path / "names.csv", [["from", "to"], ["Chow Chow", "chow"], ["pug", "Mops"]])
    joined = arranged(data, ProbeConfig(merge_classes=str(table)))
    assert joined.classes == ("Mops", "chow")
    assert [int((joined.labels == k).sum()) for k in range(2)] == [2, 6]
    for rows, words in (
        ([["from", "into"]], "needs the columns 'from' and 'to'"),
        ([["from", "to"], ["Chow", "x"]], r"row 1: there is no breed 'Chow' - did you mean 'chow'"),
        ([["from", "to"], ["pug", "x"], ["pug", "y"]], "row 2: 'pug' gets two names"),
        ([["from", "to"], ["pug", ""]], "row 1: 'pug' gets no name"),
        ([["from", "to"], ["pug", "chow"], ["chow", "x"]], "'chow' stands in 'to' and in 'from'"),
        ([["from", "to"], ["pug", "chow"], ["Chow Chow", "chow"]], r"leaves photos of 1 breed\(s\)"),
    ):
        write_rows(table, rows)
        with pytest.raises(DataError, match=words):
            arranged(data, ProbeConfig(merge_classes=str(table)))
    with pytest.raises(DataError, match="merge_classes=maybe is neither true, false nor a file"):
        arranged(data, ProbeConfig().override(["merge_classes=maybe"]))


def test_the_keys_leave_older_configurations_as_they_were():
    assert ProbeConfig().override(["merge_classes=no"]) == ProbeConfig()
    assert ProbeConfig().override(["merge_classes=Yes"]).merge_classes == "true"
    # The digest of the default configuration before these keys came.
    assert ProbeConfig().digest == "646b69a311de9d2a"
    assert ProbeConfig(merge_classes="true").digest != ProbeConfig().digest


def test_a_runs_data_are_arranged_as_the_run_had_them(tmp_path):
    class_folders(tmp_path / "data", {"Chow Chow": 2, "chow_chow": 4, "pug": 2})
    run, blend = tmp_path / "run", tmp_path / "blend"
    write_json(run / "config.json", {"engine": "ProbeConfig", "merge_classes": "true"})
    write_json(blend / "config.json", {"engine": "BlendConfig", "merge_classes": "", "crop_to_boxes": False})
    write_json(blend / "manifest.json", {"member_paths": ["../run"]})
    for folder in (run, blend):
        assert load_data(tmp_path / "data", like=folder).classes == ("chow_chow", "pug")
    write_json(run / "config.json", {"engine": "ProbeConfig"})  # of an older version
    assert len(load_data(tmp_path / "data", like=run).classes) == 3


def test_a_run_of_an_older_version_is_continued(tmp_path):
    run = RunDir(tmp_path)
    run.open(ProbeConfig(), "digest")
    stored = {key: value for key, value in run.config.items() if key not in ("merge_classes", "crop_to_boxes")}
    write_json(tmp_path / "config.json", stored)
    run.open(ProbeConfig(), "digest")
    with pytest.raises(ResumeError, match="merge_classes: '' -> 'true'"):
        run.open(ProbeConfig(merge_classes="true"), "digest")
