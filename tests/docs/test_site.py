"""The pages as a site: built without a warning, whole without a network, searched when opened from disk."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

pytest.importorskip("mkdocs", reason="the extra [docs] is not installed")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_page_has_its_place(site: Path) -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    pages = re.findall(r"([\w./-]+)\.md$", navigation, re.MULTILINE)
    assert len(pages) > 25
    assert not [page for page in pages if not (site / f"{page}.html").is_file()]


def test_readme_is_the_front_page_and_its_links_are_pages(site: Path) -> None:
    text = (site / "index.html").read_text(encoding="utf-8")
    assert "The standard deviation between folds stands after" in text
    assert 'href="results/competition.html"' in text
    assert 'src="images/report.png"' in text


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    loads = re.compile(
        r"""<(?:script|img|iframe)[^>]*\ssrc="(?:https?:)?//|<link[^>]*\shref="(?:https?:)?//|@import|url\(["']?(?:https?:)?//"""
    )
    found = [
        path.name for path in site.rglob("*") if path.suffix in (".html", ".css") and loads.search(path.read_text())
    ]
    assert not found


def test_the_python_interface_shows_arguments_and_errors(site: Path) -> None:
    text = (site / "api.html").read_text(encoding="utf-8")
    assert "competition.cross_validate" in text
    assert "Raises:" in text
    assert "imagenet_prior" in text


def test_the_search_finds_a_page_opened_from_disk(site: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    program = os.environ.get("DOGBREED_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium here: set DOGBREED_CHROMIUM")
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto((site / "results" / "index.html").as_uri())
        page.click("input.md-search__input")
        page.keyboard.type("leaderboard")
        page.wait_for_selector(".md-search-result__meta:has-text('matching document')", timeout=60_000)
        titles = page.locator(".md-search-result__article").all_inner_texts()
        browser.close()
    assert any("Commands" in title or "On Kaggle" in title for title in titles), titles
    assert not [url for url in asked if not url.startswith(("file:", "data:"))]
