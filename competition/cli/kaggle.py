"""``dogbreed download|submit|submissions|leaderboard|quota``: the competition on Kaggle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from competition.cli.options import LEDGER, AsJson, Data, LedgerFile, Sample, Submission
from competition.environment import COMPETITION

if TYPE_CHECKING:
    from competition.data.source.competition_data import CompetitionData

Competition = Annotated[str, typer.Option("--competition", help="The competition's slug.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check and say what would happen; nothing is sent.")]


def download(
    out: Annotated[Path, typer.Option("--out", help="Folder that gets the archive.")] = Path("data"),
    competition: Competition = COMPETITION,
    unpack: Annotated[bool, typer.Option(help="Unpack it into the cache, too.")] = True,
    force: Annotated[bool, typer.Option("--force", help="Download although the archive is there.")] = False,
) -> None:
    """Download the competition's archive; an interrupted download is continued."""
    from competition.publish.kaggle.client import connect
    from competition.publish.kaggle.download import download_competition

    done = download_competition(connect, out, competition, unpack=unpack, force=force)
    print(f"{done.archive}: {done.archive.stat().st_size / 1e6:,.1f} MB")
    if done.folder is not None:
        print(f"unpacked: {done.folder}")
    print(f"next: dogbreed run --data {done.archive}")


def submit(
    file: Submission,
    message: Annotated[str, typer.Option("--message", "-m", help="Description on Kaggle.")] = "",
    run: Annotated[Path | None, typer.Option("--run", help="The run it came from, for the ledger.")] = None,
    data: Data = None,
    sample: Sample = None,
    ledger: LedgerFile = LEDGER,
    competition: Competition = COMPETITION,
    wait: Annotated[float, typer.Option("--wait", help="Seconds to wait for the score.", min=0)] = 600.0,
    again: Annotated[bool, typer.Option("--again", help="Although this very file was sent before.")] = False,
    dry_run: DryRun = False,
) -> None:
    """Check a file, submit it, wait for its score, write the ledger. Spends one of the day's submissions."""
    from competition.cli.submission import record
    from competition.data.source.layout import load_data
    from competition.errors import UsageError
    from competition.prediction.ledger.ledger import Ledger
    from competition.prediction.submission.template import Template, template_at
    from competition.publish.kaggle.client import connect
    from competition.publish.kaggle.submit import submit as submit_file

    source: CompetitionData | Template | Path
    if run is None:
        source = sample if sample is not None else template_at(data)
    elif sample is not None:
        raise UsageError("--run needs the whole competition: give --data instead of --sample")
    else:
        source = load_data(data)
        if not dry_run:
            record(file, run, source, ledger)
    done = submit_file(
        connect,
        file,
        source,
        Ledger(ledger),
        message=message,
        competition=competition,
        wait_seconds=wait,
        again=again,
        dry_run=dry_run,
    )
    if done.submission is not None:
        print(f"{file}: {done.submission.told}")


def submissions(
    competition: Competition = COMPETITION,
    update: Annotated[bool, typer.Option("--update", help="Write new scores into the ledger.")] = False,
    ledger: LedgerFile = LEDGER,
    as_json: AsJson = False,
) -> None:
    """List the submissions on Kaggle with their scores, and how many are left today."""
    from competition.prediction.ledger.ledger import Ledger
    from competition.publish.kaggle import standing
    from competition.publish.kaggle.client import connect
    from competition.publish.kaggle.submit import update_ledger

    connection = connect()
    book, listed = Ledger(ledger), standing.submissions(connection, competition)
    left = standing.limits(connection, book, listed, competition)
    changed = update_ledger(book, listed) if update else 0
    if as_json:
        records = [standing.plain(item) for item in listed]
        print(json.dumps({"submissions": records, "limits": standing.plain(left)}, indent=2))
        return
    for item in listed:
        print(f"{item.date}  {item.file}  {item.told}  {item.description}")
    print(f"{len(listed)} submissions; {left.told}")
    if update:
        print(f"{ledger}: {changed} new scores")


def leaderboard(
    score: Annotated[float | None, typer.Argument(help="Where a log loss would stand; else your best.")] = None,
    top: Annotated[int, typer.Option("--top", help="Lines to show.", min=0)] = 10,
    competition: Competition = COMPETITION,
    as_json: AsJson = False,
) -> None:
    """Show the top of the public leaderboard, and the place that your score takes on it."""
    import math

    from competition.publish.kaggle import standing
    from competition.publish.kaggle.client import connect

    connection = connect()
    board = standing.leaderboard(connection, competition)
    if score is None:
        scores = [item.public_score for item in standing.submissions(connection, competition)]
        score = min((value for value in scores if not math.isnan(value)), default=None)
    place = standing.place_of(score, board) if score is not None else None
    if as_json:
        shown = [standing.plain(line) for line in board[:top]]
        print(json.dumps({"teams": len(board), "score": score, "place": place, "top": shown}, indent=2))
        return
    for line in board[:top]:
        print(f"{line.rank:>5}  {line.score:<9.5f}  {line.date[:10]:<10}  {line.team}")
    if score is None or place is None:
        print(f"{len(board):,} teams; no scored submission of yours")
    else:
        print(f"a log loss of {score:.5f} takes place {place:,} of {len(board):,} ({_share(place, len(board))})")


def quota(as_json: AsJson = False) -> None:
    """Show the GPU and TPU hours of this week."""
    from competition.publish.kaggle import standing
    from competition.publish.kaggle.client import connect

    found = standing.quota(connect())
    if as_json:
        print(json.dumps([standing.plain(item) for item in found], indent=2))
        return
    for item in found:
        left = max(0.0, item.total_hours - item.used_hours)
        used = f"{item.used_hours:.1f} of {item.total_hours:.1f} h used"
        print(f"{item.name}: {used}, {left:.1f} h left until {item.refresh}")
    if not found:
        print("Kaggle tells no quota for this account")


def register(app: typer.Typer) -> None:
    """Add these commands to ``dogbreed``."""
    for command in (download, submit, submissions, leaderboard, quota):
        app.command()(command)


def _share(place: int, teams: int) -> str:
    return f"top {100 * place / teams:.0f} %" if 0 < place <= teams else "below the last team"
