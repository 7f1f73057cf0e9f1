"""The bundle: an allow list, the same bytes anywhere, no credential, nothing that leaves a folder."""

from __future__ import annotations

import base64
import io
import lzma
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from competition.errors import DataError, UsageError
from competition.publish.build import bundle, loader
from competition.publish.build.bundle import Bundle, pack, unpack
from competition.publish.build.secrets import CredentialError, require_no_secrets, secrets_in

# Shapes of credentials, put together here so that no scanner takes this file for a leak. None is real.
KAGGLE_JSON = b'{"username": "someone", "' + b'key": "' + b"0123456789abcdef" * 2 + b'"}'
PLANTED = {
    "a Kaggle key": KAGGLE_JSON,
    "a Kaggle token": b"x = 'KG" + b"AT_" + b"a1" * 16 + b"'",
    "a Hugging Face token": b"token: h" + b"f_" + b"Ab" * 17,
    "a GitHub token": b"g" + b"hp_" + b"A1" * 18,
    "an AWS key": b"A" + b"KIA" + b"ABCDEFGH12345678",
    "a Google key": b"AI" + b"za" + b"A" * 35,
    "an OpenAI key": b"s" + b"k-" + b"proj-" + b"a1" * 20,
    "a Slack token": b"xo" + b"xb-" + b"1" * 24,
    "a private key": b"-----BEGIN RSA " + b"PRIVATE KEY-----",
    "a password in an address": b"https://someone:" + b"opensesame1@example.org/x",
    "a secret": b"api_" + b"key = 'AAAABBBBCCCCDDDD'",
    "a JSON web token": b"ey" + b"J" + b"a" * 12 + b".ey" + b"J" + b"b" * 12 + b"." + b"c" * 12,
}


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    """A small stand-in for the kit's folder."""
    root = tmp_path / "kit"
    for name, text in {
        "competition/__init__.py": "VALUE = 7\n",
        "competition/page/style.css": "p {}\n",
        "competition/notes.txt": "not packed",
        "competition/.hidden.py": "",
        "competition/__pycache__/x.py": "",
        "competition/weights.safetensors": "not packed",
        "other/__init__.py": "",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_only_the_allowed_files_are_packed(kit: Path) -> None:
    (kit / "competition" / "link.py").symlink_to(kit / "other" / "__init__.py")
    assert set(pack(["competition"], kit).files) == {"competition/__init__.py", "competition/page/style.css"}


def test_the_same_files_give_the_same_text_whatever_their_times_and_modes(kit: Path) -> None:
    first = pack(["competition"], kit)
    path = kit / "competition" / "__init__.py"
    path.chmod(0o700)
    path.touch()
    second = pack(["competition"], kit)
    assert (first.digest, first.text) == (second.digest, second.text)
    path.write_text("VALUE = 8\n")
    assert pack(["competition"], kit).digest != first.digest


def test_the_text_comes_back_whole_and_needs_no_escape(kit: Path) -> None:
    packed = pack(["competition"], kit)
    assert unpack(packed.text).files == packed.files
    assert not set("\"'\\") & set(packed.text)
    with zipfile.ZipFile(io.BytesIO(packed.zipped)) as source:
        assert source.namelist() == sorted(source.namelist())


def test_the_kit_itself_can_be_packed_with_its_templates() -> None:
    files = pack(bundle.PACKAGES).files
    assert {"competition/pipeline.py", "competition/report/html/templates/base.html", "baselines/registry.py"} <= set(
        files
    )
    assert not [name for name in files if "test" in Path(name).parts or name.endswith(".pyc")]


def test_foreign_and_missing_packages_are_refused(kit: Path) -> None:
    with pytest.raises(UsageError, match="'os' is no package of the kit"):
        pack(["os"], kit)
    with pytest.raises(DataError, match="baselines is missing"):
        pack(["competition", "baselines"], kit)


@pytest.mark.parametrize("damage", ["%%%", "!" * 50, ""])
def test_damaged_text_is_told(kit: Path, damage: str) -> None:
    text = pack(["competition"], kit).text
    with pytest.raises(DataError, match="build the kernel again"):
        unpack(text[:40] + damage + text[60:])


@pytest.mark.parametrize("name", ["../out.py", "/etc/out.py", "a/../../out.py", "a\\..\\out.py"])
def test_names_that_leave_the_folder_are_refused(name: str) -> None:
    with pytest.raises(DataError, match="not one of the kit's"):
        unpack(Bundle({name: b"x"}).text)


def test_a_text_that_unpacks_to_gigabytes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "_LARGEST", 10_000)
    packed = lzma.compress(b"\0" * 1_000_000, format=lzma.FORMAT_XZ)
    with pytest.raises(DataError, match="damaged"):
        unpack(base64.b85encode(packed).decode())


@pytest.mark.parametrize("what", PLANTED)
def test_a_planted_credential_stops_the_packing_and_is_not_repeated(kit: Path, what: str) -> None:
    (kit / "competition" / "settings.py").write_bytes(b"# first line\n" + PLANTED[what] + b"\n")
    with pytest.raises(CredentialError) as caught:
        pack(["competition"], kit)
    assert f"{what} in line 2" in str(caught.value)
    assert PLANTED[what].decode() not in str(caught.value)


@pytest.mark.parametrize("name", ["kaggle.json", "sub/.env", "access_token", "server.pem", "id_rsa"])
def test_some_names_are_credentials_whatever_they_hold(name: str) -> None:
    with pytest.raises(CredentialError, match="would leave this machine"):
        require_no_secrets({name: b""})


def test_the_kit_s_own_code_looks_like_no_credential() -> None:
    for name, content in pack(bundle.PACKAGES).files.items():
        assert secrets_in(name, content) == ()


def test_the_loader_makes_the_packages_importable_in_children_too(kit: Path, tmp_path: Path) -> None:
    packed = pack(["competition"], kit)
    code = f"""
import subprocess, sys
sys.path.insert(0, {str(Path(loader.__file__).parent)!r})
from loader import load_kit
print(load_kit({packed.text!r}, {packed.digest!r}))
import competition
child = [sys.executable, "-c", "import competition; print(competition.VALUE)"]
print(competition.VALUE, subprocess.run(child, capture_output=True, text=True).stdout)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.split()[1:] == ["7", "7"]


def test_the_loader_stops_at_another_digest_and_where_there_is_no_kit(
    kit: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(SystemExit, match="damaged"):
        loader.load_kit(pack(["competition"], kit).text, "0" * 64)
    monkeypatch.setenv("DOGBREED_KAGGLE_ROOT", str(tmp_path))
    monkeypatch.setitem(sys.modules, "competition", None)
    with pytest.raises(SystemExit, match="attach what"):
        loader.load_kit("", "")
