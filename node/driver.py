"""Driving a reserved redemption to its end, however often a neighbour or this process dies.

    1. ask the issuer for the hold, while the quote lives
    2. claim it at clearing, until clearing decides; what the issuer refused is aborted there,
       so that nothing can commit it later
    3. carry out the decision: deliver, or fail with ABORTED in hand
    4. report the delivery, in the background

Each step repeats safely by the redemption id, so a redemption taken up after a restart starts at
step 1 again. One that may have been decided long ago is looked up at clearing first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from comity.clock import SECOND, Clock
from comity.errors import (
    BadStatement,
    ComityError,
    LedgerFault,
    NotHeard,
    Overloaded,
    QuoteExpired,
    RetiredKey,
    Unavailable,
)
from comity.ledger import entries
from comity.ledger.statements import Proven
from comity.terms import mandates, quotes
from comity.v1 import clearing_pb2, common_pb2, peer_pb2
from comity.v1 import entry_pb2 as pb
from node import decided as decisions
from node.decided import Decided
from node.gate import Alarm
from node.peers import Peers
from node.redemptions import COMMITTED, Deliver, Exchange, Fail, end_of

DELIVERY_MARGIN_US: Final = 5 * SECOND
"""This close to the end of the delivery time clearing is asked first whether it reversed."""

RETRY_S: Final = 2.0

OPEN_LIMIT: Final = 16_384
"""Redemptions on their way at once, unless set; more are refused, and nothing is reserved."""

_STARTING: Final = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One reserved redemption."""

    quote_bytes: bytes
    quote: pb.Quote
    signed: pb.SignedMandate

    @staticmethod
    def of(row: Mapping[str, Any]) -> Job:
        """The job in a row of `redemptions`."""
        return Job(
            quote_bytes=row["quote"],
            quote=quotes.read(row["quote"]),
            signed=pb.SignedMandate.FromString(row["mandate"]),
        )

    @property
    def id(self) -> str:
        return self.quote.redemption_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """What a redemption ended with, for whoever waited for it: what its receipt is made of."""

    index: int
    """Of the DELIVERY, in our log."""
    vouchers: Sequence[str]
    hold: common_pb2.Statement
    proof: clearing_pb2.Decided


