"""``baselines``: parses, calls, prints; no logic. Nothing heavy is imported before a command runs."""

from __future__ import annotations

from typing import Annotated

import typer

from baselines.cli import explain, show, studies, train, transfer
from competition.system.command_line import run_app, set_debug

app = typer.Typer(
    name="baselines",
    help="From-scratch networks in PyTorch and Keras: train, evaluate, compare.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("list")(show.list_known)
app.command()(show.summary)
app.command()(train.train)
app.command()(train.evaluate)
app.command()(train.compare)
app.command()(explain.explain)
app.command()(explain.ascent)
app.add_typer(explain.show, name="show")
app.command()(studies.sweep)
app.command()(studies.autoencoder)
app.command()(studies.gan)
app.command()(studies.filters)
app.command()(transfer.transfer)
app.add_typer(studies.numpy_app, name="numpy")


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    set_debug(debug)


def main() -> None:
    """Entry point of ``baselines``: errors become one line; exit 2 for usage, 1 for the rest."""
    run_app(app, "baselines")
