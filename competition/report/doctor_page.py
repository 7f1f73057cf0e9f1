"""The submission doctor's findings as one self-contained page."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from competition.report.doctor_charts import histogram_chart, interval_chart, shifts_chart
from competition.report.html.charts import reliability_chart
from competition.report.html.pages import Site, caution, count, nats, percent, pretty, write_page
from competition.report.html.thumbnails import Size, inline
from competition.report.html.tiles import Line, Tile, described

if TYPE_CHECKING:
    from competition.data.source.competition_data import CompetitionData
    from competition.prediction.doctor.diagnosis import Diagnosis, Twin

_PHOTO = Size(side=192, quality=74, letter="i")
_MOST_TWINS = 60
_WORDS = {"bad": "mend", "look": "look", "good": "fine"}
_TAGS = {"bad": "bad", "look": "", "good": "good"}


def write_doctor_page(found: Diagnosis, path: Path, data: CompetitionData | None = None) -> Path:
    """Write what the doctor found as one HTML file; returns ``path``.

    Args:
        found: the diagnosis.
        path: the HTML file.
        data: where the photos lie; without them the page has no photos.

    Raises:
        StorageError: the file cannot be written.
    """
    embedding = found.drift.embedding
    photos = {photo.id: photo.path for photo in (*data.train, *data.test)} if data is not None else {}
    return write_page(
        path,
        "doctor.html",
        title="Submission doctor",
        site=Site(name="Dog Breed Identification", banner=caution(data) if data is not None else ""),
        lead=_lead(found),
        figures=_figures(found),
        findings=[(_WORDS[each.level], _TAGS[each.level], each.text) for each in found.findings],
        interval=interval_chart(found.expected, _scored(found)),
        by_beliefs=found.by_beliefs,
        expected=found.expected,
        repair=found.repair,
        before=reliability_chart(found.repair.before) if found.repair else None,
        after=reliability_chart(found.repair.after) if found.repair else None,
        confidence=found.drift.confidence,
        confidence_chart=histogram_chart(found.drift.confidence, "largest probability"),
        embedding=embedding,
        embedding_chart=histogram_chart(embedding, "cosine distance") if embedding else None,
        shifts=found.drift.shifts[:12],
        shifts_chart=shifts_chart(found.drift.shifts),
        class_p_value=found.drift.class_p_value,
        twins=None if found.twins is None else _twin_tiles(found.twins, photos),
        more_twins=max(len(found.twins or ()) - _MOST_TWINS, 0),
        least=_least_tiles(found, photos),
        rows=found.rows,
        agreements=found.agreements,
        isnan=math.isnan,
    )


def _lead(found: Diagnosis) -> str:
    return f"{found.file}, examined with the run “{found.run}”. The file holds {found.relation}."


def _figures(found: Diagnosis) -> list[tuple[str, str, str]]:
    expected, repair = found.expected, found.repair
    basis = (
        "by the run's own probabilities" if found.by_beliefs else f"from {count(expected.photos, 'photo')} out of fold"
    )
    figures = [
        ("Expected log loss", nats(expected.log_loss), basis),
        (
            f"{expected.level:.0%} interval",
            f"{nats(expected.low)} to {nats(expected.high)}",
            f"{expected.test_photos:,} test photos",
        ),
        (
            "Expected accuracy",
            percent(expected.accuracy),
            f"{percent(expected.accuracy_low)} to {percent(expected.accuracy_high)}",
        ),
        ("Rules", "met" if found.report.ok else "broken", f"{count(found.report.rows, 'row')}, all breeds"),
    ]
    if repair is not None:
        note = f"temperature {repair.temperature:.3f}" + (f", clip {repair.clip:g}" if repair.clip else "")
        figures.append(("Better calibration gains", nats(max(repair.cost, 0.0), 4), note))
    return figures


def _scored(found: Diagnosis) -> list[tuple[str, float]]:
    """Earlier submissions with a public score."""
    return [(each.file, each.public_score) for each in found.agreements if not math.isnan(each.public_score)]


def _twin_tiles(twins: tuple[Twin, ...], photos: Mapping[str, Path]) -> list[dict[str, object]]:
    """Test photo and training photo side by side, those called otherwise first."""
    chosen = sorted(twins, key=lambda twin: (twin.called == twin.breed, twin.probability))[:_MOST_TWINS]
    pictures = _pictures([name for twin in chosen for name in (twin.test_id, twin.train_id)], photos)
    items: list[dict[str, object]] = []
    for twin in chosen:
        agrees = twin.called == twin.breed
        called = Line(pretty(twin.called), percent(twin.probability) if agrees else "called", "called")
        labelled = Line(pretty(twin.breed), "label", "given")
        tags = [("test and train", ""), ("called alike", "good") if agrees else ("called otherwise", "bad")]
        items.append(
            {
                "a": Tile(
                    twin.test_id, pictures.get(twin.test_id), described(twin.test_id, None, twin.called), (called,)
                ),
                "b": Tile(
                    twin.train_id, pictures.get(twin.train_id), described(twin.train_id, twin.breed), (labelled,)
                ),
                "tags": tags,
                "measures": f"similarity {twin.similarity:.3f} · {percent(twin.probability)} for the label",
                "text": f"{twin.test_id} {twin.train_id} {twin.breed} {twin.called}",
            }
        )
    return items


def _least_tiles(found: Diagnosis, photos: Mapping[str, Path]) -> list[Tile]:
    least = found.rows.least
    pictures = _pictures([row[0] for row in least], photos)
    return [
        Tile(
            name,
            pictures.get(name),
            described(name, None, first),
            (Line(pretty(first), percent(p_first), "called"), Line(pretty(second), percent(p_second))),
        )
        for name, first, p_first, second, p_second in least
    ]


def _pictures(names: list[str], photos: Mapping[str, Path]) -> dict[str, str | None]:
    wanted = [name for name in dict.fromkeys(names) if name in photos]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return dict(zip(wanted, pool.map(lambda name: inline(photos[name], _PHOTO), wanted), strict=True))