class Driver:
    """All redemptions of this acceptor that are on their way."""

    def __init__(
        self,
        *,
        peers: Peers,
        clock: Clock,
        alarm: Alarm,
        ended: Callable[[str], None] = lambda _: None,
        open_limit: int = OPEN_LIMIT,
    ) -> None:
        self._peers = peers
        self._clock = clock
        self._alarm = alarm
        self._ended = ended
        self._open_limit = open_limit
        self._running: dict[str, asyncio.Task[Delivered | None]] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._unreported: dict[int, None] = {}
        self._floors: dict[str, int] = {_STARTING: 0}

    # --- from outside -----------------------------------------------------------------

    def require_room(self) -> None:
        """Raises Overloaded while too many redemptions wait for their end."""
        if len(self._running) >= self._open_limit:
            raise Overloaded("Too many redemptions wait to be decided; repeat in a moment.")

    def drive(self, job: Job, *, resumed: bool = False) -> asyncio.Task[Delivered | None]:
        """The task that ends when this redemption has; started if it does not run yet.

        Its result is what it delivered; None for another end, and where that is found in the
        row alone.

        `resumed`: it was reserved by an earlier process and may be decided already.
        """
        task = self._running.get(job.id)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._drive(job, resumed))
            self._running[job.id] = task
            task.add_done_callback(lambda _: self._running.pop(job.id, None))
        return task

    def report(self, index: int) -> None:
        """Report the DELIVERY at `index` of our log to clearing, in the background."""
        if index not in self._unreported:
            self._unreported[index] = None
            self._start(self._report(index))

    def reported(self) -> int:
        """The index of our log below which every DELIVERY has been reported."""
        floors = (*self._unreported, *self._floors.values())
        return min(floors, default=self._peers.own_size())

    def resumed(self) -> None:
        """All deliveries of earlier processes that may be unreported were handed to `report`."""
        self._floors.pop(_STARTING, None)

    async def close(self) -> None:
        """Stop all tasks; what was reserved is taken up at the next start."""
        tasks = [*self._running.values(), *self._background]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- one redemption ---------------------------------------------------------------

    async def _drive(self, job: Job, resumed: bool) -> Delivered | None:
        while True:
            try:
                return await self._attempt(job, resumed)
            except LedgerFault:
                return None
            except Unavailable:
                pass
            except ComityError as error:
                self._alarm(f"redemption {job.id}", error)
            resumed = True
            await asyncio.sleep(RETRY_S)

    async def _attempt(self, job: Job, resumed: bool) -> Delivered | None:
        if resumed:
            found = await self._resolve(job)
            if found:
                return await self._carry_out(job, found, None, None, None)
        # 1. The hold.
        hold: Proven | None = None
        refusal: ComityError | None = None
        statement: common_pb2.Statement | None = None
        try:
            statement = await self._place_hold(job)
            hold = self._read_hold(job, statement)
        except (LedgerFault, Unavailable):
            raise
        except RetiredKey as error:
            raise NotHeard(error.message) from error
        except ComityError as error:
            refusal = error
        # 2. The decision.
        decided = await self._claim(job, statement if hold is not None else None, refusal)
        # 3. Its end.
        return await self._carry_out(job, [decided], statement, hold, refusal)

    async def _place_hold(self, job: Job) -> common_pb2.Statement:
        """The issuer's HOLD. Raises its refusal, or QuoteExpired once it is too late to ask."""
        left_us = job.quote.expires_at_us - self._clock()
        if left_us <= 0:
            raise QuoteExpired("The quote expired before the issuer could be asked.")
        courier = self._peers.holds(job.quote.issuer)
        request = peer_pb2.HoldRequest(quote=job.quote_bytes, mandate=job.signed)
        try:
            return await courier.submit(request, within_s=left_us / SECOND)
        except Unavailable as error:
            if self._clock() < job.quote.expires_at_us:
                raise
            raise QuoteExpired("The issuer did not answer while the quote lived.") from error

    def _read_hold(self, job: Job, statement: common_pb2.Statement) -> Proven:
        """The HOLD, if it is one for exactly this quote and mandate. Raises BadStatement."""
        quote = job.quote
        proven = self._peers.see(statement, self._peers.roster.origin_of(quote.issuer))
        hold = proven.entry.hold
        expected = pb.Hold(
            network=quote.network,
            acceptor=quote.acceptor,
            redemption_id=quote.redemption_id,
            kind=quote.kind,
            agreement_id=quote.agreement_id,
            agreement_version=quote.agreement_version,
            quote_digest=quotes.digest(job.quote_bytes),
            mandate_digest=mandates.digest(job.signed),
            points=quote.points,
            amount=quote.amount,
            expires_at_us=hold.expires_at_us,
            legs=hold.legs,
        )
        if proven.entry.WhichOneof("body") != "hold" or hold != expected:
            raise BadStatement(f"{quote.issuer} answered with something else than the hold.")
        return proven

    async def _claim(
        self,
        job: Job,
        hold: common_pb2.Statement | None,
        refusal: ComityError | None,
    ) -> clearing_pb2.Decided:
        """Clearing's decision, on the hold if there is one, else on its abort."""
        if hold is not None:
            claim = clearing_pb2.HoldClaim(hold=hold, quote=job.quote_bytes)
            try:
                return await self._peers.claims.submit(clearing_pb2.ClaimItem(hold=claim))
            except Unavailable:
                raise
            except RetiredKey as error:
                # The issuer's key was exchanged meanwhile: it shows the HOLD under its new one.
                raise NotHeard(error.message) from error
            except ComityError as error:
                # INVALID: nothing was written, and this claim can never be decided.
                self._alarm(f"claiming redemption {job.id}", error)
        elif refusal is None:
            raise ValueError("an abort has a reason")
        abort = clearing_pb2.AbortClaim(
            issuer=job.quote.issuer, acceptor=job.quote.acceptor, redemption_id=job.id
        )
        return await self._peers.claims.submit(clearing_pb2.ClaimItem(abort=abort))

    async def _resolve(self, job: Job) -> list[clearing_pb2.Decided]:
        """What clearing decided so far, oldest first."""
        key = clearing_pb2.RedemptionKey(
            issuer=job.quote.issuer, acceptor=job.quote.acceptor, redemption_id=job.id
        )
        result = await self._peers.resolves.submit(key)
        return list(result.decisions)

    # --- the end ----------------------------------------------------------------------

    async def _carry_out(
        self,
        job: Job,
        found: list[clearing_pb2.Decided],
        statement: common_pb2.Statement | None,
        hold: Proven | None,
        refusal: ComityError | None,
    ) -> Delivered | None:
        read = [(self._read_decision(job, one), one) for one in found]
        first = read[0][0]
        if first.decision.outcome != COMMITTED:
            await self._peers.submit(Fail(decided=first, proof=read[0][1], because=refusal))
            self._ended("FAILED")
            return None
        if len(read) == 1 and self._clock() > first.decision.deliver_by_us - DELIVERY_MARGIN_US:
            read = [(self._read_decision(job, one), one) for one in await self._resolve(job)]
        decided, proof = end_of(read)
        if decided is not read[0][0]:
            await self._peers.submit(Fail(decided=decided, proof=proof))
            self._ended("REVERSED")
            return None
        if statement is None or hold is None:
            # Decided while nobody here watched: the issuer repeats its HOLD for the receipt.
            request = peer_pb2.HoldRequest(quote=job.quote_bytes, mandate=job.signed)
            statement = await self._peers.holds(job.quote.issuer).submit(request)
            hold = self._read_hold(job, statement)
        if not entries.same(decided.decision.cites, hold.citation):
            raise BadStatement(f"Clearing committed {job.id} on another entry than the hold.")
        kind = Exchange if job.quote.kind == common_pb2.REDEMPTION_KIND_EXCHANGE else Deliver
        self._floors[job.id] = self._peers.own_size()
        try:
            answer = await self._peers.submit(kind(decided=decided, proof=proof, hold=statement))
            if not answer.entry_count:
                return None
            # 4. Report it.
            index = answer.entries[-1]
            self._ended("DELIVERED")
            self.report(index)
        finally:
            del self._floors[job.id]
        vouchers = answer.body.decode().split()
        return Delivered(index=index, vouchers=vouchers, hold=statement, proof=proof)

    def _read_decision(self, job: Job, shown: clearing_pb2.Decided) -> Decided:
        """Clearing's decision on this redemption. Raises BadStatement for anything else."""
        proven = self._peers.see(shown.decision, self._peers.clearing_origin)
        decided = decisions.read(proven.entry, proven.citation, shown.opening)
        decision = decided.decision
        if (decision.issuer, decision.acceptor, decision.redemption_id) != (
            job.quote.issuer,
            job.quote.acceptor,
            job.id,
        ):
            raise BadStatement(f"Clearing answered for another redemption than {job.id}.")
        return decided

    # --- reporting --------------------------------------------------------------------

    async def _report(self, index: int) -> None:
        try:
            await self._peers.reports.submit(index)
        except Unavailable:
            # Shutting down, or too much to report at once; the next start reports it again.
            return
        except ComityError as error:
            self._alarm(f"reporting delivery {index}", error)
        self._unreported.pop(index, None)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
