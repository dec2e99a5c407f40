"""The story of the demonstration, told through public interfaces only.

1. the brands fill their catalogues and sign what they agree pairwise
2. households enrol where they shop, each with a wallet and keys of its own
3. day by day: baskets earn at the brands' tills; after the day's last basket, whoever used a
   coupon that day in the data takes a reward there with another brand's points
4. the operator closes the window; the books of three parties are compared; it settles; the
   brands acknowledge
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Final

from cli.demo.coalition import (
    CAP_MINOR,
    COALITION,
    CURRENCY,
    PARTNER,
    PARTNER_ISSUER,
    PROBATION,
    agreements,
)
from cli.demo.errands import Errands, at_most
from cli.demo.household import Household
from cli.demo.journey import Purchase
from cli.demo.network import Network
from cli.demo.patience import patiently, until
from cli.demo.plan import Afterwards, Day, Plan, Wish, afterwards
from cli.demo.screen import Screen
from cli.demo.shared import SharedConnections
from cli.demo.tally import Flow, Tally
from comity.client.merchant import MerchantClient
from comity.clock import SECOND, system_clock
from comity.errors import BY_CODE, CapExceeded, Refused, Unavailable
from comity.v1 import merchant_pb2
from comity.v1.common_pb2 import REDEMPTION_KIND_ACCRUAL, AgreementTerms, Money
from comity.v1.entry_pb2 import ACCOUNT_CLASS_HELD, AccountClass, SettlementTable
from comity.v1.member_pb2 import (
    REDEMPTION_STATE_DELIVERED,
    REDEMPTION_STATE_PENDING,
    Redemption,
)
from comity.v1.operator_pb2 import Break, WindowSummary

BATCH: Final = 512
AGREEING_AT_ONCE: Final = 4
ENROLLING_AT_ONCE: Final = 24
REDEEMING_AT_ONCE: Final = 24
PATIENCE_WITH_A_CAP: Final = 3
"""After so many refusals for its cap the operator raises the probationer's."""


