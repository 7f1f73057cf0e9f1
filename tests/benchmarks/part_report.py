"""The report of a run of 10,000 photos, against decoding each of them once."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

from competition.data.photos.decode import read_photo
from competition.data.source.competition_data import Photo
from competition.data.source.layout import load_data
from competition.report.run.write import write_run_report
from competition.system.workers import map_in_order
from tests.benchmarks.measure import Claim, Outcome, Setup, figure, seconds_of
from tests.explain.fakes import make_run


def measure(setup: Setup) -> Outcome:
    """Once; the predictions are drawn, mostly right, so that no network is needed."""
    outcome = Outcome("report", "report of 10,000 photos")
    data = load_data(setup.data)
    count = min(setup.count(10_000, 300), len(data.train))
    step = len(data.train) / count
    chosen = [data.train[int(number * step)] for number in range(count)]
    data = dataclasses.replace(data, train=tuple(chosen), test=(), sample_submission=None)
    decoding = seconds_of(lambda: [None for _ in map_in_order(_decode, chosen)])
    with tempfile.TemporaryDirectory() as folder:
        run = make_run(Path(folder) / "run", data, sure=4.5, n_folds=5)
        seconds = seconds_of(lambda: write_run_report(run, data))
        files = sum(1 for path in (run / "report").rglob("*") if path.is_file())
    case = f"{count:,} photos"
    outcome.figures += [figure(case, "kit", "s", [seconds]), figure(case, "decoding alone", "s", [decoding])]
    outcome.claims.append(Claim(f"report of {count:,} photos", seconds / 60, 5.0, False, "min"))
    outcome.notes.append(
        f"{files:,} files; predictions drawn by chance, right in most cases; no neighbours by features"
    )
    return outcome


def _decode(photo: Photo) -> int:
    return int(read_photo(photo.path, min_side=64).shape[0])
