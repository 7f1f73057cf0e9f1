"""Write a submission down in the ledger: which run or blend it came from, and what it will probably score."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from competition.files import digest_of, digest_of_file, read_json
from competition.prediction.expected.submission_beside_run import expected_score, read_case
from competition.prediction.ledger.ledger import Entry, Ledger, now
from competition.record.run_dir import RunDir, describe_machine

if TYPE_CHECKING:
    from competition.data.source.competition_data import CompetitionData


def record_submission(
    file: Path, run: RunDir | Path, data: CompetitionData | Mapping[str, str], ledger: Ledger, note: str = ""
) -> tuple[Entry, tuple[Entry, ...]]:
    """Add the row of a written submission to the ledger.

    Args:
        file: the submission.
        run: the run or blend that it came from.
        data: the competition, or breed by photo id; the interval is computed with its labels.
        ledger: where the row goes.
        note: anything worth remembering.

    Returns:
        The row, and earlier rows that are byte-identical under another name. A file that has its row keeps it,
        with the new note if there is one.

    Raises:
        SubmissionError: the file is not valid.
        DataError: the run's predictions are missing.
    """
    run = run if isinstance(run, RunDir) else RunDir(Path(run))
    known = ledger.known(file)
    if known is not None:
        return (ledger.annotate(known, note) if note else known), ()
    metrics = read_json(run / "metrics.json")
    case = read_case(file, run, data)
    expected, members, by_hand = expected_score(case), metrics.get("members") or [], metrics.get("by_hand") or []
    if by_hand and case.relation.kind == "other":
        left = 1 - sum(float(each["weight"]) for each in by_hand)
        members = [*({**each, "weight": left * float(each["weight"])} for each in members), *by_hand]
        # Nothing is known of a mixture whose parts have no out-of-fold predictions.
        expected = replace(expected, log_loss=math.nan, low=math.nan, high=math.nan)
    entry = Entry(
        file=ledger.name_of(file),
        digest=digest_of_file(file),
        written=now(),
        rows=expected.test_photos,
        method=str(metrics.get("method", "run")),
        members=tuple(str(each["name"]) for each in members) or (run.path.resolve().name,),
        weights=tuple(float(each["weight"]) for each in members) or (1.0,),
        config_digests=tuple(str(each["config_digest"]) for each in members) or (digest_of(run.config),),
        commit=str(run.manifest.get("commit") or describe_machine()["commit"] or ""),
        oof_log_loss=expected.log_loss,
        interval_low=expected.low,
        interval_high=expected.high,
        note=note,
    )
    return entry, ledger.add(entry)
