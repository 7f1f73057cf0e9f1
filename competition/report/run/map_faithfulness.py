"""How far a report's contrast maps can be trusted: insertion and deletion curves on a sample of the errors it shows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from competition.console import progress
from competition.data.photos.decode import read_photo
from competition.errors import PhotoError
from competition.explain.maps.contrast import contrast_maps
from competition.explain.maps.faithfulness import centred_random, deletion, insertion
from competition.explain.networks.protocol import contrast_target
from competition.files import digest_of, read_json, write_json
from competition.report.html.charts import Series, lines_chart
from competition.report.run.contrast_maps import Case, Opener

if TYPE_CHECKING:
    from competition.explain.networks.protocol import Backend
    from competition.report.run.misclassified import Verdicts

SAMPLE = 16  # errors that are measured; each costs about 45 passes
STEPS = 10


@dataclass(frozen=True)
class MapFaithfulness:
    """Mean curves over a sample of errors.

    Attributes:
        photos: how many were measured.
        shares: share of the pixels changed, from 0 to 1.
        curves: ``deletion`` and ``insertion`` by the map, and by random maps (``deletion_random``, ...): probability of
            the breed that the photo is called, among that breed and its label, at each share.
        better: share of the photos in which the map's deletion curve lies below the random map's, on average.
    """

    photos: int
    shares: tuple[float, ...]
    curves: Mapping[str, tuple[float, ...]]
    better: float

    def area(self, name: str) -> float:
        """Area under a mean curve."""
        return float(np.trapezoid(self.curves[name], self.shares))

    def chart(self) -> Markup | None:
        """The four curves."""
        told = (
            ("insertion", "insertion by the map", "s0"),
            ("deletion", "deletion by the map", "s1"),
            ("insertion_random", "insertion at random", "s0 dash"),
            ("deletion_random", "deletion at random", "s1 dash"),
        )
        series = [Series(label, self.shares, tuple(self.curves[name]), style) for name, label, style in told]
        return lines_chart(
            series, "share of pixels shown or greyed, strongest first", "probability of the called breed"
        )

    def sentence(self) -> str:
        """What the curves say."""
        worse = "lower" if self.area("deletion") < self.area("deletion_random") else "not lower"
        return (
            f"Measured on {self.photos} of the errors shown in this report. Deletion greys the pixels that the map "
            f"marks most first: the area under its curve is {self.area('deletion'):.3f}, {worse} than the "
            f"{self.area('deletion_random'):.3f} of random maps weighted to the centre (lower in {self.better:.0%} of "
            "the photos). Insertion starts from a blurred photo and shows those pixels first: "
            f"{self.area('insertion'):.3f}, and {self.area('insertion_random'):.3f} at random; higher is better. The "
            "probability is that of the breed the photo is called, among that breed and its label."
        )


def sample_of(cases: Sequence[Case], most: int = SAMPLE) -> list[Case]:
    """The errors to measure: drawn at random, the same ones for the same report."""
    rows = np.random.default_rng(0).permutation(len(cases))[:most]
    return [cases[row] for row in sorted(rows.tolist())]


def map_faithfulness(
    opener: Opener, found: Verdicts, cases: Sequence[Case], photos: Mapping[str, Path], kept: Path, key: str
) -> MapFaithfulness | None:
    """Measure a sample of ``cases``, or read what an earlier report of the same models measured.

    Args:
        opener: gives the model of a fold.
        found: the verdicts that the cases are rows of.
        cases: errors with maps.
        photos: path of every photo by its id.
        kept: folder of the JSON file with the curves.
        key: digest of the models.

    Returns:
        None where no photo of the sample can be read.
    """
    sample = sample_of(cases)
    path = kept / f"faithfulness-{digest_of([key, STEPS, [found.ids[case.row] for case in sample]])}.json"
    if path.is_file():
        stored = read_json(path)
        curves = {name: tuple(values) for name, values in stored["curves"].items()}
        return MapFaithfulness(stored["photos"], tuple(stored["shares"]), curves, stored["better"])
    measured: dict[str, list[np.ndarray]] = defaultdict(list)
    by_fold: dict[int, list[Case]] = defaultdict(list)
    for case in sample:
        by_fold[int(found.folds[case.row])].append(case)
    with progress("faithfulness of the maps", len(sample)) as bar:
        for fold, wanted in sorted(by_fold.items()):
            backend = opener(fold)
            for case in wanted:
                _measure(backend, found, case, photos, lambda name, values: measured[name].append(values))
                bar.advance()
    if not measured:
        return None
    result = _summary({name: np.stack(values) for name, values in measured.items()})
    for old in kept.glob("faithfulness-*.json"):
        old.unlink()
    write_json(
        path, {"photos": result.photos, "shares": result.shares, "curves": result.curves, "better": result.better}
    )
    return result


def _measure(
    backend: Backend,
    found: Verdicts,
    case: Case,
    photos: Mapping[str, Path],
    keep: Callable[[str, np.ndarray], None],
) -> None:
    """The four curves of one photo, each (STEPS + 1,); nothing where it cannot be read."""
    try:
        photo = read_photo(photos[found.ids[case.row]], max(backend.input_shape[:2]))
    except PhotoError:
        return
    image = backend.prepare(photo)[None]
    called, given = [found.classes[case.called]], [found.classes[case.given]]
    target = contrast_target(backend.classes, called, given)
    heat = contrast_maps(backend, image, called, given)[0]
    chance = centred_random(1, backend.input_shape[:2], seed=case.row)
    for name, maps in (("", heat), ("_random", chance)):
        keep(f"deletion{name}", deletion(backend, image, target, maps, steps=STEPS).values[0])
        keep(f"insertion{name}", insertion(backend, image, target, maps, steps=STEPS).values[0])


def _summary(measured: Mapping[str, np.ndarray]) -> MapFaithfulness:
    curves = {name: tuple(float(v) for v in values.mean(axis=0)) for name, values in sorted(measured.items())}
    below = measured["deletion"].mean(axis=1) < measured["deletion_random"].mean(axis=1)
    shares = tuple(step / STEPS for step in range(STEPS + 1))
    return MapFaithfulness(len(below), shares, curves, float(below.mean()))
