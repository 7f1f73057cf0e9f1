"""What several commands take, and how texts become values."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

Framework = Annotated[str, typer.Option("--framework", help="pytorch or keras.")]
DataFolder = Annotated[
    Path | None, typer.Option("--data", help="Folder that holds data sets; default: the usual places, else a download.")
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
ImageSize = Annotated[int | None, typer.Option("--image-size", min=1, help="Side of the images in pixels.")]
Options = Annotated[
    list[str] | None,
    typer.Option("--option", help="Change the model (dropout, init, ...); may be repeated.", metavar="KEY=VALUE"),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def model_options(texts: Sequence[str] | None) -> dict[str, Any]:
    """``key=value`` texts as options of ``create_model``: numbers, true, false and lists as JSON has them, else text.

    Raises:
        UsageError: there is no ``=``.
    """
    from competition.errors import UsageError

    options: dict[str, Any] = {}
    for text in texts or ():
        key, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"'--option {text}' lacks '=': write --option key=value")
        try:
            options[key.strip()] = json.loads(value)
        except json.JSONDecodeError:
            options[key.strip()] = value.strip()
    return options
