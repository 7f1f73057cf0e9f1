"""``dogbreed run``, ``dogbreed predict``, ``dogbreed demo``: the whole way, and new photos with a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from competition.cli.submission import LEDGER, record

Data = Annotated[
    Path | None,
    typer.Option("--data", help="Folder or archive; else DOGBREED_DATA, Kaggle's input or ./data."),
]
Weights = Annotated[
    Path | None,
    typer.Option("--weights", help="Folder of pretrained weights, or a folder of such; else DOGBREED_WEIGHTS."),
]


def run(
    recipe: Annotated[str, typer.Option("--recipe", help="What to fit; a wrong name lists them all.")] = "probe",
    data: Data = None,
    weights: Weights = None,
    run_dir: Annotated[Path | None, typer.Option("--run-dir", help="Where the run is kept; runs/RECIPE.")] = None,
    folds: Annotated[str, typer.Option("--folds", help="Only these folds, e.g. 0,1.")] = "",
    device: Annotated[
        str, typer.Option("--device", help="auto, cpu, cuda, cuda:N; all or cuda:0,cuda:1 spreads folds.")
    ] = "",
    relabel: Annotated[Path | None, typer.Option("--relabel", help="CSV with id,suggested: breeds to use.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE of the recipe; repeat.")] = None,
    ledger: Annotated[Path, typer.Option("--ledger", help="Where the submission is written down.")] = LEDGER,
) -> None:
    """Audit, folds, fit, predict, submission, report. The same command continues or reads back."""
    from competition import pipeline, recipes
    from competition.data.layout import load_data
    from competition.errors import UsageError
    from competition.prediction.ledger import Ledger

    config = recipes.recipe(recipe, *(settings or []), *([f"device={device}"] if device else []))
    parts = [part.strip() for part in folds.split(",") if part.strip()]
    if not all(part.isdecimal() for part in parts):
        raise UsageError(f"--folds {folds} is impossible: write numbers separated by commas, e.g. 0,1")
    chosen = [int(part) for part in parts] or None
    loaded = load_data(data)
    # The ledger is the competition's: class folders are other data, with nothing to submit.
    recorded = loaded.layout == "Kaggle layout" and bool(loaded.test)
    if recorded:
        Ledger(ledger).require_usable()
    result = pipeline.run(loaded, config, run_dir, folds=chosen, weights=weights, relabel=relabel)
    print(pipeline.summary(result))
    if result.submission is not None and recorded:
        record(result.submission, result.folder, loaded, ledger)


def predict(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.")],
    out: Annotated[Path, typer.Option("--out", help="The CSV to write.")],
    data: Data = None,
    weights: Weights = None,
) -> None:
    """Predict photos that were not part of a run: a folder or archive with test/, labels not needed."""
    from competition import pipeline

    report = pipeline.predict(run_dir, data, out, weights=weights)
    print(f"{out}: {report.rows:,} rows, valid")
    for note in (*report.notes, *report.warnings):
        print(f"note: {note}")


def demo(
    run_dir: Annotated[Path, typer.Option("--run-dir", help="Where the run is kept.")] = Path("runs/demo"),
    weights: Weights = None,
) -> None:
    """The whole way on the embedded sample (a drawing): no download, under three minutes on two cores."""
    from competition import pipeline

    print(pipeline.summary(pipeline.demo(run_dir, weights)))
