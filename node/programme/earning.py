"""What one event earns: every rule asked once, in the file's order, each with its verdict.

A rate is an exact ratio which multipliers make larger, and is rounded down once: for the order or
for each line. Limits then cut what is left. Every rule sees the facts from before the event, so
no rule sees another's points. The verdicts are the explanation and sum to the grants less the
penalties.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from math import gcd
from typing import Final, Literal

from comity.clock import DAY
from comity.points import checked
from node.programme.calendar import expires_at, period_key
from node.programme.expressions import Failed
from node.programme.facts import (
    Count,
    CountKey,
    Earned,
    Event,
    Facts,
    Grant,
    Penalty,
    Verdict,
)
from node.programme.model import PURCHASE, EarnRule, Multiplier, Programme
from node.programme.plan import Plan, plan_of
from node.programme.situation import Situation

Reason = Literal[
    "earned",
    "penalty",
    "other_event",
    "condition",
    "failed",
    "no_points",
    "expired",
    "limit_times",
    "limit_points",
    "velocity",
]

REASONS: Final[dict[Reason, str]] = {
    "earned": "The rule gave all its points.",
    "penalty": "The rule took points.",
    "other_event": "The rule is for other events.",
    "condition": "The rule's condition did not hold.",
    "failed": "The rule's condition or formula had no value this time.",
    "no_points": "The event is worth no whole point.",
    "expired": "The points would have expired already.",
    "limit_times": "The rule gave as often as it may in this period.",
    "limit_points": "The rule gave as much as it may in this period: a part, or nothing.",
    "velocity": "Too many such events; a person has to look.",
}


def count_keys(programme: Programme, event: Event) -> tuple[CountKey, ...]:
    """The counts that `earn` looks at for this event."""
    plan = plan_of(programme)
    keys = [
        (name, period_key(programme.zone, limit.per, event.at_us))
        for name, rule in plan.rules.get(event.type, ())
        if isinstance(rule, EarnRule)
        for limit in rule.limits
    ]
    keys += [
        (name, period_key(programme.zone, limit.per, event.at_us))
        for name, limit in plan.velocity.get(event.type, ())
    ]
    return tuple(dict.fromkeys(keys))


def earn(
    programme: Programme, facts: Facts, event: Event, *, now_us: int, approved: bool = False
) -> Earned:
    """What the event earns and costs, with a verdict for every rule.

    `approved` says that a person looked at an event beyond a velocity limit and lets it through.
    Raises Overflow for points beyond what a ledger can hold.
    """
    situation = Situation(programme, facts, event, now_us=now_us)
    judge = _Judge(programme, plan_of(programme), facts, event, situation, now_us)
    judge.velocity(approved=approved)
    for name, rule in judge.plan.rules.get(event.type, ()):
        judge.verdicts.append(judge.verdict(name, rule) if isinstance(rule, EarnRule) else rule)
    return Earned(
        grants=tuple(judge.grants),
        penalties=tuple(judge.penalties),
        counts=judge.counts,
        verdicts=tuple(judge.verdicts),
    )


@dataclass(frozen=True, slots=True)
class _Worth:
    """What a rule would give before limits, and the ratio a refund recomputes it with."""

    points: int
    numerator: int = 0
    denominator: int = 0
    by_line: bool = False
    detail: str = ""


@dataclass(slots=True)
class _Judge:
    """One event being judged."""

    programme: Programme
    plan: Plan
    facts: Facts
    event: Event
    situation: Situation
    now_us: int
    grants: list[Grant] = field(default_factory=list)
    penalties: list[Penalty] = field(default_factory=list)
    counts: dict[CountKey, Count] = field(default_factory=dict)
    verdicts: list[Verdict] = field(default_factory=list)
    stopped: str = ""
    factors: dict[str, bool] = field(default_factory=dict)

    # --- conditions and counts --------------------------------------------------------------

    def count(self, key: CountKey) -> Count:
        return self.counts.get(key) or self.facts.counts.get(key) or Count()

    def velocity(self, *, approved: bool) -> None:
        """Count the event, and stop every rule if there are too many of its type."""
        for name, limit in self.plan.velocity.get(self.event.type, ()):
            key = (name, period_key(self.programme.zone, limit.per, self.event.at_us))
            times = self.count(key).times + 1
            self.counts[key] = Count(times=times)
            if times > limit.times and not approved:
                self.stopped = f"event {times} this {limit.per.value}, at most {limit.times}"

    # --- one rule ---------------------------------------------------------------------------

    def verdict(self, name: str, rule: EarnRule) -> Verdict:
        if self.stopped:
            return _nothing(name, "velocity", self.stopped)
        if rule.when is not None:
            holds = self.programme.expressions.holds(rule.when, self.situation)
            if isinstance(holds, Failed):
                return _nothing(name, "failed", f"{rule.when}: {holds.reason}")
            if not holds:
                return _nothing(name, "condition", rule.when)
        worth = self.worth(name, rule)
        if isinstance(worth, Failed):
            return _nothing(name, "failed", f"{rule.formula}: {worth.reason}")
        if worth.points == 0:
            return _nothing(name, "no_points", worth.detail)
        keys = [
            (limit, (name, period_key(self.programme.zone, limit.per, self.event.at_us)))
            for limit in rule.limits
        ]
        allowed = size = abs(worth.points)
        cut = ""
        for limit, key in keys:
            count, per = self.count(key), limit.per.value
            if limit.times is not None and count.times >= limit.times:
                detail = f"{count.times} of {limit.times} times ({per}: {key[1]})"
                return _nothing(name, "limit_times", detail)
            if limit.points is not None and limit.points - count.points < allowed:
                allowed = max(0, limit.points - count.points)
                cut = f"{count.points} of {limit.points} points before ({per}: {key[1]})"
        if allowed == 0:
            return _nothing(name, "limit_points", cut)
        if worth.points > 0 and not self.grant(name, rule, worth, allowed):
            return _nothing(name, "expired", "expired before the event was reported")
        if worth.points < 0:
            unit = rule.unit or self.plan.main
            debt = rule.penalty == "debt"
            self.penalties.append(Penalty(rule=name, unit=unit, points=allowed, debt=debt))
        for key in dict.fromkeys(key for _, key in keys):
            before = self.count(key)
            self.counts[key] = Count(times=before.times + 1, points=before.points + allowed)
        if allowed < size:
            reason: Reason = "limit_points"
        else:
            reason = "earned" if worth.points > 0 else "penalty"
        earned = allowed if worth.points > 0 else -allowed
        return Verdict(rule=name, earned=earned, reason=reason, detail=cut or worth.detail)

    def grant(self, name: str, rule: EarnRule, worth: _Worth, points: int) -> bool:
        """Add the grant, unless its points would be over by now."""
        programme, at_us = self.programme, self.event.at_us
        unit = rule.unit or self.plan.main
        expires_at_us = expires_at(programme, unit, at_us, self.facts.enrolled_at_us)
        if expires_at_us and expires_at_us <= self.now_us:
            return False
        pending = rule.on == PURCHASE if rule.pending is None else rule.pending
        self.grants.append(
            Grant(
                rule=name,
                unit=unit,
                points=points,
                earned_at_us=at_us,
                available_at_us=at_us + programme.return_window_days * DAY * int(pending),
                expires_at_us=expires_at_us,
                source=rule.source,
                funded_by=rule.funded_by,
                numerator=worth.numerator,
                denominator=worth.denominator,
                by_line=worth.by_line,
            )
        )
        return True

    # --- what a rule is worth ---------------------------------------------------------------

    def worth(self, name: str, rule: EarnRule) -> _Worth | Failed:
        numerator, denominator, told = self.factor(name)
        if rule.rate is not None:
            up = rule.rate.points * numerator
            down = rule.rate.per_minor * denominator
            return self.by_rate(rule, up, down, told)
        points = rule.points or 0
        if rule.formula is not None:
            found = self.programme.expressions.number(rule.formula, self.situation)
            if isinstance(found, Failed):
                return found
            points = found
        size = abs(points) * numerator // denominator
        worth = checked(size if points >= 0 else -size)
        if rule.formula is not None and worth > 0 and self.event.amount_minor > 0:
            # A formula cannot be asked about half a purchase: its points go with the amount.
            shared = gcd(worth, self.event.amount_minor)
            return _Worth(
                worth, worth // shared, self.event.amount_minor // shared, False, told.strip()
            )
        return _Worth(worth, detail=told.strip())

    def by_rate(self, rule: EarnRule, up: int, down: int, told: str) -> _Worth:
        shared = gcd(up, down)
        up, down = checked(up // shared), checked(down // shared)
        lines = self.event.lines
        by_line = rule.rounding == "line" and bool(lines)
        if by_line:
            points = sum(line.amount_minor * up // down for line in lines)
            detail = f"{len(lines)} lines at {up}/{down}, each rounded down{told}"
        else:
            points = self.event.amount_minor * up // down
            detail = f"{self.event.amount_minor} at {up}/{down}, rounded down{told}"
        return _Worth(checked(max(0, points)), up, down, by_line, detail)

    def factor(self, rule: str) -> tuple[int, int, str]:
        """What multiplies the rule's points, and how it is told."""
        holding = [
            (label, factor)
            for label, factor in self.plan.factors[rule]
            if self.multiplies(label, factor)
        ]
        if not holding:
            return 1, 1, ""
        if len(holding) > 1 and self.programme.combine == "largest":
            holding = [max(holding, key=lambda one: _ratio(one[1]))]
        numerator, denominator = _product(factor for _, factor in holding)
        told = "".join(f" ×{_shown(factor)} {label}" for label, factor in holding)
        return numerator, denominator, told

    def multiplies(self, label: str, factor: Multiplier) -> bool:
        """Whether the multiplier's condition holds, asked once an event."""
        if label not in self.factors:
            found = self.programme.expressions.holds(factor.when, self.situation)
            self.factors[label] = found is True
        return self.factors[label]


def _product(factors: Iterable[Multiplier]) -> tuple[int, int]:
    numerator = denominator = 1
    for factor in factors:
        numerator *= factor.numerator
        denominator *= factor.denominator
    return numerator, denominator


def _ratio(factor: Multiplier) -> Fraction:
    return Fraction(factor.numerator, factor.denominator)


def _shown(factor: Multiplier) -> str:
    if factor.denominator == 1:
        return str(factor.numerator)
    return f"{factor.numerator}/{factor.denominator}"


def _nothing(rule: str, reason: Reason, detail: str) -> Verdict:
    return Verdict(rule=rule, earned=0, reason=reason, detail=detail)
