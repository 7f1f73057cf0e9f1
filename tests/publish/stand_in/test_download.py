"""`dogbreed download` with the real client: whole, continued, refused, never half."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from competition.publish.kaggle import client
from tests.publish.stand_in.conftest import Dogbreed
from tests.publish.stand_in.world import Fault, World

NAME = "dog-breed-identification.zip"
API = "/DownloadDataFiles"
STORE = "/storage/archive"


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_the_archive_arrives_and_is_unpacked(archive: bytes, dogbreed: Dogbreed) -> None:
    done = dogbreed("download")
    assert sha(Path("data", NAME).read_bytes()) == sha(archive)
    folder = Path(next(line for line in done.stdout.splitlines() if line.startswith("unpacked: "))[10:])
    assert len(list((folder / "test").iterdir())) == 20
    assert [path.name for path in Path("data").iterdir()] == [NAME]


def test_a_second_download_asks_nobody(archive: bytes, world: World, dogbreed: Dogbreed) -> None:
    dogbreed("download", "--no-unpack")
    world.requests.clear()
    assert "is here already" in dogbreed("download").stderr
    assert not world.requests


def test_a_cut_download_goes_on_by_range(archive: bytes, world: World, dogbreed: Dogbreed, pauses: list[float]) -> None:
    world.faults.append(Fault(STORE, "cut"))
    done = dogbreed("download")
    assert sha(Path("data", NAME).read_bytes()) == sha(archive)
    assert f"continuing after 196,608 of {len(archive):,} bytes" in done.stderr  # whole chunks of the half that came
    assert "the connection was cut; attempt 2 of 5" in done.stderr
    assert len(pauses) == 1


def test_after_too_many_cuts_the_part_stays_and_the_same_command_continues(
    archive: bytes, world: World, dogbreed: Dogbreed
) -> None:
    world.faults += [Fault(STORE, "cut"), Fault(STORE, "drop", times=50)]
    line = dogbreed("download", fails=1).line
    assert "cannot download dog-breed-identification.zip" in line
    assert not Path("data", NAME).exists()
    assert Path("data", NAME + ".part").stat().st_size == 196_608
    world.faults.clear()
    assert "continuing after" in dogbreed("download").stderr
    assert sha(Path("data", NAME).read_bytes()) == sha(archive)
    assert [path.name for path in Path("data").iterdir()] == [NAME]


def test_a_killed_download_goes_on(archive: bytes, world: World, dogbreed: Dogbreed) -> None:
    world.faults.append(Fault(STORE, "stall"))
    command = [sys.executable, "-c", "from competition.cli import main; main()", "download", "--no-unpack"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3])}
    part = Path("data", NAME + ".part")
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        for _ in range(600):
            if part.is_file() and part.stat().st_size:
                break
            time.sleep(0.05)
        process.kill()
    had = part.stat().st_size
    assert 0 < had < len(archive)
    assert f"continuing after {had:,} of {len(archive):,} bytes" in dogbreed("download").stderr
    assert sha(Path("data", NAME).read_bytes()) == sha(archive)


def test_a_file_that_changed_meanwhile_is_not_glued_to_the_old_half(
    archive: bytes, world: World, dogbreed: Dogbreed
) -> None:
    world.faults += [Fault(STORE, "cut"), Fault(STORE, "drop", times=50)]
    dogbreed("download", fails=1)
    world.faults.clear()
    with zipfile.ZipFile(buffer := io.BytesIO(archive), "a") as zipped:
        zipped.writestr("more.txt", "new")
    world.archive = buffer.getvalue()
    assert "continuing" not in dogbreed("download", "--no-unpack").stderr
    assert sha(Path("data", NAME).read_bytes()) == sha(world.archive)


def test_a_wrong_digest_is_thrown_away(archive: bytes, world: World, dogbreed: Dogbreed) -> None:
    world.archive_md5 = "AAAAAAAAAAAAAAAAAAAAAA=="
    assert "another digest than Kaggle states" in dogbreed("download", fails=1).line
    assert not list(Path("data").iterdir())


def test_a_page_instead_of_an_archive_is_refused(archive: bytes, world: World, dogbreed: Dogbreed) -> None:
    world.faults.append(Fault(API, "html"))
    assert "is no zip" in dogbreed("download", fails=1).line
    assert not list(Path("data").iterdir())


@pytest.mark.parametrize(
    ("fault", "words", "attempts"),
    [
        (Fault(API, status=401, times=9), "refused the credentials (401)", 1),
        (Fault(API, status=403, times=9, message="You must accept this competition's rules"), "accept the compe", 1),
        (Fault(API, status=403, times=9, message="Permission denied"), "not allowed (403", 1),
        (Fault(API, status=404, times=9, message="Competition not found"), "(404: Competition not found)", 1),
        (Fault(API, status=429, times=9), "too many requests (429)", 5),
        (Fault(API, status=500, times=9), "a problem of its own (500", 5),
        (Fault(API, "drop", times=9), "no connection to Kaggle", 5),
        (Fault(STORE, status=503, times=9), "a problem of its own (503", 5),
    ],
)
def test_each_refusal_is_one_line_and_passing_ones_are_retried(
    fault: Fault, words: str, attempts: int, world: World, archive: bytes, dogbreed: Dogbreed, pauses: list[float]
) -> None:
    world.faults.append(fault)
    assert words in dogbreed("download", fails=1).line
    assert sum(fault.path in path for _, path in world.requests) == attempts
    assert pauses == sorted(pauses)
    assert len(pauses) == attempts - 1
    assert not list(Path("data").glob("*"))


def test_the_servers_own_wish_for_a_pause_is_respected(
    archive: bytes, world: World, dogbreed: Dogbreed, pauses: list[float]
) -> None:
    world.faults.append(Fault(API, status=429, headers={"Retry-After": "17"}))
    dogbreed("download")
    assert pauses == [17.0]


def test_a_pause_of_an_hour_is_not_waited_for(
    archive: bytes, world: World, dogbreed: Dogbreed, pauses: list[float]
) -> None:
    world.faults.append(Fault(API, status=429, headers={"Retry-After": "3600"}))
    assert "429" in dogbreed("download", fails=1).line
    assert pauses == []


def test_a_silent_server_is_given_up(
    archive: bytes, world: World, dogbreed: Dogbreed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "READ_SECONDS", 0.2)
    world.faults.append(Fault(API, "slow", times=9))
    assert "did not answer in time" in dogbreed("download", fails=1).line


def test_rules_not_accepted(archive: bytes, world: World, dogbreed: Dogbreed) -> None:
    world.entered = False
    assert "accept the competition's rules first" in dogbreed("download", fails=1).line


def test_an_unknown_competition(dogbreed: Dogbreed) -> None:
    assert "404" in dogbreed("download", "--competition", "cat-breeds", fails=1).line


def test_what_is_no_slug(world: World, dogbreed: Dogbreed) -> None:
    assert "is no slug" in dogbreed("download", "--competition", "../x", fails=2).line
    assert not world.requests


def test_a_file_in_the_way(dogbreed: Dogbreed) -> None:
    Path("data").write_text("x")
    assert "--out takes a folder" in dogbreed("download", fails=1).line
