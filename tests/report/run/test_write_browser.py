"""The report in a real browser: skipped where Chromium or Playwright is absent."""

from __future__ import annotations

import os
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from competition.data.audit.report import AuditReport
from competition.record.run_dir import RunDir
from competition.report.audit_page import write_audit_page
from competition.report.run.contrast_maps import ContrastMaps
from competition.report.run.write import write_run_report
from tests.explain import fakes
from tests.explain.fake_backend import FakeBackend

playwright = pytest.importorskip("playwright.sync_api")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program = os.environ.get("DOGBREED_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium here: set DOGBREED_CHROMIUM")
    with playwright.sync_playwright() as engine:
        started = engine.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    folder = tmp_path_factory.mktemp("browser site #1")
    data = fakes.make_photos(folder / "data", 14)
    run = fakes.make_run(folder / "run", data)
    features = np.random.default_rng(0).normal(size=(len(data.train), 8))
    paths = {photo.id: photo.path for photo in data.train}
    maps = ContrastMaps(
        run / "report" / "maps",
        lambda fold: FakeBackend((48, 40, 3), data.classes, fold),
        "key",
        paths,
        "a fake network",
    )
    write_run_report(run, data, (data.train_ids, features), maps)
    write_audit_page(AuditReport.load(run.path), data, run / "audit.html")
    return run


