"""The pages that show photos: breeds, pairs of breeds, top losses, suspects, duplicates: the templates' values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from competition.report import audit_page
from competition.report.html.pages import count, nats, percent, pretty
from competition.report.html.thumbnails import LARGE, SMALL, Size, Thumbnails
from competition.report.html.tiles import Line, Tile, described, judged
from competition.report.run import contrast_maps
from competition.report.run.findings import MOST_LOSSES, MOST_SUSPECTS, Findings
from competition.report.run.map_faithfulness import MapFaithfulness
from competition.report.run.misclassified import Confusion, Suspect

NEAREST = 4
TYPICAL = 6
# A model that calls everything by one name must not make a page, or a folder of large thumbnails, of all photos.
MOST_CASES = 60  # per direction of a pair
MOST_LISTED = 300  # per list on a breed's page
MOST_LARGE = 2500  # about 11 kB each


def wanted_sizes(f: Findings) -> dict[str, set[Size]]:
    """Sizes in which each photo is shown: all small, those that are looked at closely large as well."""
    wanted: dict[str, set[Size]] = {name: {SMALL} for name in f.found.ids}
    close = f.found.wrong[:MOST_LOSSES].tolist() + [s.row for s in f.mislabels.suspects[:MOST_SUSPECTS]]
    close += [row for pair in f.pairs for rows in (pair.a_as_b, pair.b_as_a) for row in rows[:MOST_CASES]]
    for row in list(dict.fromkeys(close))[:MOST_LARGE]:
        wanted[f.found.ids[row]].add(LARGE)
    if f.audit is not None:
        for name in audit_page.shown_ids(f.audit.pairs):
            wanted.setdefault(name, set()).add(LARGE)
    return wanted


@dataclass(frozen=True)
class Beside:
    """Pictures that stand beside a case, under a heading; ``wide`` ones are fewer and larger."""

    title: str
    tiles: tuple[Tile, ...]
    wide: bool = False


@dataclass(frozen=True)
class Gallery:
    """Makes tiles of photos for a report's pages."""

    f: Findings
    thumbs: Thumbnails
    maps: contrast_maps.ContrastMaps | None = None
    faithfulness: MapFaithfulness | None = None

    def tag(self, name: str, called: str) -> str:
        """A word on a photo that has a duplicate under the breed that it is called."""
        return "a duplicate is labelled so" if called in self.f.twins.get(name, ()) else ""

    def tile(self, row: int, size: Size = SMALL, href: str | None = None) -> Tile:
        """A judged photo; a wrong one leads to the page that shows its error, unless ``href`` says otherwise."""
        found = self.f.found
        given, called = int(found.labels[row]), int(found.predicted[row])
        names = found.classes[given], found.classes[called]
        p = found.probabilities[row]
        if href is None:
            href = self.f.error_page(given, called) if given != called else ""
        return Tile(
            id=found.ids[row],
            src=self.thumbs.address(found.ids[row], size) or self.thumbs.address(found.ids[row], SMALL),
            alt=described(found.ids[row], *names),
            lines=judged(names[0], float(p[given]), names[1], float(p[called])),
            href=href,
            tag=self.tag(found.ids[row], names[1]) if given != called else "",
            tag_kind="bad",
        )

    def tiles(self, rows: Iterable[int], size: Size = SMALL) -> list[Tile]:
        """Tiles of several photos."""
        return [self.tile(int(row), size) for row in rows]

    def plain(self, row: int, line: Line) -> Tile:
        """A photo shown for comparison, under one line."""
        name = self.f.found.ids[row]
        breed = self.f.found.classes[self.f.found.labels[row]]
        return Tile(name, self.thumbs.address(name), f"For comparison: {described(name, breed)}", (line,))

    def contrast(self, row: int, given: int, called: int) -> Beside | None:
        """The two contrast maps of an error, where there are any."""
        found = self.maps.addresses(contrast_maps.Case(row, given, called)) if self.maps is not None else None
        if found is None:
            return None
        names = self.f.found.classes[given], self.f.found.classes[called]
        about = described(self.f.found.ids[row], *names)
        tiles = tuple(
            Tile("", source, f"{about}: where it speaks for {pretty(name)}", (Line(f"for {pretty(name)}", "", kind),))
            for source, name, kind in zip(found, names, ("given", "called"), strict=True)
        )
        return Beside("Where it speaks for one rather than the other", tiles, wide=True)


