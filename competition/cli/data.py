"""``dogbreed data``: look at the photos before trusting them."""

from __future__ import annotations

import typer

app = typer.Typer(help="Audit the photos, make folds, draw the embedded sample.", no_args_is_help=True)
