"""A kernel from the folder to the leaderboard: check, push, wait, fetch, verify, submit, write down.

Every step is recorded when it is done, and the same command goes on after the last one. A submission is spent only
when it is asked for, the session is COMPLETE, the file is the one that the kernel wrote, and the checker accepts it.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from competition import environment
from competition.console import say, warn
from competition.errors import DataError, UsageError
from competition.locks import only_one
from competition.prediction.ledger.ledger import Entry, Ledger
from competition.publish.build.kernels import read_code
from competition.publish.kaggle.client import Connection
from competition.publish.kaggle.errors import KaggleError, KernelError
from competition.publish.kaggle.redact import one_line
from competition.publish.kaggle.submit import submit
from competition.publish.output_record import SUBMISSION, check_record
from competition.publish.push import kernel_session, outputs
from competition.publish.push.kernel_session import KernelName
from competition.publish.push.prepare import Prepared
from competition.publish.push.state import (
    COMPLETE,
    FETCHED,
    PUSHED,
    PUSHING,
    SUBMITTED,
    PushState,
    StateFile,
    read_metadata,
    same_code,
    source_digest,
)

if TYPE_CHECKING:
    from competition.data.source.competition_data import CompetitionData
    from competition.prediction.submission.template import Template


@dataclass(frozen=True)
class PushPlan:
    """What to do.

    Attributes:
        home: folder of this kernel's record and fetched files.
        wait: follow the session to its end and fetch what it leaves.
        submit: spend a submission on its submission.csv; needs ``wait`` and ``sample``.
        sample: what the submission is checked against.
        ledger: where the submission is written down.
        message: the submission's description on Kaggle.
        competition: slug.
        again: push although this very source was pushed before.
        record: whether the kernel's own record of digests must be there.
        wait_seconds: for the session's end.
        score_seconds: for the score.
    """

    home: Path
    wait: bool = False
    submit: bool = False
    sample: CompetitionData | Template | Path | None = None
    ledger: Ledger | None = None
    message: str = ""
    competition: str = environment.COMPETITION
    again: bool = False
    record: bool = True
    wait_seconds: float = 13 * 3600.0
    score_seconds: float = 600.0

    def __post_init__(self) -> None:
        if self.submit and not self.wait:
            raise UsageError("--submit needs --wait: only a finished kernel has something to submit")
        if self.submit and (self.sample is None or self.ledger is None):
            raise UsageError("--submit needs the competition's data, to check the submission before it is spent")


def dry_run(kernel: Prepared, plan: PushPlan) -> list[str]:
    """Check a kernel folder and say what a push would do; nothing leaves the machine.

    Returns:
        One line per step.

    Raises:
        KernelError: the check stops it.
    """
    _check(kernel)
    folder = kernel.folder
    values = read_metadata(folder)
    code = folder / values["code_file"]
    lines = [
        f"check: {folder} passed",
        f"push: {values['id']} ({values.get('kernel_type')}, {code.name}, {code.stat().st_size:,} bytes), private "
        f"{values.get('is_private')}, internet {values.get('enable_internet')}, "
        f"accelerator {values.get('machine_shape') or 'none'}",
        f"sources: {', '.join(_sources(values)) or 'none'}",
    ]
    if plan.wait:
        lines.append(f"wait: until COMPLETE; fetch into {plan.home}; verify names and digests")
    if plan.submit:
        lines.append(f"submit: {SUBMISSION} to {plan.competition}, if the checker accepts it; write the ledger")
    return [*lines, "dry run: nothing was sent"]


def _sources(values: dict[str, Any]) -> list[str]:
    keys = ("competition_sources", "dataset_sources", "kernel_sources", "model_sources")
    return [f"{key.removesuffix('_sources')} {item}" for key in keys for item in values.get(key) or ()]


def push_kernel(connection: Connection, kernel: Prepared | None, plan: PushPlan) -> PushState:
    """Do it, or go on with it.

    Args:
        connection: to Kaggle.
        kernel: built, its metadata naming the account; None goes on with the last push, whatever its source is now.
        plan: what to do.

    Returns:
        How far it came: ``pushed`` without ``wait``, ``fetched`` without ``submit``, else ``submitted``.

    Raises:
        UsageError: there is nothing to go on with.
        KernelError: the check stops it, Kaggle refuses it, the session fails, or its output is not to be trusted.
        SubmissionError: the checker refuses the submission; nothing is spent.
        KaggleError: Kaggle refuses something else or cannot be reached.
    """
    with only_one(plan.home / ".lock", f"the push of {plan.home.name}"):
        file = StateFile(plan.home)
        state = _started(file, kernel, plan) if kernel is not None else _last(file)
        if kernel is not None and not state.reached(PUSHED):
            state = _push(connection, file, state, kernel.folder)
        if plan.wait and not state.reached(COMPLETE):
            state = _await_end(connection, file, state, plan)
        if plan.wait and not _is_fetched(file, state):
            state = _fetch(connection, file, state, kernel, plan)
        if plan.submit:
            state = _submit(connection, file, state, plan)
    return state


def _last(file: StateFile) -> PushState:
    known = file.read()
    if known is None or not known.reached(PUSHED):
        raise UsageError(f"{file.path} knows of no push to go on with: push first, without --resume")
    return known


def _started(file: StateFile, kernel: Prepared, plan: PushPlan) -> PushState:
    """The record of this very source, or a new one after the check."""
    source, known = source_digest(kernel.folder), file.read()
    if known is not None and known.source == source and not plan.again:
        if known.reached(PUSHED):
            say(f"{known.kernel} version {known.version or '?'} is pushed already (--again pushes it anew)")
        return known
    if known is not None and known.reached(PUSHED) and not known.reached(FETCHED):
        told = f"{known.kernel} version {known.version or '?'} was pushed from another source and is left to itself"
        say(f"{told} (--resume would go on with it)")
    _check(kernel)
    metadata = read_metadata(kernel.folder)
    kit = read_code(kernel.folder / str(metadata["code_file"])).digest
    return PushState(source=source, kernel=metadata["id"], kit=kit)


def _check(kernel: Prepared) -> None:
    """Stop on the first kind of finding that would waste a push.

    Raises:
        KernelError: there is a blocking finding; all of them are shown.
    """
    findings = kernel.check()
    for finding in findings:
        warn(str(finding))
    blocking = [finding for finding in findings if finding.blocking]
    if blocking:
        more = f" and {len(blocking) - 1} more" if len(blocking) > 1 else ""
        raise KernelError(f"{kernel.folder} is not pushed: {blocking[0]}{more}")


def _push(connection: Connection, file: StateFile, state: PushState, folder: Path) -> PushState:
    """Push, unless an earlier attempt that got no answer turns out to have arrived."""
    name = KernelName.parse(state.kernel, connection.user)
    if state.step == PUSHING:
        there = kernel_session.latest(connection, name)
        if there is not None and same_code(there.code, _code(folder)):
            say(f"the earlier push of {name} had arrived: version {there.number or '?'}")
            return file.write(state, step=PUSHED, version=there.number, url=f"https://www.kaggle.com/code/{name}")
    state = file.write(state, step=PUSHING)
    try:
        pushed = kernel_session.push(connection, folder)
    except KaggleError as error:
        if not error.arrived:
            file.path.unlink(missing_ok=True)
            raise
        raise KernelError(f"{error}; the push may have arrived: the same command finds out") from error
    say(f"pushed {pushed.name} version {pushed.version or '?'}: {pushed.url}")
    return file.write(state, step=PUSHED, version=pushed.version, url=pushed.url)


def _code(folder: Path) -> str:
    return (folder / str(read_metadata(folder)["code_file"])).read_text(encoding="utf-8")


def _is_fetched(file: StateFile, state: PushState) -> bool:
    return state.reached(FETCHED) and bool(state.folder) and (file.home / state.folder).is_dir()


def _await_end(connection: Connection, file: StateFile, state: PushState, plan: PushPlan) -> PushState:
    name = replace(KernelName.parse(state.kernel, connection.user), version=state.version)
    found = kernel_session.wait(connection, name, plan.wait_seconds)
    if found.state in kernel_session.FAILED:
        say(kernel_session.last_lines(connection, name))
    found.require_complete(name)
    return file.write(state, step=COMPLETE)


def _fetch(
    connection: Connection, file: StateFile, state: PushState, kernel: Prepared | None, plan: PushPlan
) -> PushState:
    """Fetch what the session of the pushed version left."""
    name = replace(KernelName.parse(state.kernel, connection.user), version=state.version)
    if not name.version:  # Kaggle did not tell it: the latest one is ours only if it holds our code
        there = kernel_session.latest(connection, name)
        if there is None or kernel is None or not same_code(there.code, _code(kernel.folder)):
            raise KernelError(f"{name} holds another version by now than the one pushed: push it again (--again)")
    target = f"output-v{state.version}"
    for left in (file.home / target, *file.home.glob(".output-v*")):  # whole ones would be in the record
        shutil.rmtree(left, ignore_errors=True)
    outputs.fetch(connection, name, file.home / target, record=plan.record)
    _verify(file.home / target, state, plan)
    return file.write(state, step=FETCHED, folder=target)


def _verify(fetched: Path, state: PushState, plan: PushPlan) -> None:
    """The files are those that the kernel wrote, and the kernel carried the kit that was pushed.

    Raises:
        KernelError: a digest differs, or the record is lacking and wanted.
    """
    record = check_record(fetched, required=plan.record)
    if record and state.kit and record.get("kit") != state.kit:
        ran = one_line(record.get("kit") or "none")[:16]
        raise KernelError(
            f"the output was made by another build of the kit ({ran}) than the one pushed ({state.kit[:16]})"
        )


def _submit(connection: Connection, file: StateFile, state: PushState, plan: PushPlan) -> PushState:
    submission = file.home / state.folder / SUBMISSION
    if not submission.is_file():
        raise DataError(f"{state.kernel} left no {SUBMISSION}: only a kernel of the competition can be submitted")
    _verify(file.home / state.folder, state, plan)  # it may have lain here for days
    assert plan.sample is not None
    assert plan.ledger is not None  # the plan holds both
    slug = KernelName.parse(state.kernel, connection.user).slug
    note = f"kernel {state.kernel} version {state.version}"
    outcome = submit(
        lambda: connection,
        submission,
        plan.sample,
        plan.ledger,
        message=plan.message or note,
        competition=plan.competition,
        row=Entry("", "", method="kernel", members=(slug,), note=note),
        wait_seconds=plan.score_seconds,
    )
    assert outcome.submission is not None  # only a dry run has none
    say(f"{submission}: {outcome.submission.told}")
    return file.write(state, step=SUBMITTED, submission=outcome.submission.ref)
