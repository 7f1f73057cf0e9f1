"""The command line: quick help, one line per error, exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
import typer

from competition.console import Ticker
from competition.system.command_line import run_app

MAIN = "from competition.cli import main; main()"


def dogbreed(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run ``dogbreed`` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", MAIN, *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=dict(os.environ),
        check=False,
    )


def test_help_imports_no_framework() -> None:
    code = (
        "import sys; sys.argv=['dogbreed','--help']\n"
        "from competition.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy={'torch','fastai','timm','keras','tensorflow','albumentations','pandas','matplotlib','sklearn'}&set(sys.modules)\n"
        "print('heavy:',sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "heavy: []" in done.stdout
    assert "submission" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("run", "--recipe", "prob"), 2, "unknown recipe 'prob' - did you mean 'probe'"),
        (("run", "--set", "sed=1"), 2, "unknown key 'sed' - did you mean 'seed'"),
        (("run", "--folds", "a"), 2, "--folds a is impossible"),
        (("run", "--data", "missing.zip"), 1, "missing.zip"),
        (("predict", "nowhere", "--out", "s.csv"), 1, "nowhere is not a run folder"),
    ],
)
def test_a_mistake_is_one_line_and_the_right_exit_code(
    arguments: tuple[str, ...], code: int, message: str, tmp_path: Path
) -> None:
    done = dogbreed(*arguments, cwd=tmp_path)
    lines = [line for line in done.stderr.splitlines() if line.startswith("dogbreed:")]
    assert done.returncode == code, done.stderr
    assert len(lines) == 1
    assert message in lines[0]
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    done = dogbreed("--debug", "run", "--recipe", "prob", cwd=tmp_path)
    assert "Traceback" in done.stderr
    assert done.returncode == 1


@pytest.mark.parametrize("name", ["dogbreed", "baselines"])
def test_ctrl_c_says_how_to_go_on(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    app = typer.Typer()

    @app.command()
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as stop:
        run_app(lambda: app([]), name)
    assert stop.value.code == 130
    assert capsys.readouterr().err == f"{name}: interrupted; the same command continues where it stopped\n"


def test_a_slow_rate_is_not_rounded_to_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    ticker = Ticker("probe", 36, "fits")
    ticker._every, ticker._start, ticker._last = 0.0, time.monotonic() - 10, -1.0
    ticker.advance(2)
    assert "2/36, 0.2 fits/s, about 170 s left" in capsys.readouterr().err


def test_what_a_library_deprecates_in_another_is_not_told_to_the_user() -> None:
    def app() -> None:
        warnings.warn("`torch.jit.script` is deprecated. Please switch.", FutureWarning, stacklevel=1)
        warnings.warn("a loss of nothing", UserWarning, stacklevel=1)

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        run_app(app, "dogbreed")
    assert [str(warning.message) for warning in told] == ["a loss of nothing"]
