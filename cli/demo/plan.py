"""A journey as work by days: who buys what, and who takes which reward afterwards.

Whatever varies is decided here by counting, so the same data makes the same story.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import Enum
from typing import Final

from cli.demo.coalition import COALITION, PARTNER, PARTNER_ISSUER
from cli.demo.journey import Journey, Purchase

EXCHANGE_EVERY: Final = 15
REVERSE_PART_EVERY: Final = 10
REVERSE_WHOLE_EVERY: Final = 25
TRY_ANYWAY_EVERY: Final = 8
USE_EVERY: Final = 2
PARTNER_EVERY: Final = 12


class Afterwards(Enum):
    """What becomes of a reward that was delivered."""

    KEEP = "keep"
    USE = "use"
    """Its voucher is shown at a till, which takes it."""
    RETURN_PART = "return part"
    RETURN_WHOLE = "return whole"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A household wants something at a brand, paid with another brand's points.

    `rung` is how far up the price ladder it looks first; `exchange` wants points instead;
    `stubborn` tries the cheapest reward even without enough points.
    """

    number: int
    household: int
    acceptor: str
    rung: int
    exchange: bool
    stubborn: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """Purchases in time order, by brand; and after the last basket, wishes by household."""

    day: date
    purchases: Mapping[str, tuple[Purchase, ...]]
    partner_purchases: tuple[Purchase, ...]
    wishes: Mapping[int, tuple[Wish, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All days, and at which brands each household is a member: those where it shops."""

    days: tuple[Day, ...]
    memberships: Mapping[int, tuple[str, ...]]
    purchases: int
    wishes: int


def make(journey: Journey) -> Plan:
    """The journey as days."""
    shops: dict[int, set[str]] = defaultdict(set)
    for one in journey.purchases:
        shops[one.household].add(one.brand)
    bought: dict[date, dict[str, list[Purchase]]] = defaultdict(lambda: defaultdict(list))
    shared: dict[date, list[Purchase]] = defaultdict(list)
    at_partner = 0
    for one in journey.purchases:
        if one.brand == PARTNER and one.cents and PARTNER_ISSUER in shops[one.household]:
            at_partner += 1
            if at_partner % PARTNER_EVERY == 0:
                shared[one.at.date()].append(one)
                continue
        bought[one.at.date()][one.brand].append(one)
    wished: dict[date, dict[int, list[Wish]]] = defaultdict(lambda: defaultdict(list))
    for number, use in enumerate(journey.coupon_uses, start=1):
        wish = _wish(number, use.household, use.brand)
        wished[use.day][use.household].append(wish)
    days = tuple(
        Day(
            day=day,
            purchases={brand: tuple(found) for brand, found in bought[day].items()},
            partner_purchases=tuple(shared[day]),
            wishes={household: tuple(found) for household, found in wished[day].items()},
        )
        for day in sorted({*bought, *shared, *wished})
    )
    return Plan(
        days=days,
        memberships={
            household: tuple(brand for brand in COALITION if brand in shops[household])
            for household in journey.households
        },
        purchases=len(journey.purchases),
        wishes=len(journey.coupon_uses),
    )


def afterwards(number: int) -> Afterwards:
    """What becomes of the `number`th reward that is delivered, counted from 1."""
    if number % REVERSE_WHOLE_EVERY == 0:
        return Afterwards.RETURN_WHOLE
    if number % REVERSE_PART_EVERY == 0:
        return Afterwards.RETURN_PART
    return Afterwards.USE if number % USE_EVERY == 0 else Afterwards.KEEP


def _wish(number: int, household: int, acceptor: str) -> Wish:
    return Wish(
        number=number,
        household=household,
        acceptor=acceptor,
        rung=number % len(COALITION[acceptor].ladder),
        exchange=number % EXCHANGE_EVERY == 0,
        stubborn=number % TRY_ANYWAY_EVERY == 0,
    )
