"""How cost grows with the number of photos: writes ``docs/SCALING.md`` from measurements at four sizes.

    python -m tests.benchmarks.scaling --data DATA --weights WEIGHTS

Features of the photos are computed once and kept in the cache. Times are processor seconds (all processes together) on
one thread, so that other work on the machine weighs little. About six minutes on a quiet core, features not counted.
"""

from __future__ import annotations

import argparse
import dataclasses
import resource
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from competition.config import ProbeConfig
from competition.console import say
from competition.data.audit import audit
from competition.data.folds import make_folds
from competition.data.layout import CompetitionData, load_data
from competition.explain.report import write_run_report
from competition.files import read_json, write_json, write_text
from competition.training import probe
from competition.training.embed import embed
from competition.training.models import BackboneRef, find_backbones
from competition.training.probe_run import probe_blocks
from tests.benchmarks.material import many_photos
from tests.benchmarks.measure import machine, short
from tests.benchmarks.tables import ROOT, grid
from tests.explain.fakes import make_run

SIZES = (1_000, 5_000, 10_000, 20_000)
STEPS = ("audit", "folds", "probe", "report")


def processor_seconds(work: Callable[[], object]) -> float:
    """Processor time of this process and of those that it started and that have ended."""

    def spent() -> float:
        whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, whose))

    start = spent()
    work()
    return spent() - start


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Slope of log time over log size, least squares: 1 is proportional, 2 quadratic.

    Raises:
        ValueError: fewer than two sizes.
    """
    if len(sizes) < 2:
        raise ValueError("an exponent needs two sizes or more")
    return float(np.polyfit(np.log(sizes), np.log(np.maximum(seconds, 1e-6)), 1)[0])


def measure(data: CompetitionData, features: np.ndarray, ref: BackboneRef, count: int) -> dict[str, float]:
    """Processor seconds of every step for ``count`` photos."""
    every = many_photos(data, count)
    rng = np.random.default_rng(count)
    # Any share of the photos must hold all breeds in the same proportions: drawn, not the first ones.
    chosen = rng.choice(len(data.train), min(count, len(data.train)), replace=False)
    real = dataclasses.replace(
        data, train=tuple(data.train[i] for i in sorted(chosen)), test=(), sample_submission=None
    )
    found = {"audit": processor_seconds(lambda: audit(every))}
    found["folds"] = processor_seconds(lambda: make_folds(_repeated(real, count), 5, 42, {}))
    rows = rng.choice(len(features), count, replace=False)
    labels = np.tile(data.labels, 2)[rows]
    found["probe"] = processor_seconds(lambda: _probe(features[rows], labels, data, ref))
    with tempfile.TemporaryDirectory() as folder:
        shown = _repeated(real, count)
        run = make_run(Path(folder) / "run", shown, sure=4.5, n_folds=5)
        found["report"] = processor_seconds(lambda: write_run_report(run, shown))
    return found


def _repeated(data: CompetitionData, count: int) -> CompetitionData:
    """``count`` photos: beyond those at hand the same files under other ids."""
    copies = [dataclasses.replace(photo, id=f"{photo.id}x") for photo in data.train]
    return dataclasses.replace(data, train=tuple([*data.train, *copies][:count]), notes=())


def _probe(features: np.ndarray, labels: np.ndarray, data: CompetitionData, ref: BackboneRef) -> None:
    config = ProbeConfig(backbones=(ref.name,), views=("identity",), device="cpu")
    fold_of = np.random.default_rng(0).permutation(len(labels)) % 5
    with tempfile.TemporaryDirectory() as folder:
        name = f"{ref.name}/identity"
        probe.fit({name: features}, labels, fold_of, data.classes, [ref], config, Path(folder))


def page(found: Mapping[int, Mapping[str, float]], described: Mapping[str, object], when: str) -> str:
    """The page's text."""
    sizes = sorted(found)
    rows = []
    for step in STEPS:
        seconds = [found[size][step] for size in sizes]
        rows.append(
            [step, *map(short, seconds), f"{exponent(sizes, seconds):.2f}", f"{exponent(sizes[-2:], seconds[-2:]):.2f}"]
        )
    head = ["step", *(f"{size:,} photos" for size in sizes), "exponent", "last interval"]
    table = "\n".join(grid(head, rows))
    template = (Path(__file__).parent / "scaling.md").read_text(encoding="utf-8")
    told = f"{described['processor']}, {described['cores']} cores, {when}"
    return template.replace("{table}", table).replace("{machine}", told)


def main() -> None:
    """Measure what is lacking, write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "SCALING.md")
    parser.add_argument("--figures", type=Path, default=ROOT / "runs" / "bench" / "scaling.json")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    data = load_data(asked.data)
    ref = sorted(find_backbones((), asked.weights), key=lambda item: "efficientnet" not in item.name)[0]
    blocks = embed(data.train, probe_blocks([ref], ("identity", "hflip")), ProbeConfig())
    features = np.concatenate([np.asarray(values) for values in blocks.values()])
    stored = read_json(asked.figures) if asked.figures.is_file() else {"found": {}}
    for size in SIZES:
        if str(size) not in stored["found"]:
            say(f"scaling: {size:,} photos")
            stored["found"][str(size)] = measure(data, features, ref, size)
            stored |= {"machine": machine(), "when": datetime.now(UTC).strftime("%Y-%m-%d")}
            write_json(asked.figures, stored)
    found = {int(size): figures for size, figures in stored["found"].items()}
    write_text(asked.out, page(found, stored["machine"], stored["when"]))
    print(asked.out)


if __name__ == "__main__":
    main()
