"""`dogbreed kernel push` with the real client, from the folder to the leaderboard; every step can be the last."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import pytest

from competition.publish.push import kernel_session
from tests.publish.stand_in.conftest import CODE, Client, Dogbreed, kernel_folder, submission_text
from tests.publish.stand_in.world import USER, Fault, Kernel, World

SAVE, STATUS, OUTPUT, CREATE = "/SaveKernel", "/GetKernelSessionStatus", "/ListKernelSessionOutput", "/CreateSubmission"
NAME = "./built kernels/probe-cpu"
HOME = Path("runs/kernels/probe-cpu")


def record_of(content: bytes) -> bytes:
    facts = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    return json.dumps({"files": {"submission.csv": facts}}).encode()


@pytest.fixture
def planned(world: World) -> Kernel:
    """What the kernel will do on Kaggle: end well, and leave a valid submission with its record."""
    content = submission_text().encode()
    files = [("submission.csv", content), ("outputs.json", record_of(content)), ("run/report/index.html", b"<p>")]
    world.planned["probe-cpu"] = Kernel("Probe CPU", files=files, log="fitting\ndone")
    return world.planned["probe-cpu"]


@pytest.fixture
def folder(dogbreed: Dogbreed) -> Path:
    """A kernel in a folder with a space, in a place with a space."""
    return kernel_folder(Path("built kernels"))


def asked(world: World, part: str) -> int:
    return sum(part in path for _, path in world.requests)


def state() -> dict:
    return json.loads((HOME / "push.json").read_text())


@pytest.mark.usefixtures("client")
def test_the_whole_way(folder: Path, planned: Kernel, sample: Path, world: World, dogbreed: Dogbreed) -> None:
    done = dogbreed("kernel", "push", NAME, "--wait", "--submit", "--sample", sample)
    assert f"{USER}/probe-cpu version 1: submitted" in done.stdout
    assert "output-v1/submission.csv: public 0.28031, private 0.29112" in done.stderr
    told = [line.split(": ")[1].split()[0] for line in done.stderr.splitlines() if line.startswith("kernel ")]
    assert told == ["QUEUED", "RUNNING", "COMPLETE"]
    sent = world.kernels["probe-cpu"].versions[0]
    assert sent["text"] == CODE
    assert sent["isPrivate"] is True
    assert sent["enableInternet"] is False
    assert sent["competitionDataSources"] == ["dog-breed-identification"]
    assert (HOME / "output-v1/run/report/index.html").read_bytes() == b"<p>"
    assert world.submissions[0]["sha"] == hashlib.sha256(submission_text().encode()).hexdigest()
    (row,) = csv.DictReader(Path("submissions/ledger.csv").read_text().splitlines())
    assert (row["method"], row["members"], row["public_score"]) == ("kernel", "probe-cpu", "0.28031")
    assert row["note"] == f"kernel {USER}/probe-cpu version 1"
    assert state()["step"] == "submitted"


@pytest.mark.usefixtures("client")
def test_the_same_command_again_spends_nothing(
    folder: Path, planned: Kernel, sample: Path, world: World, dogbreed: Dogbreed
) -> None:
    for _ in range(2):
        dogbreed("kernel", "push", NAME, "--wait", "--submit", "--sample", sample)
    assert asked(world, SAVE) == 1
    assert asked(world, CREATE) == 1


def test_nothing_is_submitted_without_the_word(folder: Path, planned: Kernel, world: World, dogbreed: Dogbreed) -> None:
    done = dogbreed("kernel", "push", NAME, "--wait")
    assert "version 1: fetched" in done.stdout
    assert not world.submissions
    assert asked(world, "CompetitionApiService") == 0


@pytest.mark.usefixtures("client")
def test_push_alone_then_wait_then_submit(
    folder: Path, planned: Kernel, sample: Path, world: World, dogbreed: Dogbreed
) -> None:
    assert "version 1: pushed" in dogbreed("kernel", "push", NAME).stdout
    assert asked(world, STATUS) == 0
    assert "version 1: fetched" in dogbreed("kernel", "push", NAME, "--wait").stdout
    assert "version 1: submitted" in dogbreed("kernel", "push", NAME, "--wait", "--submit", "--sample", sample).stdout
    assert asked(world, SAVE) == 1


def test_a_changed_source_is_pushed_anew(folder: Path, planned: Kernel, world: World, dogbreed: Dogbreed) -> None:
    dogbreed("kernel", "push", NAME)
    (folder / "probe-cpu.py").write_text(CODE + "# more\n")
    done = dogbreed("kernel", "push", NAME)
    assert "version 2: pushed" in done.stdout
    assert "version 1 was pushed from another source and is left to itself" in done.stderr
    assert "version 3: pushed" in dogbreed("kernel", "push", NAME, "--again").stdout


def test_the_last_push_is_gone_on_with_although_the_source_changed(
    folder: Path, planned: Kernel, sample: Path, world: World, dogbreed: Dogbreed
) -> None:
    command = ("kernel", "push", NAME, "--resume", "--wait", "--submit", "--sample", sample)
    assert "knows of no push to go on with" in dogbreed(*command, fails=2).line
    dogbreed("kernel", "push", NAME)
    (folder / "probe-cpu.py").write_text(CODE + "# edited while it runs\n")
    assert "version 1: submitted" in dogbreed(*command).stdout
    assert len(world.kernels["probe-cpu"].versions) == 1


def test_a_dry_run_sends_nothing(folder: Path, sample: Path, world: World, dogbreed: Dogbreed) -> None:
    done = dogbreed("kernel", "push", NAME, "--wait", "--submit", "--sample", sample, "--dry-run")
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == [
        "check",
        "push",
        "sources",
        "wait",
        "submit",
        "dry run",
    ]
    assert not world.requests
    assert not HOME.exists()


def test_submit_needs_wait(folder: Path, sample: Path, dogbreed: Dogbreed) -> None:
    assert "--submit needs --wait" in dogbreed("kernel", "push", NAME, "--submit", "--sample", sample, fails=2).line


def test_a_finding_of_the_check_stops_the_push(world: World, dogbreed: Dogbreed) -> None:
    kernel_folder(Path("built kernels"), title="Something else")
    assert "is not pushed" in dogbreed("kernel", "push", NAME, fails=1).line
    assert asked(world, SAVE) == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dataset_sources": [f"{USER}/no-such-data"]}, f"without data set '{USER}/no-such-data'"),
        ({"kernel_sources": [f"{USER}/no-such-kernel"]}, f"without kernel '{USER}/no-such-kernel'"),
    ],
)
def test_a_source_that_kaggle_drops_stops_everything(
    change: dict, words: str, planned: Kernel, sample: Path, world: World, dogbreed: Dogbreed
) -> None:
    kernel_folder(Path("built kernels"), **change)
    line = dogbreed("kernel", "push", NAME, "--wait", "--submit", "--sample", sample, fails=1).line
    assert words in line
    assert asked(world, STATUS) == 0
    assert not world.submissions
    assert not (HOME / "push.json").exists()


def test_a_title_that_is_taken(folder: Path, world: World, dogbreed: Dogbreed) -> None:
    world.kernels |= {"probe-cpu": Kernel("Another title"), "probe-cpu-2": Kernel("x")}
    world.faults.append(Fault(SAVE, status=409, message='The requested title "Probe CPU" is already in use'))
    assert "the name or title is taken (409" in dogbreed("kernel", "push", NAME, fails=1).line
    assert not (HOME / "push.json").exists()


def test_an_error_inside_a_friendly_answer(
    folder: Path, world: World, dogbreed: Dogbreed, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"error": 'The requested title "Probe CPU" is already in use by a notebook. Please choose another title.'}
    monkeypatch.setattr(world, "save_kernel", lambda body: (200, told))
    line = dogbreed("kernel", "push", NAME, fails=1).line
    assert "already in use by a notebook" in line
    assert "choose another title and id" in line


def test_a_slug_that_kaggle_renames(
    folder: Path, world: World, dogbreed: Dogbreed, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"ref": "/code/tester/probe-cpu-v2", "url": "https://www.kaggle.com/code/tester/probe-cpu-v2"}
    monkeypatch.setattr(world, "save_kernel", lambda body: (200, {**told, "versionNumber": 1}))
    assert f"filed the push as {USER}/probe-cpu-v2" in dogbreed("kernel", "push", NAME, fails=1).line


@pytest.mark.parametrize(
    ("last", "failure", "words"),
    [
        ("ERROR", "Your notebook tried to allocate more memory", "ended in ERROR: Your notebook tried to allocate"),
        ("CANCEL_ACKNOWLEDGED", "", "was cancelled or ran out of time"),
        ("CANCEL_REQUESTED", "", "was cancelled or ran out of time"),
    ],
)
def test_only_complete_counts(
    last: str,
    failure: str,
    words: str,
    folder: Path,
    planned: Kernel,
    sample: Path,
    world: World,
    dogbreed: Dogbreed,
) -> None:
    planned.states, planned.failure = ["RUNNING", last], failure
    command = ("kernel", "push", NAME, "--wait", "--submit", "--sample", sample)
    done = dogbreed(*command, fails=1)
    assert words in done.line
    assert ("    fitting\n    done\n" in done.stderr) == (last == "ERROR")
    assert asked(world, "/output/") == 0
    assert not world.submissions
    assert state()["step"] == "pushed"
    planned.states = ["COMPLETE"]  # pushed once more
    assert "version 2: submitted" in dogbreed(*command, "--again").stdout


def test_an_answer_to_a_push_that_is_lost(folder: Path, planned: Kernel, world: World, dogbreed: Dogbreed) -> None:
    world.faults.append(Fault(SAVE, "drop_after"))
    assert "the push may have arrived" in dogbreed("kernel", "push", NAME, fails=1).line
    assert state()["step"] == "pushing"
    done = dogbreed("kernel", "push", NAME)
    assert "had arrived: version 1" in done.stderr
    assert asked(world, SAVE) == 1


def test_a_lost_answer_about_a_notebook(planned: Kernel, world: World, dogbreed: Dogbreed) -> None:
    """The client rewrites a notebook before it sends it: the cells are compared, not the text."""
    folder = kernel_folder(Path("built kernels"), code_file="probe-cpu.ipynb", kernel_type="notebook")
    cell = {"cell_type": "code", "source": CODE.splitlines(keepends=True), "outputs": [], "metadata": {}}
    spec = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    notebook = {"cells": [{**cell, "execution_count": None}], "metadata": spec, "nbformat": 4, "nbformat_minor": 5}
    (folder / "probe-cpu.py").unlink()
    (folder / "probe-cpu.ipynb").write_text(json.dumps(notebook, indent=1))
    world.faults.append(Fault(SAVE, "drop_after"))
    dogbreed("kernel", "push", NAME, fails=1)
    assert world.kernels["probe-cpu"].versions[0]["text"] != (folder / "probe-cpu.ipynb").read_text()
    assert "had arrived: version 1" in dogbreed("kernel", "push", NAME).stderr


def test_a_version_that_is_not_told(
    folder: Path, planned: Kernel, world: World, dogbreed: Dogbreed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the latest version is ours only if it holds our code."""
    save = world.save_kernel
    monkeypatch.setattr(world, "save_kernel", lambda body: (200, save(body)[1] | {"versionNumber": None}))
    dogbreed("kernel", "push", NAME)
    world.kernels["probe-cpu"].versions.append({"text": "print('by hand')"})
    assert "holds another version by now" in dogbreed("kernel", "push", NAME, "--wait", fails=1).line
    assert asked(world, OUTPUT) == 0
    world.kernels["probe-cpu"].versions.pop()
    assert "version ?: fetched" in dogbreed("kernel", "push", NAME, "--wait").stdout


