"""Write a submission that Kaggle accepts: aligned by id and breed name, validated before it appears."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from competition.errors import SubmissionError
from competition.files import atomic_path, csv_line
from competition.prediction.submission.check import SubmissionReport, check_submission
from competition.prediction.submission.judges import as_scored
from competition.prediction.submission.template import (
    ID_COLUMN,
    Template,
    count,
    few,
    require_same_breeds,
    template_for,
)
from competition.types import ROW_SUM_TOLERANCE, Predictions

if TYPE_CHECKING:
    from competition.data.source.competition_data import CompetitionData

# Ten significant digits: a row of 120 printed so sums to 1 within 1e-8 when it is read again.
_NUMBER = "%.10g"


def write_submission(
    predictions: Predictions, data: CompetitionData | Template | Path, path: Path | str
) -> SubmissionReport:
    """Write ``submission.csv`` for the test photos, in the order and with the columns of ``sample_submission.csv``.

    Without a sample the columns are the sorted breeds and the rows the test photos. A test photo that could not be
    read must still have a row in ``predictions`` (the class prior). Nothing is written unless the file is valid.

    Args:
        predictions: probabilities of the test photos; more photos than needed are fine.
        data: the competition, or a template, or the path of a ``sample_submission.csv``.
        path: where the CSV goes.

    Returns:
        What the checker said about the written file; ``ok`` is always true.

    Raises:
        SubmissionError: an id has no prediction, the breeds are not those of the sample, or the sample is misspelt.
    """
    template, path = template_for(data), Path(path)
    aligned = _aligned(predictions, template)
    with atomic_path(path) as temporary:
        with temporary.open("w", encoding="utf-8", newline="") as stream:
            stream.writelines(_lines(aligned))
        report = replace(check_submission(temporary, template), path=path)
        report.raise_if_invalid()
        if report.worst_sum > ROW_SUM_TOLERANCE:  # what the kit writes is to pass every judge
            raise SubmissionError(f"{path}: a row would not sum to 1 within {ROW_SUM_TOLERANCE:g}")
    return replace(report, notes=(*template.notes, *report.notes))


def check_template(data: CompetitionData) -> Template:
    """What the submission for these data will hold: checked before anything is computed.

    Raises:
        SubmissionError: the sample cannot be used, its columns are not the breeds, or no test photo is in it.
    """
    template = template_for(data)
    if not set(template.ids) & set(data.test_ids):
        raise SubmissionError(
            f"{data.sample_submission}: none of its {count(len(template.ids), 'id')} has a photo in test/ (it begins "
            f"with '{template.ids[0]}', the photos with '{data.test_ids[0]}'): give the sample of these photos"
        )
    return template


def _aligned(predictions: Predictions, template: Template) -> Predictions:
    require_same_breeds(predictions.classes, template.classes, "the predictions")
    known = set(predictions.ids)
    lacking = [name for name in template.ids if name not in known]
    if lacking:
        raise SubmissionError(
            f"{count(len(lacking), 'row')} of the submission without a prediction: {few(lacking)}. "
            "Predict these photos, or give them the class prior"
        )
    return predictions.aligned_to(template.ids, template.classes)


def _lines(predictions: Predictions) -> Iterator[str]:
    probabilities = np.clip(predictions.probabilities, 0.0, 1.0)
    probabilities = probabilities / probabilities.sum(axis=1, keepdims=True)
    yield csv_line((ID_COLUMN, *predictions.classes)) + "\n"
    numbers = ",".join([_NUMBER] * len(predictions.classes))
    for name, row in zip(predictions.ids, probabilities, strict=True):
        yield f"{csv_line((name,))},{numbers % tuple(row.tolist())}\n"


def read_submission(path: Path | str, template: CompetitionData | Template | Path) -> Predictions:
    """Read a submission as predictions in the template's order; rows that do not sum to 1 as Kaggle scores them.

    Raises:
        SubmissionError: the checker refuses the file; the first errors are named.
    """
    return read_checked(Path(path), template_for(template))[1]


def read_checked(path: Path, template: Template) -> tuple[SubmissionReport, Predictions]:
    """As ``read_submission``, with what the checker said.

    Raises:
        SubmissionError: the checker refuses the file; the first errors are named.
    """
    probabilities = np.full((len(template.ids), len(template.classes)), np.nan)
    rows = {name: row for row, name in enumerate(template.ids)}

    def keep(name: str, values: np.ndarray) -> None:
        scored = values.min() >= 0 and abs(values.sum() - 1) <= ROW_SUM_TOLERANCE
        probabilities[rows[name]] = values if scored else as_scored(values)

    report = check_submission(path, template, on_row=keep)
    report.raise_if_invalid()
    return report, Predictions(template.ids, template.classes, probabilities)
