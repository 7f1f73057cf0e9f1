"""Every way in which the client authenticates, each way in which it cannot, and what happens to the secrets."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import traceback
from pathlib import Path
from types import FrameType

import pytest

from competition.cli import main
from competition.publish.kaggle import client
from competition.publish.kaggle.errors import KaggleError
from competition.secret_shapes import redacted
from tests.publish.stand_in.conftest import Dogbreed, submission_text
from tests.publish.stand_in.server import Server
from tests.publish.stand_in.world import KEY, TOKEN, USER, Fault, World

ROOT = Path(__file__).resolve().parents[3]
SECRET_FILES = ("kaggle.json", "access_token", "credentials.json")


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> Path:
    """No credentials; returns the folder where files of them would lie."""
    monkeypatch.delenv("KAGGLE_USERNAME")
    monkeypatch.delenv("KAGGLE_KEY")
    return Path(os.environ["HOME"]) / ".kaggle"


def write(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o600)


def oauth(token: str, expires: str) -> str:
    values = {"refresh_token": "refresh-me-0123456789", "access_token": token, "username": USER, "scopes": []}
    return json.dumps({**values, "access_token_expiration": expires})


def test_name_and_key_from_the_environment(dogbreed: Dogbreed) -> None:
    assert "0 submissions" in dogbreed("submissions").stdout


def test_a_token_from_the_environment(nobody: Path, dogbreed: Dogbreed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)
    assert "0 submissions" in dogbreed("submissions").stdout


def test_a_token_in_a_file(nobody: Path, dogbreed: Dogbreed) -> None:
    write(nobody / "access_token", TOKEN + "\n")
    assert "0 submissions" in dogbreed("submissions").stdout


def test_kaggle_json(nobody: Path, dogbreed: Dogbreed) -> None:
    write(nobody / "kaggle.json", json.dumps({"username": USER, "key": KEY}))
    assert dogbreed("submissions").stderr == ""


def test_kaggle_json_that_others_can_read_is_said(nobody: Path, dogbreed: Dogbreed) -> None:
    write(nobody / "kaggle.json", json.dumps({"username": USER, "key": KEY}))
    (nobody / "kaggle.json").chmod(0o644)
    assert "kaggle: Warning: Your Kaggle API key is readable by other users" in dogbreed("submissions").stderr


def test_oauth(nobody: Path, dogbreed: Dogbreed) -> None:
    write(nobody / "credentials.json", oauth(TOKEN, "2099-01-01T00:00:00+00:00"))
    assert "0 submissions" in dogbreed("submissions").stdout


def test_no_credentials(nobody: Path, world: World, dogbreed: Dogbreed) -> None:
    line = dogbreed("submissions", fails=1).line
    assert "no Kaggle credentials that work" in line
    assert "kaggle auth login" in line
    assert not world.requests


def test_an_expired_token(nobody: Path, dogbreed: Dogbreed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_expired0123456789")
    done = dogbreed("submissions", fails=1)
    assert "no Kaggle credentials that work (none, or expired)" in done.line
    assert "KGAT_expired" not in done.stderr


def test_a_wrong_key(dogbreed: Dogbreed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAGGLE_KEY", "f" * 32)
    done = dogbreed("submissions", fails=1)
    assert "refused the credentials (401)" in done.line
    assert "f" * 32 not in done.stderr


def test_login_while_kaggle_is_ill(
    nobody: Path, world: World, dogbreed: Dogbreed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)
    world.faults.append(Fault("/IntrospectToken", status=500, times=2))
    assert "0 submissions" in dogbreed("submissions").stdout
    world.faults.append(Fault("/IntrospectToken", status=500, times=9))
    assert "cannot log in to Kaggle: Kaggle has a problem of its own" in dogbreed("submissions", fails=1).line


def test_without_the_client_the_extra_is_named(dogbreed: Dogbreed, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name == "kaggle" or name.startswith("kaggle.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "kaggle", None)
    client._patient_class.cache_clear()
    try:
        line = dogbreed("submissions", fails=1).line
    finally:
        client._patient_class.cache_clear()
    assert line == "dogbreed: this command needs the kaggle client: pip install 'dogbreed-kit[kaggle]'"


@pytest.mark.parametrize("told", ["1.6.17", "1.8.4", "0.9"])
def test_a_client_that_is_too_old(told: str, world: World, dogbreed: Dogbreed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "version", lambda: told)
    client._patient_class.cache_clear()
    line = dogbreed("submissions", fails=1).line
    client._patient_class.cache_clear()
    assert line == f"dogbreed: kaggle {told} is too old: this command needs 2.0 or later (pip install -U kaggle)"
    assert not world.requests


def test_a_process_of_its_own_with_a_talkative_client(server: Server, tmp_path: Path) -> None:
    """VERBOSE makes the client print its requests, credentials included, from its import on."""
    environment = {**os.environ, "VERBOSE": "1", "KAGGLE_API_TOKEN": TOKEN, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", "from competition.cli import main; main()", "submissions"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "0 submissions" in done.stdout
    for text in (TOKEN, KEY, "Authorization", "POST"):
        assert text not in done.stdout + done.stderr


def test_a_traceback_holds_no_secret(
    world: World, dogbreed: Dogbreed, sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("mine.csv").write_text(submission_text())
    world.faults.append(Fault("/upload/", status=403, times=9))
    monkeypatch.setenv("DOGBREED_DEBUG", "1")
    monkeypatch.setattr(sys, "argv", ["dogbreed", "submit", "mine.csv", "--sample", str(sample)])
    with pytest.raises(KaggleError) as raised:
        main()
    shown = "".join(traceback.format_exception(raised.value))
    assert "HTTPError" in shown
    assert "upload_id=secret" not in shown
    assert "?***" in shown


_opened: list[tuple[str, str]] = []
_watching = False


def _watch(event: str, arguments: tuple) -> None:
    if _watching and event == "open" and str(arguments[0]).endswith(SECRET_FILES):
        _opened.append((Path(str(arguments[0])).name, _who_asks(sys._getframe(1))))


def _who_asks(frame: FrameType | None) -> str:
    """The nearest file of a package, leaving out the standard library's own files."""
    while frame is not None and ("site-packages" not in (name := frame.f_code.co_filename) and str(ROOT) not in name):
        frame = frame.f_back
    return frame.f_code.co_filename if frame is not None else ""


