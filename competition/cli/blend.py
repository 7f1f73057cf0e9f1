"""``dogbreed blend``: several runs into one submission, scored by nested cross-validation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from competition.cli.options import LEDGER, Data, LedgerFile
from competition.cli.submission import print_report, record

if TYPE_CHECKING:
    from competition.prediction.blend.study import BlendStudy


def blend(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, at least two, made with the same folds.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the blend; it can be reported and blended like a run.")],
    data: Data = None,
    method: Annotated[
        str, typer.Option("--method", help="A method by name, or 'auto' for the simplest that ties.")
    ] = "auto",
    common: Annotated[
        bool, typer.Option("--common", help="Some runs have fewer folds: use the photos that all of them predict.")
    ] = False,
    ledger: LedgerFile = LEDGER,
) -> None:
    """Blend runs: each way to combine them is scored by nested CV, the simplest that ties with the best is taken."""
    from competition.console import say
    from competition.data.source.layout import load_data
    from competition.prediction.blend.run import blend_runs
    from competition.prediction.ledger.ledger import Ledger

    Ledger(ledger).require_usable()
    competition = load_data(data, like=runs[0])
    found, report = blend_runs(list(runs), competition, out, method, common=common)
    print_study(found)
    if report is None:
        say(f"the runs have no test predictions: no submission was written; the blend lies in {out}")
        return
    print_report(report)
    record(report.path, out, competition, ledger)


def print_study(found: BlendStudy) -> None:
    """Print members, methods and the curve as tables, and what was taken and why."""
    from competition.prediction.blend.text import study_lines

    for line in study_lines(found):
        print(line)
