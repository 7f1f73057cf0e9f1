"""Breeds to train with in place of the given ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from pathlib import Path

from competition.console import say
from competition.data.source.competition_data import CompetitionData
from competition.data.source.labels import read_csv
from competition.errors import DataError
from competition.files import text_of_cell


def relabelled(data: CompetitionData, path: Path) -> CompetitionData:
    """Train with the breeds that a CSV suggests: columns ``id`` and ``suggested``, as the report exports them.

    Raises:
        DataError: the file, a column, an id or a breed is not what it should be.
    """
    if not path.is_file():
        raise DataError(f"{path} is missing: 'dogbreed report' writes suspects.csv in that form")
    header, rows = read_csv(path, strip=False)
    if not rows or not {"id", "suggested"} <= set(header):
        raise DataError(f"{path} needs the columns 'id' and 'suggested'")
    wanted: dict[str, str] = {}
    known = set(data.train_ids)
    for row in rows:
        name = _as_known(row[header.index("id")], known)
        breed = _as_known(row[header.index("suggested")], data.classes)
        if breed and wanted.setdefault(name, breed) != breed:
            raise DataError(f"{path} gives '{name}' two breeds ('{wanted[name]}' and '{breed}'): keep one row")
    for name, breed in wanted.items():
        if name not in known:
            raise DataError(f"{path} names the photo '{name}', which is not in train")
        if breed not in data.classes:
            raise DataError(f"{path} gives '{name}' the breed '{breed}', which is not one of the {len(data.classes)}")
    say(f"relabel: {len(wanted)} photos get the breed that {path} suggests")
    train = tuple(dataclasses.replace(photo, breed=wanted.get(photo.id, photo.breed)) for photo in data.train)
    return dataclasses.replace(data, train=train)


def _as_known(cell: str, known: Collection[str]) -> str:
    """The text of a cell as it is written, else without blanks around it, which people leave."""
    text = text_of_cell(cell)
    return text if text in known else text_of_cell(cell.strip())
