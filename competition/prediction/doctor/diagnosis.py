"""What the submission doctor found, as named values: for the page, for ``--json`` and for the terminal."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from competition.prediction.doctor.drift import Drift
from competition.prediction.expected.expectation import Expectation
from competition.prediction.expected.relation import Relation
from competition.prediction.submission.check import SubmissionReport
from competition.record.metrics import Reliability


@dataclass(frozen=True)
class Finding:
    """One sentence for the reader. ``level`` is ``bad`` (mend it), ``look`` (worth a look) or ``good``."""

    level: str
    text: str


@dataclass(frozen=True)
class Repair:
    """What the calibration of the submitted probabilities costs, measured out of fold and nested over the folds.

    Attributes:
        log_loss: as submitted, nats.
        temperature: divisor of the log-probabilities that gives the lowest log loss; above 1 repairs overconfidence.
        clip: floor under the probabilities that gives the lowest log loss after it.
        repaired_log_loss: nested, with temperature and clip fitted on the other folds, nats.
        gain_error: standard error of the difference, nats.
        methods: nested log loss and ECE of every calibration, as (method, log loss, ECE).
        before: reliability as submitted.
        after: reliability with the repair, nested.
    """

    log_loss: float
    temperature: float
    clip: float
    repaired_log_loss: float
    gain_error: float
    methods: tuple[tuple[str, float, float], ...]
    before: Reliability
    after: Reliability

    @property
    def cost(self) -> float:
        """What the repair would gain, nats; negative when it would lose."""
        return self.log_loss - self.repaired_log_loss

    @property
    def worth_it(self) -> bool:
        """Whether the gain is more than twice its standard error."""
        return self.cost > 2 * self.gain_error and self.cost > 1e-4


@dataclass(frozen=True)
class RowFigures:
    """Rows that look odd.

    Attributes:
        uniform: rows that give every breed nearly the same probability.
        prior: rows that hold the class prior: photos that could not be read.
        alike: rows that repeat an earlier row exactly.
        least: the least confident rows, as (id, first choice, its probability, second choice, its probability).
    """

    uniform: tuple[str, ...]
    prior: tuple[str, ...]
    alike: tuple[str, ...]
    least: tuple[tuple[str, str, float, str, float], ...]


@dataclass(frozen=True)
class Twin:
    """A test photo that duplicates a training photo.

    ``probability`` is what the submission gives the training photo's breed, ``called`` its first choice.
    """

    test_id: str
    train_id: str
    breed: str
    kind: str
    similarity: float
    called: str
    probability: float


@dataclass(frozen=True)
class Agreement:
    """Another submission of the ledger beside this one.

    ``alike`` is the share of photos called alike, ``distance`` the mean total variation distance in [0, 1].
    """

    file: str
    written: str
    alike: float
    distance: float
    identical: bool
    oof_log_loss: float
    public_score: float


@dataclass(frozen=True)
class Diagnosis:
    """Everything the doctor found.

    Attributes:
        file: name of the submission.
        run: name of the run it was examined with.
        report: of the checker.
        relation: to the run's test predictions.
        expected: the score to expect.
        by_beliefs: the expectation rests on the run's own probabilities, not on labels (the file is not the run's).
        repair: what calibration would gain; None where the expectation rests on beliefs.
        drift: out of fold against test.
        rows: odd rows.
        twins: test photos that duplicate training photos; None where the run has no audit.
        agreements: other submissions of the ledger whose files are there.
        findings: sentences, the worst first.
    """

    file: str
    run: str
    report: SubmissionReport
    relation: Relation
    expected: Expectation
    by_beliefs: bool
    repair: Repair | None
    drift: Drift
    rows: RowFigures
    twins: tuple[Twin, ...] | None
    agreements: tuple[Agreement, ...]
    findings: tuple[Finding, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; None for a number that is not known."""
        return plain({**dataclasses.asdict(self), "report": self.report.to_dict()})


def plain(value: Any) -> Any:
    """NumPy and NaN as JSON knows them."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value