class Visit:
    """One tab that remembers what it should not have seen."""

    def __init__(self, browser: Any, **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.faults: list[str] = []
        self.page.on("console", lambda message: self.faults.append(f"console: {message.text}"))
        self.page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        self.page.on("dialog", lambda dialog: (self.faults.append("dialog"), dialog.dismiss()))
        self.page.on("requestfailed", self._failed)
        self.page.on("request", self._watch)

    def _failed(self, request: Any) -> None:
        if request.failure != "net::ERR_ABORTED":  # leaving a page while its photos load is no fault
            self.faults.append(f"failed: {request.url} {request.failure}")

    def _watch(self, request: Any) -> None:
        if not request.url.startswith(("file:", "data:", "blob:")):
            self.faults.append(f"network: {request.url}")

    def open(self, path: Path) -> Any:
        self.page.goto(path.as_uri())
        return self.page

    def at(self) -> str:
        return str(self.page.url).rpartition("/report/")[2]


@pytest.fixture
def visit(browser: Any) -> Iterator[Visit]:
    opened = Visit(browser, viewport={"width": 1280, "height": 900})
    yield opened
    opened.context.close()
    assert opened.faults == []


def test_every_page_at_every_width_and_colour(site: RunDir, browser: Any) -> None:
    grounds = {}
    for scheme, width in (("light", 1280), ("dark", 1280), ("light", 360), ("dark", 360)):
        visit = Visit(browser, viewport={"width": width, "height": 800}, color_scheme=scheme)
        for path in (*sorted((site / "report").rglob("*.html")), site / "audit.html"):
            page = visit.open(path)
            page.evaluate("document.querySelectorAll('img').forEach((image) => { image.loading = 'eager'; })")
            while not page.evaluate("Array.from(document.images).every((image) => image.complete)"):
                page.wait_for_timeout(20)  # wait_for_function would need eval, which the page forbids
            assert page.evaluate("Array.from(document.images).every((image) => image.naturalWidth > 0)"), path
            assert page.evaluate("document.documentElement.scrollWidth") <= width, path
            grounds[scheme] = page.evaluate("getComputedStyle(document.body).backgroundColor")
        visit.context.close()
        assert visit.faults == []
    assert grounds["light"] != grounds["dark"]


def test_contrast_of_text_on_its_ground(site: RunDir, visit: Visit) -> None:
    """WCAG AA: 4.5 to 1 for every text colour the style sheet names, light and dark."""
    measure = """() => {
        const light = (text) => {
            const c = text.match(/[0-9.]+/g).slice(0, 3).map(Number).map((v) => v / 255)
                .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
            return 0.2126 * c[0] + 0.7152 * c[1] + 0.0722 * c[2];
        };
        const box = document.createElement("div");
        document.body.append(box);
        const colour = (name) => { box.style.color = `var(--${name})`; return light(getComputedStyle(box).color); };
        const found = {};
        for (const ground of ["ground", "card", "sunk"])
            for (const ink of ["ink", "soft", "faint", "link", "given", "called"]) {
                const [a, b] = [colour(ground), colour(ink)].sort((x, y) => y - x);
                found[`${ink} on ${ground}`] = (a + 0.05) / (b + 0.05);
            }
        return found;
    }"""
    for scheme in ("light", "dark"):
        visit.page.emulate_media(color_scheme=scheme)
        found = visit.open(site / "report" / "index.html").evaluate(measure)
        assert {name: round(ratio, 2) for name, ratio in found.items() if ratio < 4.5} == {}


def test_matrix_click_leads_to_the_photos(site: RunDir, visit: Visit) -> None:
    page = visit.open(site / "report" / "index.html")
    cell = page.locator(".matrix td.err a").first
    photos = int(cell.inner_text())
    cell.click()
    page.wait_for_url("**/pairs/*")
    anchor = visit.at().partition("#")[2]
    assert page.locator(f"[id='{anchor}'] article.case").count() == photos


def test_every_case_has_its_maps_beside_it(site: RunDir, visit: Visit) -> None:
    """A matrix click leads to photos whose two maps are loaded, named in words and as wide as one another."""
    page = visit.open(site / "report" / "index.html")
    page.locator(".matrix td.err a").first.click()
    page.wait_for_url("**/pairs/*")
    first = page.locator("article.case").first
    first.scroll_into_view_if_needed()
    maps = first.locator(".maps img")
    assert maps.count() == 2
    for index in range(2):
        maps.nth(index).scroll_into_view_if_needed()
        while not maps.nth(index).evaluate("(image) => image.complete"):
            page.wait_for_timeout(20)
        assert maps.nth(index).evaluate("(image) => image.naturalWidth") == 40
    alternatives = [str(maps.nth(index).get_attribute("alt")) for index in range(2)]
    breeds = page.locator("h1 a").all_inner_texts()
    assert {text.rpartition("speaks for ")[2] for text in alternatives} == set(breeds)
    widths = [maps.nth(index).bounding_box()["width"] for index in range(2)]
    assert widths[0] == widths[1] > 100


def test_cases_by_keyboard(site: RunDir, visit: Visit) -> None:
    """j walks from case to case, not into the pictures beside them; brackets lead to the next pair."""
    pairs = sorted((site / "report" / "pairs").glob("*.html"))
    page = visit.open(max(pairs, key=lambda path: path.read_text().count('<article class="case"')))
    cases = page.locator("article.case").count()
    assert cases >= 2
    for index in range(2):
        page.keyboard.press("j")
        focused = "Array.from(document.querySelectorAll('article.case')).indexOf(document.activeElement)"
        assert page.evaluate(focused) == index
    before = visit.at()
    link = page.locator("a[rel=next], a[rel=prev]").first
    page.keyboard.press("]" if link.get_attribute("rel") == "next" else "[")
    page.wait_for_url(lambda url: before not in url)


def test_matrix_by_keyboard(site: RunDir, visit: Visit) -> None:
    page = visit.open(site / "report" / "index.html")
    assert page.locator(".matrix a[tabindex='0']").count() == 1
    first = page.locator(".matrix a").first
    first.focus()
    label = "document.activeElement.getAttribute('aria-label')"
    before = page.evaluate(label)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    assert page.evaluate(label) != before
    assert page.evaluate("document.activeElement.tabIndex") == 0
    assert page.locator(".matrix .lit").count() == 2
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/report/(pairs|breeds)/"))


@pytest.mark.parametrize(
    ("typed", "page_name"),
    [("pug", "pug.html"), ("terr", "lakeland-terrier.html"), ("<SCRIPT", "script-alert-x-script.html")],
)
def test_search_goes_to_the_breed(site: RunDir, visit: Visit, typed: str, page_name: str) -> None:
    page = visit.open(next((site / "report" / "pairs").glob("*.html")))
    page.keyboard.press("/")
    page.keyboard.type(typed)
    page.keyboard.press("Enter")
    page.wait_for_url("**/breeds/*")
    assert visit.at() == f"breeds/{page_name}"


def test_search_for_nothing_known_stays(site: RunDir, visit: Visit) -> None:
    page = visit.open(site / "report" / "index.html")
    page.fill("#find", "unicorn")
    page.keyboard.press("Enter")
    assert visit.at() == "index.html"
    assert page.evaluate("document.getElementById('find').validationMessage") == "No breed of that name here"


def test_breeds_sort_and_filter(site: RunDir, visit: Visit) -> None:
    page = visit.open(site / "report" / "breeds.html")
    names = "Array.from(document.querySelectorAll('#breeds tbody tr:not([hidden]) th')).map((cell) => cell.textContent)"
    losses = (
        "Array.from(document.querySelectorAll('#breeds tbody td:nth-child(6)')).map((cell) => Number(cell.dataset.v))"
    )
    assert page.evaluate(losses) == sorted(page.evaluate(losses), reverse=True)
    page.click("text=Log loss")
    assert page.evaluate(losses) == sorted(page.evaluate(losses))
    assert page.locator("th[aria-sort]").count() == 1
    page.click("#breeds button:text-is('Breed')")
    ordered = page.evaluate(names)
    assert page.locator("th[aria-sort=ascending]").inner_text().startswith("Breed")
    assert ordered.index("Chow") < ordered.index("Lakeland terrier") < ordered.index("Pug")
    page.fill("#filter", "lakeland")
    shown = page.evaluate(names)
    assert "Lakeland terrier" in shown
    assert len(shown) < 6
    assert page.inner_text("#filter-said") == f"{len(shown)} of 6"


def test_photos_by_keyboard(site: RunDir, visit: Visit) -> None:
    page = visit.open(site / "report" / "losses.html")
    focused = "document.activeElement.querySelector('.id')?.textContent"
    ids = page.locator("#losses .id").all_inner_texts()
    walked = []
    for key in ("j", "j", "j", "k"):
        page.keyboard.press(key)
        walked.append(page.evaluate(focused))
    assert walked == [ids[0], ids[1], ids[2], ids[1]]
    page.focus("#filter")
    page.keyboard.type("jk")
    assert page.input_value("#filter") == "jk"


def test_brackets_turn_pages(site: RunDir, visit: Visit) -> None:
    page = visit.open(site / "report" / "breeds" / "lakeland-terrier.html")
    page.keyboard.press("]")
    page.wait_for_url("**/norwich-terrier.html")
    page.keyboard.press("[")
    page.wait_for_url("**/lakeland-terrier.html")


def test_ticked_suspects_are_saved(site: RunDir, visit: Visit, tmp_path: Path) -> None:
    page = visit.open(site / "report" / "suspects.html")
    boxes = page.locator("#suspects input[type=checkbox]")
    assert boxes.count() >= 2
    assert page.is_disabled("button[data-save]")
    page.click("button[data-all]")
    with page.expect_download() as waiting:
        page.click("button[data-save]")
    waiting.value.save_as(tmp_path / "relabel.csv")
    assert waiting.value.suggested_filename == "relabel.csv"
    assert (tmp_path / "relabel.csv").read_text() == (site / "report" / "suspects.csv").read_text()
    boxes.first.uncheck()
    assert page.inner_text("#chosen") == f"{boxes.count() - 1} chosen"


def test_foreign_scripts_and_addresses_are_blocked(site: RunDir, browser: Any) -> None:
    visit = Visit(browser)
    page = visit.open(site / "report" / "index.html")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.5)
        page.evaluate(
            """(port) => {
                const script = document.createElement("script");
                script.textContent = "window.ran = 1";
                const image = new Image();
                image.src = `http://127.0.0.1:${port}/x.png`;
                document.body.append(script, image);
            }""",
            server.getsockname()[1],
        )
        with pytest.raises(TimeoutError):
            server.accept()
    assert page.evaluate("window.ran") is None
    assert sum("Content Security Policy" in fault for fault in visit.faults) == 2
    visit.context.close()


def test_printing_has_the_photos_and_no_tools(site: RunDir, visit: Visit, tmp_path: Path) -> None:
    page = visit.open(site / "report" / "losses.html")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.is_visible("#find")
    assert not page.is_visible("#filter")
    assert page.is_visible("#losses img")
    assert len(page.pdf()) > 10_000
