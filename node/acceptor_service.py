"""The redemption desk: what members, tills and managers ask of this brand that concerns others.

MemberService and MerchantService delegate to it. A redemption is answered as soon as it is
decided; whoever does not want to wait so long is told PENDING, and it goes on without them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import select

from comity.clock import Clock
from comity.errors import Malformed, NotFound
from comity.ledger.bulk import select_rows
from comity.ledger.runner import Runner
from comity.ledger.statements import to_tlog_proof
from comity.ledger.store import LedgerStore
from comity.rpc.caller import Caller
from comity.v1 import clearing_pb2, common_pb2, member_pb2, merchant_pb2
from node.agreements import Accept, InForce, Propose, Terminate
from node.book import Rules
from node.driver import Delivered, Driver, Job
from node.errands import Errands
from node.lookup import Lookup, Remembered
from node.peers import Peers
from node.pledge_returns import RefundPledged, is_under_way
from node.pledges import ACCRUAL, PledgeAccrual
from node.quoting import POINTS_REWARD, Quoting, Wish
from node.receipts import delivered_message, redemption_message, refund_message, state_of
from node.redemption_tables import agreements, holds, pledges, redemptions, returns
from node.redemptions import Reserve, State
from node.returns import TakeBack
from node.settlement import own_window, statement_of
from node.store import read_cursor
from node.tables import rewards

WAIT_S: Final = 8.0
"""How long an answer waits for clearing before it says PENDING."""

PAGE: Final = 100

_REWARD: Final = common_pb2.REDEMPTION_KIND_REWARD
_EXCHANGE: Final = common_pb2.REDEMPTION_KIND_EXCHANGE


class RedemptionDesk:
    """One brand's desk."""

    def __init__(
        self,
        *,
        rules: Rules,
        store: LedgerStore,
        peers: Peers,
        driver: Driver,
        errands: Errands,
        quoting: Quoting,
        in_force: InForce,
        clock: Clock,
        read: Runner,
        wait_s: float = WAIT_S,
    ) -> None:
        self._rules = rules
        self._store = store
        self._peers = peers
        self._driver = driver
        self._errands = errands
        self._quoting = quoting
        self._in_force = in_force
        self._clock = clock
        self._read = read
        self._wait_s = wait_s
        self._rewards = Remembered(Lookup(store, rewards, "reward_id", read=read))
        self._redemptions = Lookup(store, redemptions, "redemption_id", read=read)
        self._closing: asyncio.Future[None] | None = None

    def close(self) -> None:
        """Answer whoever waits, and let nobody wait any more: the process is about to end."""
        closing = self._closes()
        if not closing.done():
            closing.set_result(None)

    def catalogue_changed(self) -> None:
        """A reward was put into the catalogue; quotes follow it from now on."""
        self._rewards.changed()

    # --- members at this acceptor -----------------------------------------------------

    async def get_quote(
        self, caller: Caller, request: member_pb2.GetQuoteRequest
    ) -> member_pb2.GetQuoteResponse:
        """A firm price in the issuer's points. Nothing is written."""
        now_us = self._clock()
        wish, retail = await self._wish(request)
        terms = self._in_force.terms(
            issuer=wish.issuer, acceptor=self._rules.participant, kind=wish.kind, at_us=now_us
        )
        quote = self._quoting.quote(wish, terms, now_us=now_us)
        if retail is not None:
            quote.retail.CopyFrom(retail)
        return quote

    async def redeem(
        self, caller: Caller, request: member_pb2.RedeemRequest
    ) -> member_pb2.RedeemResponse:
        """Reserve, and drive to the end; PENDING if that takes longer than the caller waits."""
        asked = self._quoting.check(request)
        self._driver.require_room()
        answer = await self._peers.submit(Reserve(asked=asked))
        if not answer.repeated or await self._is_reserved(asked.redemption_id):
            job = Job(quote_bytes=asked.quote_bytes, quote=asked.quote, signed=asked.signed)
            driven = self._driver.drive(job, resumed=answer.repeated)
            await self._wait(driven)
            if driven.done() and not driven.cancelled() and (delivered := driven.result()):
                return member_pb2.RedeemResponse(redemption=await self._receipt(job, delivered))
        return member_pb2.RedeemResponse(redemption=await self._shown(asked.redemption_id))

    async def get_redemption(
        self, caller: Caller, request: member_pb2.GetRedemptionRequest
    ) -> member_pb2.GetRedemptionResponse:
        """What became of a redemption, for whoever has its pickup key."""
        self._quoting.check_pickup_key(request.redemption_id, request.pickup_key)
        return member_pb2.GetRedemptionResponse(redemption=await self._shown(request.redemption_id))

    # --- members of this issuer -------------------------------------------------------

    async def get_issuer_receipt(
        self, caller: Caller, request: member_pb2.GetIssuerReceiptRequest
    ) -> member_pb2.GetIssuerReceiptResponse:
        """What became of a redemption of the caller's points, as this issuer's log tells it."""
        rows = await self._rows(holds, ("redemption_id",), (request.redemption_id,))
        row = next((one for one in rows if one["account"] == caller.id), None)
        if row is None:
            raise NotFound(
                f"No points of yours were held for {request.redemption_id}.", field="redemption_id"
            )
        indices = [row["index"]]
        if row["ended_index"] >= 0:
            indices.append(row["ended_index"])
        indices += [int(pair.partition(":")[0]) for pair in row["restored_indices"].split()]
        statements = await self._peers.prove(indices)
        return member_pb2.GetIssuerReceiptResponse(
            state=_issuer_state(row),
            points=row["points"],
            statements=[to_tlog_proof(one) for one in statements],
        )

    # --- tills ------------------------------------------------------------------------

    async def record_partner_purchase(
        self, caller: Caller, request: merchant_pb2.RecordPartnerPurchaseRequest
    ) -> merchant_pb2.RecordPartnerPurchaseResponse:
        """Pledge to pay for points that a member of another brand earns here."""
        redemption_id = self._quoting.pledge_id(request.purchase_id)
        # Who repeats a sale gets its answer, though the agreement may have ended since.
        made = await self._rows(pledges, ("redemption_id",), (redemption_id,))
        if made:
            agreed = (made[0]["agreement_id"], made[0]["agreement_version"])
        else:
            terms = self._in_force.terms(
                issuer=request.issuer,
                acceptor=self._rules.participant,
                kind=ACCRUAL,
                at_us=self._clock(),
            )
            agreed = (terms.agreement_id, terms.version)
        answer = await self._peers.submit(
            PledgeAccrual(
                purchase_id=request.purchase_id,
                redemption_id=redemption_id,
                issuer=request.issuer,
                account=request.account,
                currency=request.amount.currency,
                minor=request.amount.minor,
                agreement_id=agreed[0],
                agreement_version=agreed[1],
            )
        )
        row = await self._pledge(redemption_id)
        if row["state"] == "PLEDGED":
            await self._wait(self._errands.pledge(row))
            row = await self._pledge(redemption_id)
        return merchant_pb2.RecordPartnerPurchaseResponse(
            redemption_id=redemption_id,
            points=int.from_bytes(answer.body, "big"),
            state=_PLEDGE_STATES[row["state"]],
        )

    async def refund_partner_purchase(
        self, caller: Caller, request: merchant_pb2.RefundPartnerPurchaseRequest
    ) -> merchant_pb2.RefundPartnerPurchaseResponse:
        """Give a partner sale back: the points it earned, and what we owe for them."""
        redemption_id = self._quoting.pledge_id(request.purchase_id)
        await self._peers.submit(
            RefundPledged(
                caller=caller.name,
                id=request.id,
                purchase_id=request.purchase_id,
                redemption_id=redemption_id,
                currency=request.cumulative.currency,
                cumulative_minor=request.cumulative.minor,
            )
        )
        row = await self._pledge(redemption_id)
        told = await self._rows(returns, ("redemption_id",), (redemption_id,))
        if is_under_way(row, told):
            waiting = [one for one in told if one["state"] == "CLAIMED"]
            task = self._errands.claim_return if waiting else self._errands.refund
            await self._wait(task(waiting[0] if waiting else row))
            row = await self._pledge(redemption_id)
            told = await self._rows(returns, ("redemption_id",), (redemption_id,))
        return refund_message(row, told)

    async def reverse_redemption(
        self, caller: Caller, request: merchant_pb2.ReverseRedemptionRequest
    ) -> merchant_pb2.ReverseRedemptionResponse:
        """Take a redemption back, in part or whole."""
        answer = await self._peers.submit(
            TakeBack(
                caller=caller.name,
                id=request.id,
                redemption_id=request.redemption_id,
                cumulative_points=request.cumulative_points,
                reason_code=request.reason_code,
            )
        )
        at = (request.redemption_id, int.from_bytes(answer.body, "big"))
        names = ("redemption_id", "cumulative_points")
        claimed = await self._rows(returns, names, at)
        if claimed and claimed[0]["state"] == "CLAIMED":
            await self._wait(self._errands.claim_return(claimed[0]))
        row = await self._redemption(request.redemption_id)
        decided = row["reversed_points"] >= at[1]
        return merchant_pb2.ReverseRedemptionResponse(
            state=state_of(row) if decided else member_pb2.REDEMPTION_STATE_PENDING,
            reversed_points=row["reversed_points"],
        )

    async def find_redemption(
        self, caller: Caller, request: merchant_pb2.FindRedemptionRequest
    ) -> merchant_pb2.FindRedemptionResponse:
        """One redemption of this acceptor, for its own staff."""
        return merchant_pb2.FindRedemptionResponse(
            redemption=await self._shown(request.redemption_id)
        )

    async def list_redemptions(
        self, caller: Caller, request: merchant_pb2.ListRedemptionsRequest
    ) -> merchant_pb2.ListRedemptionsResponse:
        """This acceptor's redemptions, newest first, without their receipts."""
        size = request.limit or PAGE
        rows = await self._read(lambda: self._newest(size, request.cursor))
        found = merchant_pb2.ListRedemptionsResponse()
        for row in rows:
            bare = row | {"hold": b"", "decision": b""}
            found.redemptions.append(
                redemption_message(bare, acceptor=self._rules.participant, delivery=None)
            )
        if len(rows) == size:
            last = rows[-1]
            found.next_cursor = f"{last['reserved_at_us']}/{last['redemption_id']}"
        return found

    # --- managers ---------------------------------------------------------------------

    async def propose_agreement(
        self, caller: Caller, request: merchant_pb2.ProposeAgreementRequest
    ) -> merchant_pb2.ProposeAgreementResponse:
        """Propose terms to another brand, and show them to it."""
        command = Propose(caller=caller.name, id=request.id, terms=request.terms)
        answer = await self._peers.submit(command)
        terms = common_pb2.AgreementTerms.FromString(answer.body)
        row = await self._agreement(terms.agreement_id, terms.version)
        if row["state"] == "PROPOSED":
            await self._wait(self._errands.offer(row))
        self._in_force.reload()
        return merchant_pb2.ProposeAgreementResponse(terms=terms)

    async def accept_agreement(
        self, caller: Caller, request: merchant_pb2.AcceptAgreementRequest
    ) -> merchant_pb2.AcceptAgreementResponse:
        """Accept an offer, and have clearing put it in force."""
        await self._peers.submit(
            Accept(
                caller=caller.name,
                id=request.id,
                agreement_id=request.agreement_id,
                version=request.version,
            )
        )
        row = await self._agreement(request.agreement_id, request.version)
        if row["state"] == "ACCEPTED":
            await self._wait(self._errands.register(row))
        self._in_force.reload()
        return merchant_pb2.AcceptAgreementResponse()

    async def terminate_agreement(
        self, caller: Caller, request: merchant_pb2.TerminateAgreementRequest
    ) -> merchant_pb2.TerminateAgreementResponse:
        """End an agreement at clearing."""
        await self._peers.submit(
            Terminate(
                caller=caller.name,
                id=request.id,
                agreement_id=request.agreement_id,
                version=request.version,
            )
        )
        row = await self._agreement(request.agreement_id, request.version)
        if row["state"] == "ACTIVE":
            await self._wait(self._errands.end_agreement(row))
        return merchant_pb2.TerminateAgreementResponse()

    async def list_brand_agreements(
        self, caller: Caller, request: merchant_pb2.ListBrandAgreementsRequest
    ) -> merchant_pb2.ListBrandAgreementsResponse:
        """This brand's agreements, each version."""
        await self._read(self._in_force.reload)
        return merchant_pb2.ListBrandAgreementsResponse(agreements=self._in_force.listed())

    async def get_window_statement(
        self, caller: Caller, request: merchant_pb2.GetWindowStatementRequest
    ) -> merchant_pb2.GetWindowStatementResponse:
        """Our own figures of a window beside clearing's."""
        own = await self._read(lambda: own_window(self._store, request.window))
        shown = await self._peers.clearing.ReadWindow(
            clearing_pb2.ReadWindowRequest(window=request.window)
        )
        return merchant_pb2.GetWindowStatementResponse(
            own=statement_of(own, self._rules.participant, shown.statement.state),
            clearing=shown.statement,
        )

    # --- inside -----------------------------------------------------------------------

    async def _wish(
        self, request: member_pb2.GetQuoteRequest
    ) -> tuple[Wish, common_pb2.Money | None]:
        """What is wished for, and what it is worth at the store."""
        if request.WhichOneof("subject") == "acceptor_points":
            points = request.acceptor_points
            wish = Wish(
                issuer=request.issuer,
                kind=_EXCHANGE,
                reward_id=POINTS_REWARD,
                quantity=points,
                acceptor_points=points,
            )
            return wish, None
        quantity = request.quantity or 1
        row = await self._rewards.get(request.reward_id)
        if row is None or not row["active"]:
            raise NotFound(f"There is no reward {request.reward_id} on offer.", field="reward_id")
        if row["kind"] == member_pb2.REWARD_KIND_POINTS:
            raise Malformed("Points are bought by number: ask for acceptor_points.")
        wish = Wish(
            issuer=request.issuer,
            kind=_REWARD,
            reward_id=row["reward_id"],
            quantity=quantity,
            acceptor_points=row["price_points"] * quantity,
        )
        if not row["retail_currency"]:
            return wish, None
        minor = row["retail_minor"] * quantity
        return wish, common_pb2.Money(currency=row["retail_currency"], minor=minor)

    async def _wait(self, task: asyncio.Task[Any]) -> None:
        """Wait for work that goes on whether or not anybody waits."""
        await asyncio.wait(
            {task, self._closes()},
            timeout=self._wait_s,
            return_when=asyncio.FIRST_COMPLETED,
        )

    def _closes(self) -> asyncio.Future[None]:
        """Done once the process is about to end."""
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_future()
        return self._closing

    async def _is_reserved(self, redemption_id: str) -> bool:
        row = await self._redemption(redemption_id)
        return bool(row["state"] == State.RESERVED)

    async def _shown(self, redemption_id: str) -> member_pb2.Redemption:
        row = await self._redemption(redemption_id)
        delivery = None
        if row["delivery_index"] >= 0:
            (delivery,) = await self._peers.prove([row["delivery_index"]])
        return redemption_message(row, acceptor=self._rules.participant, delivery=delivery)

    async def _receipt(self, job: Job, delivered: Delivered) -> member_pb2.Redemption:
        """As `_shown`, of what was delivered just now: everything is at hand."""
        (delivery,) = await self._peers.prove([delivered.index])
        return delivered_message(job.quote, delivered, delivery=delivery)

    async def _agreement(self, agreement_id: str, version: int) -> dict[str, Any]:
        at = (agreement_id, version)
        rows = await self._rows(agreements, ("agreement_id", "version"), at)
        return rows[0]

    async def _redemption(self, redemption_id: str) -> dict[str, Any]:
        row = await self._redemptions.get(redemption_id)
        if row is None:
            raise NotFound(f"There is no redemption {redemption_id} here.", field="redemption_id")
        return row

    async def _pledge(self, redemption_id: str) -> dict[str, Any]:
        rows = await self._rows(pledges, ("redemption_id",), (redemption_id,))
        return rows[0]

    async def _rows(
        self, table: Any, names: tuple[str, ...], at: tuple[Any, ...]
    ) -> list[dict[str, Any]]:
        def work() -> list[dict[str, Any]]:
            with self._store.engine.connect() as connection:
                return select_rows(connection, self._store.ledger, table, names, [at])

        return await self._read(work)

    def _newest(self, size: int, cursor: str) -> list[dict[str, Any]]:
        table = redemptions
        where = [table.c.ledger == self._store.ledger]
        if cursor:
            at_us, name = read_cursor(cursor)
            where.append(
                (table.c.reserved_at_us < at_us)
                | ((table.c.reserved_at_us == at_us) & (table.c.redemption_id < name))
            )
        query = (
            select(table)
            .where(*where)
            .order_by(table.c.reserved_at_us.desc(), table.c.redemption_id.desc())
            .limit(size)
        )
        with self._store.engine.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]


_PLEDGE_STATES: Final[Mapping[str, member_pb2.RedemptionState.ValueType]] = {
    "PLEDGED": member_pb2.REDEMPTION_STATE_PENDING,
    "COMMITTED": member_pb2.REDEMPTION_STATE_DELIVERED,
    "ABORTED": member_pb2.REDEMPTION_STATE_FAILED,
}


def _issuer_state(row: Mapping[str, Any]) -> member_pb2.RedemptionState.ValueType:
    if row["state"] == "HELD":
        return member_pb2.REDEMPTION_STATE_PENDING
    if row["state"] == "RELEASED":
        return member_pb2.REDEMPTION_STATE_FAILED
    if row["restored_points"] == row["points"]:
        return member_pb2.REDEMPTION_STATE_REVERSED
    if row["restored_points"]:
        return member_pb2.REDEMPTION_STATE_PARTLY_REVERSED
    return member_pb2.REDEMPTION_STATE_DELIVERED
