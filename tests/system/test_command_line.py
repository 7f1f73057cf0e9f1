"""The edges of a command line: encodings, closed pipes, full disks, signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from competition.console import shown

RUN = "import sys\nfrom competition.system.command_line import run_app\n"
TEXT = "caf\u00e9 \u2014 \u2603 \u00b1 \udce9"
# A bar, a note, a result, an error: everything that a command shows, with letters that few terminals have.
SHOWING = f"""
from competition.console import progress, say, warn
from competition.errors import KitError
text = {TEXT!a}
def app():
    with progress(text, 2) as bar:
        bar.advance()
    say(text)
    warn(text)
    print(text)
    raise KitError(text)
run_app(app, "kit")
"""


def run(
    code: str, *, shell: str = "", unbuffered: bool = False, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run ``code`` as ``kit``, in a shell line where one is given."""
    values = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "LC_", "LANG"))}
    values |= environment | ({"PYTHONUNBUFFERED": "1"} if unbuffered else {})
    values["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
    command = ["bash", "-c", shell.replace("KIT", '"$0" -c "$1"'), sys.executable, RUN + code]
    return subprocess.run(
        command if shell else [sys.executable, "-c", RUN + code],
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        env=values,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "cp1252"},
        {"PYTHONIOENCODING": "ascii", "FORCE_COLOR": "1"},
        {"PYTHONIOENCODING": "utf-8"},
        {"PYTHONIOENCODING": "utf-16-le", "DOGBREED_DEBUG": "1"},
        {"LC_ALL": "C"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "DOGBREED_DEBUG": "1"},
    ],
    ids=["cp1252", "ascii-bar", "utf-8", "utf-16-debug", "C", "no-utf8-debug"],
)
def test_what_a_terminal_cannot_show_is_escaped(environment: dict[str, str]) -> None:
    done = run(SHOWING, **environment)
    out, told = (text.replace("\0", "") for text in (done.stdout, done.stderr))
    assert done.returncode == 1, done.stderr
    assert "UnicodeEncodeError" not in told
    assert "\\udce9" in out
    assert told.count("\\udce9") >= 3
    assert ("Traceback" in told) == ("DOGBREED_DEBUG" in environment)
    if environment.get("PYTHONIOENCODING") in ("cp1252", "ascii"):
        assert "\\u2603" in out
        assert "\\u2603" in told


def test_shown_escapes_only_what_no_stream_takes() -> None:
    assert shown(TEXT) == "caf\u00e9 \u2014 \u2603 \u00b1 \\udce9"


PRINTING = "run_app(lambda: print('line\\n' * COUNT), 'kit')"


@pytest.mark.parametrize("count", [1, 50_000])
@pytest.mark.parametrize("unbuffered", [False, True])
def test_a_pipe_that_nobody_reads_ends_it_without_a_word(count: int, unbuffered: bool) -> None:
    done = run(
        "import time; time.sleep(0.2)\n" + PRINTING.replace("COUNT", str(count)),
        shell="KIT | true; echo ${PIPESTATUS[0]}",
        unbuffered=unbuffered,
    )
    assert (done.stdout.strip(), done.stderr) == ("141", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("unbuffered", [False, True])
def test_a_result_that_cannot_be_written_is_an_error(unbuffered: bool) -> None:
    done = run(PRINTING.replace("COUNT", "1"), shell="KIT >/dev/full", unbuffered=unbuffered)
    assert done.returncode == 1
    assert done.stderr == "kit: the result cannot be written to standard output (No space left on device)\n"
    assert run(PRINTING.replace("COUNT", "1"), shell="KIT >/dev/full 2>&1", unbuffered=unbuffered).returncode == 1


def test_a_thread_that_the_system_stops_is_one_line() -> None:
    code = """
import errno, threading
def write():
    raise OSError(errno.EFBIG, "x")
def app():
    thread = threading.Thread(target=write)
    thread.start()
    thread.join()
run_app(app, "kit")
"""
    done = run(code)
    assert done.stderr.startswith("note: in the background: a file became larger than files may be here")
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_messages_that_cannot_be_shown_do_not_end_the_work() -> None:
    code = "from competition.console import say\nrun_app(lambda: [say('a'), say('b'), print('done')], 'kit')"
    done = run(code, shell="KIT 2>/dev/full")
    assert (done.returncode, done.stdout) == (0, "done\n")


def test_files_do_not_take_the_place_of_a_closed_stream(tmp_path: Path) -> None:
    path = tmp_path / "file"
    code = f"""
import os
def app():
    with open({str(path)!r}, "wb"):
        os.write(1, b"x")
        os.write(2, b"y")
run_app(app, "kit")
"""
    done = run(code, shell="KIT >&- 2>&-")
    assert done.returncode == 0
    assert path.read_bytes() == b""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_it_in_order(number: int) -> None:
    code = f"""
import os, time
def app():
    try:
        os.kill(os.getpid(), {int(number)})
        time.sleep(20)
    finally:
        print("tidied up")
run_app(app, "kit")
"""
    done = run(code)
    assert (done.returncode, done.stdout) == (128 + number, "tidied up\n")
    assert done.stderr == "kit: interrupted; the same command continues where it stopped\n"


@pytest.mark.parametrize("name", ["competition", "baselines"])
def test_ctrl_c_while_commands_are_imported_is_one_line(name: str) -> None:
    code = f"""
import runpy, sys
class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupting())
sys.argv = ["x", "--help"]
runpy.run_module({name!r}, run_name="__main__")
"""
    done = run(code)
    assert done.returncode == 130
    assert done.stderr.splitlines()[-1].endswith("interrupted; the same command continues where it stopped")
    assert "Traceback" not in done.stderr
