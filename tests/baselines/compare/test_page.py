"""The comparison of runs: the numbers behind the page, and the page. No network is trained here."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from baselines.compare.page import _style, write_comparison
from baselines.compare.runs import (
    differing,
    groups_of,
    missed_by_all,
    paired,
    read_runs,
    telling_images,
    worst_classes,
)
from baselines.contract.config import FitConfig
from baselines.data.datasets import Dataset, load_dataset
from baselines.training.evaluate import class_figures
from baselines.training.run_folder import ModelCard, ids_of
from competition.errors import DataError, ResumeError, UsageError
from competition.files import write_json, write_npz
from competition.record.history import History

MakeRun = Callable[..., Path]


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset("digits")


@pytest.fixture
def make_run(tmp_path: Path, digits: Dataset) -> MakeRun:
    """Write a run folder whose network calls the test images as told: ``{place: class}``, the others rightly."""

    def make(
        name: str, wrong: dict[int, int], sure: float = 0.9, framework: str = "pytorch", epochs: int = 3, **config: Any
    ) -> Path:
        folder = tmp_path / name
        labels = digits.test.labels
        called = labels.copy()
        called[list(wrong)] = list(wrong.values())
        probabilities = np.full((len(labels), 10), (1 - sure) / 9)
        probabilities[np.arange(len(labels)), called] = sure
        card = ModelCard(
            "lenet5", framework, True, {"name": "lenet5", "framework": framework, "num_classes": 10}, digits.classes, 8,
            1, (0.3,), (0.4,), {"name": "digits", "source": "scikit-learn", "digest": digits.digest},
        )  # fmt: skip
        write_json(folder / "model.json", asdict(card))
        write_json(folder / "config.json", {"engine": "FitConfig", **FitConfig(epochs=epochs, **config).to_dict()})
        write_npz(
            folder / "test.npz", ids=np.array(ids_of(len(labels))), classes=np.array(digits.classes),
            probabilities=probabilities, labels=labels,
        )  # fmt: skip
        history = History(folder / "history.csv")
        for epoch in range(1, epochs + 1):
            history.append(
                epoch=epoch, train_loss=2 / epoch, train_accuracy=1 - 0.5 / epoch, valid_loss=2.2 / epoch,
                valid_accuracy=1 - 0.6 / epoch, rate=0.01 / epoch, images_per_second=1000.0, seconds=1.5,
            )  # fmt: skip
        write_json(folder / "metrics.json", metrics(card, labels, called, probabilities, digits.classes, epochs))
        return folder

    return make


def metrics(
    card: ModelCard, labels: np.ndarray, called: np.ndarray, probabilities: np.ndarray, classes: Any, epochs: int
) -> dict[str, Any]:
    from baselines.data.datasets import Part
    from baselines.training.evaluate import Scored

    scored = Scored(Part(np.zeros((len(labels), 8, 8, 1), np.uint8), labels), np.log(probabilities), 1.0)
    part = {"images": len(labels), "loss": 0.25, "accuracy": float((called == labels).mean()), "top5": 1.0}
    return {
        "model": card.name, "framework": card.framework, "dataset": "digits", "train": part, "valid": part,
        "test": part, **class_figures(scored, classes), "parameters": 61_706, "trainable": 61_706, "macs": 416_520,
        "epochs": epochs, "best_epoch": epochs, "stopped": "", "seconds": 4.5, "seconds_per_epoch": 1.5,
        "images_per_second": 1000.0, "inference_images_per_second": 5000.0, "peak_memory_mb": 700.0, "device": "cpu",
    }  # fmt: skip


def another(digits: Dataset, place: int) -> int:
    return int((digits.test.labels[place] + 1) % 10)


@pytest.fixture
def two(make_run: MakeRun, digits: Dataset) -> list[Path]:
    """A is wrong on 0 to 3, B on 3 and 4."""
    first = make_run("a", {place: another(digits, place) for place in range(4)}, lr=0.1)
    second = make_run("b", {place: another(digits, place) for place in (3, 4)}, sure=0.6, framework="keras", lr=0.2)
    return [first, second]


def test_pairs_are_counted_image_by_image(two: list[Path], digits: Dataset) -> None:
    from scipy.stats import binom

    a, b = read_runs(two)
    pair = paired(a, b)
    images = len(digits.test)
    assert (pair.both, pair.only_a, pair.only_b, pair.neither) == (images - 5, 1, 3, 1)
    assert pair.p_value == pytest.approx(2 * binom.cdf(1, 4, 0.5))


def test_the_same_run_twice_is_one(two: list[Path]) -> None:
    assert [run.letter for run in read_runs([*two, two[0]])] == ["A", "B"]


def test_sixteen_runs_look_different_in_the_charts() -> None:
    assert len({_style(place) for place in range(16)}) == 16


def test_the_settings_that_differ_are_found(two: list[Path]) -> None:
    assert differing(read_runs(two)) == [("lr", ["0.1", "0.2"])]
    assert differing(read_runs(two[:1])) == []


def test_images_are_chosen_by_what_they_tell(two: list[Path]) -> None:
    runs = read_runs(two)
    assert set(telling_images(runs)) == {0, 1, 2, 4}
    assert missed_by_all(runs) == [3]
    assert set(telling_images(runs[1:])) == {3, 4}


def test_the_worst_class_comes_first(make_run: MakeRun, digits: Dataset) -> None:
    eights = np.flatnonzero(digits.test.labels == 8)
    half = eights[: len(eights) // 2]
    runs = read_runs([make_run("a", {int(place): 3 for place in half}), make_run("b", {})])
    name, images, recalls = worst_classes(runs)[0]
    assert (name, images) == ("8", len(eights))
    assert recalls == pytest.approx([1 - len(half) / len(eights), 1.0])


def test_runs_on_other_images_are_not_compared(two: list[Path], make_run: MakeRun) -> None:
    from competition.files import read_json

    other = make_run("c", {})
    card = read_json(other / "model.json")
    write_json(other / "model.json", {**card, "dataset": {**card["dataset"], "digest": "another"}})
    assert [[run.letter for run in group] for group in groups_of(read_runs([two[0], other, two[1]]))] == [
        ["A", "C"],
        ["B"],
    ]


class Page(HTMLParser):
    """Collects what the tests ask about."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_the_page_stands_alone_and_says_the_numbers(two: list[Path], tmp_path: Path, digits: Dataset) -> None:
    out = write_comparison(two, tmp_path / "page" / "compare.html")
    page = Page(out.read_text(encoding="utf-8"))
    assert sorted(path.name for path in out.parent.iterdir()) == ["compare.html"]
    images = page.all("img")
    assert len(images) == 5
    assert all((image["src"] or "").startswith("data:image/png;base64,") for image in images)
    told = digits.classes[digits.test.labels[3]]
    wrong = digits.classes[another(digits, 3)]
    assert f"Test image 3, labelled {told}; A says {wrong}, B says {wrong}" in [image["alt"] for image in images]
    charts = page.all("svg")
    assert len(charts) == 5
    assert all(chart["aria-label"] and chart["role"] == "img" for chart in charts)
    assert "A  lenet5, PyTorch, digits ends at 80; B  lenet5, Keras, digits ends at 80" in str(charts[0]["aria-label"])
    words = " ".join(" ".join(page.words).split())  # narrow spaces become plain ones
    images_right = 100 * (1 - 4 / len(digits.test))
    for wanted in (f"{images_right:.2f} %", "61.7 k", "417 k", "1.5 s", "What sets them apart"):
        assert wanted in words, wanted
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", page.text)


