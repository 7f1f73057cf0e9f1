"""The static report of a run: a folder of HTML pages that opens from disk, without server or network.

``report/index.html`` leads; breeds and pairs of breeds have pages of their own;
thumbnails are files beside them, loaded when they come into view.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from competition.console import progress, say
from competition.files import remove_leftovers
from competition.locks import only_one
from competition.report.html.pages import Link, Site, caution, count, pretty, write_page
from competition.report.html.thumbnails import LARGE, Thumbnails
from competition.report.run.contrast_maps import ContrastMaps, cases_of
from competition.report.run.findings import MOST_LOSSES, Findings, gather
from competition.report.run.map_faithfulness import map_faithfulness
from competition.report.run.misclassified import write_suspects
from competition.report.run.overview import breed_rows, overview
from competition.report.run.photo_pages import (
    Gallery,
    breed_page,
    duplicates_page,
    losses_page,
    pair_page,
    suspects_page,
    wanted_sizes,
)

if TYPE_CHECKING:
    from competition.data.source.competition_data import CompetitionData
    from competition.record.run_dir import RunDir

_Page = tuple[str, str, str, dict[str, Any]]  # address, template, title, values


def write_run_report(
    run: RunDir,
    data: CompetitionData,
    features: tuple[Sequence[str], np.ndarray] | None = None,
    maps: ContrastMaps | None = None,
) -> Path:
    """Write the report of a run; returns ``run/report/index.html``.

    Args:
        run: a run with out-of-fold predictions; whatever else it holds (metrics, history, audit, folds) is shown.
        data: the data of the run.
        features: photo ids and features (n, d) of the train photos: pages of confused pairs then show the nearest
            training photos of either breed.
        maps: makes contrast maps of the errors on those pages; None leaves them out.

    Raises:
        ResumeError: this is no run folder.
        DataError: there are no out-of-fold predictions, or they belong to other data.
        StorageError: the report cannot be written.
    """
    f = gather(run, data, features)
    with only_one(run / ".report.lock", f"the report of {run.path}"):
        return _written(f, run / "report", data, maps)


def _written(f: Findings, folder: Path, data: CompetitionData, maps: ContrastMaps | None) -> Path:
    """Write every page, and remove those of an earlier report."""
    remove_leftovers(folder)
    thumbs = Thumbnails(folder / "thumbs", {photo.id: photo.path for photo in (*data.train, *data.test)})
    thumbs.make(wanted_sizes(f))
    faithful = None
    if maps is not None:
        cases = cases_of(f.pairs)
        maps.make(f.found, cases)
        faithful = map_faithfulness(maps.opener, f.found, cases, maps.photos, maps.folder, maps.key)
    site = _site(f)
    write_suspects(f.found, f.mislabels.suspects, folder / "suspects.csv")
    gallery = Gallery(f, thumbs, maps, faithful)
    written = set()
    with progress("pages", 6 + len(f.found.classes) + len(f.pairs), "pages") as bar:
        for address, template, title, values in _pages(gallery):
            write_page(folder / address, template, title=title, site=site, here=address, **values)
            written.add(folder / address)
            bar.advance()
    _remove_stale(folder, written)
    thumbs.tidy()
    if maps is not None:
        maps.tidy()
    index = folder / "index.html"
    say(f"report: {index} ({count(len(written), 'page')})")
    return index


def _site(f: Findings) -> Site:
    pages = [
        Link("index.html", "Overview"),
        Link("breeds.html", "Breeds", count(len(f.found.classes))),
        Link("pairs.html", "Confusions", count(len(f.pairs))),
        Link("losses.html", "Top losses"),
        Link("suspects.html", "Suspects", count(len(f.mislabels.suspects))),
    ]
    if f.audit is not None:
        pages.append(Link("duplicates.html", "Duplicates", count(len(f.audit.pairs))))
    places = tuple(Link(f.breed_page(i), pretty(name)) for i, name in enumerate(f.found.classes))
    return Site(f.name, tuple(pages), places, caution(f.data))


def _pages(gallery: Gallery) -> Iterator[_Page]:
    """Every page of the site; the first page comes last, so that an interrupted report has none."""
    f = gallery.f
    rows = breed_rows(f)
    yield "breeds.html", "breeds.html", "Breeds", {"rows": rows}
    for breed, name in enumerate(f.found.classes):
        beside = {step: f.breed_page(breed + step) for step in (-1, 1) if 0 <= breed + step < len(f.found.classes)}
        yield f.breed_page(breed), "breed.html", pretty(name), breed_page(gallery, breed, beside)
    addresses = [str(f.pair_page(pair.a, pair.b)) for pair in f.pairs]
    for rank, pair in enumerate(f.pairs):
        title = f"{pretty(f.found.classes[pair.a])} and {pretty(f.found.classes[pair.b])}"
        beside = {step: addresses[rank + step] for step in (-1, 1) if 0 <= rank + step < len(addresses)}
        values = {**pair_page(gallery, pair), "before": beside.get(-1), "after": beside.get(1)}
        yield addresses[rank], "pair.html", title, values
    yield "pairs.html", "pairs.html", "Confusions", {"pairs": list(zip(f.pairs, addresses, strict=True)), "f": f}
    yield "losses.html", "losses.html", "Top losses", losses_page(gallery)
    yield "suspects.html", "suspects.html", "Suspected mislabels", suspects_page(gallery)
    if f.audit is not None:
        yield "duplicates.html", "duplicates.html", "Duplicates", duplicates_page(gallery)
    worst = gallery.tiles(f.found.wrong[: min(12, MOST_LOSSES)], size=LARGE)
    pairs = list(zip(f.pairs[:12], addresses[:12], strict=True))
    first = {**overview(f), "f": f, "worst": worst, "hardest": rows[:12], "pairs": pairs}
    yield "index.html", "overview.html", f.name, first


def _remove_stale(folder: Path, written: set[Path]) -> None:
    """Remove pages of an earlier report that this one did not write."""
    for name in ("", "breeds", "pairs"):
        for path in (folder / name).glob("*.html"):
            if path not in written:
                path.unlink()
