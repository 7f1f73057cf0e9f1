"""``dogbreed report``: the static report of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[Path, typer.Argument(help="Folder of a run.", metavar="RUN")],
    data: Annotated[Path | None, typer.Option("--data", help="The run's data: folder or archive.")] = None,
    weights: Annotated[Path | None, typer.Option("--weights", help="The run's weights, for maps and likeness.")] = None,
    relabel: Annotated[Path | None, typer.Option("--relabel", help="The CSV that the run was given.")] = None,
    maps: Annotated[
        bool | None,
        typer.Option("--maps/--no-maps", help="Contrast maps of the errors; default: where the models are at hand."),
    ] = None,
    backbone: Annotated[str | None, typer.Option("--backbone", help="Whose maps, in a run with several.")] = None,
) -> None:
    """Write the report of a run: scores, confused breeds, top losses, suspected mislabels; opens from disk."""
    from competition.data.relabel import relabelled
    from competition.data.source.layout import load_data
    from competition.record.run_dir import RunDir
    from competition.report.run.open_maps import run_maps
    from competition.report.run.write import write_run_report
    from competition.training.probe.cached_features import run_features

    folder = RunDir(run)
    _ = folder.config  # says in one line that this is no run, before the data are searched
    loaded = load_data(data, like=run)
    loaded = loaded if relabel is None else relabelled(loaded, relabel)
    drawn = None if maps is False else run_maps(folder, loaded, weights, backbone, needed=maps is True)
    print(write_run_report(folder, loaded, run_features(folder, loaded, weights), drawn))
