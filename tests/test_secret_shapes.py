"""A password on a command line stays in the command line: nothing written, printed or traced holds it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from competition.console import console, say, warn
from competition.errors import StorageError
from competition.secret_shapes import command_line, redacted, without_secrets
from competition.system.command_line import run_app
from competition.training.sweep.database import database, unusable
from tests import pretend_database

ROOT = Path(__file__).resolve().parents[1]
HUSH = "hush-0815"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"postgresql://me:{HUSH}@host:5432/db", "postgresql://me:***@host:5432/db"),
        (f"postgresql+psycopg2://me:a@{HUSH}:b@host/db?x=1", "postgresql+psycopg2://me:***@host/db?x=1"),
        (f"mysql://me:p/{HUSH}?d=e@host/db", "mysql://me:***@host/db"),
        (f"postgresql://me:a%40{HUSH}@h1:1,h2:2/db?a=b&password={HUSH}", "postgresql://me:***@h1:1,h2:2/db?a=b&password=***"),
        (f"postgresql:///db?host=h&user=u&password={HUSH}&x=1", "postgresql:///db?host=h&user=u&password=***&x=1"),
        (f"postgresql://me:{HUSH}@[::1]:5432/db", "postgresql://me:***@[::1]:5432/db"),
        (f"redis://:{HUSH}@host:1/0", "redis://:***@host:1/0"),
        ("postgresql://me:x@host/db", "postgresql://me:***@host/db"),
        (f"http://me:{HUSH}@proxy:8080", "http://me:***@proxy:8080"),
        (f"https://{HUSH}{HUSH}@host/data.zip", "https://***@host/data.zip"),
        (f"https://host/data.zip?sig={HUSH}", "https://host/data.zip?***"),
        (f"host=h user=u password={HUSH} dbname=x", "host=h user=u password=*** dbname=x"),
        (f"HF_TOKEN={HUSH}", "HF_TOKEN=***"),
        ("hf_" + "a1" * 16, "***"),
        ("KAGGLE_KEY=0123456789abcdef0123456789abcdef", "KAGGLE_KEY=***"),
        (f"no: 'postgresql://me:{HUSH}@host/db', again", "no: 'postgresql://me:***@host/db', again"),
    ],
)  # fmt: skip
def test_a_password_goes_user_and_host_stay(text: str, shown: str) -> None:
    assert without_secrets(text) == shown
    assert command_line(["/x/dogbreed", text, f"--data={text}"]) == f"dogbreed {shown} --data={shown}"
    assert HUSH not in redacted(text)


@pytest.mark.parametrize(
    "text",
    [
        "sqlite:////home/me:you@work/study.sqlite3", "sqlite:///study.sqlite3", "sqlite:///C:/a@b/x.db?timeout=5",
        "postgresql://me@host/db", "https://www.kaggle.com/code/a/b", "http://localhost:6006/#scalars",
        "photos/what?.jpg", "no setting 'token_count'; key: learning_rate", "the class token: 768 values", "a://b",
        "secret=yes is no setting", "log loss 0.2803", "s3://bucket/key",
    ],
)  # fmt: skip
def test_what_is_no_secret_is_left_alone(text: str) -> None:
    assert without_secrets(text) == text
    assert command_line(["x", text]) == f"x {text}"


@given(st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=3, max_size=20))
def test_no_letter_of_a_password_gets_through(password: str) -> None:
    shown = command_line(["x", "--storage", f"postgresql://me:{password}\u2042@host:5432/db"])
    assert shown == "x --storage postgresql://me:***@host:5432/db"


def test_what_the_kit_says_holds_no_password(capsys: pytest.CaptureFixture[str]) -> None:
    console.cache_clear()
    say(f"postgresql://me:{HUSH}@host/db")
    warn(f"postgresql://me:{HUSH}@host/db")
    console.cache_clear()
    assert capsys.readouterr().err.count("postgresql://me:***@host/db") == 2

    def fails() -> None:
        raise RuntimeError(f"cannot reach postgresql://me:{HUSH}@host/db")

    with pytest.raises(SystemExit):
        run_app(fails, "dogbreed")
    assert capsys.readouterr().err.startswith(
        "dogbreed: unexpected RuntimeError: cannot reach postgresql://me:***@host"
    )


def test_what_is_no_address_is_said_without_a_piece_of_the_password() -> None:
    with pytest.raises(StorageError, match="is no address") as refused:
        database(f"postgresql://me:a@b:{HUSH}@host/db")  # SQLAlchemy takes the password's end for a port
    assert HUSH not in str(refused.value)
    assert refused.value.__suppress_context__
    assert "pip install psycopg2-binary" in str(unusable("postgresql://h", ImportError("x", name="psycopg2")))


EACH = """
import os, sys
import tests.pretend_database
def start(main, arguments):  # several commands in one process: importing is what takes the time
    for storage, debug in CASES:
        os.environ.pop("DOGBREED_DEBUG", None)
        if debug:
            os.environ["DOGBREED_DEBUG"] = "1"
        sys.argv = [*arguments, "--storage", storage]
        try:
            main()
        except SystemExit as stop:
            print("exit", stop.code or 0, file=sys.stderr)
        except BaseException:
            sys.excepthook(*sys.exc_info())
