"""`dogbreed kernel status`, `logs`, `fetch` with the real client."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from competition.publish.kaggle import backoff
from tests.publish.stand_in.conftest import Client, Dogbreed
from tests.publish.stand_in.world import Fault, Kernel, World

pytestmark = pytest.mark.usefixtures("client")


@pytest.fixture(autouse=True)
def kernel(world: World) -> Kernel:
    """A finished kernel."""
    files = [("submission.csv", b"id\n"), ("model/weights.safetensors", bytes(1000))]
    world.kernels["probe-cpu"] = Kernel("Probe CPU", [{"text": "x"}], ["COMPLETE"], files=files, log="one\ntwo")
    return world.kernels["probe-cpu"]


def test_status(kernel: Kernel, dogbreed: Dogbreed) -> None:
    kernel.states, kernel.failure = ["ERROR"], "out of memory"
    assert dogbreed("kernel", "status", "probe-cpu").stdout == "tester/probe-cpu: ERROR: out of memory\n"
    assert json.loads(dogbreed("kernel", "status", "tester/probe-cpu", "--json").stdout)["state"] == "ERROR"
    assert "ended in ERROR" in dogbreed("kernel", "status", "probe-cpu", "--wait", fails=1).line


def test_the_version_that_is_asked_for(kernel: Kernel, dogbreed: Dogbreed, client: Client) -> None:
    kernel.versions = [{}, {}, {}]
    kernel.earlier = {2: Kernel("Probe CPU", states=["ERROR"], log="second", files=[("second.txt", b"2")])}
    if not client.versions:
        for command in (("status",), ("logs",), ("logs", "--follow"), ("fetch", "--out", "x", "--partial")):
            line = dogbreed("kernel", command[0], "tester/probe-cpu/2", *command[1:], fails=1).line
            assert "reaches a kernel's latest version only, and the latest is 3" in line
        assert not Path("x").exists()
        assert "COMPLETE" in dogbreed("kernel", "status", "tester/probe-cpu/3").stdout
        return
    for name in ("tester/probe-cpu/2", "tester/probe-cpu/v2"):
        assert dogbreed("kernel", "status", name).stdout == "tester/probe-cpu/2: ERROR\n"
    assert dogbreed("kernel", "logs", "tester/probe-cpu/2").stdout == "second\n"
    dogbreed("kernel", "fetch", "tester/probe-cpu/2", "--out", "x", "--partial")
    assert [path.name for path in Path("x").iterdir()] == ["second.txt"]
    assert "COMPLETE" in dogbreed("kernel", "status", "tester/probe-cpu/3").stdout
    assert "not allowed (403" in dogbreed("kernel", "status", "tester/probe-cpu/9", fails=1).line


def test_some_files_of_a_recorded_output(kernel: Kernel, dogbreed: Dogbreed) -> None:
    kernel.files.append(("outputs.json", b'{"files": {"model/weights.safetensors": {"bytes": 1, "sha256": ""}}}'))
    fetch = ("kernel", "fetch", "probe-cpu", "--out")
    dogbreed(*fetch, "some", "--only", "submission.csv")
    assert [path.name for path in Path("some").iterdir()] == ["submission.csv"]
    for more in ((), ("--only", "model/weights.safetensors")):
        assert "is not the file that the kernel wrote" in dogbreed(*fetch, "bad", *more, fails=1).line
        assert not Path("bad").exists()


@pytest.mark.parametrize("name", ["nobody/probe-cpu", "no-such-kernel"])
@pytest.mark.parametrize("command", [("status",), ("logs",), ("logs", "--follow"), ("fetch", "--out", "x")])
def test_a_kernel_that_is_not_yours(name: str, command: tuple[str, ...], dogbreed: Dogbreed) -> None:
    line = dogbreed("kernel", command[0], name, *command[1:], fails=1).line
    assert name in line
    assert not Path("x").exists()


@pytest.mark.parametrize(
    "name", ["a/b/c", "../x", "cpu", "two words", "/", "a/b/c/d", "x/probe-cpu/", "prob\u00e9-cpu"]
)
def test_what_is_no_kernel(name: str, dogbreed: Dogbreed, world: World) -> None:
    assert "is no kernel" in dogbreed("kernel", "status", name, fails=2).line
    assert not world.requests


def test_logs_are_readable_and_harmless(kernel: Kernel, dogbreed: Dogbreed) -> None:
    kernel.log = "epoch 1\n\x1b[2Jgone\nKAGGLE_KEY=0123456789abcdef0123456789abcdef"
    for more in ((), ("--follow",)):
        lines = dogbreed("kernel", "logs", "probe-cpu", *more).stdout.splitlines()
        assert lines[:3] == ["epoch 1", "?[2Jgone", "KAGGLE_KEY=***"]


@pytest.mark.parametrize("place", ["/logs/stream/", "/ListKernelSessionOutput"])
def test_a_followed_log_that_breaks_goes_on_without_repeating(place: str, world: World, dogbreed: Dogbreed) -> None:
    world.faults.append(Fault(place, "cut"))
    assert dogbreed("kernel", "logs", "probe-cpu", "--follow").stdout == "one\ntwo\n"


def test_a_log_that_grows_is_followed_to_its_end(
    kernel: Kernel, dogbreed: Dogbreed, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel.states, kernel.log = ["RUNNING", "RUNNING", "COMPLETE"], "one\ntw"
    if client.stream:  # one answer holds all of it
        kernel.log = "one\ntwo\nthree"

    def grow(_: float) -> None:
        kernel.log = {"one\ntw": "one\ntwo\nth"}.get(kernel.log, "one\ntwo\nthree")

    monkeypatch.setattr(backoff, "pause", grow)
    assert dogbreed("kernel", "logs", "probe-cpu", "--follow").stdout == "one\ntwo\nthree\n"


def test_fetch_all_and_some(dogbreed: Dogbreed) -> None:
    dogbreed("kernel", "fetch", "probe-cpu", "--out", "all of it")
    assert {path.name for path in Path("all of it").rglob("*") if path.is_file()} == {
        "submission.csv",
        "weights.safetensors",
    }
    assert "holds files already" in dogbreed("kernel", "fetch", "probe-cpu", "--out", "all of it", fails=2).line
    done = dogbreed("kernel", "fetch", "probe-cpu", "--out", "some", "--only", "submission.csv")
    assert done.stdout.split() == ["some/submission.csv"]
    line = dogbreed("kernel", "fetch", "probe-cpu", "--out", "none", "--only", "submision.csv", fails=2).line
    assert "did you mean 'submission.csv'" in line


def test_what_was_cut_off_is_fetched_only_when_asked(kernel: Kernel, dogbreed: Dogbreed) -> None:
    kernel.states = ["CANCEL_ACKNOWLEDGED"]
    assert "was cancelled" in dogbreed("kernel", "fetch", "probe-cpu", "--out", "part", fails=1).line
    dogbreed("kernel", "fetch", "probe-cpu", "--out", "part", "--partial")
    assert (Path("part") / "submission.csv").is_file()


def test_an_address_without_encryption_is_refused(
    world: World, dogbreed: Dogbreed, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = {"files": [{"fileName": "a.txt", "url": "http://elsewhere.example/a"}]}
    monkeypatch.setattr(world, "outputs", lambda *_: listed)
    assert "no https address" in dogbreed("kernel", "fetch", "probe-cpu", "--out", "x", fails=1).line


def test_pages_without_end_are_not_followed(world: World, dogbreed: Dogbreed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world, "outputs", lambda *_: {"files": [], "nextPageToken": "again"})
    assert "left no files" in dogbreed("kernel", "fetch", "probe-cpu", "--out", "x", fails=1).line


def test_a_state_that_this_client_does_not_know(kernel: Kernel, dogbreed: Dogbreed) -> None:
    kernel.states = ["HIBERNATING"]
    assert "was not understood" in dogbreed("kernel", "status", "probe-cpu", fails=1).line