def test_a_run_alone_and_a_data_set_that_is_gone(make_run: MakeRun, digits: Dataset, tmp_path: Path) -> None:
    from competition.files import read_json

    folder = make_run("a", {5: another(digits, 5)})
    card = read_json(folder / "model.json")
    write_json(
        folder / "model.json", {**card, "dataset": {"name": str(tmp_path / "gone"), "source": "", "digest": "x"}}
    )
    text = write_comparison([folder], tmp_path / "one.html").read_text(encoding="utf-8")
    assert "What sets them apart" not in text
    assert "The data set was not found on this machine" in text
    assert "<img" not in text
    assert "image 5" in text


def test_names_from_the_data_are_text(make_run: MakeRun, tmp_path: Path) -> None:
    from competition.files import read_json, read_npz

    folder = make_run("a", {1: 2, 2: 5, 3: 4})
    evil = tuple(f"<script>{number}" for number in range(10))
    write_json(folder / "model.json", {**read_json(folder / "model.json"), "classes": evil})
    write_npz(folder / "test.npz", **{**read_npz(folder / "test.npz"), "classes": np.array(evil)})
    text = write_comparison([folder], tmp_path / "evil.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;1" in text
    assert "<script>1" not in text


def test_what_cannot_be_compared_is_said(two: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run to compare"):
        write_comparison([], tmp_path / "out.html")
    with pytest.raises(ResumeError, match=r"no run of a baseline"):
        write_comparison([tmp_path], tmp_path / "out.html")
    (two[1] / "metrics.json").unlink()
    with pytest.raises(ResumeError, match=r"no metrics\.json: finish it"):
        write_comparison(two, tmp_path / "out.html")
    write_npz(two[0] / "test.npz", classes=np.array(["0"]))
    with pytest.raises(DataError, match="lacks labels, probabilities"):
        write_comparison(two[:1], tmp_path / "out.html")
    assert not (tmp_path / "out.html").exists()


@pytest.fixture(scope="module")
def browser() -> Any:
    """Chromium, where it is installed."""
    engines = pytest.importorskip("playwright.sync_api")
    program = os.environ.get("DOGBREED_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium here: set DOGBREED_CHROMIUM")
    with engines.sync_playwright() as engine:
        started = engine.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone_and_keeps_to_itself(
    browser: Any, make_run: MakeRun, digits: Dataset, tmp_path: Path, scheme: str
) -> None:
    runs = [make_run(f"a rather long name of a run {n}", {n: another(digits, n)}, epochs=n + 1) for n in range(9)]
    page = browser.new_page(viewport={"width": 400, "height": 800}, color_scheme=scheme)
    faults: list[str] = []
    page.on("console", lambda message: faults.append(message.text))
    page.on(
        "request", lambda request: faults.append(request.url) if not request.url.startswith(("file", "data")) else 0
    )
    page.goto(write_comparison(runs, tmp_path / "compare.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == 400
    colours = page.evaluate("[...document.querySelectorAll('td .run, th .run')].map(e => getComputedStyle(e).color)")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert len(set(colours)) == 8
    assert min(contrast(colour, ground) for colour in colours) >= 4.5
    page.get_by_role("button", name="Test accuracy").click()
    first = page.locator("#runs tbody tr").first.locator("td").first.inner_text()
    assert first.replace("\u202f", " ") == f"{100 - 100 / len(digits.test):.2f} %"
    assert not faults
    page.close()


def contrast(one: str, other: str) -> float:
    """WCAG's contrast ratio of two CSS colours ``rgb(r, g, b)``."""

    def luminance(colour: str) -> float:
        channels = np.array([int(part) / 255 for part in re.findall(r"\d+", colour)[:3]])
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)
