"""A blend as a run folder: the same files as any run, so that it can be reported, doctored and blended again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from competition.config import Config
from competition.console import warn
from competition.data.folds import FoldTable
from competition.errors import ResumeError, SubmissionError
from competition.files import atomic_path, require_writable, write_csv, write_json
from competition.prediction.blend.by_hand import ByHand, load_by_hand, mixed, told_of
from competition.prediction.blend.combiners import COMBINERS
from competition.prediction.blend.members import Source, load_member
from competition.prediction.blend.study import AUTO, BlendStudy, study
from competition.prediction.submission.check import SubmissionReport
from competition.prediction.submission.template import count, few, template_for
from competition.prediction.submission.write import write_submission
from competition.record.metrics import accuracy, log_loss
from competition.record.run_dir import RunDir
from competition.types import EnsembleResult, Predictions

if TYPE_CHECKING:
    from competition.data.source.competition_data import CompetitionData

_INHERITED = ("audit.json", "audit.csv", "audit.html")


@dataclass(frozen=True, kw_only=True)
class BlendConfig(Config):
    """A blend.

    Attributes:
        members: names of the runs.
        method: ``auto`` or the name of a combiner.
        by_hand: runs whose test predictions joined with a weight given by hand, as ``name=weight``.
    """

    members: tuple[str, ...] = ()
    method: str = AUTO
    by_hand: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(self.method in (AUTO, *COMBINERS), "method", ", ".join((AUTO, *COMBINERS)))


def blend_runs(
    members: Sequence[Source],
    data: CompetitionData,
    out: Path,
    method: str = AUTO,
    *,
    common: bool = False,
    by_hand: Mapping[Path, float] = MappingProxyType({}),
) -> tuple[BlendStudy, SubmissionReport | None]:
    """Blend runs and leave a run folder: predictions, folds, metrics, pictures, and the submission.

    Args:
        members: as for ``study.blend``; one is enough beside test predictions by hand.
        data: the competition they were trained on.
        out: the folder; a blend of the same runs there is made again, anything else is refused.
        method: ``auto`` or the name of a combiner.
        common: blend on the photos that all runs predict out of fold, where some ran fewer folds.
        by_hand: weights, by run folder, of test predictions that join the submission without being scored.

    Returns:
        What was found, and what the checker said of the submission (None without test predictions).

    Raises:
        UsageError: fewer than two runs, one given twice, or an unknown method.
        SubmissionError: the runs do not fit one another or the data.
        ResumeError: ``out`` holds another run.
    """
    run = RunDir(out)
    others = load_by_hand(by_hand)
    _check_start(members, data, run, others)
    found = study(members, data, method, common=common, least=1 if others else 2)
    stack = found.stack
    with run.claimed():
        config = BlendConfig(
            name="blend",
            n_folds=max(2, len(np.unique(stack.folds))),
            members=stack.names,
            method=method,
            by_hand=tuple(f"{other.name}={other.weight:g}" for other in others),
        )
        run.open(config, data.digest, members=[member.oof.digest for member in stack.members])
        run.update_manifest(member_paths=_member_paths(found, out))
        report = _fill(run, found, data, others)
    for line in _told(found, others):
        warn(line)
    return found, report


def _check_start(members: Sequence[Source], data: CompetitionData, run: RunDir, others: Sequence[ByHand]) -> None:
    """What can be refused before the blend is computed.

    Raises:
        ResumeError: ``run`` holds a run of another kind.
        SubmissionError: the sample does not fit the data, or the members predict none of its photos.
        StorageError: the folder cannot be written.
    """
    if (run / "config.json").is_file() and run.config.get("engine") != BlendConfig.__name__:
        raise ResumeError(f"{run.path} holds another run, not a blend: choose another --out or delete it")
    require_writable(run / "metrics.json")
    tests = [member.test for member in map(load_member, members)]
    if not tests or tests[0] is None:
        if others:
            raise SubmissionError("the runs have no test predictions: those given by hand have nothing to join")
        return
    mixed(tests[0], others)
    lacking = set(template_for(data).ids) - set(tests[0].ids)
    if len(lacking) == len(template_for(data).ids):
        raise SubmissionError(f"the runs predict none of the {len(lacking):,} test photos: give the data of the runs")
    if lacking:
        warn(f"{count(len(lacking), 'test photo')} without a prediction ({few(lacking)}): the rows get the class prior")


def _member_paths(found: BlendStudy, out: Path) -> list[str]:
    """Where the members lie, relative to the blend: the doctor finds their cached features through it."""
    paths = [member.path for member in found.stack.members if member.path is not None]
    return [os.path.relpath(path, out) for path in paths]


def _fill(run: RunDir, found: BlendStudy, data: CompetitionData, others: Sequence[ByHand]) -> SubmissionReport | None:
    result = found.result
    result.oof.save(run / "oof.npz")
    _folds(found).save(run / "folds.csv")
    _inherit(run, found)
    write_json(run / "metrics.json", _metrics(found, result, others))
    write_csv(run / "methods.csv", list(result.table[0]), [list(row.values()) for row in result.table])
    from competition.prediction.blend.pictures import draw_pictures

    draw_pictures(found, run.path)
    if result.test is None:
        return None
    test = _with_prior(found, result.test, template_for(data).ids)
    test.save(run / "test.npz")
    try:
        return write_submission(mixed(test, others) if others else test, data, run / "submission.csv")
    except SubmissionError as error:
        raise SubmissionError(f"the blend lies in {run.path}, but no submission could be written: {error}") from error


def _with_prior(found: BlendStudy, test: Predictions, ids: Sequence[str]) -> Predictions:
    """The class prior for photos of the submission that the members do not predict."""
    prior = np.bincount(found.stack.labels, minlength=len(found.stack.classes)) / len(found.stack.labels)
    wanted = tuple(dict.fromkeys((*test.ids, *ids)))
    return test if len(wanted) == len(test) else test.aligned_to(test.ids, found.stack.classes).completed(wanted, prior)


def _folds(found: BlendStudy) -> FoldTable:
    """Folds numbered without gaps: a partial cross-validation may lack some."""
    stack = found.stack
    return FoldTable(stack.ids, np.unique(stack.folds, return_inverse=True)[1], stack.groups)


def _inherit(run: RunDir, found: BlendStudy) -> None:
    """Take the audit over from the first member that has it: it is about the data, not about the run."""
    for name in _INHERITED:
        source = next(
            (m.path / name for m in found.stack.members if m.path is not None and (m.path / name).is_file()), None
        )
        if source is not None and source.resolve() != (run / name).resolve():
            with atomic_path(run / name) as temporary:
                shutil.copyfile(source, temporary)


def _told(found: BlendStudy, others: Sequence[ByHand]) -> list[str]:
    """What is to be said of test predictions that joined by hand; nothing without them."""
    result = found.result
    return told_of(others, result.test, result.log_loss) if result.test is not None else []


def _metrics(found: BlendStudy, result: EnsembleResult, others: Sequence[ByHand]) -> dict[str, Any]:
    stack, score, doubt = found.stack, found.score, found.optimism
    notes = ["the log loss is nested: weights and temperature that scored a photo were fitted on other folds"]
    notes += [str(doubt)] if doubt is not None else []
    folds = [_fold_metrics(found, int(fold)) for fold in np.unique(stack.folds)]
    return {
        "log_loss": result.log_loss,
        "accuracy": result.accuracy,
        "log_loss_spread": float(np.std([fold["log_loss"] for fold in folds], ddof=1)),
        "accuracy_spread": float(np.std([fold["accuracy"] for fold in folds], ddof=1)),
        "standard_error": score.standard_error,
        "temperature": found.fitted.temperature,
        "method": result.method,
        "members": _member_metrics(found),
        "folds": folds,
        "candidates": [dict(row) for row in result.table],
        "curve": [{"members": p.members, "added": p.added, "log_loss": p.log_loss} for p in found.curve],
        "correlation": found.loss_correlation.tolist(),
        "disagreement": found.disagreement.tolist(),
        "notes": notes + _told(found, others),
        "optimism": doubt.most if doubt is not None else 0.0,
        "by_hand": [
            {"name": other.name, "weight": other.weight, "config_digest": other.config_digest} for other in others
        ],
        "steps": {f"blend: {each.method}": each.seconds for each in found.scores},
    }


def _fold_metrics(found: BlendStudy, fold: int) -> dict[str, float | int]:
    held = found.stack.folds == fold
    probabilities, labels = found.nested[held], found.stack.labels[held]
    return {
        "index": fold,
        "log_loss": log_loss(probabilities, labels),
        "accuracy": accuracy(probabilities, labels),
        "photos": int(held.sum()),
        "seconds": 0.0,
    }


def _member_metrics(found: BlendStudy) -> list[Mapping[str, Any]]:
    stack = found.stack
    return [
        {
            "name": member.name,
            "weight": weight,
            "log_loss": log_loss(np.exp(log_p), stack.labels),
            "accuracy": accuracy(log_p, stack.labels),
            "config_digest": member.config_digest,
        }
        for member, weight, log_p in zip(stack.members, found.score.weights, stack.log_probabilities, strict=True)
    ]