class Story:
    """One run over a network which is up."""

    def __init__(self, network: Network, plan: Plan, *, weeks: int) -> None:
        self.network = network
        self.plan = plan
        self.weeks = weeks
        self.tally = Tally()
        self._tills: dict[str, MerchantClient] = {}
        self._households: dict[int, Household] = {}
        self._connections = SharedConnections()

    async def close(self) -> None:
        """Close the wallets and their connections."""
        await asyncio.gather(*(one.close() for one in self._households.values()))
        await self._connections.close()

    # 1. Brands.

    async def prepare(self, screen: Screen) -> None:
        """Tills, catalogues, agreements."""
        terms = self.terms()
        with screen.stage("Brands open tills and fill their catalogues", len(COALITION)) as stage:
            for brand in COALITION:
                self._tills[brand] = await self.network.till(brand)
                for reward in COALITION[brand].rewards():
                    put = partial(
                        self.network.manager(brand).put_reward,
                        id=f"put-{reward.reward_id}",
                        reward=reward,
                    )
                    await patiently(put)
                stage.advance()
        with screen.stage("Each pair of brands signs an agreement each way", len(terms)) as stage:

            async def agree(one: AgreementTerms) -> None:
                await self._agree(one.issuer, one.acceptor, one)
                stage.advance()

            await at_most(AGREEING_AT_ONCE, [partial(agree, one) for one in terms])

    def terms(self) -> Sequence[AgreementTerms]:
        """What the brands agree pairwise."""
        return agreements(system_clock())

    async def _agree(self, issuer: str, acceptor: str, terms: AgreementTerms) -> None:
        """The issuer proposes, the acceptor accepts once it has been shown the proposal."""
        proposing, accepting = self.network.manager(issuer), self.network.manager(acceptor)
        name = terms.agreement_id
        await patiently(partial(proposing.propose_agreement, id=f"propose-{name}", terms=terms))

        async def shown(client: MerchantClient, states: Sequence[str]) -> bool:
            found = await client.list_agreements()
            return any(one.terms.agreement_id == name and one.state in states for one in found)

        await until(partial(shown, accepting, ("OFFERED", "ACTIVE")), what=f"the offer of {name}")
        await patiently(
            partial(accepting.accept_agreement, id=f"accept-{name}", agreement_id=name, version=1)
        )
        for client in (accepting, proposing):
            await until(partial(shown, client, ("ACTIVE",)), what=f"{name} in force")

    # 2. Households.

    async def enrol(self, screen: Screen) -> None:
        """Every household makes a wallet and joins the brands where it shops."""
        memberships = self.plan.memberships
        total = sum(map(len, memberships.values()))
        servers = {brand: self.network.server(brand) for brand in COALITION}
        with screen.stage("Households enrol, each brand with a key of its own", total) as stage:

            def joined(brand: str) -> None:
                self.tally.members[brand] += 1
                stage.advance(1, f"{len(memberships)} households")

            async def join(number: int) -> None:
                self._households[number] = await Household.join(
                    number,
                    self.network.folder / "wallets" / f"household-{number:04d}",
                    servers=servers,
                    memberships=memberships[number],
                    connect=self._connections.open,
                    joined=joined,
                )

            await at_most(ENROLLING_AT_ONCE, [partial(join, number) for number in memberships])

    # 3. Days.

    async def live(self, screen: Screen, *, day_done: Callable[[Day], Awaitable[None]]) -> None:
        """All days; `day_done` is called after each.

        A household's redemptions may still be under way when the next day begins, but not when
        it buys again: for each household everything happens in the order of the data.
        """
        with screen.stage("Days pass: baskets earn, members redeem", len(self.plan.days)) as stage:
            async with Errands(REDEEMING_AT_ONCE) as errands:
                for day in self.plan.days:
                    await errands.done(buyers(day))
                    await self._earn(day)
                    for number, wishes in day.wishes.items():
                        errands.add(number, partial(self._fulfil_all, number, wishes))
                    await day_done(day)
                    stage.advance(1, self._standing(day))
            stage.advance(0, self._standing(self.plan.days[-1]))

    async def _fulfil_all(self, number: int, wishes: Sequence[Wish]) -> None:
        for wish in wishes:
            await self._fulfil(self._households[number], wish)

    def _standing(self, day: Day) -> str:
        tally = self.tally
        baskets = sum(tally.baskets.values()) + tally.partner_baskets
        return (
            f"{day.day:%d %b} · {baskets:,} baskets · {tally.committed} redeemed · "
            f"{sum(tally.aborted.values())} aborted"
        )

    async def _earn(self, day: Day) -> None:
        await asyncio.gather(
            *(self._record(brand, found) for brand, found in day.purchases.items()),
            *(self._record_at_partner(one) for one in day.partner_purchases),
        )

    async def _record(self, brand: str, purchases: Sequence[Purchase]) -> None:
        waiting = [self._purchase(one) for one in purchases]
        for start in range(0, len(waiting), BATCH):
            part = waiting[start : start + BATCH]
            while part:
                part = await self._send(brand, part)

    async def _send(
        self, brand: str, part: Sequence[merchant_pb2.Purchase]
    ) -> list[merchant_pb2.Purchase]:
        """Record purchases; returns those which have to be sent again."""
        till, again = self._tills[brand], []
        for sent, result in zip(
            part, await patiently(partial(till.record_purchases, part)), strict=True
        ):
            code = result.failure.code
            if not code:
                self.tally.baskets[brand] += 1
                self.tally.points_issued[brand] += result.points
                self._recorded(brand, sent)
            elif issubclass(BY_CODE.get(code, Refused), Unavailable):
                again.append(sent)
            else:
                self.tally.rejected[code] += 1
        return again

    def _recorded(self, brand: str, purchase: merchant_pb2.Purchase) -> None:
        """The brand has recorded a purchase; whoever keeps a diary writes it down."""

    def _purchase(self, one: Purchase) -> merchant_pb2.Purchase:
        return merchant_pb2.Purchase(
            purchase_id=f"basket-{one.basket}",
            account=self._households[one.household].account(one.brand),
            amount=Money(currency=CURRENCY, minor=one.cents),
            occurred_at_us=int(one.at.timestamp()) * SECOND,
        )

    async def _record_at_partner(self, one: Purchase) -> None:
        """Bought at the partner, earned at the issuer; the partner pays."""
        answer = await patiently(
            partial(
                self._tills[PARTNER].record_partner_purchase,
                purchase_id=f"basket-{one.basket}",
                issuer=PARTNER_ISSUER,
                account=self._households[one.household].account(PARTNER_ISSUER),
                amount=Money(currency=CURRENCY, minor=one.cents),
            )
        )
        self.tally.partner_baskets += 1
        self.tally.partner_points += answer.points

    async def _fulfil(self, household: Household, wish: Wish) -> None:
        """One wish: choose, take, and what is done with it afterwards."""
        purse = await household.purse(elsewhere_than=wish.acceptor)
        offer = await household.choose(wish, purse) if purse is not None else None
        if purse is None or offer is None:
            self.tally.too_poor += 1
            return
        try:
            outcome = await household.take(offer)
        except Refused as refusal:
            self.tally.refused[refusal.code] += 1
            return
        redemption = outcome.redemption
        if redemption.state != REDEMPTION_STATE_DELIVERED:
            await self._aborted(purse.brand.participant, redemption)
            return
        self.tally.committed += 1
        if offer.exchange:
            self.tally.exchanges += 1
            self.tally.exchanged_points += offer.acceptor_points
        if outcome.receipt is not None:
            self.tally.receipts.append(str(outcome.receipt.folder))
        ending = afterwards(self.tally.committed)
        await self._afterwards(household, wish.acceptor, redemption, offer.points, ending)

    async def _aborted(self, issuer: str, redemption: Redemption) -> None:
        code = redemption.failure.code
        self.tally.aborted[code] += 1
        tired = self.tally.aborted[CapExceeded.code] >= PATIENCE_WITH_A_CAP
        if code == CapExceeded.code and issuer == PROBATION and tired and not self.tally.cap_raised:
            self.tally.cap_raised = True
            await patiently(
                partial(
                    self.network.operator.set_cap,
                    id=f"raise-{PROBATION}",
                    participant=PROBATION,
                    net_debit_cap=Money(currency=CURRENCY, minor=CAP_MINOR),
                )
            )

    async def _afterwards(
        self,
        household: Household,
        acceptor: str,
        redemption: Redemption,
        points: int,
        ending: Afterwards,
    ) -> None:
        till, name = self._tills[acceptor], redemption.redemption_id
        if ending is Afterwards.USE:
            for code in redemption.vouchers:
                await patiently(partial(till.use_voucher, id=f"use-{name}", code=code))
                self.tally.vouchers_used += 1
        elif ending is not Afterwards.KEEP:
            whole = ending is Afterwards.RETURN_WHOLE or points < 2
            reverse = partial(
                till.reverse_redemption,
                id=f"return-{name}",
                redemption_id=name,
                reason_code="returned",
                cumulative_points=0 if whole else points // 2,
            )

            async def decided() -> bool:
                return (await patiently(reverse)).state != REDEMPTION_STATE_PENDING

            await until(decided, what=f"the reversal of {name}")
            self.tally.reversed_whole += whole
            self.tally.reversed_in_part += not whole
            await patiently(partial(household.wallet.resume, name))

    # 4. The window.

    async def quiet(self) -> None:
        """Wait until every hold at every brand has ended."""

        async def nothing_held() -> bool:
            totals = await self.totals()
            return all(not one.get(HELD, 0) for one in totals.values())

        await until(nothing_held, what="holds to end")

    async def totals(self) -> Mapping[str, Mapping[str, int]]:
        """The points of each brand by account class."""
        found: dict[str, dict[str, int]] = {}
        for brand in COALITION:
            answer = await patiently(self.network.manager(brand).get_totals)
            found[brand] = {}
            for one in answer.totals:
                name = class_name(one.account_class)
                found[brand][name] = found[brand].get(name, 0) + one.points
        return found

    async def close_window(self) -> int:
        """Close the open window; returns its number."""
        operator = self.network.operator
        newest = await patiently(partial(operator.list_windows, limit=1))
        # The first window opens with the first decision.
        window = newest[0].window if newest else 1
        await patiently(partial(operator.close_window, id=f"close-{window}", window=window))
        return window

    async def reconcile(self, window: int) -> tuple[int, list[Break]]:
        """The rows compared, and the breaks which remain after the books had time to agree."""
        operator = self.network.operator
        breaks: list[Break] = []
        rows = 0

        async def agreed() -> bool:
            nonlocal breaks, rows
            answer = await patiently(partial(operator.reconcile_window, window))
            breaks, rows = list(answer.breaks), answer.rows_compared
            return not breaks and not answer.unreachable

        await until(agreed, what="the books to agree", patience_s=20.0)
        return rows, breaks

    async def settle(self, window: int) -> SettlementTable:
        """Who pays whom."""
        operator = self.network.operator
        answer = await patiently(
            partial(operator.settle_window, id=f"settle-{window}", window=window)
        )
        return answer.table

    async def acknowledged(self, window: int) -> WindowSummary:
        """The window, once every brand has acknowledged it or protested."""
        operator = self.network.operator

        async def summary() -> WindowSummary:
            found = await patiently(partial(operator.list_windows, limit=5))
            return next(one for one in found if one.window == window)

        async def answered() -> bool:
            found = await summary()
            return {*found.acknowledged, *found.protested} >= set(COALITION)

        await until(answered, what="the brands to acknowledge")
        return await summary()

    async def flows(self) -> tuple[Mapping[tuple[str, str], Flow], Flow]:
        """What went between each two brands, from clearing's decisions; and what partners paid
        for points earned at their stores."""
        found: dict[tuple[str, str], Flow] = {}
        accrued = Flow()
        async for one in self.network.operator.decisions():
            if not one.row.amount.currency:
                continue
            if one.decision.kind == REDEMPTION_KIND_ACCRUAL:
                accrued = accrued.plus(one.row, sign=-1)
            else:
                pair = (one.row.issuer, one.row.acceptor)
                found[pair] = found.get(pair, Flow()).plus(one.row)
        return found, accrued


def class_name(value: AccountClass.ValueType) -> str:
    """`available`, `held`, …"""
    return AccountClass.Name(value).removeprefix("ACCOUNT_CLASS_").lower()


HELD: Final = class_name(ACCOUNT_CLASS_HELD)


def buyers(day: Day) -> set[int]:
    """The households which buy anything on that day, or want something."""
    own = {one.household for found in day.purchases.values() for one in found}
    return own | {one.household for one in day.partner_purchases} | set(day.wishes)
