"""Whether to trust the photos: unreadable files, exact and near duplicates, label conflicts, leaks."""

from __future__ import annotations

from competition.data.audit_report import AuditReport, DuplicatePair

__all__ = ["AuditReport", "DuplicatePair"]
