"""The doctor's findings in words, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from competition.prediction.doctor.diagnosis import Diagnosis

_WORDS = {"bad": "mend", "look": "look", "good": "fine"}


def doctor_lines(found: Diagnosis) -> Iterator[str]:
    """Yield the expected score, then every finding, the worst first."""
    expected = found.expected
    basis = "the run's own probabilities" if found.by_beliefs else f"{expected.photos:,} photos out of fold"
    yield f"{found.file}: {found.relation} ({found.run})"
    yield (
        f"expected log loss {expected.log_loss:.4f}, {expected.level:.0%} interval {expected.low:.4f} to "
        f"{expected.high:.4f} for {expected.test_photos:,} test photos, from {basis}"
    )
    yield (
        f"expected accuracy {expected.accuracy:.2%}, {expected.level:.0%} interval {expected.accuracy_low:.2%} to "
        f"{expected.accuracy_high:.2%}"
    )
    yield ""
    for each in found.findings:
        yield f"{_WORDS[each.level]}: {each.text}"