def test_only_the_client_opens_credentials(nobody: Path, dogbreed: Dogbreed) -> None:
    global _watching
    write(nobody / "kaggle.json", json.dumps({"username": USER, "key": KEY}))
    write(nobody / "access_token", TOKEN)
    sys.addaudithook(_watch)  # it cannot be taken back, only fall silent
    _watching = True
    try:
        dogbreed("submissions")
    finally:
        _watching = False
    names = {name for name, _ in _opened}
    assert "access_token" in names <= {"kaggle.json", "access_token"}  # 2.0 stops at the first
    assert all("/site-packages/kaggle" in who for _, who in _opened), _opened


def test_the_kit_asks_for_no_credential_and_imports_the_client_late() -> None:
    names = {"KAGGLE_KEY", "KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "kaggle.json"}
    for path in sorted((ROOT / "competition").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in tree.body:
            imported = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            imported += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in imported} & {"kaggle", "kagglesdk", "requests"}, path
        if path.name in ("credentials.py", "code_scan.py"):  # these know the names, to find them in files
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Call | ast.Subscript):
                inside = {item.value for item in ast.iter_child_nodes(node) if isinstance(item, ast.Constant)}
                assert not inside & names, f"{path}:{node.lineno}"


@pytest.mark.parametrize(
    "text",
    [
        f"token {TOKEN} refused",
        f'{{"username": "me", "key": "{KEY}"}}',
        f"KAGGLE_KEY={KEY}",
        f"Authorization: Bearer {KEY}",
        f"Authorization: Basic {KEY}==",
        f"GET https://storage.example/a/b.zip?X-Goog-Signature={KEY}&x=1",
        f"url: /upload/blob5?upload_id={KEY} (Caused by x)",
        f"https://me:{KEY}@example.org/",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.0123456789abcdef",
        f"password: '{KEY}'",
    ],
)
def test_what_looks_like_a_secret_is_masked(text: str) -> None:
    assert "***" in redacted(text)
    assert not {KEY, TOKEN, "0123456789abcdef"} & set(redacted(text).replace("=", " ").replace("'", " ").split())
    assert KEY not in redacted(text)
    assert TOKEN not in redacted(text)


@pytest.mark.parametrize(
    "text",
    ["photo 000bec180eb18c7604dcecc8fe0dba07 is fine", "log loss 0.2803 of fold 3", "https://www.kaggle.com/code/a/b"],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redacted(text) == text