"""
DOGBREED = """
from pathlib import Path
import competition.data.source.layout
from competition.cli import main
from tests.training.small_fold import small_data
data = small_data(Path("photos"), count=36)
competition.data.source.layout.load_data = lambda where=None: data
small = ["n_folds=3", "epochs=1", "image_size=32", "workers=0", "cache=false", "device=cpu"]
vary = ["--trials", "1", "--vary", "augment=light,medium", *(part for text in small for part in ("--set", text))]
start(main, ["dogbreed", "sweep", "smoke", "--run-dir", "run", *vary])
"""
BASELINES = """
from baselines.cli import main
net = ["--model", "mlp", "--framework", "numpy", "--dataset", "digits", "--seeds", "0"]
vary = ["--vary", "optimiser=adam,sgd", "--set", "epochs=1", "--set", "hidden=6"]
start(main, ["baselines", "sweep", "custom", "--run-dir", "run", *net, *vary])
"""


@pytest.mark.parametrize("command", [DOGBREED, BASELINES], ids=["dogbreed", "baselines"])
def test_a_sweep_leaves_no_password_behind(command: str, tmp_path: Path) -> None:
    """On a database that answers, on one that does not, and without its driver; with a traceback and without."""
    reachable = f"pretend://me:p%40ss{HUSH}@host/db?x=1&password={HUSH}"
    down, no_driver = f"pretend://me:{HUSH}@down/db", f"postgresql+nosuch://me:{HUSH}@host/db"
    cases = [(reachable, False), (down, False), (down, True), (no_driver, False), (no_driver, True)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), pretend_database.FILE: str(tmp_path / "db")}
    environment |= {"DOGBREED_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1", "NO_ALBUMENTATIONS_UPDATE": "1"}
    code = f"CASES = {cases!r}\n{EACH}{command}"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert [line for line in done.stderr.splitlines() if line.startswith("exit")] == ["exit 0", "exit 1", "exit 1"]
    assert done.stderr.count("Traceback (most recent call last)") >= 2
    assert done.stderr.count("database pretend://me:***@down/db cannot be used") >= 2
    assert done.stderr.count("database postgresql+nosuch://me:***@host/db cannot be used") >= 2
    assert HUSH not in done.stdout + done.stderr
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in files if HUSH.encode() in path.read_bytes()]
    commands = [json.loads(path.read_text())["command"] for path in files if path.name == "manifest.json"]
    assert all("pretend://me:***@host/db?x=1&password=***" in text for text in commands)
    assert commands or command == BASELINES
    assert (tmp_path / "db").is_file()
