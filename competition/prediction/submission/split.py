"""A competition made out of the training photos: 10 % become the test set, their breeds an answer sheet.

In the manner of openai/mle-bench's preparation of this competition, whose grader also holds out a tenth of ``train``:
the whole pipeline can be run on the new folder and its submission graded offline.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from competition.console import progress
from competition.errors import StorageError, UsageError
from competition.files import write_csv
from competition.prediction.submission.template import ID_COLUMN
from competition.system_errors import explain_disk_errors

if TYPE_CHECKING:
    from competition.data.source.competition_data import CompetitionData, Photo


@dataclass(frozen=True)
class Split:
    """Where the two parts lie.

    Attributes:
        public: a competition in Kaggle's layout: labels.csv, train/, test/, sample_submission.csv.
        answers: CSV with the columns id and breed of the photos in ``public/test``.
        train: photos left for training.
        test: photos held out.
    """

    public: Path
    answers: Path
    train: int
    test: int


def split_competition(data: CompetitionData, folder: Path, *, share: float = 0.1, seed: int = 0) -> Split:
    """Hold ``share`` of the training photos out, drawn per breed.

    Args:
        data: the competition; its own test photos are left out.
        folder: new or empty; gets ``public/`` and ``private/``. Photos are hard links where the disk allows.
        share: of the training photos to hold out.
        seed: of the draw.

    Raises:
        UsageError: the share is impossible or leaves a breed without a training photo.
        StorageError: the folder is not empty or cannot be written.
    """
    if not 0 < share < 1:
        raise UsageError(f"cannot hold out {share:.0%} of the photos: expected a share between 0 and 1")
    if folder.exists() and any(folder.iterdir()):
        raise StorageError(f"{folder} is not empty: choose a new folder")
    held = set(_draw(np.random.default_rng(seed), [str(photo.breed) for photo in data.train], share))
    train = [photo for row, photo in enumerate(data.train) if row not in held]
    test = sorted((data.train[row] for row in held), key=lambda photo: photo.id)
    lost = sorted(set(data.classes) - {str(photo.breed) for photo in train})
    if lost:
        raise UsageError(f"{share:.0%} leaves no training photo of '{lost[0]}': hold out a smaller share")
    public, answers = folder / "public", folder / "private" / "answers.csv"
    with progress("split", len(data.train)) as bar:
        for photos, name in ((train, "train"), (test, "test")):
            for photo in photos:
                _place(photo, public / name)
                bar.advance()
    write_csv(public / "labels.csv", [ID_COLUMN, "breed"], [(photo.id, photo.breed) for photo in train], harmless=False)
    write_csv(answers, [ID_COLUMN, "breed"], [(photo.id, photo.breed) for photo in test], harmless=False)
    uniform = [1 / len(data.classes)] * len(data.classes)
    header = [ID_COLUMN, *data.classes]
    write_csv(public / "sample_submission.csv", header, [[photo.id, *uniform] for photo in test], harmless=False)
    return Split(public, answers, len(train), len(test))


def _place(photo: Photo, folder: Path) -> None:
    """A hard link where possible: no space is needed, and a deleted original does no harm."""
    target = folder / f"{photo.id}{photo.path.suffix.lower()}"
    with explain_disk_errors(target):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            os.link(photo.path, target)
        except OSError:
            shutil.copyfile(photo.path, target)


def _draw(rng: np.random.Generator, breeds: Sequence[str], share: float) -> list[int]:
    """Rows drawn per breed without replacement; each breed with about ``share`` of its photos, at least one in all."""
    by_breed: dict[str, list[int]] = {}
    for row, breed in enumerate(breeds):
        by_breed.setdefault(breed, []).append(row)
    held: list[int] = []
    for rows in by_breed.values():
        # The fraction beyond a whole number of photos is decided by a draw, so that small breeds are not always out.
        wanted = int(len(rows) * share + rng.random())
        held += rng.choice(rows, min(wanted, len(rows)), replace=False).tolist()
    return sorted(held) or [int(rng.integers(len(breeds)))]