def test_a_push_that_never_arrived_is_repeated(folder: Path, planned: Kernel, world: World, dogbreed: Dogbreed) -> None:
    world.faults.append(Fault(SAVE, "drop"))
    dogbreed("kernel", "push", NAME, fails=1)
    assert "version 1: pushed" in dogbreed("kernel", "push", NAME).stdout


@pytest.mark.parametrize("path", [STATUS, OUTPUT, "/output/"])
@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 429}, {"kind": "drop"}])
def test_passing_troubles_pass(
    path: str, fault: dict, folder: Path, planned: Kernel, world: World, dogbreed: Dogbreed
) -> None:
    world.faults.append(Fault(path, times=2, **fault))
    assert "version 1: fetched" in dogbreed("kernel", "push", NAME, "--wait").stdout


@pytest.mark.parametrize(
    ("path", "fault", "words"),
    [
        (SAVE, {"status": 401}, "refused the credentials (401)"),
        (SAVE, {"status": 403, "message": "Permission 'kernels.update' was denied"}, "not allowed (403"),
        (STATUS, {"status": 404, "message": "Not found"}, "(404: Not found)"),
        (STATUS, {"status": 500}, "a problem of its own (500"),
        (OUTPUT, {"status": 429}, "too many requests (429)"),
        ("/output/", {"kind": "drop"}, "no connection to Kaggle"),
        ("/output/", {"status": 404, "message": "gone"}, "404"),
    ],
)
def test_lasting_troubles_are_one_line_and_the_next_start_goes_on(
    path: str,
    fault: dict,
    words: str,
    folder: Path,
    planned: Kernel,
    sample: Path,
    world: World,
    dogbreed: Dogbreed,
) -> None:
    world.faults.append(Fault(path, times=50, **fault))
    command = ("kernel", "push", NAME, "--wait", "--submit", "--sample", sample)
    assert words in dogbreed(*command, fails=1).line
    assert not world.submissions
    assert not HOME.is_dir() or {path.name for path in HOME.iterdir()} <= {".lock", "push.json"}
    world.faults.clear()
    assert "version 1: submitted" in dogbreed(*command).stdout
    assert len(world.kernels["probe-cpu"].versions) == 1
    assert len(world.submissions) == 1


