"""Does the doctor's interval hold? Train on 90 % of the photos, expect a score, grade the other 10 %; five seeds.

    python tests/benchmarks/interval_check.py --data DATA --weights WEIGHTS

Nothing is taken from the kit's own arithmetic for the verdict: the held-out photos' predictions are written as a
submission, examined by the doctor (which never sees their breeds), and graded by the second grader. Duplicates of a
held-out photo are held out with it, so that none is known from training. Cost: the features of all photos once (kept
in the cache; minutes on two cores), then a few seconds to a minute per seed.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from competition.config import ProbeConfig
from competition.data.audit.audit import audit
from competition.data.audit.report import AuditReport
from competition.data.folds import FoldTable, make_folds
from competition.data.source.competition_data import CompetitionData
from competition.data.source.layout import load_data
from competition.files import write_csv
from competition.prediction.blend.text import table
from competition.prediction.doctor.examine import examine
from competition.prediction.submission.grade import grade
from competition.prediction.submission.write import write_submission
from competition.record.metrics import accuracy, log_loss
from competition.record.run_dir import RunDir
from competition.training.backbones.find import BackboneRef, find_backbones
from competition.training.cross_validate import assemble
from competition.training.probe import linear_probe
from competition.training.probe.embed import embed
from competition.training.probe.run import probe_blocks
from competition.training.run.prepare import Prepared
from competition.types import CVResult, FoldResult, Predictions

# The check is about the interval, not about the last digit of the score: few strengths and the cheapest design.
STRENGTHS = (0.8, 0.4, 0.2, 0.1)


@dataclass(frozen=True)
class Trial:
    """One seed: what was expected and what came."""

    seed: int
    photos: int
    expected: float
    low: float
    high: float
    score: float

    @property
    def inside(self) -> bool:
        """Whether the score fell into the interval."""
        return self.low <= self.score <= self.high


def hold_out(data: CompetitionData, groups: dict[str, int], share: float, seed: int) -> CompetitionData:
    """The same data with ``share`` of the training photos as test photos; groups of duplicates stay together.

    Args:
        data: the competition; its own test photos are left out.
        groups: group of every photo that has a duplicate.
        share: of the photos to hold out.
        seed: of the draw.
    """
    rng = np.random.default_rng(seed)
    # A tenth of a stratified split into 1/share folds is a stratified holdout that keeps groups together.
    table = make_folds(data, round(1 / share), seed, groups)
    held = set(np.array(table.ids)[table.fold == rng.integers(table.n_folds)].tolist())
    train = tuple(photo for photo in data.train if photo.id not in held)
    test = tuple(replace(photo, breed=None) for photo in data.train if photo.id in held)
    return replace(data, train=train, test=test, sample_submission=None)


def cross_validated(
    data: CompetitionData,
    features: dict[str, np.ndarray],
    rows: dict[str, int],
    backbones: tuple[BackboneRef, ...],
    config: ProbeConfig,
    folds: FoldTable,
    folder: Path,
) -> CVResult:
    """The probe's cross-validation on the training photos, and the mean of its folds' predictions of the others."""
    train = {name: values[[rows[i] for i in data.train_ids]] for name, values in features.items()}
    test = {name: values[[rows[i] for i in data.test_ids]] for name, values in features.items()}
    fold_of = dict(zip(folds.ids, folds.fold.tolist(), strict=True))
    which = np.array([fold_of[name] for name in data.train_ids])
    found = linear_probe.fit(train, data.labels, which, data.classes, backbones, config, folder)
    tested = linear_probe.predict(found.design, found.heads, found.temperatures, test)
    results = []
    for k in range(folds.n_folds):
        held = np.flatnonzero(which == k)
        valid = Predictions(tuple(data.train_ids[i] for i in held), data.classes, found.oof[held])
        scores = log_loss(valid.probabilities, data.labels[held]), accuracy(valid.probabilities, data.labels[held])
        results.append(FoldResult(k, *scores, valid, Predictions(data.test_ids, data.classes, tested[k]), 0.0))
    return assemble("interval", results, Prepared(data, data, None, folds))  # type: ignore[arg-type]


def trial(data: CompetitionData, truth: dict[str, str], result: CVResult, folds: FoldTable, seed: int) -> Trial:
    """Write the submission, let the doctor expect its score, grade it."""
    assert result.test is not None
    with tempfile.TemporaryDirectory() as scratch:
        run = RunDir(Path(scratch) / "run")
        run.open(ProbeConfig(name="interval"), data.digest)
        folds.save(run / "folds.csv")
        result.oof.save(run / "oof.npz")
        result.test.save(run / "test.npz")
        file = run / "submission.csv"
        write_submission(result.test, data, file)
        expected = examine(file, run, data).expected
        write_csv(run / "answers.csv", ["id", "breed"], [(name, truth[name]) for name in data.test_ids])
        score = grade(file, run / "answers.csv")
    return Trial(seed, len(data.test), expected.log_loss, expected.low, expected.high, score)


def main() -> None:
    """Run the trials and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--backbones", nargs="*", default=[])
    parser.add_argument("--views", nargs="*", default=["identity"])
    parser.add_argument("--audit", type=Path, help="folder with an audit.json of these data, to save a minute")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--share", type=float, default=0.1)
    options = parser.parse_args()
    everything = load_data(options.data)
    report = AuditReport.load(options.audit) if options.audit else audit(everything)
    data = everything.without(report.quarantined)
    truth = {photo.id: str(photo.breed) for photo in data.train}
    config = ProbeConfig(
        backbones=tuple(options.backbones), views=tuple(options.views), combine="average", strengths=STRENGTHS
    )
    backbones = find_backbones(config.backbones, options.weights)
    features = embed(data.train, probe_blocks(backbones, config.views), config)
    rows = {name: row for row, name in enumerate(data.train_ids)}
    trials = []
    for seed in range(options.seeds):
        split = hold_out(data, report.groups(), options.share, seed)
        folds = make_folds(split, config.n_folds, seed, report.groups())
        with tempfile.TemporaryDirectory() as scratch:
            result = cross_validated(split, features, rows, backbones, config, folds, Path(scratch))
        trials.append(trial(split, truth, result, folds, seed))
        print(trials[-1], flush=True)
    lines = [
        [str(t.seed), f"{t.photos:,}", f"{t.expected:.4f}", f"{t.low:.4f} to {t.high:.4f}", f"{t.score:.4f}",
         "yes" if t.inside else "no"]
        for t in trials
    ]  # fmt: skip
    print("\n".join(table(["seed", "photos", "expected", "95 % interval", "score", "inside"], lines)))
    gaps = [t.score - t.expected for t in trials]
    print(f"inside: {sum(t.inside for t in trials)} of {len(trials)}; score minus expected: mean {np.mean(gaps):+.4f}")


if __name__ == "__main__":
    main()
