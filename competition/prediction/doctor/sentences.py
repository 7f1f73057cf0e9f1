"""The doctor's sentences: what was found, the worst first."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from competition.prediction.doctor.diagnosis import Diagnosis, Finding, Repair
from competition.prediction.submission.template import count, few

_ORDER = ("bad", "look", "good")


def findings(found: Diagnosis) -> Diagnosis:
    """The same diagnosis with its sentences."""
    told = [*_validity(found), *_relation(found), *_rows(found), *_drift(found), *_twins(found), *_earlier(found)]
    if found.repair is not None:
        told += _calibration(found.repair)
    return dataclasses.replace(found, findings=tuple(sorted(told, key=lambda each: _ORDER.index(each.level))))


def _validity(found: Diagnosis) -> Iterator[Finding]:
    yield Finding("good", f"Valid: {count(found.report.rows, 'row')}, every rule of the competition is met.")
    for line in found.report.warnings:
        yield Finding("look", f"{line[:1].upper()}{line[1:]}.")
    for line in found.report.notes:
        yield Finding("good", f"{line[:1].upper()}{line[1:]}.")


def _relation(found: Diagnosis) -> Iterator[Finding]:
    if found.by_beliefs:
        yield Finding(
            "look",
            f"The file holds {found.relation}. The expected score takes the run's calibrated probabilities for the "
            "truth: it says how far the file departs from them, not how good both are.",
        )
    elif found.relation.kind == "transformed":
        yield Finding("look", f"The file holds {found.relation}; the same was done out of fold before measuring.")


def _calibration(repair: Repair) -> Iterator[Finding]:
    kind = "overconfident" if repair.temperature > 1 else "underconfident"
    clip = f" and a clip at {repair.clip:g}" if repair.clip else ""
    if repair.worth_it:
        yield Finding(
            "bad",
            f"{kind.capitalize()}: that costs {repair.cost:.4f} ± {repair.gain_error:.4f} nats out of fold. A "
            f"temperature of {repair.temperature:.3f}{clip} repairs it ({repair.log_loss:.4f} to "
            f"{repair.repaired_log_loss:.4f}).",
        )
    else:
        change = f"{-repair.cost:+.4f} ± {repair.gain_error:.4f}" if abs(repair.cost) >= 1e-4 else "less than 0.0001"
        yield Finding(
            "good",
            f"Calibrated: the best temperature is {repair.temperature:.3f}{clip}, which would change the log loss by "
            f"{change} nats.",
        )


def _rows(found: Diagnosis) -> Iterator[Finding]:
    rows = found.rows
    if rows.uniform:
        told = count(len(rows.uniform), "row")
        yield Finding("bad", f"{told} give every breed nearly the same probability: {few(rows.uniform)}.")
    if rows.prior:
        told = count(len(rows.prior), "row")
        yield Finding("look", f"{told} hold the class prior (photos that cannot be read): {few(rows.prior)}.")
    if rows.alike:
        yield Finding("look", f"{count(len(rows.alike), 'row')} repeat another row exactly: {few(rows.alike)}.")


def _drift(found: Diagnosis) -> Iterator[Finding]:
    confidence, first = found.drift.confidence, found.drift.shifts[0]
    change = f"median {confidence.train_median:.3f} out of fold, {confidence.test_median:.3f} on the test photos"
    if confidence.drifts:
        yield Finding("look", f"Confidence differs: {change} (KS distance {confidence.distance:.3f}).")
    else:
        yield Finding("good", f"Confidence agrees: {change} (KS p = {confidence.p_value:.2f}).")
    if found.drift.class_p_value < 0.01:
        yield Finding(
            "look",
            f"Breeds are not as frequent as in training: '{first.breed}' {first.train_share:.2%} there, "
            f"{first.test_share:.2%} here (z = {first.z:+.1f}).",
        )
    else:
        yield Finding("good", "Breeds are as frequent as in training, up to chance.")
    embedding = found.drift.embedding
    if embedding is not None:
        change = f"median {embedding.train_median:.3f} for training photos, {embedding.test_median:.3f} for test photos"
        where, chance = "look" if embedding.drifts else "good", f"KS p = {embedding.p_value:.2g}"
        yield Finding(where, f"Distance to the nearest other training photo: {change} ({chance}).")


def _twins(found: Diagnosis) -> Iterator[Finding]:
    if not found.twins:
        return
    photos = len({twin.test_id for twin in found.twins})
    other = len({twin.test_id for twin in found.twins if twin.called != twin.breed})
    yield Finding(
        "look",
        f"{count(photos, 'test photo')} among the duplicates of training photos, {other} of them called another breed "
        "than the training photo. Their labels are not used: a score on them says nothing about other photos.",
    )


def _earlier(found: Diagnosis) -> Iterator[Finding]:
    for each in found.agreements:
        if each.identical:
            yield Finding("bad", f"Byte-identical to {each.file} ({each.written}): it would score the same.")
            return
    if found.agreements:
        near = min(found.agreements, key=lambda each: each.distance)
        yield Finding("good", f"Closest earlier submission: {near.file}, {near.alike:.1%} of the photos called alike.")
