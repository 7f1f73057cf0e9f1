"""Names from a server, pauses, places on a leaderboard: without any request."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from competition.publish.kaggle.backoff import Patience, persistently
from competition.publish.kaggle.errors import KaggleError, KernelError, Kind, translate
from competition.publish.kaggle.standing import Place, mark, place_of
from competition.publish.kaggle.transfer import Remote
from competition.publish.output_record import check_record, safe_name, write_record

PIECES = st.sampled_from(["..", ".", "/", "\\", "a", "b.csv", " ", "C:", "~", "\x00", "\n", "é", ""])


@given(st.one_of(st.text(max_size=40), st.lists(PIECES, max_size=8).map("".join)))
def test_a_name_that_is_accepted_lies_below_the_folder(name: str) -> None:
    folder = Path("/somewhere/out")
    try:
        path = safe_name(name)
    except KernelError:
        return
    target = Path(str(folder / path))
    assert target.is_relative_to(folder)
    assert target != folder
    assert ".." not in target.parts
    assert str(path).isprintable()


@pytest.mark.parametrize(
    "name", ["submission.csv", "run/report/index.html", "tensorboard/events.out.tfevents.1.host", ".x"]
)
def test_ordinary_names_are_accepted(name: str) -> None:
    assert safe_name(name).as_posix() == name


@given(st.integers(1, 40))
def test_pauses_grow_and_end(failures: int) -> None:
    patience = Patience(first_seconds=1.0, longest_seconds=60.0)
    assert min(2.0 ** (failures - 1), 60.0) <= patience.seconds(failures) <= 75.0


@pytest.mark.parametrize(
    ("kind", "repeatable", "calls"),
    [
        (Kind.BUSY, True, 3),
        (Kind.BUSY, False, 3),
        (Kind.SERVER, True, 3),
        (Kind.SERVER, False, 1),
        (Kind.NETWORK, False, 1),
        (Kind.CREDENTIALS, True, 1),
        (Kind.LIMIT, True, 1),
    ],
)
def test_what_is_asked_again(kind: Kind, repeatable: bool, calls: int) -> None:
    made = []

    def ask() -> None:
        made.append(1)
        raise KaggleError("no", kind)

    with pytest.raises(KaggleError):
        persistently(ask, Patience(attempts=3), repeatable=repeatable)
    assert len(made) == calls


def test_a_pause_given_as_a_date() -> None:
    import requests

    response = requests.Response()
    response.status_code = 429
    response.headers["Retry-After"] = format_datetime(datetime.now(UTC) + timedelta(seconds=40), usegmt=True)
    found = translate(requests.HTTPError("busy", response=response), "ask")
    assert found.retry_after is not None
    assert 35 < found.retry_after <= 40
    response.headers["Retry-After"] = "soon"
    assert translate(requests.HTTPError("busy", response=response), "ask").retry_after is None


def test_a_record_is_added_to(tmp_path: Path) -> None:
    for name, text in (("submission.csv", "id\n"), ("metrics.json", "{}")):
        (tmp_path / name).write_text(text)
        write_record(tmp_path, [name], kit="abc")
    record = check_record(tmp_path, required=True)
    assert set(record["files"]) == {"submission.csv", "metrics.json"}
    assert record["kit"] == "abc"
    (tmp_path / "metrics.json").write_text("{ }")
    with pytest.raises(KernelError, match=r"'metrics\.json' is not the file"):
        check_record(tmp_path, required=False)
    check_record(tmp_path, required=True, only=["submission.csv"])


def test_places_and_marks() -> None:
    board = [Place(i + 1, "", score, "") for i, score in enumerate((0.1, 0.2, 0.2, 0.4))]
    assert [place_of(score, board) for score in (0.05, 0.1, 0.2, 0.3, 9.0)] == [1, 1, 2, 4, 5]
    assert mark("a\nb", "0123456789abcdef") == "a b [dogbreed 0123456789abcdef]"


def test_headers_that_say_little() -> None:
    assert Remote.of({}) == Remote(None, "", "")
    assert Remote.of({"Content-Length": "9", "Content-Encoding": "gzip"}).size is None
    assert Remote.of({"Content-Length": "9", "x-goog-hash": "crc32c=AA==, md5=BB=="}).md5 == "BB=="


def test_a_refused_connection_is_told_plainly_and_had_no_effect() -> None:
    import requests

    with pytest.raises(requests.ConnectionError) as raised:
        requests.get("http://127.0.0.1:9/", timeout=5, proxies={"http": ""})
    found = translate(raised.value, "ask")
    assert "no connection to Kaggle (Failed to establish a new connection: [Errno 111]" in str(found)
    assert not found.arrived
