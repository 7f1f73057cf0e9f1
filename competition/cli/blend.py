"""``dogbreed blend``: several runs into one submission; ``dogbreed member``: predictions made elsewhere as a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from competition.cli.options import LEDGER, Data, LedgerFile
from competition.cli.submission import print_report, record

if TYPE_CHECKING:
    from competition.prediction.blend.study import BlendStudy


member_app = typer.Typer(help="Predictions that were made elsewhere.", no_args_is_help=True)


def blend(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, at least two; the kit's with the same folds.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the blend; it can be reported and blended like a run.")],
    data: Data = None,
    method: Annotated[
        str, typer.Option("--method", help="A method by name, or 'auto' for the simplest that ties.")
    ] = "auto",
    common: Annotated[
        bool, typer.Option("--common", help="Some runs have fewer folds: use the photos that all of them predict.")
    ] = False,
    by_hand: Annotated[
        list[str] | None,
        typer.Option("--by-hand", help="RUN=WEIGHT: test predictions alone, for a share of the submission; repeat."),
    ] = None,
    ledger: LedgerFile = LEDGER,
) -> None:
    """Blend runs: each way to combine them is scored by nested CV, the simplest that ties with the best is taken."""
    from competition.console import say
    from competition.data.source.layout import load_data
    from competition.prediction.blend.by_hand import parse_weights
    from competition.prediction.blend.run import blend_runs
    from competition.prediction.ledger.ledger import Ledger

    weights = parse_weights(by_hand or [])
    Ledger(ledger).require_usable()
    competition = load_data(data, like=runs[0])
    found, report = blend_runs(list(runs), competition, out, method, common=common, by_hand=weights)
    print_study(found)
    if report is None:
        say(f"the runs have no test predictions: no submission was written; the blend lies in {out}")
        return
    print_report(report)
    record(report.path, out, competition, ledger)


@member_app.command()
def add(
    name: Annotated[str, typer.Argument(help="How tables call it; the run folder is runs/NAME.")],
    oof: Annotated[
        Path | None,
        typer.Option("--oof", help="Out-of-fold predictions: .csv, .npz, .npy with ids beside it, .parquet."),
    ] = None,
    test: Annotated[
        Path | None, typer.Option("--test", help="Predictions of the test photos, of the same kinds.")
    ] = None,
    folds: Annotated[
        str,
        typer.Option("--folds", help="CSV with id and fold, a column of --oof (default: fold), or 'unknown'."),
    ] = "",
    scale: Annotated[str, typer.Option("--scale", help="probabilities, logits or percent.")] = "probabilities",
    data: Data = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Train photos may be lacking, as those of folds that did not run.")
    ] = False,
    audit: Annotated[
        Path | None, typer.Option("--audit", help="A run or audit of these data; default: look at the photos now.")
    ] = None,
    run_dir: Annotated[Path | None, typer.Option("--run-dir", help="Where it is kept; runs/NAME.")] = None,
    ledger: LedgerFile = LEDGER,
) -> None:
    """Check predictions that another program saved, and keep them as a run: report, doctor and blend take it."""
    from competition.console import say
    from competition.data.source.layout import load_data
    from competition.files import read_json
    from competition.prediction.blend.add_member import add_member
    from competition.prediction.ledger.ledger import Ledger

    Ledger(ledger).require_usable()
    folder = run_dir if run_dir is not None else Path("runs") / name
    competition = load_data(data)
    report = add_member(folder, competition, oof=oof, test=test, folds=folds, scale=scale, partial=partial, audit=audit)
    metrics = read_json(folder / "metrics.json")
    if "log_loss" in metrics:
        say(f"{folder}: log loss {metrics['log_loss']:.4f}, accuracy {metrics['accuracy']:.4f} out of fold")
    for note in metrics["notes"]:
        say(f"  {note}")
    if report is not None:
        print_report(report)
    if report is not None and oof is not None:
        record(report.path, folder, competition, ledger)


def print_study(found: BlendStudy) -> None:
    """Print members, methods and the curve as tables, and what was taken and why."""
    from competition.prediction.blend.text import study_lines

    for line in study_lines(found):
        print(line)
