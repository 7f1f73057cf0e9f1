"""A submission beside the run it came from: what both the ledger and the doctor start with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from competition.errors import DataError
from competition.prediction.blend.align import Stack, align
from competition.prediction.blend.members import load_member
from competition.prediction.calibrate import safe_log
from competition.prediction.expected.expectation import Expectation, expect, expect_from_beliefs
from competition.prediction.expected.relation import Relation, relate
from competition.prediction.submission.check import SubmissionReport
from competition.prediction.submission.template import Template, template_for
from competition.prediction.submission.write import read_checked
from competition.record.run_dir import RunDir
from competition.types import Predictions

if TYPE_CHECKING:
    from competition.data.source.competition_data import CompetitionData


@dataclass(frozen=True)
class Case:
    """A valid submission and a run.

    Attributes:
        run: the run folder.
        stack: the run's out-of-fold predictions with labels, folds and groups.
        report: of the checker.
        submitted: the file's probabilities.
        beliefs: the run's test probabilities (t, c) in the order of ``submitted``.
        relation: how the file came from them.
        oof: out-of-fold probabilities (n, c) after the same was done to them.
    """

    run: RunDir
    stack: Stack
    report: SubmissionReport
    submitted: Predictions
    beliefs: np.ndarray
    relation: Relation
    oof: np.ndarray


def read_case(file: Path, run: RunDir, data: CompetitionData | Mapping[str, str]) -> Case:
    """Read a submission and the run that it is to be seen with.

    Raises:
        SubmissionError: the file is not valid, or the run lacks a photo of it.
        DataError: the run has no test predictions, or a photo has no label.
    """
    member = load_member(run)
    stack = align([member], data)
    if member.test is None:
        raise DataError(f"{run.path} has no test predictions (test.npz): there is nothing to compare {file} with")
    template = Template(member.test.ids, stack.classes) if isinstance(data, Mapping) else template_for(data)
    report, submitted = read_checked(file, template)
    submitted = submitted.aligned_to(template.ids, stack.classes)
    beliefs = member.test.aligned_to(template.ids, stack.classes).probabilities
    relation = relate(beliefs, submitted.probabilities)
    return Case(run, stack, report, submitted, beliefs, relation, relation.apply(stack.log_probabilities[0]))


def expected_score(case: Case) -> Expectation:
    """What the file will probably score.

    By bootstrap over the out-of-fold photos; the temperature's own uncertainty counts when it was fitted on them, not
    when another was imposed. For a file that is not the run's, by the run's own probabilities.
    """
    if case.relation.kind == "other":
        return expect_from_beliefs(case.beliefs, case.submitted.probabilities)
    stack, refit = case.stack, case.relation.kind == "same"
    return expect(safe_log(case.oof), stack.labels, len(case.submitted), stack.groups, refit=refit)
