from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.data.conftest import picture, save


def dogbreed(*arguments, **environment) -> subprocess.CompletedProcess[str]:
    code = "from competition.cli import main; main()"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **environment}, check=False, timeout=120
    )


def test_audit_writes_lists_and_page(kaggle, tmp_path):
    (kaggle / "train" / "p005.jpg").write_bytes(b"no photo")
    save(kaggle / "train" / "stray.jpg", picture(70))
    done = dogbreed("data", "audit", "--data", kaggle, "--out", tmp_path / "out", "--workers", 1)
    assert done.returncode == 0, done.stderr
    assert "12 train and 3 test photos: 1 unreadable" in done.stdout
    assert "unreadable in train: p005" in done.stdout
    assert "left out: stray" in done.stdout
    assert json.loads((tmp_path / "out" / "audit.json").read_text())["unreadable"][0][1] == "p005"
    assert (tmp_path / "out" / "audit.csv").read_text().startswith("kind,a,")
    assert "<html" in (tmp_path / "out" / "audit.html").read_text()


def test_folds_are_written_checked_and_refused(kaggle, tmp_path):
    out = tmp_path / "folds.csv"
    arguments = ("data", "folds", "--data", kaggle, "--out", out, "--folds", 3, "--workers", 1)
    first = dogbreed(*arguments)
    assert (first.returncode, first.stdout.splitlines()[0]) == (0, f"{out} written: 12 photos in 3 folds"), first.stderr
    content = out.read_bytes()
    again = dogbreed(*arguments)
    assert again.stdout.splitlines()[0] == f"{out} fits: 12 photos in 3 folds"
    refused = dogbreed(*arguments[:-3], 4, "--workers", 1)
    assert refused.returncode == 1
    assert "they are 3 folds, 4 are wanted" in refused.stderr
    assert out.read_bytes() == content


@pytest.mark.slow
def test_sample_is_drawn(tmp_path):
    done = dogbreed("data", "sample", tmp_path)
    assert done.returncode == 0
    assert "drawings, not photos" in done.stdout
    assert (tmp_path / "labels.csv").is_file()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "does not exist"),
        (b"PK\x03\x04" + b"x" * 4000, "only part of a zip"),
        (b"<html>404</html>" * 90, "neither a zip nor a tar"),
    ],
)
def test_errors_are_one_line_and_exit_with_one(tmp_path, content, words):
    source = tmp_path / "x.zip"
    if content is not None:
        source.write_bytes(content)
    done = dogbreed("data", "audit", "--data", source, "--out", tmp_path / "out")
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stderr.startswith("dogbreed: ")
    assert words in done.stderr
    assert not (tmp_path / "out").exists()
