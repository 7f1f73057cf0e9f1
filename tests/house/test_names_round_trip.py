"""What is written is read back the same: ids and breeds of any kind, through every file the kit writes and reads."""

from __future__ import annotations

import csv
import html
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from competition.data.audit.report import AuditReport, DuplicatePair
from competition.data.folds import FoldTable
from competition.data.photos.photo_cache import PhotoCache, _write_index
from competition.data.relabel import relabelled
from competition.data.source.labels import read_labels, sample_columns, sample_ids
from competition.data.source.layout import load_data
from competition.files import csv_cell, csv_line, read_json, text_of_cell, write_csv, write_json
from competition.prediction.ledger.ledger import Entry, Ledger
from competition.prediction.submission.template import Template, read_sample
from competition.prediction.submission.write import read_submission, write_submission
from competition.record.history import History
from competition.record.projector import _table
from competition.report.html.pages import render_page
from competition.report.run.misclassified import Suspect, Verdicts, write_suspects
from competition.types import Predictions
from tests.data.conftest import picture, save

ODD = (
    "'-1",
    "''=x",
    "=1+1",
    '"a""b"',
    "<script>alert(1)</script>",
    "a&amp;b",
    "\\n",
    "a\\tb",
    "a,b",
    "two\nlines",
    "a\rb",
    "tab\there",
    "NA",
    "null",
    "nan",
    "None",
    "001",
    "1e5",
    "True",
    "-0",
    "@cmd",
    "+1",
    "\t=",
    "x" * 240,
    "caf\u00e9",
    "cafe\u0301",
    "\u72ac",
    "\U0001f415",
    "a\u2028b",
    "a\x85b",
    "\ufeffbom",
    "#",
    ";",
    "'",
    '"',
    "{{ x }}",
    "%s",
    "${x}",
    "a'b",
    "</title>",
    "-->",
)
TEXT = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), min_size=1, max_size=60)
NAMES = st.lists(st.one_of(st.sampled_from(ODD), TEXT), min_size=3, max_size=8, unique=True)
often = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def predictions(ids, classes) -> Predictions:
    values = np.random.default_rng(0).dirichlet(np.ones(len(classes)), len(ids))
    return Predictions(tuple(ids), tuple(sorted(classes)), values)


@pytest.mark.parametrize("name", ODD)
def test_a_cell_is_given_back_and_never_a_formula(name):
    cell = csv_cell(name)
    assert text_of_cell(cell) == name
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert next(csv.reader([csv_line([name, "x"])])) == [name, "x"] or "\n" in name or "\r" in name


@often
@given(ids=NAMES)
def test_folds(tmp_path: Path, ids):
    table = FoldTable(tuple(ids), np.arange(len(ids)) % 2, np.arange(len(ids)))
    table.save(tmp_path / "folds.csv")
    assert FoldTable.load(tmp_path / "folds.csv").ids == table.ids


@often
@given(ids=NAMES, breeds=NAMES)
def test_audit_predictions_and_submission(tmp_path: Path, ids, breeds):
    pair = DuplicatePair(ids[0], ids[1], "train", "test", breeds[0], None, "near", 1, 0.9)
    report = AuditReport((("train", ids[2], breeds[1]),), (breeds[0],), (pair,), 3, 1, "x", 0.0, ((ids[0], "hidden"),))
    report.save(tmp_path)
    assert AuditReport.load(tmp_path) == report
    with (tmp_path / "audit.csv").open(newline="", encoding="utf-8") as stream:
        rows = [[text_of_cell(cell) for cell in row] for row in csv.reader(stream)]
    assert rows[1][1] == ids[2]
    assert rows[2][1:5:3] == [ids[0], ids[1]]
    assert rows[2][3] == breeds[0]
    made = predictions(ids, breeds)
    made.save(tmp_path / "oof.npz")
    assert Predictions.load(tmp_path / "oof.npz").digest == made.digest


@often
@given(ids=NAMES, breeds=NAMES)
def test_submission_sample_and_labels(tmp_path: Path, ids, breeds):
    # Blanks around a name are not part of it in a table; "id" is the name of a column.
    ids = list(dict.fromkeys(name.strip() for name in ids if name.strip()))
    breeds = list(dict.fromkeys(name.strip() for name in breeds if name.strip() not in ("", "id")))
    if len(breeds) < 2 or not ids:
        return
    made = predictions(ids, breeds)
    template = Template(made.ids, made.classes)
    write_csv(
        tmp_path / "sample.csv", ["id", *made.classes], [[name, *[0.5] * len(breeds)] for name in ids], harmless=False
    )
    assert read_sample(tmp_path / "sample.csv") == template
    assert (sample_ids(tmp_path / "sample.csv"), sample_columns(tmp_path / "sample.csv")) == (made.ids, made.classes)
    write_csv(tmp_path / "labels.csv", ["id", "breed"], [[name, breeds[0]] for name in ids], harmless=False)
    assert read_labels(tmp_path / "labels.csv") == dict.fromkeys(ids, breeds[0])


