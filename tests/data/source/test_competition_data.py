"""Photos and labels by id: in the order asked for, and what is not there is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from competition.data.source.competition_data import CompetitionData, Photo
from competition.errors import DataError

PLACE = Path("photos")


def photo(name: str, breed: str | None) -> Photo:
    return Photo(name, PLACE / f"{name}.jpg", breed)


DATA = CompetitionData(
    PLACE,
    PLACE,
    "class folders",
    (photo("a", "pug"), photo("b", "akita"), photo("c", "pug")),
    (photo("known", "akita"), photo("unknown", None)),
    ("akita", "pug"),
)


def test_photos_and_labels_come_in_the_order_asked_for() -> None:
    assert [found.path.name for found in DATA.photos_of(["c", "unknown", "a"])] == ["c.jpg", "unknown.jpg", "a.jpg"]
    assert DATA.labels_of(["c", "known", "a", "b"]).tolist() == [1, 0, 1, 0]
    assert DATA.labels_of(["c", "b"], ("pug", "basset", "akita")).tolist() == [0, 2]
    assert DATA.labels_of(DATA.train_ids).tolist() == DATA.labels.tolist()
    assert DATA.labels_of([]).shape == (0,)


def test_what_the_data_lack_is_named() -> None:
    with pytest.raises(DataError, match=r"2 of 3 photos are not in these data, photos \(first: x\): give the data"):
        DATA.photos_of(["a", "x", "y"])
    with pytest.raises(DataError, match=r"1 of 2 photos have no breed in these data, photos \(first: unknown\)"):
        DATA.labels_of(["a", "unknown"])
    with pytest.raises(DataError, match="photo 'b' has the breed 'akita', which is not among the classes"):
        DATA.labels_of(["a", "b"], ("pug",))
    with pytest.raises(DataError, match="first: c"):
        DATA.without(["c"]).labels_of(["c"])
