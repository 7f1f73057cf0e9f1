"""How cost grows with the number of photos: writes ``docs/results/scaling.md`` from measurements at four sizes.

    python -m tests.benchmarks.scaling --data DATA --weights WEIGHTS

Features of the photos are computed once and kept in the cache. Times are processor seconds (all processes together) on
one thread, so that other work on the machine weighs little. About four minutes on two quiet cores, features not
counted; what is measured is kept in ``--figures``.
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
from competition.data.audit.audit import audit
from competition.data.folds import make_folds
from competition.data.source.competition_data import CompetitionData
from competition.data.source.layout import load_data
from competition.files import read_json, write_json, write_text
from competition.report.run.write import write_run_report
from competition.training.backbones.find import BackboneRef, find_backbones
from competition.training.probe import linear_probe
from competition.training.probe.embed import embed
from competition.training.probe.run import probe_blocks
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


def works(
    data: CompetitionData, features: np.ndarray, ref: BackboneRef, count: int, scratch: Path
) -> dict[str, Callable[[], object]]:
    """What to measure for ``count`` photos, by step; everything that is not the step itself is prepared here."""
    rng = np.random.default_rng(count)
    # Any share of the photos must hold all breeds in the same proportions: drawn, not the first ones.
    chosen = sorted(rng.choice(len(data.train), min(count, len(data.train)), replace=False))
    real = dataclasses.replace(data, train=tuple(data.train[i] for i in chosen), test=(), sample_submission=None)
    every, shown = many_photos(data, count), _repeated(real, count)
    rows = rng.choice(len(features), count, replace=False)
    own, labels = features[rows], np.tile(data.labels, 2)[rows]
    run = make_run(scratch / "run", shown, sure=4.5, n_folds=5)
    return {
        "audit": lambda: audit(every),
        "folds": lambda: make_folds(shown, 5, 42, {}),
        "probe": lambda: _probe(own, labels, data, ref, scratch / "probe"),
        "report": lambda: write_run_report(run, shown),
    }


def _repeated(data: CompetitionData, count: int) -> CompetitionData:
    """``count`` photos: beyond those at hand the same files under other ids."""
    copies = [dataclasses.replace(photo, id=f"{photo.id}x") for photo in data.train]
    return dataclasses.replace(data, train=tuple([*data.train, *copies][:count]), notes=())


def _probe(features: np.ndarray, labels: np.ndarray, data: CompetitionData, ref: BackboneRef, folder: Path) -> None:
    # Three strengths: with more, the path would end early at some sizes and not at others.
    config = ProbeConfig(backbones=(ref.name,), views=("identity",), device="cpu", strengths=(0.4, 0.2, 0.1))
    fold_of = np.random.default_rng(0).permutation(len(labels)) % 5
    linear_probe.fit({f"{ref.name}/identity": features}, labels, fold_of, data.classes, [ref], config, folder)


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
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results" / "scaling.md")
    parser.add_argument("--figures", type=Path, default=ROOT / "runs" / "bench" / "scaling.json")
    parser.add_argument("--again", action="store_true", help="measure everything afresh")
    asked = parser.parse_args()
    data = load_data(asked.data)
    ref = sorted(find_backbones((), asked.weights), key=lambda item: "efficientnet" not in item.name)[0]
    blocks = embed(data.train, probe_blocks([ref], ("identity", "hflip")), ProbeConfig())
    features = np.concatenate([np.asarray(values) for values in blocks.values()])
    torch.set_num_threads(1)
    stored = read_json(asked.figures) if asked.figures.is_file() and not asked.again else {"found": {}}
    for size in SIZES:
        figures = stored["found"].setdefault(str(size), {})
        with tempfile.TemporaryDirectory() as scratch:
            todo = works(data, features, ref, size, Path(scratch)) if set(figures) < set(STEPS) else {}
            for step, work in todo.items():
                if step not in figures:
                    say(f"scaling: {step} of {size:,} photos")
                    figures[step] = processor_seconds(work)
                    stored |= {"machine": machine(), "when": datetime.now(UTC).strftime("%Y-%m-%d")}
                    write_json(asked.figures, stored)
    found = {int(size): figures for size, figures in stored["found"].items()}
    write_text(asked.out, page(found, stored["machine"], stored["when"]))
    print(asked.out)


if __name__ == "__main__":
    main()
