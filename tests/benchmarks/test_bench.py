"""The benchmark's own logic: medians, tables, JSON, what is kept and what is measured again. No time is asserted."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from competition.cli import bench as command
from competition.data.audit.candidates import find_candidates
from competition.data.source.competition_data import CompetitionData, Photo
from competition.errors import DataError, UsageError
from tests.benchmarks import __main__ as runner
from tests.benchmarks import material, scaling, tables
from tests.benchmarks.measure import Claim, Outcome, Setup, figure, in_turn, machine, short


def test_the_median_counts_and_the_ends_are_kept():
    found = figure("case", "kit", "photos/s", [5.0, 1.0, 2.0])
    assert (found.median, found.low, found.high, found.repeats) == (2.0, 1.0, 5.0, 3)
    with pytest.raises(ValueError, match="nothing was measured for case, kit"):
        figure("case", "kit", "s", [])


def test_ways_take_turns_after_a_warm_up():
    calls: list[str] = []

    def way(name: str):
        return lambda: calls.append(name) or float(len(calls))

    found = in_turn({"a": way("a"), "b": way("b")}, 2)
    assert calls == ["a", "b"] * 3
    assert found == {"a": [3.0, 5.0], "b": [4.0, 6.0]}


def test_claims_are_met_at_their_target():
    assert Claim("x", 6.0, 6.0).met
    assert not Claim("x", 5.99, 6.0).met
    assert Claim("x", 0.3, 0.3, at_least=False, unit="s").met
    assert Claim("x", 0.31, 0.3, at_least=False, unit="s").cells() == ["x", "0.310 s", "<= 0.300 s", "no"]


@pytest.mark.parametrize(
    ("value", "text"), [(0.9234, "0.923"), (6.944, "6.94"), (87.14, "87.1"), (1420.4, "1,420"), (-0.5, "-0.500")]
)
def test_three_digits(value, text):
    assert short(value) == text


def outcome(part: str = "loader") -> Outcome:
    found = Outcome(part, "decode, resize, augment")
    found.figures = [
        figure("12 MP", "kit", "photos/s", [90.0, 92.0, 91.0]),
        figure("12 MP", "fastai", "photos/s", [13.0]),
    ]
    found.claims = [Claim("kit over fastai", found.ratio("12 MP", "kit", "fastai"), 6.0)]
    found.notes = ["on one thread"]
    return found


def result(part: str = "loader", key: str = "k") -> dict:
    return {**outcome(part).plain(), "key": key, "machine": machine(), "when": "2026-11-20T13:00:00Z", "seconds": 12.0,
            "peak_memory_mb": 801.4, "rounds": 3, "scale": 1.0, "threads": 2}  # fmt: skip


def test_json_keeps_everything_and_says_what_is_met(tmp_path):
    tables.save(tmp_path, result())
    read = json.loads((tmp_path / "loader.json").read_text())
    assert read["figures"][0] == {
        "case": "12 MP", "way": "kit", "unit": "photos/s", "median": 91.0, "low": 90.0, "high": 92.0, "repeats": 3,
    }  # fmt: skip
    assert read["claims"][0]["value"] == 7.0
    assert read["claims"][0]["met"] is True
    assert {"processor", "cores", "memory_gb", "load_before", "versions"} <= set(read["machine"])


def test_the_table_holds_promises_costs_and_figures(tmp_path):
    for part in ("probe", "loader"):
        tables.save(tmp_path, result(part))
    text = tables.write_table(tmp_path, ("loader", "embed", "probe")).read_text()
    assert "| kit over fastai | 7.00 | >= 6.00 | yes |" in text
    assert "| decode, resize, augment | 12 s | 801 MB |" in text
    assert "| 12 MP | kit | 91.0 photos/s | 90.0 to 92.0 |" in text
    assert "| 12 MP | fastai | 13.0 photos/s | once |" in text
    assert text.index("load of the machine as each part began: loader") < text.index("probe ")
    for line in text.splitlines():
        assert not line.startswith("|") or line.endswith("|")


def test_results_of_other_sources_or_settings_are_not_kept(tmp_path):
    tables.save(tmp_path, result(key="old"))
    assert tables.stored(tmp_path, "loader", "old") is not None
    assert tables.stored(tmp_path, "loader", "new") is None
    assert tables.stored(tmp_path, "embed", "old") is None


def test_settings_decide_the_key(tmp_path):
    setup = Setup(tmp_path, tmp_path)
    assert runner.settings_key("loader", setup) == runner.settings_key("loader", Setup(tmp_path, tmp_path))
    others = [
        Setup(tmp_path, tmp_path, rounds=5),
        Setup(tmp_path, tmp_path, scale=0.5),
        Setup(tmp_path, tmp_path, threads=9),
    ]
    keys = {runner.settings_key("loader", item) for item in (setup, *others)} | {runner.settings_key("embed", setup)}
    assert len(keys) == 5


def test_a_part_runs_in_its_own_process_and_is_then_kept(tmp_path, capfd, monkeypatch):
    """The cheapest part, once; a second start reads it back."""
    monkeypatch.setattr("competition.console.console", _plain_console)
    monkeypatch.setattr(runner, "source_digest", lambda: "these sources")  # somebody may be editing them
    arguments = ["help", "--data", str(tmp_path), "--weights", str(tmp_path), "--out", str(tmp_path / "out"),
                 "--rounds", "1", "--scale", "0.1"]  # fmt: skip
    assert runner.main(arguments) == 0
    first = (tmp_path / "out" / "help.json").read_text()
    read = json.loads(first)
    assert {item["way"] for item in read["figures"]} >= {
        "dogbreed --help",
        "import competition",
        "an empty interpreter",
    }
    assert read["peak_memory_mb"] > 1
    assert not list((tmp_path / "out").glob("*.part.json"))
    assert runner.main(arguments) == 0
    assert "with the same sources and settings" in capfd.readouterr().err
    assert (tmp_path / "out" / "help.json").read_text() == first


def _plain_console():
    from rich.console import Console

    return Console(file=sys.stderr, soft_wrap=True)


def test_mistakes_are_told_in_one_line(tmp_path):
    places = ["--data", str(tmp_path), "--weights", str(tmp_path)]
    with pytest.raises(UsageError, match="unknown part 'loade' - did you mean 'loader'"):
        runner.main(["loade", *places])
    with pytest.raises(DataError, match="found no data"):
        runner.main(["help", "--data", str(tmp_path / "nowhere")])


def test_without_a_checkout_the_command_says_so(tmp_path, monkeypatch):
    assert (command.checkout() / "setup.cfg").is_file()
    monkeypatch.setattr(command, "__file__", str(tmp_path / "competition" / "cli" / "bench.py"))
    with pytest.raises(UsageError, match="'dogbreed bench' needs a checkout"):
        command.checkout()


@pytest.fixture
def few(tmp_path: Path) -> CompetitionData:
    rng = np.random.default_rng(0)
    photos = []
    for number in range(6):
        path = tmp_path / f"{number}.jpg"
        blocks = Image.fromarray(rng.integers(0, 256, (7, 7, 3), dtype=np.uint8))
        blocks.resize((120, 100), Image.Resampling.BICUBIC).save(path)
        photos.append(Photo(str(number), path, "ab"[number % 2]))
    return CompetitionData(tmp_path, tmp_path, "Kaggle layout", tuple(photos), (), ("a", "b"))


def test_photos_of_a_size_lie_in_class_folders(few):
    made = material.sized_photos(few, "500x375", 9)
    assert len({photo.path for photo in made}) == 9
    assert {photo.path.parent.name for photo in made} == {"class0", "class1"}
    for photo in made:
        with Image.open(photo.path) as image:
            assert image.size == (500, 375)
    written = [photo.path.stat().st_mtime_ns for photo in made]
    assert [photo.path.stat().st_mtime_ns for photo in material.sized_photos(few, "500x375", 9)] == written


def test_collages_fill_up_the_photos_and_are_no_duplicates(few):
    many = material.many_photos(few, 20)
    assert len({photo.path for photo in many.train}) == 20
    assert many.train[:6] == few.train
    thumbnails = []
    for photo in many.train:
        with Image.open(photo.path) as image:
            thumbnails.append(np.asarray(image.convert("RGB").resize((32, 32), Image.Resampling.BOX)))
    assert len(find_candidates(np.stack(thumbnails))) <= 3
    assert len(material.many_photos(few, 4).train) == 4


def test_exponents_are_slopes_of_logarithms():
    sizes = (1_000, 5_000, 10_000, 20_000)
    assert scaling.exponent(sizes, [3e-4 * n for n in sizes]) == pytest.approx(1)
    assert scaling.exponent(sizes, [2e-9 * n**2 for n in sizes]) == pytest.approx(2)
    with pytest.raises(ValueError, match="two sizes"):
        scaling.exponent(sizes[:1], [1.0])


def test_processor_seconds_count_this_process_and_its_children():
    busy = "import time\nwhile time.process_time() < 0.2: pass"
    assert scaling.processor_seconds(lambda: subprocess.run([sys.executable, "-c", busy], check=True)) >= 0.19
    assert scaling.processor_seconds(lambda: time.sleep(0.05)) < 0.05


def test_the_scaling_page_has_a_row_a_step():
    found = {size: dict.fromkeys(scaling.STEPS, size / 1000) for size in (1_000, 5_000)}
    text = scaling.page(found, {"processor": "a processor", "cores": 2}, "2026-11-20")
    for step in scaling.STEPS:
        assert f"| {step} | 1.00 | 5.00 | 1.00 | 1.00 |" in text
    assert "a processor, 2 cores, 2026-11-20" in text
    assert "{" not in text
