"""The audit as one self-contained page: counts, duplicates side by side, photos that cannot be read."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from competition.report.html.pages import Site, caution, count, pretty, write_page
from competition.report.html.thumbnails import Size, inline
from competition.report.html.tiles import Line, Tile, described

if TYPE_CHECKING:
    from competition.data.audit.report import AuditReport, DuplicatePair
    from competition.data.source.competition_data import CompetitionData

INLINE = Size(side=192, quality=74, letter="i")
MOST_PER_SECTION = 300  # with two photos of about 7 kB each, a section stays below 6 MB


@dataclass(frozen=True)
class PairTile:
    """Two photos of the same content, side by side."""

    a: Tile
    b: Tile
    tags: tuple[tuple[str, str], ...]
    measures: str
    text: str


@dataclass(frozen=True)
class Section:
    """Pairs of one kind; ``more`` were left out."""

    id: str
    title: str
    about: str
    pairs: tuple[PairTile, ...]
    more: int


def _kinds(pairs: Sequence[DuplicatePair]) -> list[tuple[str, str, str, list[DuplicatePair]]]:
    """Every pair under one heading, the most worrying kind first."""
    conflicts = [pair for pair in pairs if pair.conflict]
    crossing = [pair for pair in pairs if pair.crosses_split and not pair.conflict]
    rest = [pair for pair in pairs if not pair.crosses_split and not pair.conflict]
    return [
        (
            "conflicts",
            "The same picture under two breeds",
            "At least one of the two labels is wrong, or the photo shows two dogs. Both photos stay, in one fold.",
            conflicts,
        ),
        (
            "crossing",
            "The same picture in train and in test",
            "A model may know these test photos by heart; their predictions say little about other photos.",
            crossing,
        ),
        (
            "same",
            "The same picture twice, under one breed",
            "Harmless in training as long as both lie in one fold, which the kit's folds see to.",
            rest,
        ),
    ]


def pair_tile(pair: DuplicatePair, picture: Callable[[str], str | None]) -> PairTile:
    """A duplicate pair as the pages show it; ``picture`` gives the address of a photo's picture by id."""

    def tile(name: str, split: str, breed: str | None) -> Tile:
        kind = "called" if pair.conflict and name == pair.b else "given"
        lines = (Line(pretty(breed) if breed else "breed not known", split, kind if breed else ""),)
        return Tile(name, picture(name), described(name, breed), lines)

    tags = [("two breeds", "bad")] if pair.conflict else []
    tags += [("train and test", "bad")] if pair.crosses_split else []
    tags += [("same file" if pair.kind == "exact" else "near duplicate", "")]
    tags += [("mirrored", "")] if pair.mirrored else []
    text = " ".join([pair.a, pair.b, pair.breed_a or "", pair.breed_b or ""])
    measures = f"hash distance {pair.distance} · similarity {pair.similarity:.3f}"
    return PairTile(
        tile(pair.a, pair.split_a, pair.breed_a), tile(pair.b, pair.split_b, pair.breed_b), tuple(tags), measures, text
    )


def sections(
    pairs: Sequence[DuplicatePair], picture: Callable[[str], str | None], most: int = MOST_PER_SECTION
) -> list[Section]:
    """The duplicates by kind, at most ``most`` of each kind; kinds without a pair are left out."""
    return [
        Section(name, title, about, tuple(pair_tile(pair, picture) for pair in found[:most]), max(len(found) - most, 0))
        for name, title, about, found in _kinds(pairs)
        if found
    ]


def shown_ids(pairs: Sequence[DuplicatePair], most: int = MOST_PER_SECTION) -> tuple[str, ...]:
    """Ids of the photos that ``sections`` shows, without repetition."""
    return tuple(
        dict.fromkeys(name for *_, found in _kinds(pairs) for pair in found[:most] for name in (pair.a, pair.b))
    )


def write_audit_page(report: AuditReport, data: CompetitionData, path: Path) -> Path:
    """Write the audit as one HTML file with its photos inside; returns ``path``.

    Args:
        report: what the audit found.
        data: where the photos lie; a photo that is not among them is shown as an empty tile.
        path: the HTML file.

    Raises:
        StorageError: the file cannot be written.
    """
    paths = {photo.id: photo.path for photo in (*data.train, *data.test, *data.unlabelled)}
    wanted = [name for name in shown_ids(report.pairs) if name in paths]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        pictures = dict(zip(wanted, pool.map(lambda name: inline(paths[name], INLINE), wanted), strict=True))
    found = sections(report.pairs, pictures.get)
    return write_page(
        path,
        "audit.html",
        title="Audit of the photos",
        site=Site(name="Dog Breed Identification", banner=caution(data)),
        lead=f"{data.source.name}: {count(report.train_photos, 'train photo')} of {count(len(data.classes), 'breed')}, "
        f"{count(report.test_photos, 'test photo')}.",
        figures=_figures(report),
        sections=found,
        shown=sum(len(section.pairs) for section in found),
        unreadable=report.unreadable,
        problems=report.problems,
    )


def _figures(report: AuditReport) -> list[tuple[str, str, str]]:
    exact = sum(pair.kind == "exact" for pair in report.pairs)
    bad_train, bad_test = len(report.quarantined), len(report.unreadable_test)
    return [
        ("Cannot be read", count(len(report.unreadable)), f"{bad_train} in train, {bad_test} in test"),
        ("Duplicate pairs", count(len(report.pairs)), f"{exact} same file, {len(report.pairs) - exact} near"),
        ("… under two breeds", count(len(report.conflicts)), "labels that contradict each other"),
        ("… in train and test", count(len(report.leaks)), "leaks from train to test"),
        ("Other problems", count(len(report.problems)), ""),
    ]
