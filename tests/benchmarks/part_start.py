"""How long ``dogbreed --help`` and ``import competition`` take, against an interpreter that does nothing."""

from __future__ import annotations

import subprocess
import sys

from tests.benchmarks.measure import Claim, Outcome, Setup, figure, in_turn, seconds_of

HELP = "import sys; sys.argv = ['dogbreed', '--help']; from competition.cli import main; main()"
WAYS = {
    "dogbreed --help": HELP,
    "import competition": "import competition",
    "an empty interpreter": "pass",
    "import typer": "import typer",
}


def measure(setup: Setup) -> Outcome:
    """Each in a process of its own."""
    outcome = Outcome("help", "start of the command")
    ways = {name: (lambda code=code: seconds_of(lambda: _run(code))) for name, code in WAYS.items()}
    rounds = max(setup.rounds, 7) if setup.scale == 1 else setup.rounds
    for name, seconds in in_turn(ways, rounds).items():
        outcome.figures.append(figure("a process", name, "s", seconds))
    for name in ("dogbreed --help", "import competition"):
        outcome.claims.append(Claim(name, outcome.median("a process", name), 0.3, False, "s"))
    return outcome


def _run(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
