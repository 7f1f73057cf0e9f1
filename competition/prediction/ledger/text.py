"""The ledger in words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from competition.prediction.blend.text import table
from competition.prediction.ledger.ledger import Entry


def ledger_lines(entries: Sequence[Entry]) -> Iterator[str]:
    """Yield the ledger as a table, newest last, and a line per group of byte-identical submissions."""
    if not entries:
        yield "the ledger is empty: 'dogbreed blend' and 'dogbreed submission record' add rows"
        return
    rows = [
        [
            entry.written,
            entry.file,
            _members(entry),
            _number(entry.oof_log_loss),
            _interval(entry),
            _number(entry.public_score),
            _number(entry.private_score),
            "; ".join(filter(None, [verdict(entry) if not math.isnan(entry.public_score) else "", entry.note])),
        ]
        for entry in entries
    ]
    header = ["written", "file", "members", "out of fold", "95 % interval", "public", "private", "note"]
    yield from table(header, rows)
    for digest in dict.fromkeys(entry.digest for entry in entries):
        alike = [entry.file for entry in entries if entry.digest == digest]
        if len(alike) > 1:
            yield f"byte-identical: {', '.join(alike)}"


def record_lines(entry: Entry, twins: Sequence[Entry]) -> Iterator[str]:
    """Yield what is to be said of a new row."""
    if math.isnan(entry.oof_log_loss):
        yield f"{entry.file}: its score cannot be foretold, parts of it have no out-of-fold predictions"
        return
    yield (
        f"{entry.file}: expected score {entry.oof_log_loss:.4f}, 95 % interval {_interval(entry)} "
        f"for {entry.rows:,} test photos"
    )
    for twin in twins:
        scored = f", public score {twin.public_score:.5f}" if not math.isnan(twin.public_score) else ""
        yield f"warning: byte-identical to {twin.file}, written {twin.written}{scored}: it would score the same"


def verdict(entry: Entry) -> str:
    """What the public score says about the expectation."""
    score = entry.public_score
    if math.isnan(score):
        return f"private score {entry.private_score:.5f}" if not math.isnan(entry.private_score) else "no score yet"
    if math.isnan(entry.interval_low):
        return f"public score {score:.5f}"
    if score < entry.interval_low:
        return f"public score {score:.5f}, better than the interval {_interval(entry)}"
    if score > entry.interval_high:
        return f"public score {score:.5f}, worse than the interval {_interval(entry)}"
    return f"public score {score:.5f}, inside the interval {_interval(entry)}"


def _members(entry: Entry) -> str:
    if len(entry.members) == 1:
        return entry.members[0]
    if len(entry.weights) != len(entry.members):
        return f"{entry.method}: {' + '.join(entry.members)}"
    parts = [f"{weight:.2f} {name}" for weight, name in zip(entry.weights, entry.members, strict=True)]
    return f"{entry.method}: {' + '.join(parts)}"


def _interval(entry: Entry) -> str:
    return "" if math.isnan(entry.interval_low) else f"{entry.interval_low:.4f} to {entry.interval_high:.4f}"


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.4f}"
