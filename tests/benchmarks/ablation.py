"""One setting at a time: how a recipe's fold scores with each of its choices changed.

From the root of a checkout:

    python -m tests.benchmarks.ablation effnetv2_b0_224 --data DATA --weights WEIGHTS --run-dir runs/ablation
    python -m tests.benchmarks.ablation sign_digits --data DATA --weights WEIGHTS --run-dir runs/sign \
        --variant "momentum SGD: optimiser=sgd lr=0.02 head_lr=0.05" --variant "half the rate: lr=5e-4"

Every variant trains the same fold from the same audit, split and seed. Log loss and accuracy are of the fold's
validation photos (identity and, where the recipe has it, mirrored), log loss after the variant's own temperature, so
that a network that is merely too sure of itself is not counted as a worse one. ``--processes`` trains several at a
time: times are then of a shared device. The same command goes on with what is missing.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from competition.config import TrainConfig
from competition.console import duration, warn
from competition.data.source.layout import load_data
from competition.errors import KitError, UsageError
from competition.files import read_json, write_json, write_text
from competition.recipes import recipe
from competition.record.history import History
from competition.record.metrics import accuracy, log_loss, softmax
from competition.record.run_dir import RunDir
from competition.record.temperature import fit_temperature
from competition.training.finetune.fit_fold import fit_fold
from competition.training.sweep.one_fold import open_fold

FOLD = 0
DOGS: Mapping[str, str] = {
    "four times the rate": "lr=4e-4 head_lr=4e-4",
    "a third of the rate": "lr=3e-5 head_lr=3e-5",
    "twelve epochs": "epochs=12",
    "mixup and CutMix": "mixup=0.1 cutmix=0.5 mix_probability=0.5",
    "label smoothing": "smoothing=0.1",
    "medium augmentation": "augment=medium",
    "strong augmentation": "augment=strong",
    "batch norms that train": "freeze_norm=false",
    "the same rate in all layers": "layer_decay=1",
    "momentum SGD": "optimiser=sgd lr=0.005 head_lr=0.005",
    "head from scratch": "head_from=fresh freeze_epochs=1 head_lr=2e-3",
    "no average of the weights": "ema_decay=0",
    "nothing between start and end": "interpolate=",
    "growing pictures": "progressive=160,192,224",
    "288 px": "image_size=288",
    "four times the rate, mixed, smoothed, batch norms that train": "lr=4e-4 head_lr=4e-4 mixup=0.1 cutmix=0.5 "
    "mix_probability=0.5 smoothing=0.1 freeze_norm=false augment=medium",
}


def main() -> None:
    """Train what is missing and write ``ablation.md`` and ``ablation.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="of the recipe and all variants"
    )
    parser.add_argument("--variant", action="append", metavar='"LABEL: KEY=VALUE ..."', help="in place of the dogs'")
    parser.add_argument("--processes", type=int, default=1)
    asked = parser.parse_args()
    base = recipe(asked.recipe, *asked.set)
    if not isinstance(base, TrainConfig):
        raise UsageError(f"{asked.recipe} trains no network: there is nothing to leave out")
    variants = {"the recipe": "", **(_read(asked.variant) if asked.variant else DOGS)}
    configs = {label: base.override(text.split()) for label, text in variants.items()}
    data = load_data(asked.data)
    open_fold(data, base, RunDir(asked.run_dir / _slug("the recipe")), FOLD, asked.weights)  # what all of them share
    context = multiprocessing.get_context("spawn")  # a process that has used CUDA cannot be forked
    waiting = context.Queue()
    for label, config in configs.items():
        waiting.put((label, variants[label], config))
    for _ in range(asked.processes):
        waiting.put(None)
    arguments = (waiting, asked.data, asked.weights, asked.run_dir)
    workers = [context.Process(target=_work, args=arguments) for _ in range(asked.processes)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    found = {label: asked.run_dir / _slug(label) / "figures.json" for label in configs}
    rows = [read_json(path) for path in found.values() if path.is_file()]
    write_json(asked.run_dir / "ablation.json", rows)
    write_text(asked.run_dir / "ablation.md", table(rows))
    print(table(rows))
    lacking = [label for label, path in found.items() if not path.is_file()]
    if lacking:
        raise SystemExit(f"not finished: {', '.join(lacking)}; the same command goes on with them")


def _read(texts: Sequence[str]) -> dict[str, str]:
    found = {}
    for text in texts:
        label, colon, settings = text.partition(":")
        if not colon:
            raise UsageError(f'--variant "{text}" lacks a colon: write "LABEL: KEY=VALUE ..."')
        found[label.strip()] = settings.strip()
    return found


def _slug(label: str) -> str:
    return "".join(sign if sign.isalnum() else "-" for sign in label)


def _work(waiting: Any, where: Path, weights: Path, home: Path) -> None:
    data = load_data(where)
    while (item := waiting.get()) is not None:
        label, settings, config = item
        try:
            train(data, label, settings, config, weights, home)
        except KitError as error:
            warn(f"{label}: {error}")


def train(data: Any, label: str, settings: str, config: TrainConfig, weights: Path, home: Path) -> None:
    """Train one variant and keep its figures."""
    run = RunDir(home / _slug(label))
    if (run / "figures.json").is_file():
        return
    shared = home / _slug("the recipe")
    run.path.mkdir(parents=True, exist_ok=True)
    for path in shared.glob("audit*"):
        if path.is_file() and not (run / path.name).exists():
            shutil.copy(path, run / path.name)
    one = open_fold(data, config, run, FOLD, weights)
    result = fit_fold(one.prepared.usable, one.fold, config, run, weights=weights, head=one.head, test=False)
    folder = run / f"fold{FOLD}"
    logs = result.valid.log_probabilities
    usable = one.prepared.usable
    breed_of = dict(zip(usable.train_ids, usable.labels, strict=True))
    labels = np.array([breed_of[name] for name in result.valid.ids])
    temperature = fit_temperature(logs, labels)
    rows = History(folder / "history.csv").rows
    stored = read_json(folder / "result.json")
    write_json(
        run / "figures.json",
        {
            "variant": label, "settings": settings, "photos": len(labels), "temperature": temperature,
            "log_loss": log_loss(softmax(logs, temperature), labels), "raw": result.log_loss,
            "accuracy": accuracy(softmax(logs), labels), "seconds": result.seconds, "weights": stored["weights"],
            "epoch": stored["epoch"], "epochs": len(rows), "images_per_second": rows[-1]["images_per_second"],
            "device": stored["device"],
        },
    )  # fmt: skip
    (folder / "model.safetensors").unlink(missing_ok=True)  # dozens of them would fill the disk


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The figures as a Markdown table, the recipe first, then by log loss."""
    lines = ["| variant | changed | log loss | accuracy | weights kept | time |", "|---|---|---|---|---|---|"]
    for row in [*rows[:1], *sorted(rows[1:], key=lambda row: row["log_loss"])]:
        changed = f"`{row['settings']}`" if row["settings"] else ""
        kept = f"{row['weights']}, epoch {row['epoch']} of {row['epochs']}"
        lines.append(
            f"| {row['variant']} | {changed} | {row['log_loss']:.4f} | {row['accuracy']:.4f} | {kept} | "
            f"{duration(row['seconds'])} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
