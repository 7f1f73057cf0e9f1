"""``dogbreed submission``: check a file, ask the doctor, keep the ledger, grade a split offline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from competition.cli import options as given

if TYPE_CHECKING:
    from competition.data.source.competition_data import CompetitionData
    from competition.prediction.submission.check import SubmissionReport

app = typer.Typer(help="Check, examine and record submissions before one of the day's is spent.", no_args_is_help=True)


@app.command()
def check(
    file: given.Submission,
    data: given.Data = None,
    sample: given.Sample = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse what any judge refuses and what costs score, not only Kaggle.")
    ] = False,
    as_json: given.AsJson = False,
) -> None:
    """Check a file: exit 1 for what Kaggle would refuse; what others refuse or what costs score is a warning."""
    from competition.prediction.submission.check import check_submission
    from competition.prediction.submission.template import template_at

    report = check_submission(file, sample if sample is not None else template_at(data))
    report = report.strict() if strict else report
    if as_json:
        print(json.dumps(report.to_dict(), indent=2))
    else:
        print_report(report)
    if not report.ok:
        raise typer.Exit(1)


@app.command("list")
def list_(ledger: given.LedgerFile = given.LEDGER, as_json: given.AsJson = False) -> None:
    """Show the ledger: what was written, what it was expected to score, what it scored."""
    from competition.prediction.ledger.ledger import Ledger
    from competition.prediction.ledger.text import ledger_lines

    entries = Ledger(ledger).entries()
    if as_json:
        print(json.dumps([entry.to_dict() for entry in entries], indent=2))
        return
    for line in ledger_lines(entries):
        print(line)


@app.command()
def score(
    file: Annotated[Path, typer.Argument(help="The submission, its name in the ledger, or its digest.")],
    public: Annotated[float | None, typer.Argument(help="Public score, log loss.")] = None,
    private: Annotated[float | None, typer.Option("--private", help="Private score, log loss.")] = None,
    ledger: given.LedgerFile = given.LEDGER,
) -> None:
    """Write down what the leaderboard said."""
    from competition.errors import UsageError
    from competition.prediction.ledger.ledger import Ledger
    from competition.prediction.ledger.text import verdict

    if public is None and private is None:
        raise UsageError("give a score: dogbreed submission score FILE 0.123")
    entry = Ledger(ledger).score(file, public, private)
    print(f"{entry.file}: {verdict(entry)}")


@app.command("record")
def record_(
    file: given.Submission,
    run: given.MadeBy,
    data: given.Data = None,
    ledger: given.LedgerFile = given.LEDGER,
    note: Annotated[str, typer.Option("--note", help="Anything worth remembering.")] = "",
) -> None:
    """Add a submission to the ledger."""
    from competition.data.source.layout import load_data

    record(file, run, load_data(data, like=run), ledger, note)


@app.command()
def grade(
    file: given.Submission,
    answers: Annotated[Path, typer.Option("--answers", help="CSV with the columns id and breed.")],
    as_json: given.AsJson = False,
) -> None:
    """Grade a file offline against known breeds; what another grader would refuse is a warning."""
    from competition.console import warn
    from competition.prediction.submission.grade import grade_with_report

    value, report = grade_with_report(file, answers)
    for line in report.warnings:
        warn(line)
    print(json.dumps({"log_loss": value}) if as_json else f"log loss {value:.5f}")


@app.command()
def split(
    out: Annotated[Path, typer.Option("--out", help="A new folder; gets public/ and private/answers.csv.")],
    data: given.Data = None,
    share: Annotated[float, typer.Option("--share", help="Share of the training photos to hold out.")] = 0.1,
    seed: given.Seed = 0,
) -> None:
    """Make a competition whose answers are known: a tenth of the training photos become its test set."""
    from competition.data.source.layout import load_data
    from competition.prediction.submission.split import split_competition

    made = split_competition(load_data(data), out, share=share, seed=seed)
    print(f"{made.public}: {made.train:,} train and {made.test:,} test photos; answers in {made.answers}")
    print(f"next: dogbreed run --data {made.public} --run-dir RUN")
    print(f"then: dogbreed submission grade RUN/submission.csv --answers {made.answers}")


def print_report(report: SubmissionReport) -> None:
    """Print what the checker found: errors, warnings, notes, and the verdict."""
    for title, lines in (("error", report.errors), ("warning", report.warnings), ("note", report.notes)):
        for line in lines:
            print(f"{title}: {line}")
    doubts = f", {len(report.warnings)} warning{'s' * (len(report.warnings) > 1)}" if report.warnings else ""
    print(f"{report.path}: {'valid' if report.ok else 'NOT valid'}, {report.rows:,} rows{doubts}")


def record(file: Path, run: Path, data: CompetitionData, ledger: Path, note: str = "") -> None:
    """Add the row and print it; a byte-identical earlier submission is pointed out."""
    from competition.console import say
    from competition.prediction.ledger.ledger import Ledger
    from competition.prediction.ledger.record_submission import record_submission
    from competition.prediction.ledger.text import record_lines
    from competition.report.html.pages import is_drawing

    if is_drawing(data):
        say("no row in the ledger: these photos are the embedded sample's drawings")
        return
    for line in record_lines(*record_submission(file, run, data, Ledger(ledger), note)):
        print(line)


@app.command()
def doctor(
    file: given.Submission,
    run: given.MadeBy,
    data: given.Data = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="HTML page with pictures to write.", callback=given.file_to_write),
    ] = None,
    weights: given.RunWeights = None,
    ledger: given.LedgerFile = given.LEDGER,
    as_json: given.AsJson = False,
) -> None:
    """Examine a file: expected score, calibration, drift, odd rows, duplicates, earlier submissions."""
    from competition.console import say
    from competition.data.source.layout import load_data
    from competition.prediction.doctor.examine import examine
    from competition.prediction.doctor.text import doctor_lines
    from competition.prediction.ledger.ledger import Ledger
    from competition.record.run_dir import RunDir
    from competition.report.doctor_page import write_doctor_page
    from competition.training.probe.cached_features import cached_features

    competition = load_data(data, like=run)
    features = cached_features(RunDir(run), competition, weights)
    found = examine(file, run, competition, ledger=Ledger(ledger), features=features)
    if as_json:
        print(json.dumps(found.to_dict(), indent=2, allow_nan=False))
    else:
        for line in doctor_lines(found):
            print(line)
    if out is not None:
        say(f"page: {write_doctor_page(found, out, competition)}")