@pytest.mark.parametrize(
    "name",
    ["../evil.csv", "/etc/evil", "a/../../evil", "a\\..\\evil", "C:/evil", "a\x00b", "", ".", "a//b", "run/\x1b[2J"],
)
def test_a_malicious_name_stops_the_fetch(
    name: str, folder: Path, planned: Kernel, sample: Path, world: World, dogbreed: Dogbreed, tmp_path: Path
) -> None:
    planned.files.append((name, b"evil"))
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    line = dogbreed("kernel", "push", NAME, "--wait", "--submit", "--sample", sample, fails=1).line
    assert "unsafe name" in line
    assert "\x1b" not in line
    left = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    assert {path.name for path in left} <= {".lock", "push.json"}
    assert not world.submissions


@pytest.mark.parametrize("name", ["Submission.CSV", "submission.csv", "submission.csv/inside", "Run"])
def test_names_that_fall_together_stop_the_fetch(
    name: str, folder: Path, planned: Kernel, world: World, dogbreed: Dogbreed
) -> None:
    planned.files.append((name, b"evil"))
    assert "fall together" in dogbreed("kernel", "push", NAME, "--wait", fails=1).line


def test_a_wrong_digest_is_never_submitted(
    folder: Path, planned: Kernel, sample: Path, world: World, dogbreed: Dogbreed
) -> None:
    planned.broken["submission.csv"] = submission_text(first=0.6).encode()
    command = ("kernel", "push", NAME, "--wait", "--submit", "--sample", sample)
    assert "'submission.csv' is not the file that the kernel wrote" in dogbreed(*command, fails=1).line
    assert not world.submissions
    assert not list(HOME.glob("output*"))
    planned.broken.clear()
    dogbreed(*command)
    assert len(world.submissions) == 1


