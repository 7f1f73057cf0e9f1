"""``baselines transfer``: a pretrained network on small images, grey ones included."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from baselines.cli.arguments import DataFolder, Device


def transfer(
    dataset: Annotated[str, typer.Argument(help="A known name (see 'baselines list') or a path.")] = "fashion-mnist",
    backbone: Annotated[
        str, typer.Option("--backbone", help="timm name, or the name of a folder of --weights.")
    ] = "tf_efficientnetv2_b0",
    weights: Annotated[
        Path | None, typer.Option("--weights", help="Folder of pretrained weights, or a folder of such.")
    ] = None,
    way: Annotated[
        list[str] | None, typer.Option("--way", help="repeat, sum or untrained; may be repeated. Default: all.")
    ] = None,
    data: DataFolder = None,
    size: Annotated[int, typer.Option("--size", min=32, help="Pixels that the images are enlarged to.")] = 96,
    run_dir: Annotated[Path | None, typer.Option("--run-dir", help="Default: runs/transfer/DATASET.")] = None,
    device: Device = "auto",
) -> None:
    """Frozen features of a network made for colour photos, then logistic regression: each way to feed grey images."""
    from baselines.data.datasets import load_dataset
    from baselines.transfer import table_of, transfer

    loaded = load_dataset(dataset, where=data)
    out = run_dir or Path("runs/transfer") / loaded.name
    grey = loaded.in_channels == 1
    ways = tuple(way) if way else ("repeat", *(("sum",) if grey else ()), "untrained")
    rows = transfer(loaded, backbone, ways=ways, weights=weights, image_size=size, device=device, out=out)
    print(table_of(rows))
    print(out)
