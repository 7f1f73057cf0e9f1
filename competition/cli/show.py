"""``dogbreed show``: pictures of what the kit does to photos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from competition.cli.options import Run, RunData, Seed, file_to_write

if TYPE_CHECKING:
    import numpy as np

app = typer.Typer(help="Draw what the kit does to photos.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Draw what the kit does to photos."""


@app.command()
def augment(
    photo: Annotated[
        Path | None, typer.Argument(help="A photo; without one, a drawing of the embedded sample.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="PNG file to write.", callback=file_to_write)] = Path(
        "augment.png"
    ),
    draws: Annotated[int, typer.Option("--draws", min=1, max=40, help="Draws of each pipeline.")] = 7,
    size: Annotated[int, typer.Option("--size", min=16, max=1024, help="Side of a square, pixels.")] = 160,
    seed: Seed = 0,
) -> None:
    """Draw one photo through every augmentation: a row for each, the original at the left."""
    from PIL import Image

    from competition.files import atomic_path
    from competition.training.photos.augment import draw_augment_sheet

    sheet = draw_augment_sheet(_photo_or_drawing(photo), draws=draws, size=size, seed=seed)
    with atomic_path(out) as temporary:
        Image.fromarray(sheet).save(temporary, format="PNG")
    print(out)


def _photo_or_drawing(photo: Path | None) -> np.ndarray:
    from competition.data.photos.decode import read_photo

    if photo is not None:
        return read_photo(photo)
    import numpy as np

    from competition.console import say
    from competition.data.sample.breeds import BREEDS
    from competition.data.sample.competition import draw_dog

    say("no photo given: this is a drawing of the embedded sample, not a photo")
    return draw_dog(BREEDS[0], np.random.default_rng(0), (320, 320)).image


@app.command()
def tta(
    run: Run,
    data: RunData = None,
) -> None:
    """Show how a run's views are best merged, decided out of fold; the table is kept in RUN/tta.json."""
    from competition.data.source.layout import load_data
    from competition.prediction.views.merge_run import merge_run
    from competition.record.run_dir import RunDir

    folder = RunDir(run)
    _ = folder.config  # says in one line that this is no run, before the data are searched
    choice = merge_run(folder, load_data(data, like=run)).choice
    print("log loss  worse than best by  accuracy  method            views")
    for row in choice.table:
        worse = f"{row.excess:.4f} +- {row.standard_error:.4f}"
        mark = "  <- taken" if (row.method, row.views) == (choice.method, choice.views) else ""
        print(f"{row.log_loss:.4f}    {worse:18}  {row.accuracy:.4f}    {row.method:16}  {', '.join(row.views)}{mark}")
