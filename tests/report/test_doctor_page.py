"""The doctor's page: whole, self-contained, and harmless whatever the names hold."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from competition.data.source.competition_data import CompetitionData, Photo
from competition.prediction.doctor.diagnosis import Agreement, Diagnosis, Finding, Twin
from competition.prediction.doctor.examine import examine
from competition.prediction.submission.write import write_submission
from competition.record.run_dir import RunDir
from competition.report.doctor_page import write_doctor_page
from competition.types import Predictions


class Tags(HTMLParser):
    """Collects tags, attributes and text; complains about tags that are not closed."""

    VOID = frozenset({"meta", "link", "img", "input", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.headings: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)


@pytest.fixture
def found(make_run: Callable[..., RunDir], tiny: CompetitionData) -> Diagnosis:
    run = make_run("a", 0.7, 5)
    write_submission(Predictions.load(run / "test.npz"), tiny, run / "submission.csv")
    rng = np.random.default_rng(0)
    return examine(run / "submission.csv", run, tiny, features=(rng.normal(size=(600, 8)), rng.normal(size=(80, 8))))


SECTIONS = [
    "What was found", "The score to expect", "Calibration", "Drift from training to test",
    "Beside earlier submissions", "Test photos that duplicate training photos", "The least certain rows",
]  # fmt: skip


def test_the_page_has_every_section_and_asks_nothing_of_a_network(found: Diagnosis, tmp_path: Path) -> None:
    page = Tags(write_doctor_page(found, tmp_path / "doctor.html").read_text())
    assert page.headings == SECTIONS
    links = [value or "" for _, name, value in page.attributes if name in ("src", "href")]
    assert all(link.startswith(("#", "data:")) for link in links), links


def test_names_from_data_are_text(found: Diagnosis, tmp_path: Path) -> None:
    evil = '<script>alert("x")</script>'
    twin = Twin(evil, evil, evil, "near", 0.9, evil, 0.5)
    agreement = Agreement(evil, "", 0.5, 0.1, True, float("nan"), 0.3)
    row = (evil, evil, 0.3, evil, 0.2)
    shift = dataclasses.replace(found.drift.shifts[0], breed=evil)
    changed = dataclasses.replace(
        found,
        file=evil,
        run=evil,
        twins=(twin,),
        agreements=(agreement,),
        rows=dataclasses.replace(found.rows, least=(row,)),
        findings=(Finding("bad", evil),),
        drift=dataclasses.replace(found.drift, shifts=(shift, *found.drift.shifts[1:])),
    )
    text = write_doctor_page(changed, tmp_path / "doctor.html").read_text()
    assert text.count("<script>") == 1  # the kit's own
    assert "alert(" in text
    Tags(text)


def test_a_file_of_other_origin_has_fewer_sections(found: Diagnosis, tmp_path: Path) -> None:
    other = dataclasses.replace(found, by_beliefs=True, repair=None, twins=())
    page = Tags(write_doctor_page(other, tmp_path / "doctor.html").read_text())
    assert page.headings == [name for name in SECTIONS if name != "Calibration"]


def test_photos_are_inside_and_an_unreadable_one_is_said(
    found: Diagnosis, tiny: CompetitionData, tmp_path: Path
) -> None:
    good, bad = found.rows.least[0][0], found.rows.least[1][0]
    Image.new("RGB", (64, 48), (200, 90, 30)).save(tmp_path / "good.jpg")
    paths = {good: tmp_path / "good.jpg", bad: tiny.test[0].path}
    data = dataclasses.replace(tiny, test=tuple(Photo(name, path) for name, path in paths.items()))
    text = write_doctor_page(found, tmp_path / "doctor.html", data).read_text()
    assert len(re.findall(r'src="data:image/jpeg;base64,', text)) == 1
    assert "cannot be read" in text


def test_every_number_of_the_verdict_is_on_the_page(found: Diagnosis, tmp_path: Path) -> None:
    text = write_doctor_page(found, tmp_path / "doctor.html").read_text()
    expected = found.expected
    assert f"{expected.log_loss:.3f}" in text
    assert f"{expected.low:.3f} to {expected.high:.3f}" in text
    assert "80 test photos" in text
