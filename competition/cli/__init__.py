"""``dogbreed``: parses, calls, prints; no logic. Nothing heavy is imported before a command runs."""

from __future__ import annotations

from typing import Annotated

import typer

from competition.cli import bench, blend, data, explain, kaggle, kernel, notebook, run, show, submission, train
from competition.system.command_line import run_app, set_debug

app = typer.Typer(
    name="dogbreed",
    help="From the competition's archive to a validated, explained submission.csv.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(run.demo)
app.command()(run.run)
app.command()(run.predict)
app.command()(train.train)
app.command()(train.sweep)
app.command()(train.lr_find)
app.add_typer(data.app, name="data")
app.add_typer(show.app, name="show")
app.command()(run.report)
app.command()(explain.explain)
app.command()(explain.ascent)
show.app.command()(explain.filters)
show.app.command()(explain.activations)
show.app.command()(explain.embedding)
app.add_typer(submission.app, name="submission")
app.command()(blend.blend)
app.add_typer(blend.member_app, name="member")
app.command()(bench.bench)
kaggle.register(app)
app.add_typer(kernel.app, name="kernel")
app.add_typer(notebook.app, name="notebook")


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    set_debug(debug)


def main() -> None:
    """Entry point of ``dogbreed``: errors become one line; exit 2 for usage, 1 for the rest."""
    run_app(app, "dogbreed")
