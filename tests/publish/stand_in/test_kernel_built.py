"""The kit's own kernels, built and pushed by the real client: what arrives, and what of their output is believed.

The slow test runs a kernel for real: ``pytest -m slow tests/publish/stand_in/test_kernel_built.py``.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from competition.data.sample.competition import draw_sample
from competition.environment import cache_folder
from competition.publish.build.kernels import read_code
from competition.publish.build.spec import find_kernel
from competition.publish.dry_run.dry_run import dry_run
from competition.publish.dry_run.rehearsal import tiny_dataset
from tests.publish.stand_in.conftest import Dogbreed, submission_text
from tests.publish.stand_in.world import COMPETITION, USER, Kernel, World

KERNELS = Path(__file__).resolve().parents[3] / "kernels"
PUSH = ("kernel", "push", "--kernels", KERNELS)


def output(kit: str) -> list[tuple[str, bytes]]:
    content = submission_text().encode()
    facts = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    record = {"files": {"submission.csv": facts}, "kit": kit}
    return [("submission.csv", content), ("outputs.json", json.dumps(record).encode())]


def test_probe_cpu_from_its_source_to_the_leaderboard(world: World, sample: Path, dogbreed: Dogbreed) -> None:
    command = (*PUSH, "probe-cpu", "--wait", "--submit", "--sample", sample)
    world.planned["probe-cpu"] = Kernel("Probe CPU", states=["COMPLETE"], files=output("f" * 64))
    line = dogbreed(*command, fails=1).line
    assert "was made by another build of the kit (ffffffffffffffff)" in line
    assert not world.submissions
    sent = world.kernels["probe-cpu"].versions[0]
    code = Path("build/kernels/probe-cpu/probe-cpu.py")
    assert sent["text"] == code.read_text()
    assert sent["slug"] == f"{USER}/probe-cpu"
    assert sent["datasetDataSources"] == [f"{USER}/dogbreed-kit-offline"]
    assert sent["competitionDataSources"] == [COMPETITION]
    assert (sent["isPrivate"], sent["enableGpu"], sent["enableInternet"]) == (True, False, False)
    world.kernels["probe-cpu"].files = output(read_code(code).digest)
    assert "version 1: submitted" in dogbreed(*command).stdout
    assert len(world.submissions) == 1


@pytest.mark.slow
def test_what_the_kernel_really_leaves_is_submitted(world: World, dogbreed: Dogbreed) -> None:
    """The kernel that was pushed runs in the simulated Kaggle on the drawn sample, and its files come back."""
    dogbreed(*PUSH, "probe-cpu")
    data = draw_sample(cache_folder() / "sample")
    inputs = {COMPETITION: data, "dogbreed-kit-offline": tiny_dataset(cache_folder() / "tiny-weights")}
    small = find_kernel("probe-cpu", KERNELS).small
    ran = dry_run(Path("build/kernels/probe-cpu"), Path("rehearsal"), inputs, settings=small, echo=False).working
    files = [(path.relative_to(ran).as_posix(), path.read_bytes()) for path in ran.rglob("*") if path.is_file()]
    world.kernels["probe-cpu"].states, world.kernels["probe-cpu"].files = ["RUNNING", "COMPLETE"], files
    dogbreed(*PUSH, "probe-cpu", "--resume", "--wait", "--submit", "--data", data)
    assert world.submissions[0]["sha"] == hashlib.sha256((ran / "submission.csv").read_bytes()).hexdigest()


def test_a_kernel_whose_inputs_are_not_there_yet(world: World, dogbreed: Dogbreed) -> None:
    line = dogbreed(*PUSH, "infer-submit", "--mode", "wheels", fails=1).line
    assert f"without kernel '{USER}/train-cv'" in line


@pytest.mark.parametrize("folder", sorted(path.parent for path in KERNELS.glob("*/kernel.toml")), ids=lambda p: p.name)
def test_every_kernel_is_taken_as_it_is(folder: Path, world: World, dogbreed: Dogbreed) -> None:
    world.sources |= {f"{USER}/{path.name}" for path in KERNELS.iterdir()}
    assert f"{USER}/{folder.name} version 1: pushed" in dogbreed(*PUSH, folder.name, "--mode", "wheels").stdout
    sent = world.kernels[folder.name].versions[0]
    assert (sent["isPrivate"], sent["kernelType"]) in ((True, "script"), (True, "notebook"))
    assert sent["machineShape"] in ("", "NvidiaTeslaT4")
    assert "your-kaggle-name" not in json.dumps(sent)


def test_a_typo_in_the_name(world: World, dogbreed: Dogbreed) -> None:
    assert "did you mean 'probe-cpu'" in dogbreed(*PUSH, "probe-cpi", fails=2).line
    assert not any("SaveKernel" in path for _, path in world.requests)
