from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from competition.data.source.competition_data import CompetitionData
from competition.explain.maps.cam import cam
from competition.explain.networks.protocol import contrast_target
from competition.files import read_json
from competition.record.run_dir import RunDir
from competition.report.run import contrast_maps
from competition.report.run.contrast_maps import Case, ContrastMaps, cases_of
from competition.report.run.findings import Findings, gather
from competition.report.run.map_faithfulness import SAMPLE, sample_of
from competition.report.run.write import write_run_report
from tests.explain import fakes
from tests.explain.fake_backend import FakeBackend

SHAPE = (24, 20, 3)


@pytest.fixture
def run(tmp_path: Path) -> tuple[RunDir, CompetitionData]:
    data = fakes.make_photos(tmp_path / "data", 8)
    return fakes.make_run(tmp_path / "run", data, sure=1.0), data


class Models:
    """Opens a fake model for every fold and remembers which were asked for."""

    def __init__(self, data: CompetitionData) -> None:
        self.opened: list[int] = []
        self._classes = data.classes[::-1]  # a model may have them in another order

    def __call__(self, fold: int) -> FakeBackend:
        self.opened.append(fold)
        return FakeBackend(SHAPE, self._classes, seed=fold)


def maps_of(run: RunDir, data: CompetitionData, models: Models, key: str = "k") -> ContrastMaps:
    return ContrastMaps(
        run / "report" / "maps", models, key, {photo.id: photo.path for photo in data.train}, "a fake network"
    )


def errors(found: Findings) -> list[Case]:
    return cases_of(found.pairs)


def test_both_maps_of_every_shown_error(run: tuple[RunDir, CompetitionData]) -> None:
    found = gather(*run)
    models = Models(run[1])
    maps = maps_of(*run, models)
    cases = errors(found)
    assert len(cases) == len(found.found.wrong)
    maps.make(found.found, cases)
    assert models.opened == [0, 1, 2]  # every fold's own model, once
    for case in cases:
        addresses = maps.addresses(case)
        assert addresses is not None
        for address in addresses:
            with Image.open(run[0] / "report" / address) as image:
                assert image.size == (SHAPE[1], SHAPE[0])


def test_one_pass_gives_the_maps_of_either_direction(rng: np.random.Generator) -> None:
    backend = FakeBackend(SHAPE)
    images = rng.uniform(size=(3, *SHAPE)).astype(np.float32)
    one, other = ["chow", "pug", "chow"], ["pug", "chow", "lakeland_terrier"]
    found = contrast_maps.contrast_maps(backend, images, one, other)
    for maps, names in zip(found, ((one, other), (other, one)), strict=True):
        expected = cam(backend, images, contrast_target(backend.classes, *names), "gradcam")
        np.testing.assert_allclose(maps, expected, atol=1e-5)
    assert np.minimum(*found).max() < 0.9  # what speaks for the one does not speak for the other
    assert np.abs(found[0] - found[1]).max() > 0.1


def test_a_second_report_makes_only_what_is_lacking(run: tuple[RunDir, CompetitionData]) -> None:
    found = gather(*run)
    cases = errors(found)
    maps_of(*run, Models(run[1])).make(found.found, cases)
    models = Models(run[1])
    again = maps_of(*run, models)
    again.make(found.found, cases)
    assert models.opened == []
    assert again.made == 0
    lost = again.addresses(cases[0])
    assert lost is not None
    (run[0] / "report" / lost[0]).unlink()
    again.make(found.found, cases)
    assert models.opened == [int(found.found.folds[cases[0].row])]
    assert again.made == 1
    other = maps_of(*run, models, key="other models")
    other.make(found.found, cases[:2])
    assert other.made == 2
    other.tidy()
    kept = {path.relative_to(run[0] / "report").as_posix() for path in (run[0] / "report" / "maps").rglob("*.jpg")}
    assert kept == {address for case in cases[:2] for address in other.addresses(case) or ()}


def test_unreadable_photos_have_no_maps(run: tuple[RunDir, CompetitionData]) -> None:
    found = gather(*run)
    cases = errors(found)
    broken = next(p for p in run[1].train if p.id == found.found.ids[cases[0].row])
    broken.path.write_bytes(b"no photo any more")
    maps = maps_of(*run, Models(run[1]))
    maps.make(found.found, cases)
    assert maps.addresses(cases[0]) is None
    assert maps.addresses(cases[1]) is not None


def test_maps_are_limited(run: tuple[RunDir, CompetitionData], monkeypatch: pytest.MonkeyPatch) -> None:
    found = gather(*run)
    monkeypatch.setattr(contrast_maps, "PER_DIRECTION", 1)
    first = errors(found)
    directions = sum((len(pair.a_as_b) > 0) + (len(pair.b_as_a) > 0) for pair in found.pairs)
    assert len(first) == directions
    assert first[0].row == (found.pairs[0].a_as_b if len(found.pairs[0].a_as_b) else found.pairs[0].b_as_a)[0]
    monkeypatch.setattr(contrast_maps, "MOST_MAPPED", 3)
    assert errors(found) == first[:3]


def test_pages_show_the_maps(run: tuple[RunDir, CompetitionData]) -> None:
    maps = maps_of(*run, Models(run[1]))
    index = write_run_report(*run, maps=maps)
    texts = [path.read_text() for path in index.parent.glob("pairs/*.html")]
    cases = errors(gather(*run))
    assert sum(text.count('class="maps"') for text in texts) == len(cases)
    assert sum(text.count("../maps/") for text in texts) == 2 * len(cases)
    assert all("a fake network" in text for text in texts)
    assert all("where it speaks for" in text for text in texts)
    write_run_report(*run)
    assert not any("../maps/" in path.read_text() for path in index.parent.glob("pairs/*.html"))


def test_faithfulness_is_measured_once_and_drawn(run: tuple[RunDir, CompetitionData]) -> None:
    models = Models(run[1])
    maps = maps_of(*run, models)
    index = write_run_report(*run, maps=maps)
    pages = [path.read_text() for path in index.parent.glob("pairs/*.html")]
    assert all("How far the maps can be trusted" in text and "deletion at random" in text for text in pages)
    (kept,) = (index.parent / "maps").glob("faithfulness-*.json")
    stored = read_json(kept)
    cases = errors(gather(*run))
    assert stored["photos"] == min(SAMPLE, len(cases))
    assert set(stored["curves"]) == {"deletion", "insertion", "deletion_random", "insertion_random"}
    for name in ("deletion", "insertion"):
        # Every curve ends and begins where the other kind does not: at the photo itself and without it.
        ends = [stored["curves"][f"{name}{kind}"] for kind in ("", "_random")]
        assert ends[0][0] == pytest.approx(ends[1][0], abs=1e-5)
        assert ends[0][-1] == pytest.approx(ends[1][-1], abs=1e-5)
    assert stored["curves"]["deletion"][0] == pytest.approx(stored["curves"]["insertion"][-1], abs=1e-5)
    models.opened.clear()
    write_run_report(*run, maps=maps_of(*run, models))
    assert models.opened == []


def test_the_sample_is_drawn_once_for_all() -> None:
    cases = [Case(row, 0, 1) for row in range(100)]
    assert sample_of(cases) == sample_of(list(cases))
    assert len(sample_of(cases)) == SAMPLE
    assert sample_of(cases[:3]) == cases[:3]
