"""The year as it is lived on the network, and the diary of what each node was told.

Baskets earn as in the main story, and besides them: whoever uses a coupon of a brand whose
programme knows that event reports it; one basket in so many comes back the same evening, every
other of those in part. The data has no returns, so which baskets they are is decided by counting.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, time
from functools import partial
from typing import Final

from cli.demo.coalition import COALITION, CURRENCY, PARTNER
from cli.demo.household import Household
from cli.demo.journey import ZONE
from cli.demo.network import Network
from cli.demo.patience import patiently, until
from cli.demo.plan import Afterwards, Day, Plan, Wish
from cli.demo.screen import Screen
from cli.demo.story import Story
from cli.demo.year.programmes import programme
from comity.client.programme import ProgrammeClient, event
from comity.clock import MINUTE, SECOND, system_clock
from comity.v1 import merchant_pb2
from comity.v1.common_pb2 import AgreementTerms, Money
from comity.v1.member_pb2 import Redemption
from node.programme import Programme
from node.programme.facts import Event
from node.programme.histories import Act
from node.programme.model import PURCHASE

REFUND_EVERY: Final = 40
COUPON: Final = "coupon"
SWEPT_S: Final = 3.0
"""Longer than from one sweep to the next."""
REFUND_AT: Final = time(21)
COUPON_AT: Final = time(22)
WISH_AT: Final = time(23)
RETURN_AT: Final = time(23, 30)


def without_partners(plan: Plan) -> Plan:
    """The plan with every basket at its own brand, and no wish for points instead of a reward.

    So all that a brand's members have comes from its own programme, which can be tried alone.
    """
    days = []
    for day in plan.days:
        purchases = dict(day.purchases)
        if day.partner_purchases:
            own = (*purchases.get(PARTNER, ()), *day.partner_purchases)
            purchases[PARTNER] = tuple(sorted(own, key=lambda one: one.at))
        wishes = {
            household: tuple(replace(one, exchange=False) for one in found)
            for household, found in day.wishes.items()
        }
        days.append(replace(day, purchases=purchases, partner_purchases=(), wishes=wishes))
    return replace(plan, days=tuple(days))


class Year(Story):
    """One run over a network which is up."""

    def __init__(self, network: Network, plan: Plan, *, weeks: int) -> None:
        super().__init__(network, without_partners(plan), weeks=weeks)
        self.programmes: dict[str, Programme] = {brand: programme(brand) for brand in COALITION}
        self.diary: dict[str, list[Act]] = {brand: [] for brand in COALITION}
        """What each brand was told, in the order in which it was."""
        self.joined_us: dict[str, dict[str, int]] = {brand: {} for brand in COALITION}
        self.events: Counter[str] = Counter()
        self.refunds: Counter[str] = Counter()
        self._reporting: dict[str, ProgrammeClient] = {}
        self._counted: Counter[str] = Counter()
        self._accounts: dict[str, dict[str, str]] = {}
        self._wished: dict[int, date] = {}
        self._days = {
            wish.number: day.day
            for day in self.plan.days
            for found in day.wishes.values()
            for wish in found
        }
        self._back: list[tuple[str, merchant_pb2.Purchase, bool]] = []

    @property
    def households(self) -> Mapping[int, Household]:
        """Everyone who joined, by number."""
        return self._households

    def terms(self) -> Sequence[AgreementTerms]:
        """What the brands agree; a brand whose points nobody can spend issues nothing."""
        return [one for one in super().terms() if self.programmes[one.issuer].main_unit]

    async def enrol(self, screen: Screen) -> None:
        await super().enrol(screen)
        now_us = system_clock()
        for household, brands in self.plan.memberships.items():
            for brand in brands:
                self.joined_us[brand][str(household)] = now_us

    # Days.

    async def _earn(self, day: Day) -> None:
        await super()._earn(day)
        back, self._back = self._back, []
        for brand, purchase, whole in back:
            await self._refund(day.day, brand, purchase, whole=whole)
        for number, wishes in day.wishes.items():
            for wish in wishes:
                if COUPON in self.programmes[wish.acceptor].events:
                    await self._coupon(day.day, wish.acceptor, number, wish.number)

    def _recorded(self, brand: str, purchase: merchant_pb2.Purchase) -> None:
        at_us, amount = purchase.occurred_at_us, purchase.amount.minor
        name = purchase.purchase_id
        told = Event(id=name, type=PURCHASE, at_us=at_us, amount_minor=amount)
        number = self._numbers(brand)[purchase.account]
        self._note(brand, Act(member=number, at_us=at_us, kind="event", id=name, event=told))
        if self.programmes[brand].main_unit:
            self._counted[brand] += 1
            if self._counted[brand] % REFUND_EVERY == 0:
                whole = self._counted[brand] % (2 * REFUND_EVERY) == 0
                self._back.append((brand, purchase, whole))

    async def _refund(
        self, day: date, brand: str, purchase: merchant_pb2.Purchase, *, whole: bool
    ) -> None:
        name, amount = purchase.purchase_id, purchase.amount.minor
        given = amount if whole else amount // 2
        if not given:
            return
        call = partial(
            self._tills[brand].refund_purchase,
            id=f"refund-{name}",
            purchase_id=name,
            cumulative=Money(currency=CURRENCY, minor=given),
        )
        await patiently(call)
        self.refunds[brand] += 1
        number = self._numbers(brand)[purchase.account]
        at_us = max(_at(day, REFUND_AT), purchase.occurred_at_us + MINUTE)
        self._note(
            brand,
            Act(member=number, at_us=at_us, kind="refund", id=name, amount_minor=amount - given),
        )

    async def _coupon(self, day: date, brand: str, number: int, wish: int) -> None:
        household = self._households[number]
        if not household.brands[brand].enrolled:
            return
        if brand not in self._reporting:
            self._reporting[brand] = self.network.programme(brand)
        at_us, name = _at(day, COUPON_AT), f"coupon-{wish}"
        told = event(name, household.account(brand), COUPON, occurred_at_us=at_us)
        (result,) = await patiently(partial(self._reporting[brand].record_events, [told]))
        if result.failure.code:
            self.tally.rejected[result.failure.code] += 1
            return
        self.events[brand] += 1
        earned = Event(id=name, type=COUPON, at_us=at_us)
        self._note(brand, Act(member=str(number), at_us=at_us, kind="event", id=name, event=earned))

    async def _afterwards(
        self,
        household: Household,
        acceptor: str,
        redemption: Redemption,
        points: int,
        ending: Afterwards,
    ) -> None:
        issuer, number = redemption.issuer.rpartition("/")[2], household.number
        name, day = redemption.redemption_id, self._wished[number]
        act = Act(member=str(number), at_us=_at(day, WISH_AT), kind="spend", id=name, points=points)
        self._note(issuer, act)
        await super()._afterwards(household, acceptor, redemption, points, ending)
        if ending in (Afterwards.RETURN_PART, Afterwards.RETURN_WHOLE):
            whole = ending is Afterwards.RETURN_WHOLE or points < 2
            back = points if whole else points // 2
            at_us = _at(day, RETURN_AT)
            self._note(issuer, replace(act, kind="restore", at_us=at_us, points=back))

    async def _fulfil(self, household: Household, wish: Wish) -> None:
        self._wished[household.number] = self._days[wish.number]
        await super()._fulfil(household, wish)

    async def swept(self) -> None:
        """Wait until no sweep of any node finds anything that is due: the totals stand still."""
        seen: list[Mapping[str, Mapping[str, int]]] = []

        async def still() -> bool:
            seen.append(await self.totals())
            await asyncio.sleep(SWEPT_S)
            return len(seen) > 1 and seen[-1] == seen[-2]

        await until(still, what="the totals to stand still")

    # The diary.

    def _note(self, brand: str, act: Act) -> None:
        now_us = system_clock()
        self.diary[brand].append(replace(act, at_us=min(act.at_us, now_us), heard_at_us=now_us))

    def _numbers(self, brand: str) -> Mapping[str, str]:
        """Households by their account at a brand."""
        if brand not in self._accounts:
            self._accounts[brand] = {
                one.account(brand): str(number)
                for number, one in self._households.items()
                if one.brands[brand].enrolled
            }
        return self._accounts[brand]


def _at(day: date, when: time) -> int:
    """A time of a day in the data's zone, or now if that is still to come."""
    at_us = int(datetime.combine(day, when, ZONE).timestamp()) * SECOND
    return min(at_us, system_clock())
