"""``baselines sweep``, ``autoencoder``, ``gan``, ``filters`` and ``baselines numpy ...``: the studies of a course."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from baselines.cli.arguments import DataFolder, Device, Framework, ImageSize
from competition.cli.options import file_to_write

numpy_app = typer.Typer(
    help="Networks in plain NumPy: train, check the gradients, learn a table.", no_args_is_help=True
)

Dataset = Annotated[str, typer.Option("--dataset", help="A known name (see 'baselines list') or a path.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="Change a setting; may be repeated.", metavar="KEY=VALUE")
]
Seeds = Annotated[str | None, typer.Option("--seeds", help="Comma-separated, or A-B; default: the study's own.")]


def sweep(
    name: Annotated[str, typer.Argument(help="A ready-made study (left out: they are listed), or custom.")] = "",
    model: Annotated[str | None, typer.Option("--model", help="Instead of the study's own.")] = None,
    framework: Annotated[str | None, typer.Option("--framework", help="pytorch, keras or numpy.")] = None,
    dataset: Annotated[str | None, typer.Option("--dataset", help="A known name or a path.")] = None,
    data: DataFolder = None,
    train_images: Annotated[int | None, typer.Option("--train-images", min=0, help="0 takes all.")] = None,
    seeds: Seeds = None,
    vary: Annotated[
        list[str] | None,
        typer.Option("--vary", help="With custom; may be repeated.", metavar="KEY=A,B or KEY=LOW:HIGH"),
    ] = None,
    trials: Annotated[int | None, typer.Option("--trials", min=1, help="Let Optuna draw so many from --vary.")] = None,
    settings: Settings = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Processes that train side by side.")] = 1,
    run_dir: Annotated[Path | None, typer.Option("--run-dir", help="Default: runs/sweeps/NAME.")] = None,
    storage: Annotated[
        str | None, typer.Option("--storage", help="Database that machines share; default SQLite.")
    ] = None,
    device: Device = "auto",
) -> None:
    """Train variants of a network over several seeds and write what the numbers say; the same command continues."""
    if not name:
        _list_studies()
        return
    from baselines.studies.report import table_of
    from baselines.studies.run import run_study

    changes = {"framework": framework, "dataset": dataset, "train_images": train_images, "model": model}
    given: dict[str, Any] = {key: value for key, value in changes.items() if value is not None}
    if seeds is not None:
        given["seeds"] = _seeds(seeds)
    study = _study(name, given, vary or [], trials, settings or [])
    report = run_study(study, run_dir, where=data, jobs=jobs, storage=storage, device=device)
    print(f"{table_of(report.groups, study)}\n\n{report.text}\n\n{report.page}")


def _list_studies() -> None:
    from baselines.studies.catalogue import STUDIES

    width = max(map(len, STUDIES))
    for name, study in STUDIES.items():
        trials = f"{len(study.settings())} variants, {len(study.seeds)} seed{'s' if len(study.seeds) > 1 else ''}"
        print(f"{name:<{width}}  {study.question} ({trials})")
    print(f"{'custom':<{width}}  what --vary names")


def _study(name: str, given: dict[str, Any], vary: list[str], trials: int | None, settings: list[str]) -> Any:
    """The study that the options describe."""
    from baselines.studies.catalogue import STUDIES, find_study
    from baselines.studies.study import Study, parse_settings, parse_vary
    from competition.errors import UsageError
    from competition.training.sweep.space import Choice

    model = given.get("model") or (STUDIES[name].model if name in STUDIES else "lenet5")
    fixed = parse_settings(settings, model)
    if name != "custom":
        if vary or trials:
            raise UsageError(f"--vary and --trials belong to 'baselines sweep custom', not to {name}")
        return find_study(name, fixed=fixed, **given)
    entries = parse_vary(vary, model)
    if trials is not None:
        return Study("custom", "Which settings are best", space=entries, trials=trials, fixed=fixed, **given)
    ranges = [key for key, entry in entries.items() if not isinstance(entry, Choice)]
    if ranges:
        raise UsageError(f"a range ({', '.join(ranges)}) has no end of values: add --trials N, or write --vary KEY=A,B")
    if not entries:
        raise UsageError("a custom study compares what --vary names: baselines sweep custom --vary pooling=average,max")
    grid = {key: entry.options for key, entry in entries.items() if isinstance(entry, Choice)}
    return Study("custom", f"What {' and '.join(grid)} change", grid=grid, fixed=fixed, **given)


def _seeds(text: str) -> tuple[int, ...]:
    from competition.errors import UsageError

    try:
        first, dash, last = text.partition("-")
        if dash:
            return tuple(range(int(first), int(last) + 1))
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"--seeds {text}: expected numbers as 0,1,2 or 0-4") from error


def autoencoder(
    kind: Annotated[str, typer.Argument(help="dense, conv, or compare for both at several noise levels.")] = "conv",
    framework: Framework = "pytorch",
    dataset: Dataset = "digits",
    data: DataFolder = None,
    image_size: ImageSize = None,
    noise: Annotated[list[float] | None, typer.Option("--noise", help="Standard deviation; may be repeated.")] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, help="Default: 5; 40 for digits.")] = None,
    latent: Annotated[int, typer.Option("--latent", min=1, help="Numbers in the middle.")] = 32,
    settings: Settings = None,
    run_dir: Annotated[Path | None, typer.Option("--run-dir", help="Default: runs/autoencoder/...")] = None,
) -> None:
    """Train an autoencoder, plain or denoising, and draw what it gives back; or compare dense with convolutional."""
    from baselines.data.datasets import load_dataset
    from baselines.generative.autoencoder import ReconstructConfig, fit_autoencoder
    from baselines.generative.autoencoder_study import compare_autoencoders, draw_run

    levels = noise or ([0.0] if kind != "compare" else [0.0, 0.1, 0.3, 0.5])
    config = ReconstructConfig(epochs=epochs or (40 if dataset == "digits" else 5)).override(settings or ())
    loaded = load_dataset(dataset, data, image_size=_side(dataset, image_size))
    home = run_dir or Path("runs/autoencoder") / f"{kind}-{framework}-{Path(dataset).stem}"
    if kind == "compare":
        print(compare_autoencoders(loaded, framework, config, levels, home, latent=latent))
        return
    for level in levels:
        folder = home / f"noise-{level:g}"
        chosen = config.override([f"noise={level}"])
        found = fit_autoencoder(kind, loaded, framework, chosen, folder, latent=latent)
        draw_run(found, loaded, chosen, folder)
        figures = {key: value for key, value in found.metrics.items() if value is not None}
        print(", ".join(f"{key} {value:.4g}" for key, value in figures.items()))
        print(folder)


def gan(
    framework: Framework = "pytorch",
    dataset: Dataset = "digits",
    data: DataFolder = None,
    image_size: ImageSize = None,
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, help="Default: 10; 60 for digits.")] = None,
    settings: Settings = None,
    run_dir: Annotated[Path | None, typer.Option("--run-dir", help="Default: runs/gan/FRAMEWORK-DATASET.")] = None,
) -> None:
    """Train a DCGAN; grids of samples over time, a film strip of the same noise, losses, and a warning of collapse."""
    from baselines.data.datasets import load_dataset
    from baselines.generative.gan import GanConfig, fit_gan

    config = GanConfig(epochs=epochs or (60 if dataset == "digits" else 10)).override(settings or ())
    loaded = load_dataset(dataset, data, image_size=_side(dataset, image_size))
    home = run_dir or Path("runs/gan") / f"{framework}-{Path(dataset).stem}"
    found = fit_gan(loaded, framework, config, home)
    share = found.metrics["diversity"] / found.metrics["diversity_real"]
    print(f"variety {share:.0%} of real, {found.metrics['classes']} of {found.metrics['classes_real']} classes met")
    for line in found.metrics["warnings"]:
        print(f"warning: {line}")
    print(home / "film.png")


def _side(dataset: str, image_size: int | None) -> int | None:
    """Scikit-learn's digits are enlarged to what the other sets have."""
    return 28 if dataset == "digits" and image_size is None else image_size


