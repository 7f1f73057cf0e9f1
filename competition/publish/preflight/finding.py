"""What a check of a kernel found: what is wrong, where, and what to do."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One trap.

    Attributes:
        rule: its short name, for tests and for people who search.
        where: file or key.
        problem: what would happen on Kaggle.
        fix: what to do.
        blocking: whether it must stop a push; False where only time or quota is wasted.
    """

    rule: str
    where: str
    problem: str
    fix: str
    blocking: bool = True

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}: {self.fix} [{self.rule}]"
