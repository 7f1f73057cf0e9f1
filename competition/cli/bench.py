"""``dogbreed bench``: how fast the kit is here, beside the plain alternatives. Runs from a checkout."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from competition.cli.options import Data, Weights


def bench(
    parts: Annotated[
        list[str] | None,
        typer.Argument(
            help="help, loader, embed, tta, probe, step, audit, report; all by default.", metavar="[PART]..."
        ),
    ] = None,
    data: Data = None,
    weights: Weights = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for one JSON a part, and bench.md.")] = Path("runs/bench"),
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Repeats; the median counts.")] = 3,
    scale: Annotated[float, typer.Option("--scale", min=0.001, max=1, help="Share of the work, to try it out.")] = 1.0,
    again: Annotated[bool, typer.Option("--again", help="Measure what is there already as well.")] = False,
) -> None:
    """Measure the kit beside the plain alternatives: ratios in one run, about 14 minutes on two cores."""
    import subprocess
    import sys

    root = checkout()
    command = [sys.executable, "-m", "tests.benchmarks", *(parts or []), "--out", str(out.resolve())]
    command += ["--rounds", str(rounds), "--scale", str(scale), *(["--again"] if again else [])]
    for name, path in (("--data", data), ("--weights", weights)):
        command += [name, str(path.resolve())] if path is not None else []
    status = subprocess.run(command, cwd=root, check=False).returncode
    if status:
        raise typer.Exit(status)


def checkout() -> Path:
    """The root of the checkout that this package is part of.

    Raises:
        UsageError: the package was installed without its tests.
    """
    from competition.errors import UsageError

    root = Path(__file__).resolve().parents[2]
    if not (root / "tests" / "benchmarks" / "__main__.py").is_file():
        raise UsageError(
            "'dogbreed bench' needs a checkout: the benchmarks lie in tests/benchmarks, not in the package"
        )
    return root
