"""What happened in a run of the demonstration, counted where it happened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from comity.v1.entry_pb2 import OUTCOME_ADJUSTED, OUTCOME_REVERSED
from comity.v1.peer_pb2 import BookRow


@dataclass(slots=True)
class Tally:
    """Counters of the running story."""

    members: Counter[str] = field(default_factory=Counter)
    baskets: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    """Baskets which the import rule refused, by code."""
    points_issued: Counter[str] = field(default_factory=Counter)
    partner_baskets: int = 0
    partner_points: int = 0
    committed: int = 0
    exchanges: int = 0
    exchanged_points: int = 0
    """Points which exchanges gave at their acceptors."""
    aborted: Counter[str] = field(default_factory=Counter)
    """By clearing's decision, by reason."""
    refused: Counter[str] = field(default_factory=Counter)
    """Before anything was sent to clearing, by code."""
    too_poor: int = 0
    """Wishes for which no other brand's points sufficed; nothing was asked of anybody."""
    vouchers_used: int = 0
    reversed_in_part: int = 0
    reversed_whole: int = 0
    cap_raised: bool = False
    receipts: list[str] = field(default_factory=list)
    """Folders of receipts, in the order in which they were made."""

    @property
    def wishes(self) -> int:
        """Wishes dealt with so far."""
        return (
            self.committed + sum(self.aborted.values()) + sum(self.refused.values()) + self.too_poor
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """What went between an issuer and an acceptor, returns taken off."""

    redemptions: int = 0
    points: int = 0
    minor: int = 0
    fee_minor: int = 0

    def plus(self, row: BookRow, *, sign: int = 1) -> Flow:
        """With one more decision; a REVERSED takes off."""
        returned = row.outcome in (OUTCOME_REVERSED, OUTCOME_ADJUSTED)
        return Flow(
            redemptions=self.redemptions + (not returned),
            points=self.points + (-abs(row.points) if returned else row.points),
            minor=self.minor + sign * row.amount.minor,
            fee_minor=self.fee_minor + row.fee.minor,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was verified."""

    name: str
    passed: bool
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A finished run. Money is in minor units of the coalition's currency."""

    tally: Tally
    weeks: int
    flows: Mapping[tuple[str, str], Flow]
    accrued: Flow
    """What partners paid for points which members earned at their stores."""
    window: int
    decisions: int
    net_positions: Mapping[str, int]
    payments: Sequence[tuple[str, str, int]]
    acknowledged: Sequence[str]
    entries: Mapping[str, int]
    totals: Mapping[str, Mapping[str, int]]
    """Points of each brand by account class."""
    receipt: Mapping[str, Any]
    checks: Sequence[Check]
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether every check passed, and there was at least one."""
        return bool(self.checks) and all(check.passed for check in self.checks)

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        tally = self.tally
        return {
            "passed": self.passed,
            "seconds": round(self.seconds, 1),
            "weeks": self.weeks,
            "brands": [
                {
                    "brand": brand,
                    "members": tally.members[brand],
                    "baskets": tally.baskets[brand],
                    "points_issued": tally.points_issued[brand],
                    "points": dict(self.totals[brand]),
                }
                for brand in self.totals
            ],
            "members": sum(tally.members.values()),
            "baskets": sum(tally.baskets.values()) + tally.partner_baskets,
            "baskets_rejected": dict(tally.rejected),
            "points_issued": sum(tally.points_issued.values()) + tally.partner_points,
            "points_issued_by_exchange": tally.exchanged_points,
            "partner_accruals": tally.partner_baskets,
            "redemptions_committed": tally.committed,
            "redemptions_aborted": sum(tally.aborted.values()),
            "aborted_for": dict(tally.aborted),
            "redemptions_refused": dict(tally.refused),
            "wishes_without_enough_points": tally.too_poor,
            "exchanges": tally.exchanges,
            "reversals": tally.reversed_in_part + tally.reversed_whole,
            "reversed_in_part": tally.reversed_in_part,
            "reversed_whole": tally.reversed_whole,
            "vouchers_used": tally.vouchers_used,
            "flows": [
                {
                    "issuer": issuer,
                    "acceptor": acceptor,
                    "redemptions": flow.redemptions,
                    "points": flow.points,
                    "minor": flow.minor,
                    "fee_minor": flow.fee_minor,
                }
                for (issuer, acceptor), flow in self.flows.items()
            ],
            "partner_accruals_minor": self.accrued.minor,
            "window": self.window,
            "decisions": self.decisions,
            "net_positions": dict(self.net_positions),
            "payments": [
                {"payer": payer, "payee": payee, "minor": minor}
                for payer, payee, minor in self.payments
            ],
            "acknowledged": list(self.acknowledged),
            "entries": dict(self.entries),
            "checks": [
                {"name": check.name, "passed": check.passed, "detail": check.detail}
                for check in self.checks
            ],
        }
