"""``dogbreed run``, ``predict``, ``report``, ``demo``: the whole way; new photos with a finished run, and its pages."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from competition.cli import options as given
from competition.cli.submission import record

if TYPE_CHECKING:
    from competition.data.source.competition_data import CompetitionData


def run(
    recipe: Annotated[str, typer.Option("--recipe", help="What to fit; a wrong name lists them all.")] = "probe",
    data: given.Data = None,
    weights: given.Weights = None,
    run_dir: given.RunFolder = None,
    folds: Annotated[str, typer.Option("--folds", help="Only these folds, e.g. 0,1.")] = "",
    device: given.Device = None,
    relabel: given.Relabel = None,
    settings: given.Settings = None,
    ledger: given.LedgerFile = given.LEDGER,
) -> None:
    """Audit, folds, fit, predict, submission, report. The same command continues or reads back."""
    from competition import pipeline, recipes
    from competition.data.source.layout import load_data
    from competition.errors import UsageError
    from competition.prediction.ledger.ledger import Ledger

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
    run_dir: given.Run,
    photos: Annotated[list[Path] | None, typer.Argument(metavar="[PHOTO...]", help="Photos to look at.")] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option("--data", help="Photo (repeat for more), folder or archive; else as for 'run'."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="CSV to write; without it the best breeds are printed.")
    ] = None,
    heat_map: Annotated[
        Path | None, typer.Option("--map", help="PNG: what speaks for one photo's breed.", callback=given.file_to_write)
    ] = None,
    weights: given.Weights = None,
) -> None:
    """Predict photos that were not part of a run: one photo, several, or a folder or archive; labels not needed."""
    from competition import pipeline
    from competition.data.source.layout import load_to_predict
    from competition.errors import UsageError

    pipeline.require_finished(run_dir)  # said before the photos are searched
    loaded = load_to_predict([*(data or ()), *(photos or ())])
    if heat_map is not None and len(loaded.test) != 1:
        many = f"{len(loaded.test):,}: 'dogbreed explain RUN PHOTO...' draws several"
        raise UsageError(f"--map draws one photo, not {many}")
    if out is not None:
        report = pipeline.predict(run_dir, loaded, out, weights=weights)
        print(f"{out}: {report.rows:,} rows, valid")
        for note in (*report.notes, *report.warnings):
            print(f"note: {note}")
    if out is None or heat_map is not None:
        _print_best(run_dir, loaded, heat_map, weights)


def _print_best(run_dir: Path, loaded: CompetitionData, heat_map: Path | None, weights: Path | None) -> None:
    from competition import pipeline
    from competition.errors import UsageError
    from competition.report.best_breeds import MOST_PHOTOS, best_lines, write_heat_map

    if len(loaded.test) > MOST_PHOTOS:
        raise UsageError(f"{len(loaded.test):,} photos are too many to print: name a file with --out FILE.csv")
    predicted = pipeline.predict_photos(run_dir, loaded, weights=weights)
    print("\n".join(best_lines(predicted)))
    if heat_map is not None:
        from competition.explain.networks.open_run import open_backend

        backend = open_backend(run_dir, weights=weights)
        print(write_heat_map(backend, loaded.test[0].path, predicted, heat_map))


def report(
    run: given.Run,
    data: given.RunData = None,
    weights: given.RunWeights = None,
    relabel: given.Relabel = None,
    maps: Annotated[
        bool | None,
        typer.Option("--maps/--no-maps", help="Contrast maps of the errors; default: where the models are at hand."),
    ] = None,
    backbone: given.Backbone = None,
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


def demo(
    run_dir: Annotated[Path, typer.Option("--run-dir", help="Where the run is kept.")] = Path("runs/demo"),
    weights: given.Weights = None,
) -> None:
    """The whole way on the embedded sample (a drawing): no download, under three minutes on two cores."""
    from competition import pipeline

    print(pipeline.summary(pipeline.demo(run_dir, weights)))
