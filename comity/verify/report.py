"""What a verification found, as plain data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from comity.errors import ComityError
from comity.ledger.replay import Check, Findings, Replay
from comity.terms.decision_replay import DecisionReplay

__all__ = ["Check", "Findings", "Report", "refused"]

AnyReplay = Replay | DecisionReplay


@dataclass(frozen=True, slots=True)
class Report:
    """The checks on one subject.

    `replay` is the folded log, where a log was read in full; `note` the signed head it was read
    under, for whoever wants to compare a later one with it.
    """

    subject: str
    checks: tuple[Check, ...]
    figures: Mapping[str, int] = field(default_factory=dict)
    replay: AnyReplay | None = field(default=None, compare=False, repr=False)
    note: bytes = field(default=b"", repr=False)

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    def rows(self) -> list[tuple[str, str, str]]:
        """For a table: what was checked, `ok` or `FAILED`, and what was found."""
        return [
            (check.name, "ok" if check.passed else "FAILED", check.detail) for check in self.checks
        ]

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "subject": self.subject,
            "passed": self.passed,
            "figures": dict(self.figures),
            "checks": [
                {"name": check.name, "passed": check.passed, "detail": check.detail}
                for check in self.checks
            ],
        }


def refused(name: str, error: ComityError) -> Check:
    """The failed check which an error stands for."""
    return Check(name, passed=False, detail=error.message)


def merged(checks: Iterable[Check]) -> tuple[Check, ...]:
    """One check for each name, failed if one of them failed, in order of first appearance."""
    found: dict[str, Check] = {}
    for check in checks:
        before = found.get(check.name)
        if before is None or (before.passed and not check.passed):
            found[check.name] = check
        elif not before.passed and not check.passed:
            found[check.name] = Check(check.name, False, f"{before.detail} {check.detail}")
    return tuple(found.values())
