"""The ledger: rows survive writing and reading, twins are found, scores are written down."""

from __future__ import annotations

import math
import threading
from pathlib import Path

import pytest

from competition.errors import DataError, UsageError
from competition.files import digest_of_file
from competition.prediction.ledger.ledger import HEADER, Entry, Ledger
from competition.prediction.ledger.text import ledger_lines, record_lines, verdict


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "submissions" / "ledger.csv")


def entry_for(ledger: Ledger, name: str, content: str, **values) -> Entry:
    path = ledger.path.parent.parent / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return Entry(ledger.name_of(path), digest_of_file(path), **values)


FULL = {
    "written": "2026-11-20T10:00:00Z",
    "rows": 1000,
    "method": "weights",
    "members": ("probe", "fine, tuned"),
    "weights": (0.25, 0.75),
    "config_digests": ("ab", "cd"),
    "commit": "a89a326",
    "oof_log_loss": 0.305,
    "interval_low": 0.28,
    "interval_high": 0.33,
    "note": "first, 'best'",
}


def test_an_empty_ledger_has_no_rows(ledger: Ledger) -> None:
    assert ledger.entries() == ()
    assert "empty" in "".join(ledger_lines(()))


def test_a_row_survives(ledger: Ledger) -> None:
    entry = entry_for(ledger, "runs/probe/submission.csv", "x", **FULL)
    assert ledger.add(entry) == ()
    (read,) = ledger.entries()
    assert {name: getattr(read, name) for name in FULL} == FULL
    assert (read.file, read.digest) == ("runs/probe/submission.csv", entry.digest)
    assert math.isnan(read.public_score)
    assert ledger.path.read_text().splitlines()[0] == ",".join(HEADER)


def test_paths_outside_are_kept_as_bare_names(ledger: Ledger, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert ledger.name_of(tmp_path_factory.mktemp("elsewhere") / "s.csv") == "s.csv"


def test_the_same_file_again_adds_no_row(ledger: Ledger) -> None:
    entry = entry_for(ledger, "a.csv", "x")
    ledger.add(entry)
    assert ledger.add(entry) == ()
    assert len(ledger.entries()) == 1


def test_a_byte_identical_submission_is_pointed_out(ledger: Ledger) -> None:
    first = entry_for(ledger, "a.csv", "x", written="2026-11-20T10:00:00Z", public_score=0.31)
    second = entry_for(ledger, "b.csv", "x", oof_log_loss=0.3, rows=1000, interval_low=0.28, interval_high=0.32)
    ledger.add(first)
    # by their cells: from Python 3.13 on two entries that lack a score (NaN) are never equal
    assert [entry.cells() for entry in ledger.add(second)] == [first.cells()]
    told = list(record_lines(second, (first,)))
    assert told[0] == "b.csv: expected score 0.3000, 95 % interval 0.2800 to 0.3200 for 1,000 test photos"
    assert "byte-identical to a.csv, written 2026-11-20T10:00:00Z, public score 0.31000" in told[1]
    assert "byte-identical: a.csv, b.csv" in list(ledger_lines(ledger.entries()))


def test_a_changed_file_of_the_same_name_is_a_new_row(ledger: Ledger) -> None:
    ledger.add(entry_for(ledger, "a.csv", "x"))
    assert ledger.add(entry_for(ledger, "a.csv", "y")) == ()
    assert len(ledger.entries()) == 2


def test_scores_go_to_the_row_of_that_content(ledger: Ledger) -> None:
    old, new = entry_for(ledger, "a.csv", "x"), entry_for(ledger, "a.csv", "y")
    ledger.add(old)
    ledger.add(new)
    path = ledger.path.parent.parent / "a.csv"
    assert ledger.score(path, 0.31).digest == new.digest
    assert ledger.score(Path(old.digest), 0.35, 0.36).digest == old.digest
    assert ledger.score(Path("a.csv"), private=0.32).digest == new.digest
    first, second = ledger.entries()
    assert (first.public_score, first.private_score) == (0.35, 0.36)
    assert (second.public_score, second.private_score) == (0.31, 0.32)


@pytest.mark.parametrize("score", [-0.1, math.nan, math.inf])
def test_a_score_that_is_no_log_loss_is_refused(ledger: Ledger, score: float) -> None:
    ledger.add(entry_for(ledger, "a.csv", "x"))
    with pytest.raises(UsageError, match="is no log loss"):
        ledger.score(Path("a.csv"), score)


def test_a_file_without_a_row_is_named(ledger: Ledger) -> None:
    with pytest.raises(UsageError, match=r"has no row for 'b\.csv'"):
        ledger.score(Path("b.csv"), 0.3)


@pytest.mark.parametrize("content", ["a,b\n1,2\n", "file,digest,rows\nx,y,many\n", "\xff"])
def test_a_file_that_is_no_ledger(ledger: Ledger, content: str) -> None:
    ledger.path.parent.mkdir()
    ledger.path.write_text(content, encoding="latin-1")
    with pytest.raises(DataError, match="ledger"):
        ledger.entries()


def test_two_writers_at_once_both_get_their_rows(ledger: Ledger) -> None:
    entries = [entry_for(ledger, f"{i}.csv", str(i)) for i in range(12)]
    threads = [threading.Thread(target=ledger.add, args=(entry,)) for entry in entries]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {entry.file for entry in ledger.entries()} == {entry.file for entry in entries}


def test_find_wants_the_same_content(ledger: Ledger) -> None:
    entry = entry_for(ledger, "a.csv", "x")
    path = ledger.path.parent.parent / "a.csv"
    assert ledger.find(entry) == path
    path.write_text("changed")
    assert ledger.find(entry) is None


@pytest.mark.parametrize(
    ("public", "said"),
    [
        (0.27, "better than the interval"),
        (0.30, "inside the interval"),
        (0.34, "worse than the interval"),
        (math.nan, "no score yet"),
    ],
)
def test_the_verdict_compares_score_and_interval(public: float, said: str) -> None:
    assert said in verdict(Entry("a", "b", interval_low=0.28, interval_high=0.33, public_score=public))


def test_a_cell_that_a_spreadsheet_would_run_is_harmless(ledger: Ledger) -> None:
    ledger.add(entry_for(ledger, "a.csv", "x", note="=1+1"))
    assert "'=1+1" in ledger.path.read_text()
