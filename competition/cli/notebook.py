"""``dogbreed notebook export``: a notebook that needs nothing but itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="The notebooks of the checkout.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """One command so far: the name of the group is needed all the same."""


@app.command("export")
def export(
    name: Annotated[str, typer.Argument(help="Of a notebook, as lenet_pytorch.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="File or folder; build/notebooks/NAME.ipynb by default.")
    ] = None,
) -> None:
    """Write a notebook with the kit inside: it runs in Colab or any Jupyter by upload alone."""
    from competition.publish.build.export import export_notebook

    path = export_notebook(name, out)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
