"""``dogbreed data``: look at the photos before trusting them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from competition.cli.options import Data, Seed, folder_to_write

app = typer.Typer(help="Audit the photos, make folds, draw the embedded sample.", no_args_is_help=True)

WorkersOption = Annotated[int, typer.Option(help="Processes that read photos; -1 takes one per core.")]


@app.command("audit")
def audit_command(
    data: Data = None,
    out: Annotated[
        Path, typer.Option("--out", help="Folder for audit.csv, audit.json and audit.html.", callback=folder_to_write)
    ] = Path("audit"),
    workers: WorkersOption = -1,
) -> None:
    """Find unreadable photos, duplicates, label conflicts and overlap of train and test."""
    from competition.console import duration
    from competition.data.audit.audit import audit
    from competition.data.source.layout import load_data
    from competition.report.audit_page import write_audit_page

    photos = load_data(data)
    report = audit(photos, workers)
    report.save(out)
    page = write_audit_page(report, photos, out / "audit.html")
    typer.echo(f"{report.summary()} ({duration(report.seconds)})")
    for split, name, reason in report.unreadable[:10]:
        typer.echo(f"  unreadable in {split}: {name}: {reason}")
    for problem in report.problems[:10]:
        typer.echo(f"  {problem}")
    typer.echo(f"{out / 'audit.csv'} lists every finding; {page} shows the pairs side by side")


@app.command("folds")
def folds_command(
    data: Data = None,
    out: Annotated[Path, typer.Option("--out", help="File to write; an existing one is checked instead.")] = Path(
        "folds.csv"
    ),
    n_folds: Annotated[int, typer.Option("--folds", help="Number of folds.")] = 5,
    seed: Seed = 42,
    audit: Annotated[
        Path | None, typer.Option("--audit", help="Folder of an audit made before; default: look at the photos now.")
    ] = None,
    workers: WorkersOption = -1,
) -> None:
    """Make stratified folds in which duplicates stay together, or check those that are there."""
    from competition.data.audit import audit as auditing
    from competition.data.folds import folds_for
    from competition.data.source.layout import load_data

    photos = load_data(data)
    report = auditing.AuditReport.load(audit) if audit is not None else auditing.audit(photos, workers)
    report.require(photos)
    there = out.is_file()
    table = folds_for(photos.without(report.quarantined), out, n_folds, seed, report.groups())
    typer.echo(f"{out} {'fits' if there else 'written'}: {len(table.ids):,} photos in {table.n_folds} folds")
    for note in table.notes:
        typer.echo(f"  {note}")


@app.command("sample")
def sample_command(
    folder: Annotated[Path, typer.Argument(help="Folder to draw into; new, empty, or holding an earlier sample.")],
    seed: Seed = 0,
) -> None:
    """Draw the embedded sample: a small competition of drawings, not photos, in Kaggle's layout."""
    from competition.data.sample.competition import draw_sample

    made = draw_sample(folder, seed)
    typer.echo(f"{made} holds drawings, not photos, in Kaggle's layout; try: dogbreed data audit --data {made}")
