"""Stanford Dogs as published and as copied: folders in folders, lists, boxes, WordNet's numbers."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from competition.config import ProbeConfig
from competition.data.photos.decode import read_photo
from competition.data.source import stanford
from competition.data.source.arrange import arranged, cut
from competition.data.source.layout import load_data
from competition.errors import DataError
from tests.data.conftest import picture, save

CLASSES = ("n02085620-Chihuahua", "n02088364-beagle", "n02110958-pug")
XML = """<annotation><size><width>200</width><height>100</height><depth>3</depth></size>
<object><name>x</name><bndbox><xmin>50</xmin><ymin>20</ymin><xmax>100</xmax><ymax>60</ymax></bndbox></object>{more}
</annotation>"""
SECOND = "<object><bndbox><xmin>90</xmin><ymin>10</ymin><xmax>150</xmax><ymax>50</ymax></bndbox></object>"


def cells(names: list[str]) -> np.ndarray:
    made = np.empty((len(names), 1), dtype=object)
    made[:, 0] = names
    return made


def stanford_dogs(top: Path, images: str = "Images", boxes: str = "Annotation", lists: str = ".") -> Path:
    train, test = [], []
    for number, name in enumerate(CLASSES):
        for copy in range(4):
            stem = f"{name.split('-')[0]}_{copy}"
            save(top / images / name / f"{stem}.jpg", np.asarray(picture(10 * number + copy, 100)).repeat(2, axis=1))
            (test if copy == 3 else train).append(f"{name}/{stem}.jpg")
            annotation = top / boxes / name / stem
            annotation.parent.mkdir(parents=True, exist_ok=True)
            annotation.write_text(XML.format(more=SECOND if copy == 1 else ""))
    (top / lists).mkdir(exist_ok=True, parents=True)
    for part, names in (("train", train), ("test", test), ("file", train + test)):
        savemat(top / lists / f"{part}_list.mat", {"file_list": cells(names), "labels": np.ones((len(names), 1))})
    return top


PLACES = {
    "as published": {},
    "as copied": {"images": "images/Images", "boxes": "annotations/Annotation", "lists": "lists"},
    "deep": {"images": "archive/a/b/images/Images", "boxes": "archive/annotations", "lists": "archive/lists"},
}


@pytest.mark.parametrize("case", PLACES)
def test_the_only_subtree_with_photos_is_found_with_its_lists(tmp_path, case):
    data = load_data(stanford_dogs(tmp_path / "top", **PLACES[case]))
    assert (data.layout, data.classes) == ("class folders", CLASSES)
    assert (len(data.train), len(data.test)) == (9, 3)
    assert {photo.id for photo in data.test} == {f"{name.split('-')[0]}_3" for name in CLASSES}
    assert [photo.breed for photo in data.test] == list(CLASSES)
    assert "train_list and test_list: 9 photos train, 3 test" in data.notes
    assert data.left_out == ()
    assert data.boxes is not None


def test_photos_beside_the_subtree_are_told(tmp_path):
    top = stanford_dogs(tmp_path / "top", **PLACES["as copied"])
    save(top / "preview.jpg", picture(1))
    (top / "README.md").write_text("Stanford Dogs")
    data = load_data(top)
    assert len(data.train) == 9
    assert data.notes[-1] == "left out, 1 file: 1 a photo where none is looked for (preview.jpg)"


def test_the_three_archives_as_published(tmp_path):
    top = stanford_dogs(tmp_path / "top")
    packed = tmp_path / "packed"
    packed.mkdir()
    for name, members in (
        ("images", ["Images"]),
        ("annotation", ["Annotation"]),
        ("lists", ["train_list.mat", "test_list.mat", "file_list.mat"]),
    ):
        with tarfile.open(packed / f"{name}.tar", "w") as tarred:
            for member in members:
                tarred.add(top / member, member)
    data = load_data(packed)
    assert (len(data.train), len(data.test), data.classes) == (9, 3, CLASSES)
    assert data.boxes is not None


def test_images_alone_have_neither_lists_nor_boxes(tmp_path):
    stanford_dogs(tmp_path)
    data = load_data(tmp_path / "Images")
    assert (len(data.train), data.test, data.boxes) == (12, (), None)
    with pytest.raises(DataError, match=r"crop_to_boxes: .* has no folder Annotation/"):
        arranged(data, ProbeConfig(crop_to_boxes=True))


def test_photos_and_lists_that_disagree_are_told(tmp_path):
    stanford_dogs(tmp_path)
    save(tmp_path / "Images" / CLASSES[0] / "new.jpg", picture(99))
    (tmp_path / "Images" / CLASSES[1] / "n02088364_0.jpg").unlink()
    data = load_data(tmp_path)
    assert {file.name: file.reason for file in data.left_out} == {
        f"{CLASSES[0]}/new.jpg": "in neither of the lists",
        f"{CLASSES[1]}/n02088364_0.jpg": "in a list, without a photo",
    }
    savemat(tmp_path / "train_list.mat", {"file_list": cells(["other/x.jpg"])})
    with pytest.raises(DataError, match="train_list names none of the photos here"):
        load_data(tmp_path)


def test_lists_as_text_and_lists_that_are_none(tmp_path):
    stanford_dogs(tmp_path)
    train, test = stanford.read_split(tmp_path)
    for part, names in (("train", train), ("test", test)):
        (tmp_path / f"{part}_list.mat").unlink()
        (tmp_path / f"{part}_list.txt").write_text("\n".join(sorted(names)) + "\n")
    assert stanford.read_split(tmp_path) == (train, test)
    (tmp_path / "train_list.txt").write_text("\n".join(sorted(train | test)))
    with pytest.raises(DataError, match="3 photos are in train_list and in test_list"):
        load_data(tmp_path)
    (tmp_path / "test_list.mat").write_bytes(b"MATLAB 5.0 MAT-file" + bytes(200))
    (tmp_path / "train_list.mat").write_bytes(b"no mat at all")
    with pytest.raises(DataError, match=r"train_list\.mat is no list of photos") as caught:
        load_data(tmp_path)
    assert "\n" not in str(caught.value)


def test_photos_are_cut_to_their_boxes(tmp_path):
    data = load_data(stanford_dogs(tmp_path))
    made = arranged(data, ProbeConfig(crop_to_boxes=True))
    assert made.train_ids == data.train_ids
    one, two = (next(photo for photo in made.train if photo.id == f"n02085620_{copy}") for copy in (0, 1))
    # 50..100 of 200 and 20..60 of 100, a tenth of its sides around: 45..105 and 16..64.
    assert read_photo(one.path).shape == (48, 60, 3)
    assert read_photo(two.path).shape == (60, 120, 3)  # both dogs: 50..150 and 10..60
    assert made.digest != data.digest
    assert any("cut to boxes" in note for note in made.notes)
    assert arranged(made, ProbeConfig(crop_to_boxes=True)) is made
    (tmp_path / "Annotation" / CLASSES[0] / "n02085620_2").unlink()
    whole = arranged(data, ProbeConfig(crop_to_boxes=True))
    assert next(photo for photo in whole.train if photo.id == "n02085620_2").path.parent.parent.name == "Images"
    assert "1 photos have no box and stay whole" in whole.notes


def test_a_box_stays_inside_the_photo():
    image = np.arange(20 * 30 * 3, dtype=np.uint8).reshape(20, 30, 3)
    np.testing.assert_array_equal(cut(image, (0.0, 0.0, 1.0, 1.0)), image)
    assert cut(image, (0.5, 0.5, 1.0, 1.0), 0.0).shape == (10, 15, 3)


BAD_XML = {
    "entities": ('<!DOCTYPE a [<!ENTITY b "c">]><annotation/>', "without a document type"),
    "utf-16": ("<annotation/>".encode("utf-16"), "without a document type"),
    "large": ("<annotation>" + " " * (1 << 20) + "</annotation>", "small XML"),
    "no xml": ("{}", "no annotation in PASCAL"),
    "no size": ("<annotation><object><bndbox><xmin>1</xmin></bndbox></object></annotation>", "no annotation"),
    "empty box": (XML.replace("<xmax>100", "<xmax>40").format(more=""), "is empty"),
}


@pytest.mark.parametrize("case", BAD_XML)
def test_annotations_are_read_with_care(tmp_path, case):
    content, words = BAD_XML[case]
    path = tmp_path / "b" / "x"
    path.parent.mkdir()
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=words):
        stanford.box_of(tmp_path, tmp_path / "b" / "x.jpg")


def test_wordnets_numbers_find_imagenets_rows():
    from competition.training.backbones.imagenet import imagenet_rows

    names = (
        "n02085620-Chihuahua",
        "n02113186",
        "n02106166_Border_collie",
        "n02113186-Cardigan",
        "pug",
        "n99999999-beagle",
    )
    rows = imagenet_rows(names)
    assert rows == {
        "n02085620-Chihuahua": 151,
        "n02113186": 264,
        "n02106166_Border_collie": 232,
        "n02113186-Cardigan": 264,
        "pug": 254,
        "n99999999-beagle": 162,
    }
    # The Cardigan is a jacket as well: the number decides even where no other class is a dog.
    assert imagenet_rows(["n02963159-cardigan", "n02085620-Chihuahua"])["n02963159-cardigan"] == 474


def test_names_are_shown_without_the_number():
    from competition.explain.networks.protocol import class_index
    from competition.report.html.pages import pretty

    assert pretty("n02106166-Border_collie") == "Border collie"
    assert pretty("n02106166") == "N02106166"
    assert class_index(CLASSES, "chihuahua") == 0
    assert class_index(CLASSES, "n02088364-beagle") == 1
