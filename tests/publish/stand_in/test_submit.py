"""`dogbreed submit`, `submissions`, `leaderboard`, `quota` with the real client: nothing spent in vain."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from competition.prediction.ledger.ledger import now
from tests.publish.stand_in.conftest import IDS, Client, Dogbreed, submission_text
from tests.publish.stand_in.world import Fault, World

pytestmark = pytest.mark.usefixtures("client")
START, CREATE, PUT = "/StartSubmissionUpload", "/CreateSubmission", "/upload/"
LEDGER = Path("submissions/ledger.csv")


@pytest.fixture
def good(dogbreed: Dogbreed) -> Path:
    """A valid submission in the working folder."""
    path = Path("mine.csv")
    path.write_text(submission_text())
    return path


def rows() -> list[dict[str, str]]:
    return list(csv.DictReader(LEDGER.open())) if LEDGER.is_file() else []


def asked(world: World, part: str) -> int:
    return sum(part in path for _, path in world.requests)


def test_a_submission_is_sent_scored_and_written_down(
    good: Path, sample: Path, world: World, dogbreed: Dogbreed
) -> None:
    done = dogbreed("submit", good, "--sample", sample, "-m", "first try")
    assert "mine.csv: public 0.28031, private 0.29112" in done.stdout
    assert world.submissions[0]["sha"] == hashlib.sha256(good.read_bytes()).hexdigest()
    digest = world.submissions[0]["sha"][:16]
    assert world.submissions[0]["description"] == f"first try [dogbreed {digest}]"
    (row,) = rows()
    assert (row["digest"], row["public_score"], row["private_score"]) == (digest, "0.28031", "0.29112")
    assert row["rows"] == str(len(IDS))


def test_the_same_file_is_never_paid_for_twice(good: Path, sample: Path, world: World, dogbreed: Dogbreed) -> None:
    dogbreed("submit", good, "--sample", sample)
    done = dogbreed("submit", good, "--sample", sample)
    assert "nothing is spent" in done.stderr
    assert len(world.submissions) == 1
    assert len(rows()) == 1
    dogbreed("submit", good, "--sample", sample, "--again")
    assert len(world.submissions) == 2


def test_two_commands_that_start_together_spend_once(good: Path, sample: Path, world: World) -> None:
    main = "from competition.cli import main; main()"
    command = [sys.executable, "-c", main, "submit", str(good), "--sample", str(sample), "--wait", "0"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3])}
    both = [subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait(120) for process in both] == [0, 0]
    assert len(world.submissions) == 1
    assert len(rows()) == 1


def test_a_file_that_fails_its_check_asks_nobody(good: Path, sample: Path, world: World, dogbreed: Dogbreed) -> None:
    good.write_text(submission_text(IDS[:-1]))
    assert "is not a valid submission" in dogbreed("submit", good, "--sample", sample, fails=1).line
    good.write_bytes(b"")
    assert "it is empty (0 bytes)" in dogbreed("submit", good, "--sample", sample, fails=1).line
    assert not world.requests
    assert not LEDGER.exists()


def test_a_dry_run_asks_nobody(good: Path, sample: Path, world: World, dogbreed: Dogbreed) -> None:
    assert "dry run: mine.csv is valid (20 rows" in dogbreed("submit", good, "--sample", sample, "--dry-run").stderr
    assert not world.requests
    assert not LEDGER.exists()


def test_the_daily_limit_is_seen_before_the_upload_or_told_by_kaggle(
    good: Path, sample: Path, world: World, dogbreed: Dogbreed, client: Client
) -> None:
    world.daily = 1
    dogbreed("submit", good, "--sample", sample)
    good.write_text(submission_text(first=0.6))
    line = dogbreed("submit", good, "--sample", sample, fails=1).line
    assert ("no submission is left for today" if client.limits else "the daily limit is reached") in line
    assert asked(world, START) == (1 if client.limits else 2)
    assert len(world.submissions) == len(rows()) == 1


def test_where_the_limit_is_not_told_the_ledger_counts_and_the_submission_goes_on(
    good: Path, sample: Path, world: World, dogbreed: Dogbreed, client: Client
) -> None:
    for number in range(3):
        good.write_text(submission_text(first=0.5 + number / 10))
        done = dogbreed("submit", good, "--sample", sample)
        told = [line for line in done.stderr.splitlines() if "by the ledger's count" in line]
        assert len(told) == (not client.limits), done.stderr
        assert all(f"{number} today" in line and "going on" in line for line in told)
    dogbreed("submit", good, "--sample", sample)  # sent before: nothing is spent, nothing counted
    assert [row["sent"][:10] for row in rows()] == [now()[:10]] * 3
    assert len(world.submissions) == 3
    dogbreed("submit", good, "--sample", sample, "--again")
    assert rows()[-1]["sent"].count(now()[:10]) == 2


def test_submissions_of_another_machine_count_too(world: World, dogbreed: Dogbreed, client: Client) -> None:
    blank = {"fileName": "s.csv", "description": "", "sha": "", "looks": 5}
    days = (f"{now()[:10]}T00:00:01.000Z", f"{now()[:10]}T00:00:02.000Z", "2018-01-01T00:00:00.000Z")
    world.submissions = [{**blank, "ref": i, "date": day} for i, day in enumerate(days, 1)]
    told = json.loads(dogbreed("submissions", "--json").stdout)["limits"]
    assert (told["today"], told["total"], told["left"]) == ((3, 3, 2) if client.limits else (2, 3, None))


def test_the_daily_limit_told_by_the_server(good: Path, sample: Path, world: World, dogbreed: Dogbreed) -> None:
    told = "Your team has used its daily Submission allowance (5 of 5)."
    world.faults.append(Fault(CREATE, status=400, message=told, times=9))
    assert f"the daily limit is reached ({told})" in dogbreed("submit", good, "--sample", sample, fails=1).line
    assert asked(world, CREATE) == 1
    assert not rows()


def test_rules_not_accepted(good: Path, sample: Path, world: World, dogbreed: Dogbreed) -> None:
    world.entered = False
    assert "you have not entered dog-breed-identification" in dogbreed("submit", good, "--sample", sample, fails=1).line
    assert asked(world, START) == 0


def test_a_closed_competition(good: Path, sample: Path, world: World, dogbreed: Dogbreed) -> None:
    world.disabled = True
    assert "takes no submissions" in dogbreed("submit", good, "--sample", sample, fails=1).line


@pytest.mark.parametrize("kind", ["drop", "status"])
def test_an_upload_that_breaks_is_repeated(
    kind: str, good: Path, sample: Path, world: World, dogbreed: Dogbreed
) -> None:
    world.faults.append(Fault(PUT, kind, status=503, times=2))
    dogbreed("submit", good, "--sample", sample)
    assert len(world.submissions) == 1
    assert world.submissions[0]["sha"] == hashlib.sha256(good.read_bytes()).hexdigest()


def test_a_lost_answer_does_not_spend_a_second_submission(
    good: Path, sample: Path, world: World, dogbreed: Dogbreed
) -> None:
    world.faults.append(Fault(CREATE, "drop_after"))
    done = dogbreed("submit", good, "--sample", sample)
    assert "looking whether it arrived all the same" in done.stderr
    assert len(world.submissions) == 1
    assert asked(world, CREATE) == 1
    assert rows()[0]["public_score"] == "0.28031"


@pytest.mark.parametrize(("kind", "words"), [("drop", "no connection"), ("status", "a problem of its own (500")])
def test_a_request_that_never_arrived_is_not_repeated_blindly(
    kind: str, words: str, good: Path, sample: Path, world: World, dogbreed: Dogbreed
) -> None:
    world.faults.append(Fault(CREATE, kind, status=500))
    line = dogbreed("submit", good, "--sample", sample, fails=1).line
    assert words in line
    assert "lists no such submission" in line
    assert not world.submissions
    assert not rows()
    dogbreed("submit", good, "--sample", sample)
    assert len(world.submissions) == 1


def test_too_many_requests_at_the_very_submission_are_waited_for(
    good: Path, sample: Path, world: World, dogbreed: Dogbreed, pauses: list[float]
) -> None:
    world.faults.append(Fault(CREATE, status=429, headers={"Retry-After": "7"}))
    dogbreed("submit", good, "--sample", sample)
    assert 7.0 in pauses
    assert len(world.submissions) == 1


def test_a_submission_that_kaggle_cannot_score(good: Path, sample: Path, world: World, dogbreed: Dogbreed) -> None:
    world.scores = ["PENDING", "ERROR"]
    assert "Submission must have 1000 rows" in dogbreed("submit", good, "--sample", sample, fails=1).line
    assert rows()[0]["public_score"] == ""
    world.submissions[0]["scores"], world.scores = ["ERROR"], ["COMPLETE"]
    dogbreed("submit", good, "--sample", sample)  # what Kaggle rejected does not count as sent
    assert len(world.submissions) == 2


def test_a_score_that_takes_long_is_fetched_later(good: Path, sample: Path, world: World, dogbreed: Dogbreed) -> None:
    world.scores = ["PENDING"]
    assert "not scored yet" in dogbreed("submit", good, "--sample", sample, "--wait", "30").stderr
    assert rows()[0]["public_score"] == ""
    world.scores = ["COMPLETE"]
    done = dogbreed("submissions", "--update")
    assert "1 new scores" in done.stdout
    assert rows()[0]["public_score"] == "0.28031"


def test_submissions_as_text_and_json(
    good: Path, sample: Path, world: World, dogbreed: Dogbreed, client: Client
) -> None:
    dogbreed("submit", good, "--sample", sample)
    left = "1 today, 4 left" if client.limits else "1 today by the ledger's count"
    assert f"1 submissions; {left}" in dogbreed("submissions").stdout
    told = json.loads(dogbreed("submissions", "--json").stdout)
    assert told["submissions"][0]["public_score"] == 0.28031
    assert told["limits"]["left"] == (4 if client.limits else None)


def test_many_submissions_come_in_pages(world: World, dogbreed: Dogbreed) -> None:
    blank = {"fileName": "s.csv", "description": "", "date": "2018-01-01T00:00:00.000Z", "sha": "", "looks": 5}
    world.submissions = [{**blank, "ref": i + 1} for i in range(250)]
    told = json.loads(dogbreed("submissions", "--json").stdout)
    assert [item["ref"] for item in told["submissions"]] == list(range(250, 0, -1))


def test_a_terminal_is_safe_from_what_the_server_says(world: World, dogbreed: Dogbreed) -> None:
    blank = {"fileName": "s.csv\x1b[2J", "date": "2018-01-01T00:00:00.000Z", "sha": "", "looks": 5, "ref": 1}
    world.submissions = [{**blank, "description": "\x1b]0;owned\x07 token=abcdef123456"}]
    done = dogbreed("submissions")
    assert "\x1b" not in done.stdout
    assert "abcdef123456" not in done.stdout


def test_the_leaderboard_says_where_a_score_stands(world: World, dogbreed: Dogbreed) -> None:
    done = dogbreed("leaderboard", "0.2805", "--top", "2")
    assert done.stdout.splitlines()[0].split() == ["1", "0.00100", "2018-02-20", "team", "0"]
    assert "a log loss of 0.28050 takes place 29 of 450 (top 6 %)" in done.stdout
    assert json.loads(dogbreed("leaderboard", "0.0005", "--json").stdout)["place"] == 1
    assert "no scored submission of yours" in dogbreed("leaderboard").stdout


def test_the_quota(dogbreed: Dogbreed, client: Client) -> None:
    if client.quota:
        assert "GPU: 2.0 of 30.0 h used, 28.0 h left until 2026-11-27" in dogbreed("quota").stdout
        return
    line = dogbreed("quota", fails=1).line
    assert "cannot tell the quota: pip install -U kaggle" in line


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault("/ListSubmissions", status=401, times=9), "refused the credentials (401)"),
        (Fault("/ListSubmissions", "html", times=9), "not JSON"),
        (Fault("/ListSubmissions", "drop", times=9), "no connection to Kaggle"),
        (
            Fault("/ListSubmissions", status=418, message="x\x1b[31m key=abcdefgh", times=9),
            "refused (418: x?[31m key=***)",
        ),
    ],
)
def test_each_refusal_is_one_line(fault: Fault, words: str, world: World, dogbreed: Dogbreed) -> None:
    world.faults.append(replace(fault))  # its count goes down
    assert words in dogbreed("submissions", fails=1).line