def test_a_file_changed_after_the_fetch_is_never_submitted(
    folder: Path, planned: Kernel, sample: Path, world: World, dogbreed: Dogbreed
) -> None:
    dogbreed("kernel", "push", NAME, "--wait")
    (HOME / "output-v1/submission.csv").write_text(submission_text(first=0.6))
    command = ("kernel", "push", NAME, "--wait", "--submit", "--sample", sample)
    assert "is not the file that the kernel wrote" in dogbreed(*command, fails=1).line
    assert not world.submissions


def test_an_output_without_record(
    folder: Path, planned: Kernel, sample: Path, world: World, dogbreed: Dogbreed
) -> None:
    planned.files = planned.files[:1]
    command = ("kernel", "push", NAME, "--wait", "--submit", "--sample", sample)
    assert "left no outputs.json" in dogbreed(*command, fails=1).line
    assert not world.submissions
    dogbreed(*command, "--no-record")
    assert len(world.submissions) == 1


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (b'{"files": {}}', "says nothing of submission.csv"),
        (b'{"files": []}', "is damaged"),
        (b'{"files": {"../x": {}}}', "unsafe name"),
        (b'{"files": {"gone.txt": {}}}', "offers no such file"),
        (b"{", "is not valid JSON"),
    ],
)
def test_a_record_that_does_not_hold(
    record: bytes, words: str, folder: Path, planned: Kernel, sample: Path, world: World, dogbreed: Dogbreed
) -> None:
    planned.files[1] = ("outputs.json", record)
    assert words in dogbreed("kernel", "push", NAME, "--wait", "--submit", "--sample", sample, fails=1).line
    assert not world.submissions


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty (0 bytes)"),
        (submission_text(("photo000",)).encode(), "is not a valid submission"),
        (b"id,basset\n", "is not a valid submission"),
    ],
)
def test_an_output_that_is_no_submission(
    content: bytes, words: str, folder: Path, planned: Kernel, sample: Path, world: World, dogbreed: Dogbreed
) -> None:
    planned.files[:2] = [("submission.csv", content), ("outputs.json", record_of(content))]
    assert words in dogbreed("kernel", "push", NAME, "--wait", "--submit", "--sample", sample, fails=1).line
    assert asked(world, "CompetitionApiService") == 0


