"""Dry runs on small data, with nothing to download: the drawn sample, a tiny network's weights, the digits.

They show that a kernel works as it is built; what it scores there says nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from competition.environment import COMPETITION, cache_folder
from competition.errors import UsageError
from competition.files import read_json, write_json
from competition.locks import only_one_at
from competition.publish.build.kernels import build
from competition.publish.build.spec import DATASET, METADATA_FILE, KernelSpec, find_kernel
from competition.publish.dry_run.dry_run import DryRun, attached, by_name, dry_run
from competition.publish.images.image import Image

TINY = "test_resnet"


def rehearse(
    spec: KernelSpec,
    out: Path,
    inputs: Mapping[str, Path] | None = None,
    *,
    mode: str = "bundle",
    small: bool = False,
    settings: Mapping[str, Any] | None = None,
    echo: bool = True,
    image: Image | None = None,
) -> DryRun:
    """Build a kernel and execute it; what it attaches and is not given comes from small things made here.

    Args:
        spec: the kernel.
        out: folder for the built kernel and the simulated Kaggle.
        inputs: as for ``dry_run``.
        mode: see ``kernels``.
        small: fill in lacking inputs and use the kernel's small settings.
        settings: changes to its settings, after the small ones.
        echo: pass on what it prints.
        image: whose Python and versions; None takes this process's.

    Raises:
        UsageError: an input is lacking and ``small`` is off.
        DryRunError: see ``dry_run``.
    """
    built = build(spec, out / "built", mode)
    values = dict(read_json(built.folder / METADATA_FILE))
    given = by_name(values, inputs or {})
    if small:
        for name, key in attached(values).items():
            if name not in given:
                given[name] = _small_input(name, key, spec, out, echo, image)
    chosen = {**(spec.small if small else {}), **(settings or {})}
    return dry_run(built.folder, out / "run", given, settings=chosen, outputs=spec.outputs, echo=echo, image=image)


def _small_input(name: str, key: str, spec: KernelSpec, out: Path, echo: bool, image: Image | None) -> Path:
    if name == COMPETITION:
        from competition.data.sample.competition import draw_sample

        return draw_sample(cache_folder() / "sample")
    if name == DATASET:
        return tiny_dataset(cache_folder() / "tiny-weights")
    if key == "kernel_sources":
        other = find_kernel(name, spec.folder.parent)
        return rehearse(other, out / other.slug, small=True, echo=echo, image=image).working
    raise UsageError(f"nothing small stands in for '{name}' ({key}): say where it lies with --input {name}=FOLDER")


def tiny_dataset(folder: Path) -> Path:
    """A dataset folder with the weights of timm's smallest test network, drawn at random once and kept."""
    from competition.training.backbones.create import create_model, save_weights
    from competition.training.backbones.find import find_backbones

    target = folder / "weights" / TINY
    with only_one_at(folder):
        if not (target / "config.json").is_file():
            (backbone,) = find_backbones([TINY])
            target.mkdir(parents=True, exist_ok=True)
            save_weights(create_model(backbone, pretrained=False), target / "model.safetensors")
            stored = {"input_size": [3, 64, 64], "num_classes": 1000, "first_conv": "conv1.0", "classifier": "fc"}
            write_json(target / "config.json", {"architecture": TINY, "num_classes": 1000, "pretrained_cfg": stored})
    return folder
