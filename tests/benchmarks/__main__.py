"""The benchmarks, one process a part: ``python -m tests.benchmarks [PART ...] --data DATA --weights WEIGHTS``.

``dogbreed bench`` calls this from a checkout. Each part leaves ``OUT/<part>.json``; ``OUT/bench.md`` holds the tables
of all parts that are there. A part that was measured with the same sources and settings is kept unless ``--again``.
"""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from competition.console import duration, say
from competition.environment import before_tensorflow, data_candidates, weights_candidates
from competition.errors import DataError, KitError, require_known
from competition.files import digest_of, digest_of_file, read_json, write_json
from tests.benchmarks.measure import Setup, machine
from tests.benchmarks.tables import ROOT, everything, save, source_digest, stored, summary, write_table

PARTS = ("help", "loader", "embed", "tta", "probe", "step", "audit", "report")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; 0 also where a target is missed, since a figure is not a test."""
    asked = _parser().parse_args(arguments)
    setup = Setup(
        _found(asked.data, data_candidates, "data"), _found(asked.weights, weights_candidates, "weights"),
        asked.rounds, asked.scale, asked.threads,
    )  # fmt: skip
    if asked.one:
        _measure_here(asked.one, setup, asked.out)
        return 0
    for part in asked.parts:
        require_known("part", part, PARTS)
    for part in [name for name in PARTS if name in asked.parts] or PARTS:
        _measure_apart(part, setup, asked.out, again=asked.again)
    path = write_table(asked.out, PARTS)
    print(summary(everything(asked.out, PARTS)), f"all figures: {path}", sep="\n\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tests.benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "bench")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the usual work, to try the benchmark out")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--again", action="store_true", help="measure what is there already as well")
    parser.add_argument("--one", choices=PARTS, help=argparse.SUPPRESS)
    return parser


def _found(argument: Path | None, candidates: Any, what: str) -> Path:
    """The first place that exists.

    Raises:
        DataError: none does.
    """
    places = candidates(argument)
    for _, path in places:
        if path.exists():
            return Path(path).resolve()
    looked = ", ".join(str(path) for _, path in places) or "nowhere"
    raise DataError(f"the benchmarks found no {what} (looked at: {looked}): name them with --{what}")


def settings_key(part: str, setup: Setup) -> str:
    """What a stored figure must have been measured with to be kept."""
    data = digest_of_file(setup.data) if setup.data.is_file() else str(setup.data)
    return digest_of([part, data, setup.weights.name, setup.rounds, setup.scale, setup.threads, source_digest()])


def _measure_apart(part: str, setup: Setup, out: Path, *, again: bool) -> None:
    """Measure one part in a process of its own, so that its memory is its own."""
    key = settings_key(part, setup)
    kept = None if again else stored(out, part, key)
    if kept is not None:
        say(f"bench {part}: measured {kept['when']} with the same sources and settings; --again measures again")
        return
    say(f"bench {part} ...")
    start, described = time.monotonic(), machine()
    command = [sys.executable, "-m", "tests.benchmarks", "--one", part, "--data", str(setup.data), "--weights",
               str(setup.weights), "--rounds", str(setup.rounds), "--scale", str(setup.scale),
               "--threads", str(setup.threads), "--out", str(out)]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": str(setup.threads), "NO_ALBUMENTATIONS_UPDATE": "1"}
    child = subprocess.Popen(command, cwd=ROOT, env=environment)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise KitError(f"bench {part} stopped with status {child.returncode}; what it said stands above")
    seconds = time.monotonic() - start
    result = read_json(out / f"{part}.part.json")
    (out / f"{part}.part.json").unlink()
    megabytes = used.ru_maxrss / 1024  # of the largest single process, its workers among them
    save(out, {**result, "key": key, "machine": described, "when": _now(), "seconds": seconds,
               "peak_memory_mb": megabytes, "rounds": setup.rounds, "scale": setup.scale,
               "threads": setup.threads})  # fmt: skip
    say(f"bench {part}: {duration(seconds)}, largest process {megabytes:,.0f} MB")


def _measure_here(part: str, setup: Setup, out: Path) -> None:
    before_tensorflow()
    name = "start" if part == "help" else part
    outcome = importlib.import_module(f"tests.benchmarks.part_{name}").measure(setup)
    write_json(out / f"{part}.part.json", outcome.plain())


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KitError as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
