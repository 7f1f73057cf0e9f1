"""A blend in words: tables of members, methods and the curve, for a terminal or a README."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from competition.prediction.blend.study import BlendStudy
from competition.record.metrics import accuracy, log_loss


def study_lines(found: BlendStudy) -> Iterator[str]:
    """Yield the lines of the report, tables in Markdown."""
    stack, score = found.stack, found.score
    yield f"{len(stack.members)} runs, {len(stack.ids):,} photos out of fold, {len(np.unique(stack.folds))} folds"
    yield ""
    members = [
        [
            name,
            f"{log_loss(np.exp(log_p), stack.labels):.4f}",
            f"{accuracy(log_p, stack.labels):.4f}",
            f"{weight:.3f}",
            f"{_mean_correlation(found, row):.2f}",
        ]
        for row, (name, log_p, weight) in enumerate(
            zip(stack.names, stack.log_probabilities, score.weights, strict=True)
        )
    ]
    yield from table(["run", "log loss", "accuracy", "weight", "mean correlation"], members)
    yield ""
    methods = [
        [
            each.method + (" *" if each.method == found.chosen else ""),
            f"{each.log_loss:.4f} ± {each.standard_error:.4f}",
            f"{each.gap:.4f} ± {each.gap_error:.4f}",
            "yes" if each.ties else "no",
            f"{each.accuracy:.4f}",
            f"{each.ece:.4f}",
        ]
        for each in found.scores
    ]
    yield from table(["method", "nested log loss", "behind the best", "ties", "accuracy", "ECE"], methods)
    yield ""
    curve = [
        [str(point.members), f"+ {point.added}", f"{point.log_loss:.4f}", f"{point.gap:.4f} ± {point.gap_error:.4f}"]
        for point in found.curve
    ]
    yield from table(["members", "", "nested log loss", "behind the best"], curve)
    yield ""
    yield f"taken: {found.chosen} (nested log loss {score.log_loss:.4f}), {_why(found)}"
    if found.optimism is not None:
        yield f"optimistic: {found.optimism}"
    yield _when_to_stop(found)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table whose columns line up in a terminal."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in
             [header, *rows]]  # fmt: skip
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]


def _mean_correlation(found: BlendStudy, row: int) -> float:
    others = np.delete(found.loss_correlation[row], row)
    return float(others.mean()) if len(others) else 1.0


def _why(found: BlendStudy) -> str:
    if found.score.gap == 0:
        return "the best, and no simpler way is within one standard error"
    if found.score.ties:
        best = min(found.scores, key=lambda score: score.log_loss)
        return f"the simplest within one standard error of the best ({best.method}, {best.log_loss:.4f})"
    return "as asked for"


def _when_to_stop(found: BlendStudy) -> str:
    enough = found.enough.members
    if enough == len(found.curve):
        return f"all {enough} runs are needed: with fewer the log loss is higher by more than a standard error"
    return f"after {enough} of {len(found.curve)} runs, one more lowers the log loss by less than a standard error"
