"""The stand-in, the real client led to it, a small competition, and the command line in this process."""

from __future__ import annotations

import io
import json
import os
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from competition.cli import main
from competition.publish.kaggle import backoff
from tests.publish.stand_in.server import Server, serving
from tests.publish.stand_in.world import COMPETITION, KEY, TOKEN, USER, World

BREEDS = ("affenpinscher", "basset", "chow")
CODE = 'from pathlib import Path\n\nPath("/kaggle/working/submission.csv").write_text("id\\n")\n'
IDS = tuple(f"photo{i:03d}" for i in range(20))


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def server(world: World) -> Iterator[Server]:
    with serving(world) as running:
        yield running


@pytest.fixture(autouse=True)
def led_to_the_stand_in(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No request of the client can reach anything but the stand-in, and no credential of a person is ever near."""
    pytest.importorskip("kagglesdk", reason="the kaggle extra is not installed")
    for name in [name for name in os.environ if name.startswith("KAGGLE_") or name.casefold().endswith("_proxy")]:
        monkeypatch.delenv(name)
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, server.address)
    home = tmp_path / "home"
    (home / ".kaggle").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "LOCALHOST")
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(home / ".kaggle"))
    monkeypatch.setenv("KAGGLE_USERNAME", USER)
    monkeypatch.setenv("KAGGLE_KEY", KEY)
    from kaggle.api.kaggle_api_extended import KaggleApi

    monkeypatch.setattr(KaggleApi, "args", ["--local"])
    monkeypatch.setattr(KaggleApi, "config_dir", str(home / ".kaggle"))
    monkeypatch.setattr(KaggleApi, "config", str(home / ".kaggle" / "kaggle.json"))
    yield
    assert not server.world.escapes, "a request was meant for somewhere else"
    assert not server.world.leaks
    assert not server.world.crashes


@dataclass(frozen=True)
class Client:
    """What the client of a test can ask for: the day's limits, the quota, a stated version of a kernel, a live log."""

    limits: bool
    quota: bool
    versions: bool
    stream: bool


@pytest.fixture(params=["installed", "like 2.0.2"])
def client(request: pytest.FixtureRequest, led_to_the_stand_in: None, monkeypatch: pytest.MonkeyPatch) -> Client:
    """The client that is installed, and the same one without what kaggle 2.0.2 with kagglesdk 0.1.20 lacks."""
    from kaggle.api.kaggle_api_extended import KaggleApi
    from kagglesdk.competitions.services.competition_api_service import CompetitionApiClient
    from kagglesdk.kernels.services.kernels_api_service import KernelsApiClient
    from kagglesdk.kernels.types import kernels_api_service as types

    requests = (
        types.ApiGetKernelRequest,
        types.ApiGetKernelSessionStatusRequest,
        types.ApiListKernelSessionOutputRequest,
    )
    newer = [
        (CompetitionApiClient, "get_submission_limits"),
        (KernelsApiClient, "get_accelerator_quota_statistics"),
        *((kind, "version_label") for kind in requests),
        (KaggleApi, "kernels_logs_stream"),
        (KaggleApi, "competition_get_submission_limits"),
        (KaggleApi, "quota_view"),
    ]
    if request.param != "installed":
        for kind, name in newer:
            monkeypatch.delattr(kind, name, raising=False)
    limits, quota, versions, _, _, stream = (hasattr(kind, name) for kind, name in newer[:6])
    return Client(limits, quota, versions, stream)


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Nothing sleeps; the pauses that would have been made are kept."""
    made: list[float] = []
    monkeypatch.setattr(backoff, "pause", made.append)
    return made


@dataclass(frozen=True)
class Done:
    stdout: str
    stderr: str

    @property
    def line(self) -> str:
        """The one line of the error."""
        lines = [line for line in self.stderr.splitlines() if line.startswith("dogbreed:")]
        assert len(lines) == 1, self.stderr
        return lines[0]


Dogbreed = Callable[..., Done]


@pytest.fixture
def dogbreed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Dogbreed:
    """Runs the command line in this process and a folder of its own; checks the exit code, and that no secret shows."""
    place = tmp_path / "a place with a space"
    place.mkdir()
    monkeypatch.chdir(place)
    monkeypatch.setenv("DOGBREED_CACHE", str(tmp_path / "cache"))

    def run(*arguments: str | Path, fails: int = 0) -> Done:
        monkeypatch.setattr(sys, "argv", ["dogbreed", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main()
        said = capsys.readouterr()
        assert (stopped.value.code or 0) == fails, said.err + said.out
        for secret in (KEY, TOKEN, "X-Goog-Signature=abcdef", "upload_id=secret"):
            assert secret not in said.out + said.err
        assert "Traceback" not in said.err
        return Done(said.out, said.err)

    return run


def submission_text(ids: tuple[str, ...] = IDS, first: float = 0.5) -> str:
    rows = [f"{name},{first},{(1 - first) / 2},{(1 - first) / 2}" for name in ids]
    return "\n".join([f"id,{','.join(BREEDS)}", *rows]) + "\n"


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """A sample_submission.csv of 20 photos and three breeds."""
    path = tmp_path / "sample_submission.csv"
    path.write_text(submission_text(first=1 / 3).replace(f"{1 / 3}", "0.3333333333333333"))
    return path


@pytest.fixture
def archive(world: World) -> bytes:
    """The competition's archive, large enough to be cut: photos that do not compress."""
    buffer = io.BytesIO()
    photo = os.urandom(40_000)
    with zipfile.ZipFile(buffer, "w") as zipped:
        zipped.writestr("labels.csv", "id,breed\n" + "".join(f"t{i},{BREEDS[i % 3]}\n" for i in range(9)))
        zipped.writestr("sample_submission.csv", submission_text())
        for i in range(9):
            zipped.writestr(f"train/t{i}.jpg", photo)
        for name in IDS:
            zipped.writestr(f"test/{name}.jpg", photo[:2000])
    world.archive = buffer.getvalue()
    return world.archive


def kernel_folder(root: Path, slug: str = "probe-cpu", title: str = "Probe CPU", **changes: object) -> Path:
    """A kernel as it would be built, without the kit inside."""
    folder = root / slug
    folder.mkdir(parents=True)
    (folder / f"{slug}.py").write_text(CODE)
    values: dict[str, object] = {
        "id": f"{USER}/{slug}",
        "title": title,
        "code_file": f"{slug}.py",
        "language": "python",
        "kernel_type": "script",
        "is_private": True,
        "enable_gpu": False,
        "enable_tpu": False,
        "enable_internet": False,
        "machine_shape": "",
        "dataset_sources": [],
        "competition_sources": [COMPETITION],
        "kernel_sources": [],
        "model_sources": [],
        "keywords": [],
        "docker_image_pinning_type": "latest",
    }
    (folder / "kernel-metadata.json").write_text(json.dumps({**values, **changes}))
    return folder