@often
@given(ids=NAMES, breeds=NAMES)
def test_the_written_submission_is_read_back(tmp_path: Path, ids, breeds):
    breeds = [
        name
        for name in breeds
        if name.strip().casefold() not in ("id", "", "index", "unnamed: 0", "level_0", "row", "#")
    ]
    if len(breeds) < 2:
        return
    made = predictions(ids, breeds)
    template = Template(made.ids, made.classes)
    write_submission(made, template, tmp_path / "submission.csv")
    back = read_submission(tmp_path / "submission.csv", template)
    assert (back.ids, back.classes) == (made.ids, made.classes)
    np.testing.assert_allclose(back.probabilities, made.probabilities, atol=1e-9)


@often
@given(ids=NAMES)
def test_ledger_and_history(tmp_path: Path, ids):
    ledger = Ledger(tmp_path / "submissions" / "ledger.csv")
    ledger.path.unlink(missing_ok=True)
    entry = Entry(ids[0], "0" * 16, note=ids[1], members=tuple(ids))
    ledger.add(entry)
    assert ledger.entries() == (entry,)
    history = History(tmp_path / "history.csv")
    history.rows = [{"design": name, "log_loss": 0.25, "epoch": 3} for name in ids]
    history.save()
    back = History(tmp_path / "history.csv").rows
    assert [str(row["design"]) for row in back] == ids
    assert back[0]["log_loss"] == 0.25
    assert back[0]["epoch"] == 3


@often
@given(names=NAMES)
def test_json_and_the_projectors_table(tmp_path: Path, names):
    write_json(tmp_path / "probe.json", {"classes": names, **dict.fromkeys(names, 1)})
    assert read_json(tmp_path / "probe.json")["classes"] == names
    lines = _table({"breed": names, "id": names}).split("\n")
    back = {r"\t": "\t", r"\n": "\n", r"\r": "\r", r"\\": "\\"}
    cells = [re.sub(r"\\[tnr\\]", lambda found: back[found[0]], line.split("\t")[0]) for line in lines[1:-1]]
    assert cells == names


@often
@given(ids=NAMES, breeds=NAMES)
def test_suspects_are_a_file_for_relabel(tmp_path: Path, ids, breeds):
    classes = tuple(sorted(breeds))
    folder = tmp_path / "photos"
    data = load_data(folder) if (folder / "a").is_dir() else _two_breeds(folder)
    train = tuple(type(data.train[0])(name, data.train[0].path, classes[0]) for name in ids)
    data = type(data)(data.root, data.source, "Kaggle layout", train, (), classes)
    found = Verdicts(
        tuple(ids),
        classes,
        np.full((len(ids), len(classes)), 1 / len(classes)),
        np.zeros(len(ids), np.int64),
        np.zeros(len(ids), np.int64),
    )
    write_suspects(found, [Suspect(0, 0, 1, 0.1, 0.9)], tmp_path / "suspects.csv")
    assert relabelled(data, tmp_path / "suspects.csv").train[0].breed == classes[1]


def _two_breeds(folder: Path):
    for breed in ("a", "b"):
        save(folder / breed / f"{breed}.jpg", picture(ord(breed)))
    return load_data(folder)


@often
@given(ids=NAMES)
def test_the_photo_caches_index(tmp_path: Path, ids):
    (tmp_path / "pixels.u8").write_bytes(bytes(3 * (len(ids) - 1)))
    _write_index(tmp_path, [[name, 1, 1, zlib.crc32(bytes(3))] for name in ids[1:]] + [[ids[0], "broken"]])
    cache = PhotoCache(tmp_path)
    assert (list(cache), list(cache.unreadable)) == (ids[1:], [ids[0]])


@often
@given(names=NAMES)
def test_pages_hold_names_as_text(tmp_path: Path, names):
    rows = [(name, f"breeds/{number}.html") for number, name in enumerate(names)]
    (tmp_path / "list.html").write_text(
        '{% extends "base.html" %}{% block content %}'
        "{% for name, href in rows %}"
        '<b data-id="{{ name }}">{{ name }}</b>{% endfor %}{% endblock %}'
    )
    page = render_page("list.html", title=names[0], folder=tmp_path, rows=rows)
    found = re.findall(r'<b data-id="([^"]*)">([^<]*)</b>', page)
    assert [html.unescape(text) for _, text in found] == names
    assert [html.unescape(text) for text, _ in found] == names


def test_class_order_and_heads_go_by_place_not_by_name(tmp_path):
    made = predictions(ODD[:4], ODD)
    back = made.aligned_to(made.ids, tuple(reversed(made.classes)))
    np.testing.assert_array_equal(back.probabilities, made.probabilities[:, ::-1])
