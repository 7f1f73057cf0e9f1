"""The stand-in's tests with clients that users have and that are not installed here; they come from the index."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.slow


def fetched(folder: Path, *packages: str) -> dict[str, str]:
    """An environment whose processes find these packages first."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), *packages]
    if subprocess.run(pip, capture_output=True, check=False).returncode:
        pytest.skip(f"{packages[0]} cannot be fetched from a package index")
    return {**os.environ, "PYTHONPATH": os.pathsep.join((str(folder), str(ROOT)))}


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("client", "sdk"),
    [
        ("2.0.2", "0.1.20"),  # Kaggle's image of May 2026
        ("2.0.2", "0.1.37"),  # Colab's of August 2026
        ("2.1.2", "0.1.23"),
        ("2.2.0", "0.1.24"),
    ],
)
def test_every_command_with_another_client(client: str, sdk: str, tmp_path: Path) -> None:
    environment = fetched(tmp_path / "site-packages", f"kaggle=={client}", f"kagglesdk=={sdk}")
    tests = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-m",
        "not slow",
        "-k",
        "not like",
        str(ROOT / "tests/publish/stand_in"),
    ]
    done = subprocess.run(tests, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:]
    assert " failed" not in done.stdout


def test_a_client_older_than_2(tmp_path: Path) -> None:
    environment = fetched(tmp_path / "site-packages", "kaggle==1.6.17") | {"HOME": str(tmp_path)}
    command = [sys.executable, "-c", "from competition.cli import main; main()", "submissions"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert (
        done.stderr == "dogbreed: kaggle 1.6.17 is too old: this command needs 2.0 or later (pip install -U kaggle)\n"
    )
