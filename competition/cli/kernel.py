"""``dogbreed kernel``: list, build, check and rehearse Kaggle kernels; nothing here leaves the machine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from competition.cli import kernel_kaggle
from competition.cli.options import KERNELS, Data, Kernels, Mode

if TYPE_CHECKING:
    from competition.publish.build.spec import KernelSpec
    from competition.publish.preflight.finding import Finding

app = typer.Typer(help="Kaggle kernels: list, build, check, dry-run; push, status, fetch.", no_args_is_help=True)

Names = Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Kernels; all when left out.")]
Owner = Annotated[str, typer.Option("--owner", help="Your Kaggle user name; a placeholder when left out.")]
Out = Annotated[Path | None, typer.Option("--out", help="Folder to write into; default build/kernels.")]


@app.command("list")
def list_command(kernels: Kernels = KERNELS) -> None:
    """The kernels of this checkout, what they need and what they are."""
    from competition.publish.build.spec import list_kernels

    specs = list_kernels(kernels)
    width = max(len(spec.slug) for spec in specs)
    for spec in specs:
        needs = [
            word
            for word, needed in (
                ("GPU", spec.gpu),
                ("internet", spec.internet),
                ("competition", spec.competition),
                ("weights", spec.weights),
                *((f"output of {name}", True) for name in spec.kernels),
            )
            if needed
        ]
        print(f"{spec.slug:<{width}}  {spec.kind:<9} {', '.join(needs) or 'nothing'}\n    {spec.about}")


@app.command("build")
def build_command(
    names: Names = None,
    mode: Mode = "bundle",
    owner: Owner = "",
    out: Out = None,
    kernels: Kernels = KERNELS,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Write nothing: fail when built files of notebooks are stale, or two builds differ."
        ),
    ] = False,
) -> None:
    """Write folders that can be pushed (and refresh the built notebooks that the repository keeps)."""
    from competition.errors import KitError
    from competition.publish.build import kernels as making
    from competition.publish.build.spec import OWNER

    if check:
        stale = making.stale(kernels)
        for line in stale:
            print(line)
        if stale:
            raise KitError(f"{len(stale)} built files are stale: run 'dogbreed kernel build' and commit {kernels}/")
        print(f"{kernels}: built files are up to date, and two builds are the same")
        return
    specs = _chosen(names, kernels)
    for spec in specs:
        built = making.build(spec, (out or making.BUILD) / spec.slug, mode, owner or OWNER)
        carried = f", packages {built.digest[:12]}" if built.digest else ""
        print(f"{built.folder}: {built.ref}, {built.code.stat().st_size:,} bytes{carried}")
        making.refresh(spec)


@app.command("dataset")
def dataset_command(
    out: Annotated[Path, typer.Option("--out", help="Folder of the dataset.")] = Path("build/dataset"),
    weights: Annotated[
        list[Path] | None, typer.Option("--weights", help="A folder of weights, or a folder of such; repeat.")
    ] = None,
    also: Annotated[list[str] | None, typer.Option("--also", help="A distribution that Kaggle lacks; repeat.")] = None,
    python: Annotated[str, typer.Option("--python", help="Python version on Kaggle.")] = "",
    owner: Owner = "",
) -> None:
    """Make the private dataset for kernels without network: the kit's wheel, other wheels, weights."""
    from competition.publish.build.spec import KAGGLE_PYTHON, OWNER
    from competition.publish.push.offline_dataset import build_dataset, weight_folders

    version = _version(python) if python else KAGGLE_PYTHON
    made = build_dataset(out, weight_folders(weights or ()), owner or OWNER, also=also or (), python=version)
    print(f"{made.folder}: {made.ref}, {made.bytes:,} bytes, private")
    print(f"  wheels: {', '.join(made.wheels)}")
    print(f"  weights: {', '.join(made.weights) or 'none'}")
    _require_clean((made.folder, finding) for finding in made.findings)
    print(f"upload it with: kaggle datasets create -p {made.folder} --dir-mode zip   (later: datasets version)")


@app.command("check")
def check_command(
    names: Names = None,
    mode: Mode = "bundle",
    owner: Owner = "",
    dataset: Annotated[Path | None, typer.Option("--dataset", help="Folder of the dataset, to look into it.")] = None,
    folder: Annotated[Path | None, typer.Option("--folder", help="A built folder instead of the sources.")] = None,
    image: Annotated[str, typer.Option("--image", help="Whose software: kaggle, colab, or a list (.toml).")] = "kaggle",
    kernels: Kernels = KERNELS,
) -> None:
    """Look for every known trap of a push, without pushing; fails when there is one."""
    import tempfile

    from competition.errors import UsageError
    from competition.files import temporary_folder
    from competition.publish.build.kernels import build
    from competition.publish.build.spec import OWNER
    from competition.publish.images.image import find_image
    from competition.publish.preflight.check import check_all, check_kernel
    from competition.publish.preflight.dataset import check_dataset

    there = find_image(image)

    if dataset is not None and not dataset.is_dir():
        raise UsageError(f"--dataset {dataset} does not exist: make it with 'dogbreed kernel dataset --out {dataset}'")
    if folder is not None:
        attached = check_dataset(dataset, python=there.python) if dataset is not None else ()
        found_here = (*check_kernel(folder, dataset=dataset, image=there), *attached)
        _require_clean((folder, finding) for finding in found_here)
        print(f"{folder}: no trap found, with the software of {there.name}")
        return
    specs = _chosen(names, kernels)
    with temporary_folder(Path(tempfile.gettempdir()), "dogbreed-check-") as temporary:
        folders = [build(spec, temporary / spec.slug, mode, owner or OWNER).folder for spec in specs]
        found = check_all(specs, folders, dataset=dataset, image=there, placeholder_ok=not owner)
    _require_clean((dataset if path == dataset else kernels / path.name, finding) for path, finding in found)
    print(f"no trap found in {', '.join(spec.slug for spec in specs)}, with the software of {there.name}")


