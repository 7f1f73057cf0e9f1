"""What a kernel's own code calls: its settings, its folders, an attached run, and the delivery of the result."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from competition.console import say
from competition.environment import folders_below, kaggle_root, on_kaggle
from competition.errors import DataError, UsageError, nearest
from competition.files import atomic_path, write_json
from competition.publish.output_record import SUBMISSION, write_record

if TYPE_CHECKING:
    from competition.prediction.submission.check import SubmissionReport

SETTINGS = "DOGBREED_KERNEL_SETTINGS"
KIT_DIGEST = "DOGBREED_KIT_DIGEST"


def settings(**defaults: Any) -> dict[str, Any]:
    """The kernel's settings: those written in its source, changed by a dry run (JSON in ``DOGBREED_KERNEL_SETTINGS``).

    Raises:
        UsageError: what the dry run wants is no JSON object, or names a setting that the kernel does not have.
    """
    text = os.environ.get(SETTINGS, "")
    try:
        changes = json.loads(text) if text else {}
    except json.JSONDecodeError as error:
        raise UsageError(f"{SETTINGS} is not JSON ({error})") from error
    if not isinstance(changes, dict):
        raise UsageError(f'{SETTINGS} must be a JSON object, as in {{"epochs": 1}}')
    for key in changes:
        if key not in defaults:
            raise UsageError(f"the kernel has no setting '{key}'{nearest(key, defaults)} It has: {', '.join(defaults)}")
    chosen = {**defaults, **changes}
    say(f"settings: {json.dumps(chosen)}")
    return chosen


def working() -> Path:
    """Where a kernel leaves its files: Kaggle's working folder; elsewhere the current one."""
    return kaggle_root() / "working" if on_kaggle() else Path.cwd()


def attached_run(needed: str = "oof.npz") -> Path:
    """The finished run among the inputs: the output of another kernel, or a dataset made of one.

    Args:
        needed: a file that the run folder must hold beside ``config.json`` and ``metrics.json``.

    Raises:
        DataError: there is none, or more than one.
    """
    wanted = {"metrics.json", "config.json", needed}
    found = [folder for folder, names in folders_below(kaggle_root() / "input") if wanted <= names]
    if len(found) != 1:
        named = ", ".join(str(path) for path in sorted(found)) or "none"
        raise DataError(f"one finished run must be attached (the output of the kernel that trained); found: {named}")
    return found.pop()


def deliver(submission: Path | None) -> Path | None:
    """Put a run's ``submission.csv`` where Kaggle looks for it, and write down its digest.

    Args:
        submission: what the run wrote; None where it has none (no test photos, or not all folds).
    """
    if submission is None:
        say(f"no {SUBMISSION}: the run has no test photos, or not all of its folds")
        return None
    target = working() / SUBMISSION
    with atomic_path(target) as temporary:
        shutil.copyfile(submission, temporary)
    _record(SUBMISSION)
    return target


def delivered(report: SubmissionReport) -> None:
    """Say what the checker found in a submission that lies in the working folder, and write down its digest."""
    print(f"{report.path}: {report.rows:,} rows, valid")
    for note in (*report.notes, *report.warnings):
        print(f"note: {note}")
    _record(report.path.name)


def leave_metrics(metrics: Mapping[str, Any]) -> Path:
    """Write ``metrics.json`` into the working folder, print its plain figures in a line, write down its digest."""
    target = working() / "metrics.json"
    write_json(target, dict(metrics))
    print(json.dumps({key: value for key, value in metrics.items() if isinstance(value, int | float | str)}))
    _record(target.name)
    return target


def _record(name: str) -> None:
    write_record(working(), [name], kit=os.environ.get(KIT_DIGEST, ""))
