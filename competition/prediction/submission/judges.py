"""Who judges a submission, and what each of them does with it. Every finding of the checker names its judge.

Kaggle: its pages SubmissionParser and MultiClassLogLoss (https://www.kaggle.com/wiki/MultiClassLogLoss, which the
competition's page names). The columns are those of the sample by exact name, in any order and no others; every id has
one row, in any order; a probability is replaced by max(min(p, 1 - 1e-15), 1e-15), and a row is divided by its sum.
Files may be packed. Not documented: which of clipping and dividing comes first, what becomes of an empty cell, of NaN,
of a repeated id and of UTF-16; these are taken as refused.

mle-bench: the grader of this competition in openai/mle-bench. It reads the CSV with pandas, ignores other columns,
wants as many rows as there are answers and the same ids, values in [0, 1], and rows that
``np.isclose(sum, 1, atol=1e-6)`` accepts, whose relative tolerance of 1e-5 makes that 1.1e-5.

This kit: advice, and the refusal of files that Kaggle might take and that nobody can mean.
"""

from __future__ import annotations

import re

import numpy as np

KAGGLE, MLE_BENCH, KIT = "Kaggle", "mle-bench", "this kit"
BOTH = f"{KAGGLE}, {MLE_BENCH}"

MLE_BENCH_TOLERANCE = 1.1e-5  # of a row's sum
FLOOR = 1e-15  # Kaggle's
# Rounding leaves a value a little outside [0, 1], and so does a blend with negative weights. Logits and percentages go
# far beyond, and what they score hangs on the order of Kaggle's two steps, which it does not tell.
PLAUSIBLE = (-1.0, 2.0)

# White space that .NET's and pandas' numbers may be padded with; others (U+00A0, U+3000, 0x1f) make the cell no number.
_PADDING = r"[\t-\r ]*"
NUMBER = re.compile(rf"{_PADDING}[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?{_PADDING}", re.ASCII)
NUMERIC = re.compile(r"[0-9.eE+\-\t-\r ]*")  # what numbers consist of: a quick look at a whole row
NOT_FINITE = re.compile(rf"{_PADDING}[+-]?(nan|inf|infinity){_PADDING}", re.IGNORECASE)


def cited(text: str, judge: str) -> str:
    """A finding with its judge."""
    return f"{text} [{judge}]"


def as_scored(values: np.ndarray) -> np.ndarray:
    """A row of finite numbers (c,) as Kaggle scores it: clipped, then divided by its sum."""
    clipped = np.clip(values, FLOOR, 1 - FLOOR)
    scored: np.ndarray = clipped / clipped.sum()
    return scored


def shown(text: str, longest: int = 40) -> str:
    """A text as it may stand in a message: cut, and with what cannot be seen written as its number (U+00A0)."""
    return "".join(
        c if c == " " or (c.isprintable() and not c.isspace()) else f"U+{ord(c):04X}" for c in text[:longest]
    )


def cell_problem(cell: str) -> tuple[str, str] | None:
    """Kind and hint of a cell that is no finite number, or None when it is one."""
    text = cell.strip()
    if NUMBER.fullmatch(cell):
        return None
    if not text:
        return "with an empty cell", ""
    if NOT_FINITE.fullmatch(cell):
        return "with NaN or infinity", ""
    if "," in text:
        return "with a comma inside a number", " (a thousands separator or a decimal comma: write 0.5)"
    if text.endswith("%"):
        return "with a percentage", " (write 0.5 for 50 %)"
    bare = "".join(character for character in cell if character.isascii() and character.isprintable())
    if NUMBER.fullmatch(bare):
        return "with an odd white space or an invisible character in a number", " (write it without)"
    return "with a cell that is no number", ""
