from __future__ import annotations

import base64
import dataclasses
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest

from competition.config import ProbeConfig
from competition.data.audit.report import AuditReport, DuplicatePair
from competition.data.source.competition_data import CompetitionData, Photo
from competition.errors import DataError, ResumeError
from competition.files import write_json
from competition.record.metrics import accuracy, log_loss
from competition.record.run_dir import RunDir
from competition.report import audit_page
from competition.report.audit_page import write_audit_page
from competition.report.run import photo_pages
from competition.report.run.findings import gather
from competition.report.run.write import write_run_report
from competition.training.probe.cached_features import run_features
from competition.types import Predictions
from tests.explain import fakes


class Page(HTMLParser):
    """Addresses, ids, texts and scripts of one page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.addresses: list[str] = []
        self.anchors: set[str] = set()
        self.images: list[dict[str, str | None]] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self.handlers: list[str] = []
        self._inside = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self._inside = tag
        self.addresses += [str(values[key]) for key in ("href", "src", "data-href") if values.get(key)]
        self.handlers += [key for key in values if key.startswith("on")]
        if values.get("id"):
            self.anchors.add(str(values["id"]))
        if tag == "img":
            self.images.append(values)

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts.append(data)
        elif self._inside != "style":
            self.words.append(data.strip())

    @property
    def text(self) -> str:
        return " ".join(word for word in self.words if word)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunDir, CompetitionData]:
    folder = tmp_path_factory.mktemp("site")
    data = fakes.make_photos(folder / "data", 12)
    data.train[3].path.write_bytes(b"no photo any more")
    run = fakes.make_run(folder / "run", data)
    features = np.random.default_rng(0).normal(size=(len(data.train), 8))
    assert write_run_report(run, data, (data.train_ids, features)) == run / "report" / "index.html"
    return run, data


def pages_of(run: RunDir) -> list[Page]:
    return [Page(path) for path in sorted((run / "report").rglob("*.html"))]


def test_every_address_leads_somewhere_on_disk(site: tuple[RunDir, CompetitionData]) -> None:
    pages = {page.path: page for page in pages_of(site[0])}
    assert len(pages) > 6 + 6
    for page in pages.values():
        for address in page.addresses:
            parts = urlsplit(address)
            assert parts.scheme in ("", "data"), address
            assert not parts.netloc
            if parts.scheme == "data":
                continue
            # In the datalist addresses are relative to the site's root.
            bases = (page.path.parent, site[0] / "report")
            targets = [(base / unquote(parts.path)).resolve() if parts.path else page.path for base in bases]
            target = next((target for target in targets if target.is_file()), None)
            assert target is not None, f"{page.path.name}: {address}"
            if parts.fragment and target in pages:
                assert parts.fragment in pages[target].anchors, address


def test_names_from_data_stay_text(site: tuple[RunDir, CompetitionData]) -> None:
    for page in pages_of(site[0]):
        raw = page.path.read_text(encoding="utf-8")
        assert 'alert("x")' not in raw
        assert "<b>bold" not in raw
        assert not page.handlers
        assert len(page.scripts) == 1
        digest = base64.b64encode(hashlib.sha256(page.scripts[0].encode()).digest()).decode()
        assert f"script-src 'sha256-{digest}'" in raw
    overview = Page(site[0] / "report" / "breeds.html")
    assert '<script>alert("x")</script>' in overview.text


def test_pictures_are_lazy_and_described(site: tuple[RunDir, CompetitionData]) -> None:
    images = [image for page in pages_of(site[0]) for image in page.images]
    assert len(images) > 100
    assert all(image["loading"] == "lazy" for image in images)
    assert all(re.search(r"Photo .+, labelled ", str(image["alt"])) for image in images)


def test_figures_are_those_of_the_predictions(site: tuple[RunDir, CompetitionData]) -> None:
    run, data = site
    oof = Predictions.load(run / "oof.npz")
    text = Page(run / "report" / "index.html").text
    assert f"{log_loss(oof.probabilities, data.labels):.3f}" in text
    assert f"{100 * accuracy(oof.probabilities, data.labels):.1f}\u202f%" in text
    assert f"of {len(data.train)} photos" in text
    assert "after a temperature of 1.070" in text
    assert "pug: 2 photos for 3 folds" in text
    assert "at a strength of 0.01" in text


def test_imagenet_note_or_drawing_banner(tmp_path: Path) -> None:
    data = fakes.make_photos(tmp_path / "data", 3)
    run = fakes.make_run(tmp_path / "run", data)
    text = Page(write_run_report(run, data)).text
    assert "come from ImageNet" in text
    assert "drawings" not in text
    write_json(data.root / "truth.json", {})
    write_run_report(run, data)
    for page in pages_of(run):
        assert "not a result" in page.text
        assert "come from ImageNet" not in page.text
    assert "not a result" in Page(write_audit_page(AuditReport(), data, tmp_path / "audit.html")).text


def test_suspects_are_exported(site: tuple[RunDir, CompetitionData]) -> None:
    rows = (site[0] / "report" / "suspects.csv").read_text().splitlines()
    assert rows[0] == "id,given,suggested"
    page = (site[0] / "report" / "suspects.html").read_text()
    assert page.count("data-suggested=") == len(rows) - 1


def test_unreadable_photo_is_said_not_hidden(site: tuple[RunDir, CompetitionData]) -> None:
    run, data = site
    page = Page(run / "report" / "breeds" / "script-alert-x-script.html")
    assert page.text.count("cannot be read") >= 1
    assert data.train[3].breed == fakes.NASTY


def test_nearest_photos_only_with_features(site: tuple[RunDir, CompetitionData], tmp_path: Path) -> None:
    run, data = site
    pair = next((run / "report" / "pairs").glob("*.html"))
    assert "Nearest training photos of" in Page(pair).text
    other = fakes.make_run(tmp_path / "run", data)
    write_run_report(other, data)
    assert "Nearest training photos" not in Page(other / "report" / "pairs" / pair.name).text


def test_a_later_report_leaves_nothing_of_the_earlier_one(tmp_path: Path) -> None:
    data = fakes.make_photos(tmp_path / "data", 6)
    run = fakes.make_run(tmp_path / "run", data, sure=1.0)
    write_run_report(run, data)
    assert list((run / "report" / "pairs").glob("*.html"))
    (run / "audit.json").unlink()
    fakes_oof = Predictions(data.train_ids, data.classes, np.eye(len(data.classes))[data.labels])
    fakes_oof.save(run / "oof.npz")
    write_run_report(run, data)
    assert not list((run / "report" / "pairs").glob("*.html"))
    assert not (run / "report" / "duplicates.html").exists()
    assert "No photo was called another breed" in Page(run / "report" / "index.html").text
    assert not list((run / "report" / "thumbs").rglob("*l.jpg"))


def test_bare_run_folder_is_enough(tmp_path: Path) -> None:
    data = fakes.make_photos(tmp_path / "data", 3)
    run = fakes.make_run(tmp_path / "run", data)
    for name in ("metrics.json", "manifest.json", "history.csv", "folds.csv", "audit.json"):
        (run / name).unlink()
    oof = Predictions.load(run / "oof.npz")
    oof.aligned_to(oof.ids[:10], oof.classes).save(run / "oof.npz")
    text = Page(write_run_report(run, data)).text
    assert "did not run): 8 train photos." in text
    assert "no fold file" in text


def test_what_is_no_finished_run_is_refused(tmp_path: Path) -> None:
    data = fakes.make_photos(tmp_path / "data", 2)
    with pytest.raises(ResumeError, match="not a run folder"):
        write_run_report(RunDir(tmp_path / "nothing"), data)
    run = fakes.make_run(tmp_path / "run", data)
    (run / "oof.npz").unlink()
    with pytest.raises(DataError, match=r"oof\.npz.*dogbreed run"):
        write_run_report(run, data)
    assert not (run / "report").exists()


def audit_of(data: CompetitionData, n: int = 1) -> AuditReport:
    a, b, c = data.train[:3]
    pairs = [DuplicatePair(a.id, "t1", "train", "test", a.breed, None, "near", 3, 0.97)] * n
    pairs.append(DuplicatePair(b.id, c.id, "train", "train", "pug", fakes.NASTY, "exact", 0, 1.0))
    return AuditReport(
        unreadable=(("test", "<i>x</i>", "truncated & <lost>"),),
        problems=("2 photos <without> label",),
        pairs=tuple(pairs),
        train_photos=len(data.train),
        test_photos=7,
    )


def test_audit_page_stands_alone(tmp_path: Path) -> None:
    data = fakes.make_photos(tmp_path / "data", 2)
    page = Page(write_audit_page(audit_of(data), data, tmp_path / "audit.html"))
    assert all(address.startswith(("data:", "#")) for address in page.addresses)
    assert len(page.images) == 3  # the test photo is not among the data: an empty tile
    assert page.text.index("The same picture under two breeds") < page.text.index(
        "The same picture in train and in test"
    )
    assert "<i>x</i>" in page.text
    assert "truncated & <lost>" in page.text
    assert "2 photos <without> label" in page.text
    assert "12 train photos of 6 breeds, 7 test photos" in page.text
    assert "alert(" not in page.path.read_text().replace("alert(&#34;x", "")


def test_audit_page_says_how_many_pairs_it_leaves_out(tmp_path: Path) -> None:
    data = fakes.make_photos(tmp_path / "data", 2)
    report = audit_of(data, n=audit_page.MOST_PER_SECTION + 5)
    page = Page(write_audit_page(report, data, tmp_path / "audit.html"))
    assert "5 more of this kind are in audit.csv" in page.text


def test_audit_page_without_findings(tmp_path: Path) -> None:
    data = fakes.make_photos(tmp_path / "data", 2)
    page = Page(write_audit_page(AuditReport(train_photos=12), data, tmp_path / "audit.html"))
    assert "No two photos look alike." in page.text
    assert "None." in page.text


def test_command_line(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from competition.cli import app
    from competition.data.source.layout import load_data

    fakes.make_kaggle(tmp_path / "data")
    run = fakes.make_run(tmp_path / "run", load_data(tmp_path / "data"))
    done = CliRunner().invoke(app, ["report", str(run.path), "--data", str(tmp_path / "data")])
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == str(run / "report" / "index.html")
    refused = CliRunner().invoke(app, ["report", str(tmp_path), "--data", str(tmp_path / "data")])
    assert isinstance(refused.exception, ResumeError)


def test_history_of_folds_is_found(tmp_path: Path) -> None:
    data = fakes.make_photos(tmp_path / "data", 3)
    run = fakes.make_run(tmp_path / "run", data)
    (run / "history.csv").rename(run.fold(0) / "history.csv")
    rows = gather(run, data).history
    assert len(rows) == 12
    assert {row["fold"] for row in rows} == {0, 1, 2}  # the file's own column wins
    (run / "fold0" / "history.csv").unlink()
    for k in (0, 1):
        (run.fold(k) / "history.csv").write_text("epoch,log_loss\n1,2.5\n")
    assert gather(run, data).history == (
        {"fold": 0, "epoch": 1, "log_loss": 2.5},
        {"fold": 1, "epoch": 1, "log_loss": 2.5},
    )


def test_a_duplicate_under_the_called_breed_is_said(tmp_path: Path) -> None:
    data = fakes.make_photos(tmp_path / "data", 6)
    run = fakes.make_run(tmp_path / "run", data, sure=1.0)
    found = gather(run, data).found
    row = int(found.wrong[0])
    called = found.classes[found.predicted[row]]
    other = next(photo for photo in data.train if photo.breed == called)
    pair = DuplicatePair(found.ids[row], other.id, "train", "train", data.train[row].breed, called, "near", 2, 0.99)
    AuditReport(pairs=(pair,)).save(run.path)
    write_run_report(run, data)
    text = Page(run / "report" / "losses.html").text
    assert text.count("a duplicate is labelled so") >= 1
    assert text.index("a duplicate is labelled so") < text.index(
        found.ids[int(found.wrong[1])]
    )  # it is the first photo's


def test_features_of_a_probe_run_come_from_the_cache(tmp_path: Path) -> None:
    import timm
    from safetensors.torch import save_file

    from competition.training.backbones.find import find_backbones
    from competition.training.probe.embed import embed
    from competition.training.probe.run import probe_blocks

    weights = tmp_path / "weights" / "tiny"
    weights.mkdir(parents=True)
    save_file(timm.create_model("test_vit", num_classes=0).state_dict(), str(weights / "model.safetensors"))
    write_json(weights / "config.json", {"architecture": "test_vit", "num_classes": 0, "num_features": 64})
    data = fakes.make_photos(tmp_path / "data", 2)
    data = dataclasses.replace(data, train=data.train[:-1], test=(Photo("t", data.train[-1].path),))
    data.train[5].path.write_bytes(b"no photo any more")
    run = fakes.make_run(tmp_path / "run", data)
    config = ProbeConfig(backbones=("tiny",))
    write_json(run / "config.json", {**config.to_dict(), "engine": "ProbeConfig"})
    AuditReport(unreadable=(("train", data.train[5].id, "cut"),)).save(run.path)
    assert run_features(run, data, weights.parent) is None  # nothing cached yet, and nothing is computed
    readable = data.without({data.train[5].id})
    block = probe_blocks(find_backbones(("tiny",), weights.parent), config.views)[0]
    features = embed(readable.train, [block], config)[block.name]
    embed(data.test, [block], config)
    made = run_features(run, data, weights.parent)
    assert made is not None
    assert tuple(made[0]) == readable.train_ids
    np.testing.assert_array_equal(made[1], features)
    assert run_features(run, data) is None  # weights nowhere to be found


def test_a_collapsed_model_does_not_fill_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photo_pages, "MOST_CASES", 2)
    monkeypatch.setattr(photo_pages, "MOST_LISTED", 3)
    monkeypatch.setattr(photo_pages, "MOST_LARGE", 5)
    data = fakes.make_photos(tmp_path / "data", 4)
    run = fakes.make_run(tmp_path / "run", data)
    (run / "audit.json").unlink()
    Predictions(data.train_ids, data.classes, np.tile([0.05, 0.05, 0.75, 0.05, 0.05, 0.05], (24, 1))).save(
        run / "oof.npz"
    )
    write_run_report(run, data)
    report = run / "report"
    assert len(list(report.rglob("*l.jpg"))) == 5
    pair = Page(report / "pairs" / "chow--lakeland-terrier.html")
    assert "4 of 4 photos, highest loss first; the first 2 are shown." in pair.text
    breed = Page(report / "breeds" / "chow.html")
    assert "20 photos of other breeds called Chow" in breed.text
    assert "The 3 with the highest loss are shown." in breed.text
    assert all(image["src"] for page in pages_of(run) for image in page.images)


def test_other_labels_than_the_run_had_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = fakes.make_photos(tmp_path / "data", 3)
    run = fakes.make_run(tmp_path / "run", data)
    run.update_manifest(data_digest=data.digest)
    assert "--relabel" not in Page(write_run_report(run, data)).text
    changed = dataclasses.replace(data.train[0], breed="pug")
    other = dataclasses.replace(data, train=(changed, *data.train[1:]))
    assert "give it here as well" in Page(write_run_report(run, other)).text
    assert "--relabel" in capsys.readouterr().err


def test_breeds_that_differ_in_signs_only_get_pages_of_their_own(tmp_path: Path) -> None:
    data = fakes.make_photos(tmp_path / "data", 3, breeds=("a_b", "A-b", "柴犬", "秋田犬"))
    run = fakes.make_run(tmp_path / "run", data)
    slugs = gather(run, data).slugs
    assert len(set(slugs)) == 4
    assert all(re.fullmatch(r"[a-z0-9-]+", name) for name in slugs)
    text = Page(write_run_report(run, data).parent / "breeds.html").text
    assert "柴犬" in text
    assert "秋田犬" in text