def filters(
    photo: Annotated[Path, typer.Argument(help="A photo, any format that Pillow reads.")],
    kernel: Annotated[
        list[str] | None,
        typer.Option("--kernel", help="A name, or rows of numbers as '0 -1 0; -1 5 -1; 0 -1 0'; may be repeated."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="The sheet, PNG.", callback=file_to_write)] = Path("filters.png"),
    size: Annotated[int, typer.Option("--size", min=32, help="Longer side of a picture on the sheet, pixels.")] = 320,
) -> None:
    """Apply classical filters (Sobel, edge, sharpen, blur, your own) to a photo as fixed convolutions."""
    from baselines.filter_sheet import write_sheet

    print(write_sheet(photo, out, kernel or (), size))


@numpy_app.command("train")
def numpy_train(
    hidden: Annotated[
        str, typer.Option("--hidden", help="Widths, comma-separated; none is softmax regression.")
    ] = "128",
    activation: Annotated[str, typer.Option("--activation", help="relu, tanh or sigmoid.")] = "relu",
    init: Annotated[str, typer.Option("--init", help="he or xavier.")] = "he",
    dataset: Dataset = "digits",
    data: DataFolder = None,
    epochs: Annotated[int, typer.Option("--epochs", min=1)] = 10,
    settings: Settings = None,
    run_dir: Annotated[Path | None, typer.Option("--run-dir", help="Default: a new one in runs/baselines.")] = None,
) -> None:
    """Train a multi-layer perceptron in NumPy; the records are those of every baseline."""
    from baselines.contract.config import FitConfig
    from baselines.data.datasets import load_dataset
    from baselines.numpy_nets.mlp import MLP
    from baselines.training.fit import fit

    config = FitConfig(epochs=epochs, optimiser="adam").override(settings or ())
    loaded = load_dataset(dataset, data)
    inputs = loaded.image_size**2 * loaded.in_channels
    net = MLP((inputs, *_widths(hidden), loaded.num_classes), activation, init=init, seed=config.seed)
    result = fit(net, loaded, config, run_dir)
    print(f"test accuracy {result.accuracy:.4f}, loss {result.loss:.4f}\n{result.run}")