@dataclass(frozen=True)
class Case:
    """One photo that was called another breed."""

    photo: Tile
    loss: float
    beside: tuple[Beside, ...]


@dataclass(frozen=True)
class Direction:
    """Photos of one breed called the other."""

    anchor: str
    given: str
    called: str
    cases: tuple[Case, ...]
    errors: int
    photos: int


def pair_page(gallery: Gallery, pair: Confusion) -> dict[str, Any]:
    """What ``pair.html`` is told."""
    f = gallery.f
    return {
        "a": f.found.classes[pair.a],
        "b": f.found.classes[pair.b],
        "a_href": f.breed_page(pair.a),
        "b_href": f.breed_page(pair.b),
        "directions": [
            _direction(gallery, pair.a, pair.b, pair.a_as_b),
            _direction(gallery, pair.b, pair.a, pair.b_as_a),
        ],
        "typical": [(f.found.classes[i], f.breed_page(i), _typical(gallery, i)) for i in (pair.a, pair.b)],
        "lead": _pair_lead(f, pair),
        "compared": f.neighbours is not None,
        "mapped": gallery.maps is not None,
        "faithfulness": gallery.faithfulness,
        "about_maps": gallery.maps.about if gallery.maps is not None else "",
    }


def _pair_lead(f: Findings, pair: Confusion) -> str:
    a, b = pretty(f.found.classes[pair.a]), pretty(f.found.classes[pair.b])
    photos = f.found.matrix.sum(axis=1)
    return (
        f"{len(pair.a_as_b)} of {count(photos[pair.a], 'photo')} of {a} are called {b}, "
        f"{len(pair.b_as_a)} of {count(photos[pair.b], 'photo')} of {b} are called {a}."
    )


def _direction(gallery: Gallery, given: int, called: int, rows: np.ndarray) -> Direction:
    f = gallery.f
    cases = tuple(_case(gallery, int(row), given, called) for row in rows[:MOST_CASES])
    names = f.found.classes[given], f.found.classes[called]
    return Direction(f.slugs[given], *names, cases, len(rows), int((f.found.labels == given).sum()))


def _case(gallery: Gallery, row: int, given: int, called: int) -> Case:
    maps = gallery.contrast(row, given, called)
    beside = [maps] if maps is not None else []
    if gallery.f.neighbours is not None:
        for breed, kind in ((given, "given"), (called, "called")):
            near = gallery.f.neighbours.nearest(row, breed, NEAREST)
            name = pretty(gallery.f.found.classes[breed])
            tiles = tuple(gallery.plain(i, Line("alike", f"{likeness:.2f}", kind)) for i, likeness in near)
            if tiles:
                beside.append(Beside(f"Nearest training photos of {name}", tiles))
    return Case(gallery.tile(row, LARGE, href=""), float(gallery.f.found.loss[row]), tuple(beside))


def _typical(gallery: Gallery, breed: int) -> list[Tile]:
    """The photos of a breed that the model is surest of, among those it gets right."""
    found = gallery.f.found
    rows = found.of_breed(breed)[::-1]
    rows = rows[found.predicted[rows] == breed][:TYPICAL]
    sure = (f"{percent(found.probabilities[row, breed])}" for row in rows)
    return [gallery.plain(int(row), Line("", text)) for row, text in zip(rows, sure, strict=True)]


