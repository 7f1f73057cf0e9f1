"""Notebooks as Kaggle takes them: version 4, a kernelspec, code without outputs; made from ``# %%`` scripts too."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from competition.errors import DataError

KERNELSPEC = {"display_name": "Python 3", "language": "python", "name": "python3"}
_CELL = re.compile(r"^# %%(.*)$", re.MULTILINE)
_HEADER = re.compile(r"\A# ---\n(?:#.*\n)*?# ---\n")


def code_cell(source: str, hidden: bool = False) -> dict[str, Any]:
    """A code cell without outputs; ``hidden`` folds it away on Kaggle and in Jupyter."""
    folded = {"_kg_hide-input": True, "jupyter": {"source_hidden": True}} if hidden else {}
    return {"cell_type": "code", "execution_count": None, "metadata": folded, "outputs": [], "source": source}


def markdown_cell(source: str) -> dict[str, Any]:
    """A cell of text."""
    return {"cell_type": "markdown", "metadata": {}, "source": source}


def notebook_text(cells: Sequence[dict[str, Any]]) -> str:
    """The notebook as JSON, the same for the same cells."""
    metadata = {"kernelspec": KERNELSPEC, "language_info": {"name": "python"}}
    whole = {"cells": list(cells), "metadata": metadata, "nbformat": 4, "nbformat_minor": 4}
    return json.dumps(whole, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def cells_of(path: Path) -> list[dict[str, Any]]:
    """Cells of an ``.ipynb``, or of a script whose cells begin with ``# %%`` (jupytext's percent format).

    Raises:
        DataError: the file is missing or is no notebook.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is missing or not UTF-8 ({type(error).__name__})") from error
    if path.suffix != ".ipynb":
        return _percent_cells(text)
    cells = read_notebook(text, path)["cells"]
    return [
        code_cell(joined(cell)) if cell["cell_type"] == "code" else markdown_cell(joined(cell))
        for cell in cells
        if cell["cell_type"] in ("code", "markdown")
    ]


def read_notebook(text: str, path: Path) -> dict[str, Any]:
    """Read a notebook's JSON.

    Raises:
        DataError: it is not JSON, or has no list of cells with a type each.
    """
    try:
        whole = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{path} is not a notebook: {error}") from error
    cells = whole.get("cells") if isinstance(whole, dict) else None
    if not isinstance(cells, list) or not all(isinstance(cell, dict) and "cell_type" in cell for cell in cells):
        raise DataError(f"{path} is not a notebook of version 4: it has no list of cells")
    return dict(whole)


def joined(cell: dict[str, Any]) -> str:
    """Source of a cell; the format allows a list of lines."""
    source = cell.get("source", "")
    return "".join(source) if isinstance(source, list) else str(source)


def _percent_cells(text: str) -> list[dict[str, Any]]:
    text = _HEADER.sub("", text)
    starts = list(_CELL.finditer(text))
    first = text[: starts[0].start()] if starts else text
    cells = [code_cell(first.strip("\n"))] if first.strip() else []
    for start, following in zip_longest(starts, starts[1:]):
        body = text[start.end() : following.start() if following else len(text)].strip("\n")
        if "[markdown]" in start.group(1):
            cells.append(markdown_cell(re.sub(r"^# ?", "", body, flags=re.MULTILINE)))
        elif body:
            cells.append(code_cell(body))
    return cells
