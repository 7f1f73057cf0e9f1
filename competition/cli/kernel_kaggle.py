"""``dogbreed kernel push|status|logs|fetch``: a kernel on Kaggle."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from competition.cli.kaggle import Competition, DryRun
from competition.cli.options import KERNELS, LEDGER, AsJson, Data, Kernels, LedgerFile, Mode, Sample
from competition.environment import COMPETITION

HOME = Path("runs/kernels")
Name = Annotated[str, typer.Argument(help="A kernel of kernels/, or the path of a built folder.")]
Remote = Annotated[str, typer.Argument(help="SLUG, OWNER/SLUG or OWNER/SLUG/VERSION; without a version the latest.")]


def push(
    name: Name,
    wait: Annotated[bool, typer.Option("--wait", help="Follow it to its end and fetch what it leaves.")] = False,
    submit: Annotated[bool, typer.Option("--submit", help="Spend a submission on its submission.csv.")] = False,
    mode: Mode = "bundle",
    message: Annotated[str, typer.Option("--message", "-m", help="Description of the submission.")] = "",
    again: Annotated[bool, typer.Option("--again", help="Push although this source was pushed before.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the last push, whatever the source is now.")
    ] = False,
    record: Annotated[bool, typer.Option(help="Require the kernel's own record of digests.")] = True,
    data: Data = None,
    sample: Sample = None,
    ledger: LedgerFile = LEDGER,
    home: Annotated[Path, typer.Option("--home", help="Keeps the record and the fetched files.")] = HOME,
    kernels: Kernels = KERNELS,
    competition: Competition = COMPETITION,
    dry_run: DryRun = False,
) -> None:
    """Build, check and push a kernel; with --wait fetch its output, with --submit spend a submission on it.

    Each step is recorded: the same command goes on where the last one stopped.
    """
    from competition.data.source.layout import load_data
    from competition.prediction.ledger.ledger import Ledger
    from competition.publish.kaggle.client import connect
    from competition.publish.push.prepare import prepare
    from competition.publish.push.push import PushPlan, push_kernel
    from competition.publish.push.push import dry_run as rehearse

    plan = PushPlan(
        home / Path(name).name,
        wait=wait,
        submit=submit,
        sample=(sample if sample is not None else load_data(data, need_labels=False)) if submit else None,
        ledger=Ledger(ledger),
        message=message,
        competition=competition,
        again=again,
        record=record,
    )
    if dry_run:
        for line in rehearse(prepare(name, kernels, mode), plan):
            print(line)
        return
    connection = connect()
    state = push_kernel(connection, None if resume else prepare(name, kernels, mode, connection.user), plan)
    print(f"{state.kernel} version {state.version or '?'}: {state.step} ({plan.home})")


def status(
    kernel: Remote,
    wait: Annotated[bool, typer.Option("--wait", help="Until it has ended; exit 1 unless COMPLETE.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show how a kernel's latest session goes."""
    from competition.publish.kaggle.client import connect
    from competition.publish.push import kernel_session

    connection = connect()
    name = kernel_session.KernelName.parse(kernel, connection.user)
    found = kernel_session.wait(connection, name) if wait else kernel_session.status(connection, name)
    if as_json:
        print(json.dumps({"kernel": str(name), "state": found.state, "message": found.message}))
    else:
        print(f"{name}: {found.state}{': ' + found.message if found.message else ''}")
    if wait:
        found.require_complete(name)


def logs(
    kernel: Remote,
    follow: Annotated[bool, typer.Option("--follow", help="While it is being written.")] = False,
) -> None:
    """Show the log of a kernel's latest session."""
    from competition.publish.kaggle.client import connect
    from competition.publish.push import kernel_session

    connection = connect()
    name = kernel_session.KernelName.parse(kernel, connection.user)
    if follow:
        # bound to the stream now: while the client works, what it prints itself is led elsewhere
        kernel_session.follow(connection, name, partial(print, file=sys.stdout, flush=True))
    else:
        print(kernel_session.logs(connection, name).rstrip("\n"))


def fetch(
    kernel: Remote,
    out: Annotated[Path, typer.Option("--out", help="A new folder.")],
    only: Annotated[list[str] | None, typer.Option("--only", help="Only this file; may be repeated.")] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Although it did not end well.")] = False,
) -> None:
    """Fetch what a finished kernel left; names and digests are verified."""
    from competition.publish.kaggle.client import connect
    from competition.publish.push import kernel_session, outputs

    connection = connect()
    name = kernel_session.KernelName.parse(kernel, connection.user)
    if not partial:
        kernel_session.status(connection, name).require_complete(name)
    for path in outputs.fetch(connection, name, out, only or ()):
        print(path)


def register(app: typer.Typer) -> None:
    """Add these commands to ``dogbreed kernel``."""
    for command in (push, status, logs, fetch):
        app.command()(command)
