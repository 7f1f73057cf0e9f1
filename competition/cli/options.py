"""The options that several commands share, and what is asked of them before a command begins."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

LEDGER = Path("submissions/ledger.csv")
KERNELS = Path("kernels")

Data = Annotated[
    Path | None,
    typer.Option("--data", help="The competition: folder or archive; else DOGBREED_DATA, Kaggle's input or ./data."),
]
RunData = Annotated[Path | None, typer.Option("--data", help="The run's data: folder or archive.")]
Weights = Annotated[
    Path | None,
    typer.Option("--weights", help="Folder of pretrained weights, or a folder of such; else DOGBREED_WEIGHTS."),
]
RunWeights = Annotated[Path | None, typer.Option("--weights", help="The run's weights.")]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")]
RunFolder = Annotated[Path | None, typer.Option("--run-dir", help="Where the run is kept; default runs/RECIPE.")]
MadeBy = Annotated[Path, typer.Option("--run", help="The run or blend that it came from.")]
Backbone = Annotated[str | None, typer.Option("--backbone", help="Whose maps, in a probe run with several.")]
Relabel = Annotated[Path | None, typer.Option("--relabel", help="CSV with id,suggested: breeds to use.")]
Device = Annotated[
    str | None, typer.Option("--device", help="auto, cpu, cuda, cuda:N; all or cuda:0,cuda:1 spreads folds.")
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="Change a setting; may be repeated.", metavar="KEY=VALUE")
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="The same seed draws the same.")]
Submission = Annotated[Path, typer.Argument(help="The submission (CSV).")]
Sample = Annotated[Path | None, typer.Option("--sample", help="A sample_submission.csv, instead of --data.")]
LedgerFile = Annotated[Path, typer.Option("--ledger", help="Where submissions are written down.")]
Kernels = Annotated[Path, typer.Option("--kernels", help="Folder of the kernels' sources.")]
Mode = Annotated[str, typer.Option("--mode", help="bundle (the code file carries the kit) or wheels (a dataset does).")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def file_to_write(path: Path | None) -> Path | None:
    """Refuse a file that could not be written at the end of the work, at once (an option's callback).

    Raises:
        StorageError: it is a folder, lies below a file, or its folder cannot be written.
    """
    from competition.files import require_writable

    if path is not None:
        require_writable(path)
    return path


def folder_to_write(path: Path | None) -> Path | None:
    """``file_to_write`` for a folder that files are written into."""
    if path is not None:
        file_to_write(path / "file")
    return path