def breed_page(gallery: Gallery, breed: int, others: dict[int, str]) -> dict[str, Any]:
    """What ``breed.html`` is told.

    Args:
        gallery: makes the tiles.
        breed: class index.
        others: ``-1`` and ``+1`` to the addresses of the breeds before and after, where there are any.
    """
    f = gallery.f
    rows, matrix = f.found.of_breed(breed), f.found.matrix
    wrong = rows[f.found.predicted[rows] != breed]
    right = rows[f.found.predicted[rows] == breed]
    as_this = f.found.wrong[f.found.predicted[f.found.wrong] == breed]
    photos, called = int(matrix[breed].sum()), int(matrix[:, breed].sum())
    nothing = float("nan")
    return {
        "name": f.found.classes[breed],
        "figures": [
            ("Photos", count(photos), ""),
            ("Recall", percent(len(right) / photos if photos else nothing), f"{len(wrong)} called something else"),
            (
                "Precision",
                percent(len(right) / called if called else nothing),
                f"{len(as_this)} others called this",
            ),
            ("Log loss", nats(float(f.found.loss[rows].mean()) if photos else nothing), "mean over its photos"),
        ],
        "called_as": _others(f, breed, matrix[breed], given=True),
        "taken_from": _others(f, breed, matrix[:, breed], given=False),
        "wrong": (gallery.tiles(wrong[:MOST_LISTED]), len(wrong)),
        "right": (gallery.tiles(right[:MOST_LISTED]), len(right)),
        "as_this": (gallery.tiles(as_this[:MOST_LISTED]), len(as_this)),
        "before": others.get(-1),
        "after": others.get(1),
    }


def _others(f: Findings, breed: int, counts: np.ndarray, *, given: bool) -> list[tuple[str, int, str]]:
    """Breeds confused with ``breed`` in one direction, most first: name, photos, address."""
    order = np.argsort(-counts, kind="stable")
    pages = (
        (int(i), f.error_page(breed, int(i)) if given else f.error_page(int(i), breed)) for i in order if i != breed
    )
    return [(f.found.classes[i], int(counts[i]), page) for i, page in pages if counts[i]]


def losses_page(gallery: Gallery) -> dict[str, Any]:
    """What ``losses.html`` is told: the photos that cost most."""
    f = gallery.f
    rows = np.argsort(-f.found.loss, kind="stable")[:MOST_LOSSES]
    share = float(f.found.loss[rows].sum() / max(f.found.loss.sum(), 1e-12))
    return {
        "tiles": [(gallery.tile(int(row), LARGE), _text(f, row), float(f.found.loss[row])) for row in rows],
        "share": share,
    }


def _text(f: Findings, row: int | np.integer) -> str:
    """What a filter finds a photo by."""
    names = f.found.classes[f.found.labels[row]], f.found.classes[f.found.predicted[row]]
    return " ".join((f.found.ids[row], *names))


@dataclass(frozen=True)
class SuspectTile:
    """A suspected mislabel: its photo, what a filter finds it by, and the three cells of its CSV row."""

    tile: Tile
    text: str
    id: str
    given: str
    suggested: str


def suspects_page(gallery: Gallery) -> dict[str, Any]:
    """What ``suspects.html`` is told."""
    f = gallery.f
    shown = [_suspect_tile(gallery, suspect) for suspect in f.mislabels.suspects[:MOST_SUSPECTS]]
    names = f.found.classes
    return {
        "suspects": shown,
        "total": len(f.mislabels.suspects),
        "noise": f.mislabels.noise,
        "likeliest": [
            (names[given], names[latent], share * len(f.found), f.error_page(given, latent))
            for given, latent, share in f.mislabels.likeliest(12)
        ],
        "weak": float((f.found.predicted == f.found.labels).mean()) < 0.7,
    }


def _suspect_tile(gallery: Gallery, suspect: Suspect) -> SuspectTile:
    f = gallery.f
    name, given, suggested = (
        f.found.ids[suspect.row],
        f.found.classes[suspect.given],
        f.found.classes[suspect.suggested],
    )
    tile = Tile(
        id=name,
        src=gallery.thumbs.address(name, LARGE),
        alt=described(name, given, suggested),
        lines=judged(given, suspect.p_given, suggested, suspect.p_suggested),
        tag=gallery.tag(name, suggested),
        tag_kind="bad",
    )
    return SuspectTile(tile, f"{name} {given} {suggested}", name, given, suggested)


def duplicates_page(gallery: Gallery) -> dict[str, Any]:
    """What ``duplicates.html`` is told: conflicting labels first."""
    audit = gallery.f.audit
    pairs = audit.pairs if audit is not None else ()
    found = audit_page.sections(pairs, lambda name: gallery.thumbs.address(name, LARGE))
    return {"sections": found, "shown": sum(len(section.pairs) for section in found), "audited": audit is not None}
