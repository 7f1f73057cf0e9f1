"""Contrast maps for the report: what in a photo speaks for the breed it is called rather than for its label.

FinerCAM (Zhang et al., 2025): Grad-CAM of one logit minus another, so that what both breeds share drops out. Every
photo is explained by the model that judged it, the one of its fold. Maps are files beside the thumbnails, named by a
digest of everything they depend on: a report written again makes only what is lacking.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from competition.console import progress
from competition.data.photos.decode import read_photo
from competition.errors import PhotoError
from competition.explain.maps.contrast import contrast_maps
from competition.files import digest_of
from competition.pictures.overlays import as_uint8, overlay
from competition.report.html.thumbnails import Size, encode, write_file

if TYPE_CHECKING:
    from competition.explain.networks.protocol import Backend
    from competition.report.run.misclassified import Confusion, Verdicts

MAP = Size(side=224, quality=78, letter="m")
PER_DIRECTION = 12  # photos with maps in either direction of a pair
MOST_MAPPED = 1200  # photos with maps in a report
BATCH = 16

Opener = Callable[[int], "Backend"]


@dataclass(frozen=True)
class Case:
    """An error to be explained: row of the verdicts, class indices of the label and of what the photo is called."""

    row: int
    given: int
    called: int


def cases_of(pairs: Iterable[Confusion]) -> list[Case]:
    """The errors that get maps: of every pair and direction those with the highest loss."""
    found = []
    for pair in pairs:
        for rows, given, called in ((pair.a_as_b, pair.a, pair.b), (pair.b_as_a, pair.b, pair.a)):
            found += [Case(int(row), given, called) for row in rows[:PER_DIRECTION]]
    return found[:MOST_MAPPED]


class ContrastMaps:
    """The contrast maps of a report, under ``folder``.

    Args:
        folder: where the files lie (``report/maps``).
        opener: gives the model of a fold (-1 where the fold is not known); only called when a map is lacking.
        key: digest of the models.
        photos: path of every photo by its id.
        about: whose maps they are, for the reader.
    """

    def __init__(self, folder: Path, opener: Opener, key: str, photos: Mapping[str, Path], about: str = "") -> None:
        self.folder, self.about = folder, about
        self.opener, self.key, self.photos = opener, key, photos
        self._names: dict[Case, tuple[str, str]] = {}
        self.made = 0

    def make(self, found: Verdicts, cases: Sequence[Case]) -> None:
        """Make what is lacking, fold by fold; a photo that cannot be read has no maps afterwards."""
        lacking: dict[int, list[Case]] = defaultdict(list)
        for case in cases:
            path = self.photos.get(found.ids[case.row])
            if path is None or not path.is_file():
                continue
            self._names[case] = self._files(found, case, path.stat().st_size)
            if not all((self.folder / name).is_file() for name in self._names[case]):
                lacking[int(found.folds[case.row])].append(case)
        self.folder.mkdir(parents=True, exist_ok=True)
        with progress("contrast maps", len(self._names)) as bar:
            bar.start_at(len(self._names) - sum(map(len, lacking.values())))
            for fold, wanted in sorted(lacking.items()):
                backend = self.opener(fold)
                for start in range(0, len(wanted), BATCH):
                    self._make(backend, found, wanted[start : start + BATCH])
                    bar.advance(len(wanted[start : start + BATCH]))

    def _files(self, found: Verdicts, case: Case, size: int) -> tuple[str, str]:
        names = found.classes[case.given], found.classes[case.called]
        stem = digest_of([self.key, found.ids[case.row], size, int(found.folds[case.row]), *names])
        return f"{stem[:2]}/{stem}g.jpg", f"{stem[:2]}/{stem}c.jpg"

    def _make(self, backend: Backend, found: Verdicts, cases: Sequence[Case]) -> None:
        images, kept = [], []
        for case in cases:
            try:
                photo = read_photo(self.photos[found.ids[case.row]], max(backend.input_shape[:2]))
            except PhotoError:
                del self._names[case]
                continue
            images.append(backend.prepare(photo))
            kept.append(case)
        if not kept:
            return
        stack = np.stack(images)
        given = [found.classes[case.given] for case in kept]
        called = [found.classes[case.called] for case in kept]
        both = contrast_maps(backend, stack, given, called)
        for index, case in enumerate(kept):
            for name, maps in zip(self._names[case], both, strict=True):
                write_file(self.folder / name, encode(as_uint8(overlay(stack[index], maps[index])), MAP))
        self.made += len(kept)

    def addresses(self, case: Case) -> tuple[str, str] | None:
        """Paths relative to the site's root: for its label, for what it is called; None when there are no maps."""
        names = self._names.get(case)
        return (f"{self.folder.name}/{names[0]}", f"{self.folder.name}/{names[1]}") if names else None

    def tidy(self) -> None:
        """Remove maps of an earlier report that this one does not show."""
        kept = {name for names in self._names.values() for name in names}
        for path in self.folder.glob("??/*.jpg"):
            if path.relative_to(self.folder).as_posix() not in kept:
                path.unlink()
