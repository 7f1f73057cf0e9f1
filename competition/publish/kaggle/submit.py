"""Spend a submission: checked first, never twice for one file, followed to its score, written into the ledger."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from competition import environment
from competition.console import say, warn
from competition.errors import SubmissionError
from competition.locks import only_one
from competition.prediction.ledger.ledger import Entry, Ledger, now
from competition.prediction.submission.check import SubmissionReport, check_submission
from competition.publish.kaggle import backoff, standing
from competition.publish.kaggle.backoff import persistently
from competition.publish.kaggle.client import Connection, plain_session
from competition.publish.kaggle.errors import KaggleError, Kind, translate
from competition.publish.kaggle.redact import one_line
from competition.publish.kaggle.standing import Submission

if TYPE_CHECKING:
    from competition.data.source.competition_data import CompetitionData
    from competition.prediction.submission.template import Template

_LOOKS = 4


@dataclass(frozen=True)
class Outcome:
    """What became of a submission.

    Attributes:
        report: of the checker.
        submission: as Kaggle remembers it; None after a dry run.
        spent: whether one of the day's submissions was used now.
        entry: its row in the ledger; None after a dry run.
    """

    report: SubmissionReport
    submission: Submission | None = None
    spent: bool = False
    entry: Entry | None = None


def submit(
    connect: Callable[[], Connection],
    file: Path,
    sample: CompetitionData | Template | Path,
    ledger: Ledger,
    *,
    message: str = "",
    competition: str = environment.COMPETITION,
    row: Entry | None = None,
    wait_seconds: float = 600.0,
    again: bool = False,
    dry_run: bool = False,
) -> Outcome:
    """Check a file, send it, wait for its score and write all of it down.

    Args:
        connect: gives the connection; not called before the file has passed its check.
        file: the CSV.
        sample: what the file is checked against.
        ledger: gets a row, and later the score.
        message: the description on Kaggle.
        competition: slug.
        row: what the ledger should say about the file if it has no row yet (method, members, note).
        wait_seconds: for the score; 0 does not wait.
        again: send it although the very same content was sent before.
        dry_run: stop before anything leaves the machine.

    Raises:
        SubmissionError: the file is not valid, or changed while it was being checked.
        KaggleError: refused: credentials, rules, limit, a submission that Kaggle could not score.
    """
    report = check_submission(file, sample)
    report.raise_if_invalid()
    for line in report.warnings:
        warn(line)
    if dry_run:
        say(f"dry run: {file} is valid ({report.rows:,} rows, digest {report.digest}); it would go to {competition}")
        return Outcome(report)
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest()[:16] != report.digest:
        raise SubmissionError(f"{file} changed while it was being checked: nothing was sent, start again")
    connection = connect()
    with _alone():
        found = None if again else sent_before(connection, report.digest, competition)
        spent = found is None
        if found is None:
            standing.require_entered(connection, competition)
            listed = standing.submissions(connection, competition)
            standing.limits(connection, ledger, listed, competition).require_one()
            description = standing.mark(message, report.digest)
            before = {item.ref for item in listed}
            found = _send(connection, content, file.name, description, report.digest, competition, before)
        else:
            say(f"this very file was sent on {found.date} already; nothing is spent (--again sends it once more)")
        entry = _written(ledger, file, report, row)
        if spent or not entry.sent:
            entry = ledger.sent(entry, now() if spent else found.date)
    found = await_score(connection, found, competition, wait_seconds)
    return Outcome(report, found, spent, _scored(ledger, file, entry, found))


@contextmanager
def _alone() -> Iterator[None]:
    """One process at a time looks whether a file was sent and sends it: two that start together spend only once."""
    with only_one(environment.cache_folder() / ".submit.lock", "the sending of submissions"):
        yield


def sent_before(connection: Connection, digest: str, competition: str) -> Submission | None:
    """The latest submission of the same content that Kaggle did not reject."""
    same = [item for item in standing.submissions(connection, competition) if item.digest == digest]
    return next((item for item in same if item.status != "ERROR"), None)


def _send(
    connection: Connection,
    content: bytes,
    name: str,
    description: str,
    digest: str,
    competition: str,
    before: set[int],
) -> Submission:
    """Upload, then create the submission; only the upload, which costs nothing, is ever repeated."""
    from kagglesdk.competitions.types.competition_api_service import ApiCreateSubmissionRequest

    request = ApiCreateSubmissionRequest()
    request.competition_name, request.submission_description = competition, description
    request.blob_file_tokens = _upload(connection, content, name, competition)
    try:
        answer = connection.call(
            "submit",
            lambda services: services.competitions.competition_api_client.create_submission(request),
            repeatable=False,
        )
        say(f"sent: {one_line(answer.message)}")
        found = _find(connection, competition, digest, before) if not answer.ref else None
        pending = Submission(int(answer.ref), now(), name, description, "PENDING", math.nan, math.nan, "", "")
        return found or pending
    except KaggleError as error:
        if not error.arrived:
            raise
        warn(f"{error}; looking whether it arrived all the same")
        found = _find(connection, competition, digest, before)
        if found is None:
            raise KaggleError(
                f"{error}; Kaggle lists no such submission. The same command looks again before it sends anything",
                error.kind,
            ) from error
        return found


def _find(connection: Connection, competition: str, digest: str, before: set[int]) -> Submission | None:
    """The new submission with this digest; Kaggle may need a moment to list it."""
    for look in range(_LOOKS):
        if look:
            backoff.pause(connection.patience.seconds(look))
        for item in standing.submissions(connection, competition):
            if item.digest == digest and item.ref not in before:
                return item
    return None


def _upload(connection: Connection, content: bytes, name: str, competition: str) -> str:
    """Upload the bytes and return the token that stands for them. A cut upload starts anew."""
    import time

    import requests
    from kagglesdk.competitions.types.competition_api_service import ApiStartSubmissionUploadRequest

    request = ApiStartSubmissionUploadRequest()
    request.competition_name, request.file_name = competition, name
    request.content_length, request.last_modified_epoch_seconds = len(content), int(time.time())

    def once() -> str:
        place = connection.call_once(
            "start the upload",
            lambda services: services.competitions.competition_api_client.start_submission_upload(request),
        )
        try:
            plain_session().put(place.create_url, data=content).raise_for_status()
        except requests.exceptions.RequestException as error:
            raise translate(error, f"upload {name}") from error
        return str(place.token)

    return persistently(once, connection.patience)


def await_score(connection: Connection, item: Submission, competition: str, limit_seconds: float) -> Submission:
    """Ask until Kaggle has scored the submission.

    Returns:
        The submission, scored; still PENDING when the limit was reached first, which is told.

    Raises:
        KaggleError: Kaggle could not score it.
    """
    waited, seconds = 0.0, 2.0
    while True:
        if waited or limit_seconds > 0:
            listed = standing.submissions(connection, competition)
            item = next((known for known in listed if _same(known, item)), item)
        if item.status == "ERROR":
            raise KaggleError(f"Kaggle could not score the submission: {item.error or 'no reason given'}", Kind.REFUSED)
        if item.status == "COMPLETE":
            return item
        if waited + seconds > limit_seconds:
            say("not scored yet: 'dogbreed submissions --update' writes the score into the ledger later")
            return item
        backoff.pause(seconds)
        waited, seconds = waited + seconds, min(seconds * 1.5, 30.0)


def _same(known: Submission, wanted: Submission) -> bool:
    return known.ref == wanted.ref if wanted.ref else known.digest == wanted.digest


def _written(ledger: Ledger, file: Path, report: SubmissionReport, row: Entry | None) -> Entry:
    """The file's row in the ledger, added if it has none."""
    known = ledger.known(file)
    if known is not None:
        return known
    entry = replace(
        row or Entry("", "", method="file", members=(file.stem,)),
        file=ledger.name_of(file),
        digest=report.digest,
        rows=report.rows,
    )
    entry = replace(entry, written=entry.written or now())
    ledger.add(entry)
    return entry


def _scored(ledger: Ledger, file: Path, entry: Entry, item: Submission) -> Entry:
    scores: dict[str, Any] = {"public": item.public_score, "private": item.private_score}
    scores = {name: value for name, value in scores.items() if not math.isnan(value)}
    return ledger.score(file, **scores) if scores else entry


def update_ledger(ledger: Ledger, listed: tuple[Submission, ...]) -> int:
    """Write the scores of all submissions that the kit sent into their rows.

    Returns:
        How many rows got a score that they did not have.
    """
    changed = 0
    for entry in ledger.entries():
        scored = [item for item in listed if item.digest == entry.digest and item.status == "COMPLETE"]
        if scored and math.isnan(entry.public_score) and not math.isnan(scored[0].public_score):
            private = scored[0].private_score
            ledger.score(entry.digest, scored[0].public_score, None if math.isnan(private) else private)
            changed += 1
    return changed
