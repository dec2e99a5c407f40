"""What the operator may set of clearing's behaviour; the rules of the protocol are not among it."""

from __future__ import annotations

from dataclasses import dataclass

from comity.clock import DAY, MINUTE, SECOND


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Times in microseconds.

    `skew_us`: how far a quote's time may lie ahead of clearing's clock, and how far most brands'
    clocks may differ before clearing stops deciding by expiry. `link_within_us`: how long a head
    learnt from a third party may wait for its link before its brand gets no new commits.
    `report_grace_us`: how long after a start undelivered redemptions are left alone.
    `acknowledge_within_us`: how long a brand has to answer a settlement.
    """

    skew_us: int = 5 * SECOND
    link_within_us: int = 5 * SECOND
    report_grace_us: int = MINUTE
    acknowledge_within_us: int = 2 * DAY