@app.command("dry-run")
def dry_run_command(
    name: Annotated[str, typer.Argument(help="The kernel.")],
    small: Annotated[
        bool, typer.Option("--small", help="Small data made here stand in for what is not given.")
    ] = False,
    data: Data = None,
    weights: Annotated[Path | None, typer.Option("--weights", help="Folder of weights, as in the dataset.")] = None,
    given: Annotated[
        list[str] | None,
        typer.Option("--input", help="NAME=FOLDER as attached on Kaggle; repeat.", metavar="NAME=PATH"),
    ] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="KEY=JSON of the kernel's settings.")] = None,
    mode: Mode = "bundle",
    out: Annotated[Path | None, typer.Option("--out", help="Where Kaggle is simulated; default build/dry-run.")] = None,
    image: Annotated[
        str, typer.Option("--image", help="In the Python and versions of an image: kaggle, colab, or a list (.toml).")
    ] = "",
    kernels: Kernels = KERNELS,
) -> None:
    """Execute a built kernel as Kaggle would: a clean process without network and without this checkout."""
    from competition.environment import COMPETITION
    from competition.publish.build.spec import DATASET, find_kernel
    from competition.publish.dry_run.rehearsal import rehearse
    from competition.publish.images.image import find_image

    inputs = {key: Path(text) for key, text in _pairs(given or (), "--input NAME=FOLDER").items()}
    inputs |= {key: path for key, path in ((COMPETITION, data), (DATASET, weights)) if path is not None}
    spec, chosen = find_kernel(name, kernels), find_image(image) if image else None
    target = out or Path("build") / "dry-run" / spec.slug
    done = rehearse(spec, target, inputs, mode=mode, small=small, settings=_values(settings or ()), image=chosen)
    for path in sorted(item for item in done.working.iterdir() if item.is_file()):
        print(f"{path} ({path.stat().st_size:,} bytes)")
    print(f"{done.isolation}; {done.versions}; {done.seconds:.0f} s; log in {done.log}")


@app.command("image")
def image_command(
    name: Annotated[str, typer.Argument(help="An image; left out, all are listed.")] = "",
    freeze: Annotated[
        Path | None, typer.Option("--freeze", help="Make the list NAME from this output of 'pip freeze'.")
    ] = None,
    python: Annotated[str, typer.Option("--python", help="Of the freeze, where it does not say, as in 3.12.")] = "",
    out: Annotated[Path | None, typer.Option("--out", help="The list to write; default NAME.toml.")] = None,
) -> None:
    """Images of Kaggle and Colab: list them, make one's environment (its Python is printed), or make a new list."""
    from competition.publish.images import image as images

    if not name:
        for known in map(images.find_image, images.image_names()):
            lacks = f", lacks {', '.join(known.lacks)}" if known.lacks else ""
            print(f"{known.name}: Python {known.python_text}, {images.told_versions(known.versions)}{lacks}")
        return
    if freeze is None:
        from competition.publish.images.environment import environment_of

        print(environment_of(images.find_image(name)))
        return
    from competition.files import write_text
    from competition.publish.images.freeze import from_freeze, list_text

    images.check_name(name)
    made, target = from_freeze(freeze, name, python), out or Path(f"{name}.toml")
    write_text(target, list_text(made))
    print(f"{target}: Python {made.python_text}, {len(made.versions)} versions; lacks {', '.join(made.lacks)}")
    print(f"use it with: dogbreed kernel dry-run NAME --image {target}")


kernel_kaggle.register(app)


def _chosen(names: Sequence[str] | None, kernels: Path) -> tuple[KernelSpec, ...]:
    from competition.publish.build.spec import find_kernel, list_kernels

    return tuple(find_kernel(name, kernels) for name in names) if names else list_kernels(kernels)


def _require_clean(found: Iterable[tuple[Path, Finding]]) -> None:
    """Print findings; a blocking one ends the command with 1."""
    from competition.publish.kaggle.errors import KernelError

    blocking = 0
    for folder, finding in found:
        print(f"{folder}: {finding}")
        blocking += finding.blocking
    if blocking:
        raise KernelError(f"{blocking} traps found, see above: nothing was sent")


def _version(text: str) -> tuple[int, int]:
    from competition.errors import UsageError

    major, _, minor = text.partition(".")
    if not (major.isdecimal() and minor.isdecimal()):
        raise UsageError(f"--python {text} is impossible: write a version as in 3.12")
    return int(major), int(minor)


def _pairs(texts: Sequence[str], form: str) -> dict[str, str]:
    from competition.errors import UsageError

    for text in texts:
        if "=" not in text:
            raise UsageError(f"'{text}' lacks '=': write {form}")
    return {key: value for key, _, value in (text.partition("=") for text in texts)}


def _values(texts: Sequence[str]) -> dict[str, object]:
    """Settings as JSON; what is no JSON is text."""
    import json

    def read(text: str) -> object:
        try:
            return json.loads(text)
        except json.JSONDecodeError:
            return text

    return {key: read(value) for key, value in _pairs(texts, "--set KEY=VALUE").items()}