def test_no_output_at_all(folder: Path, planned: Kernel, sample: Path, world: World, dogbreed: Dogbreed) -> None:
    planned.files = []
    assert "left no files" in dogbreed("kernel", "push", NAME, "--wait", fails=1).line


def test_another_version_pushed_meanwhile_is_not_taken_for_ours(
    folder: Path, planned: Kernel, world: World, dogbreed: Dogbreed, client: Client
) -> None:
    """Without a version Kaggle answers for the latest one: its state and its files would be taken for ours."""
    dogbreed("kernel", "push", NAME)
    other = Kernel("Probe CPU", [{}, {"text": "print('by hand')"}], ["ERROR"], files=[("theirs.txt", b"x")])
    world.kernels["probe-cpu"], other.earlier = other, {1: planned}
    if not client.versions:
        line = dogbreed("kernel", "push", NAME, "--wait", fails=1).line
        assert "latest version only, and the latest is 2" in line
        assert not (HOME / "output-v1").exists()
        return
    assert "version 1: fetched" in dogbreed("kernel", "push", NAME, "--wait").stdout
    assert {path.name for path in (HOME / "output-v1").iterdir()} == {"submission.csv", "outputs.json", "run"}


def test_many_files_come_in_pages(folder: Path, planned: Kernel, world: World, dogbreed: Dogbreed) -> None:
    planned.files += [(f"many/{i}.txt", str(i).encode()) for i in range(110)]
    dogbreed("kernel", "push", NAME, "--wait")
    assert sorted(int(path.stem) for path in (HOME / "output-v1/many").iterdir()) == list(range(110))


def test_a_record_of_a_push_that_was_edited(folder: Path, planned: Kernel, world: World, dogbreed: Dogbreed) -> None:
    dogbreed("kernel", "push", NAME)
    (HOME / "push.json").write_text('{"step": "submitted"}')
    assert "is no record of a push" in dogbreed("kernel", "push", NAME, fails=1).line


def test_a_session_without_end(
    folder: Path,
    planned: Kernel,
    world: World,
    dogbreed: Dogbreed,
    pauses: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kernel_session, "LONGEST_POLL", 1800.0)  # fewer questions for a test
    planned.states = ["RUNNING"]
    assert "is still RUNNING after 12 h" in dogbreed("kernel", "push", NAME, "--wait", fails=1).line
    assert pauses[:2] == [5.0, 6.25]
    assert max(pauses) == 1800
    assert 12 * 3600 < sum(pauses) <= 13 * 3600
    planned.states = ["COMPLETE"]
    world.kernels["probe-cpu"].states = ["COMPLETE"]
    assert "version 1: fetched" in dogbreed("kernel", "push", NAME, "--wait").stdout
