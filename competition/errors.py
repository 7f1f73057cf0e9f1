"""Errors that a user can cause: one line that says what is wrong, where, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable


class KitError(Exception):
    """A mistake or a circumstance the user can mend. The command line prints it as one line and exits with 1."""

    exit_code = 1


class UsageError(KitError):
    """The command or the configuration is wrong (unknown key, impossible value). Exits with 2."""

    exit_code = 2


class DataError(KitError):
    """The data are missing, incomplete or contradict each other."""


class PhotoError(DataError):
    """One photo cannot be used: unreadable, truncated, too large or not an image."""


class SubmissionError(DataError):
    """A submission that Kaggle would refuse, or that cannot be made from what is at hand."""


class WeightsError(KitError):
    """Pretrained weights are missing, damaged or belong to another architecture."""


class ResumeError(KitError):
    """A run folder or checkpoint that does not belong to this configuration or these data."""


class TrainingError(KitError):
    """The training cannot go on: its loss is not a number, or the device has not enough memory for one photo."""


class StorageError(KitError):
    """The disk is full or the folder cannot be written."""


def nearest(name: str, known: Iterable[str], otherwise: str = ".") -> str:
    """Return `` - did you mean 'x'?`` for the known name that is closest to ``name``: the end of a sentence.

    Args:
        name: what the user wrote.
        known: what could have been meant.
        otherwise: how the sentence ends where no name is close.
    """
    by_folded = {candidate.casefold(): candidate for candidate in known}
    close = difflib.get_close_matches(name.casefold(), list(by_folded), n=1, cutoff=0.5)
    return f" - did you mean '{by_folded[close[0]]}'?" if close else otherwise


def require_known(what: str, name: str, known: Collection[str]) -> None:
    """Refuse a name that is none of those that are known.

    Args:
        what: that it is the name of.
        name: what the user wrote.
        known: all names; they are listed.

    Raises:
        UsageError: it is unknown; the nearest one is offered.
    """
    if name not in known:
        raise UsageError(f"unknown {what} '{name}'{nearest(name, known)} Known: {', '.join(known)}")
