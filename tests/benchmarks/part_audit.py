"""The audit of 20,000 photos, against reading and decoding each of them once."""

from __future__ import annotations

import time

from competition.data.audit.audit import audit
from competition.data.photos.decode import read_photo
from competition.data.source.competition_data import Photo
from competition.data.source.layout import load_data
from competition.system.workers import map_in_order
from tests.benchmarks.material import many_photos
from tests.benchmarks.measure import Claim, Outcome, Setup, figure, seconds_of


def measure(setup: Setup) -> Outcome:
    """Once: it is long, and its parts are many."""
    outcome = Outcome("audit", "audit of 20,000 photos")
    count = setup.count(20_000, 200)
    data = many_photos(load_data(setup.data), count)
    decoding = seconds_of(lambda: [None for _ in map_in_order(_decode, data.train)])
    start = time.perf_counter()
    report = audit(data)
    seconds = time.perf_counter() - start
    case = f"{count:,} photos"
    outcome.figures += [
        figure(case, "kit", "s", [seconds]),
        figure(case, "decoding alone", "s", [decoding]),
    ]
    outcome.claims.append(Claim(f"audit of {count:,} photos", seconds, 90.0, False, "s"))
    outcome.notes.append(
        f"{len(report.pairs):,} pairs of duplicates found; photos beyond the competition's own are collages of two"
    )
    return outcome


def _decode(photo: Photo) -> int:
    return int(read_photo(photo.path, min_side=64).shape[0])