def _widths(text: str) -> tuple[int, ...]:
    from competition.errors import UsageError

    if text.strip() in ("", "none"):
        return ()
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"--hidden {text}: expected widths as 128 or 256,64, or none") from error


@numpy_app.command("check")
def numpy_check(
    hidden: Annotated[str, typer.Option("--hidden", help="Widths, comma-separated.")] = "32,16",
    seed: Annotated[int, typer.Option("--seed", min=0)] = 0,
) -> None:
    """Compare back-propagated gradients with finite differences, for every activation and loss."""
    from baselines.numpy_nets.gradient_check import check_all

    for (activation, loss), error in check_all(_widths(hidden), seed).items():
        print(f"{activation:<9}{loss:<15}relative error {error:.1e}")


@numpy_app.command("table")
def numpy_table(
    csv: Annotated[
        Path | None, typer.Argument(help="A CSV with a header; left out: an embedded medical table.")
    ] = None,
    target: Annotated[str, typer.Option("--target", help="Column to predict.")] = "diagnosis",
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="How many splits.")] = 5,
) -> None:
    """Walk from the perceptron to the multi-layer perceptron on a table: clean, encode, normalise, compare."""
    from baselines.numpy_nets.tabular import clean, embedded_table, read_table, walk

    frame = read_table(csv) if csv else embedded_table()
    for note in clean(frame, target).notes:
        print(note)
    print(walk(frame, target, range(seeds)).to_string(index=False, float_format="{:.4f}".format))
