"""What follows a commit and needs a neighbour: claims, notices, registrations, acknowledgements.

Each errand begins from a row and ends with a row, and is repeated until it is done: at once and
in the background, and again after a restart (`node.recovery`). A neighbour that is away delays
it; one that refuses ends it, with an alarm where a person has to look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from comity.errors import (
    BadStatement,
    ComityError,
    LedgerFault,
    NotYet,
    RetiredKey,
    Unavailable,
)
from comity.ledger.runner import Runner
from comity.ledger.store import LedgerStore
from comity.v1 import clearing_pb2, common_pb2, peer_pb2
from node import decided as decisions
from node.decided import Decided
from node.feed import Feed
from node.gate import Alarm
from node.peers import Peers
from node.pledge_returns import AnswerRefund, CountPledgeReversal
from node.pledges import ACCRUAL, SettlePledge
from node.returns import CountReversal, RefuseReturn
from node.settlement import AnswerSettlement, SettlementAnswered, objection, own_window

FIRST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 10.0


class Errands:
    """The errands of one brand, each running at most once at a time."""

    def __init__(
        self,
        *,
        peers: Peers,
        feed: Feed,
        store: LedgerStore,
        read: Runner,
        alarm: Alarm,
    ) -> None:
        self._peers = peers
        self._feed = feed
        self._store = store
        self._read = read
        self._alarm = alarm
        self._running: dict[str, asyncio.Task[None]] = {}

    # --- starting ---------------------------------------------------------------------

    def pledge(self, row: Mapping[str, Any]) -> asyncio.Task[None]:
        """Tell the issuer of a pledge, and have clearing decide it."""
        return self._start(f"pledge {row['redemption_id']}", lambda: self._pledge(row))

    def refund(self, row: Mapping[str, Any]) -> asyncio.Task[None]:
        """Ask the issuer of a pledge what it can take back, and have clearing reverse that."""
        name = f"refund {row['redemption_id']} to {row['asked_points']}"
        return self._start(name, lambda: self._refund(row))

    def claim_return(self, row: Mapping[str, Any]) -> asyncio.Task[None]:
        """Have clearing reverse on a RETURN."""
        name = f"return {row['redemption_id']} to {row['cumulative_points']}"
        return self._start(name, lambda: self._return(row))

    def offer(self, row: Mapping[str, Any]) -> asyncio.Task[None]:
        """Show the other brand our PROPOSE."""
        return self._start(f"offer {_name(row)}", lambda: self._offer(row))

    def register(self, row: Mapping[str, Any]) -> asyncio.Task[None]:
        """Have clearing put in force what we accepted."""
        return self._start(f"register {_name(row)}", lambda: self._register(row))

    def end_agreement(self, row: Mapping[str, Any]) -> asyncio.Task[None]:
        """Have clearing end what we terminated."""
        return self._start(f"end {_name(row)}", lambda: self._end_agreement(row))

    def answer_settlement(self, row: Mapping[str, Any]) -> asyncio.Task[None]:
        """Acknowledge or protest a settlement."""
        return self._start(f"settlement {row['window']}", lambda: self._settlement(row))

    def end_hold(self, row: Mapping[str, Any]) -> asyncio.Task[None]:
        """Ask clearing to abort what a hold past its expiry waits for."""
        name = f"expired hold {row['redemption_id']} of {row['acceptor']}"
        return self._start(name, lambda: self._end_hold(row))

    async def close(self) -> None:
        """Stop; the next start takes everything up again."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, name: str, attempt: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        task = self._running.get(name)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._repeat(name, attempt))
            self._running[name] = task
            task.add_done_callback(lambda _: self._running.pop(name, None))
        return task

    async def _repeat(self, name: str, attempt: Callable[[], Awaitable[None]]) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                await attempt()
                return
            except LedgerFault:
                return
            except (Unavailable, RetiredKey):
                # Or a key was exchanged meanwhile: the next attempt proves anew.
                pass
            except ComityError as error:
                self._alarm(name, error)
                return
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    # --- pledges and returns ----------------------------------------------------------

    async def _pledge(self, row: Mapping[str, Any]) -> None:
        redemption_id = row["redemption_id"]
        (statement,) = await self._peers.prove([row["index"]])
        claim = clearing_pb2.ClaimItem(pledge=clearing_pb2.PledgeClaim(pledge=statement))
        if not row["noticed"]:
            notice = peer_pb2.PledgeNotice(
                pledge=statement, account=row["account"], salt=row["salt"]
            )
            try:
                await self._peers.notices(row["issuer"]).submit(notice)
            except (Unavailable, RetiredKey, LedgerFault):
                raise
            except ComityError as refusal:
                # The issuer will not accrue, so nothing shall be owed for it.
                self._alarm(f"pledge {redemption_id}", refusal)
                claim = self._abort(row["issuer"], self._peers.participant, redemption_id)
        if row["state"] == "PLEDGED":
            decided = await self._claim(claim)
            await self._peers.submit(SettlePledge(redemption_id=redemption_id, decided=decided))
        await self._peers.submit(SettlePledge(redemption_id=redemption_id, noticed=True))

    async def _refund(self, row: Mapping[str, Any]) -> None:
        redemption_id, asked = row["redemption_id"], row["asked_points"]
        (statement,) = await self._peers.prove([row["index"]])
        notice = peer_pb2.PledgeNotice(
            pledge=statement, account=row["account"], salt=row["salt"], refund_points=asked
        )
        recovered = await self._peers.notices(row["issuer"]).submit(notice)
        answer = await self._peers.submit(
            AnswerRefund(
                redemption_id=redemption_id, asked_points=asked, recovered_points=recovered
            )
        )
        if answer.entry_count:
            returned = {
                "redemption_id": redemption_id,
                "cumulative_points": recovered,
                "index": answer.entries[-1],
            }
            await self.claim_return(returned)

    async def _return(self, row: Mapping[str, Any]) -> None:
        (statement,) = await self._peers.prove([row["index"]])
        claim = clearing_pb2.ClaimItem(returned=clearing_pb2.ReturnClaim(returned=statement))
        try:
            decided = await self._claim(claim)
        except (Unavailable, RetiredKey, LedgerFault):
            raise
        except ComityError:
            await self._peers.submit(
                RefuseReturn(
                    redemption_id=row["redemption_id"],
                    cumulative_points=row["cumulative_points"],
                )
            )
            raise
        count = CountPledgeReversal if decided.decision.kind == ACCRUAL else CountReversal
        await self._peers.submit(count(decided=decided))

    # --- agreements -------------------------------------------------------------------

    async def _offer(self, row: Mapping[str, Any]) -> None:
        (statement,) = await self._peers.prove([row["own_index"]])
        await self._peers.offer(self._other(row), statement)

    async def _register(self, row: Mapping[str, Any]) -> None:
        (accept,) = await self._peers.prove([row["own_index"]])
        request = clearing_pb2.RegisterAgreementRequest(
            propose=common_pb2.Statement.FromString(row["propose"]), accept=accept
        )
        await self._peers.ask_clearing("RegisterAgreement", request)
        await self._peers.offer(self._other(row), accept)

    async def _end_agreement(self, row: Mapping[str, Any]) -> None:
        (terminate,) = await self._peers.prove([row["terminate_index"]])
        request = clearing_pb2.RegisterAgreementRequest(terminate=terminate)
        await self._peers.ask_clearing("RegisterAgreement", request)

    def _other(self, row: Mapping[str, Any]) -> str:
        mine = row["issuer"] == self._peers.participant
        return str(row["acceptor"] if mine else row["issuer"])

    # --- settlements and expired holds ------------------------------------------------

    async def _settlement(self, row: Mapping[str, Any]) -> None:
        window: int = row["window"]
        index: int = row["answer_index"]
        if row["state"] == "SEEN":
            response = await self._peers.clearing.ReadWindow(
                clearing_pb2.ReadWindowRequest(window=window)
            )
            own = await self._read(lambda: own_window(self._store, window))
            why = objection(
                own,
                response.statement.settlement,
                table_hash=row["table"],
                participant=self._peers.participant,
            )
            if why:
                self._alarm(f"settlement of window {window}", BadStatement(why))
            command = AnswerSettlement(
                window=window, clearing=self._peers.clearing_origin, objection=why
            )
            index = (await self._peers.submit(command)).entries[-1]
        (statement,) = await self._peers.prove([index])
        await self._peers.ask_clearing(
            "Acknowledge", clearing_pb2.AcknowledgeRequest(statement=statement)
        )
        await self._peers.submit(SettlementAnswered(window=window))

    async def _end_hold(self, row: Mapping[str, Any]) -> None:
        (statement,) = await self._peers.prove([row["index"]])
        claim = self._abort(self._peers.participant, row["acceptor"], row["redemption_id"])
        claim.abort.hold.CopyFrom(statement)
        try:
            decided = await self._claim(claim)
        except NotYet:
            # Clearing's clock is behind ours; the next look at expired holds asks again.
            return
        await self._feed.again(decided)

    @staticmethod
    def _abort(issuer: str, acceptor: str, redemption_id: str) -> clearing_pb2.ClaimItem:
        return clearing_pb2.ClaimItem(
            abort=clearing_pb2.AbortClaim(
                issuer=issuer, acceptor=acceptor, redemption_id=redemption_id
            )
        )

    async def _claim(self, claim: clearing_pb2.ClaimItem) -> Decided:
        """Clearing's decision on a claim, verified."""
        shown = await self._peers.claims.submit(claim)
        proven = self._peers.see(shown.decision, self._peers.clearing_origin)
        return decisions.read(proven.entry, proven.citation, shown.opening)


def _name(row: Mapping[str, Any]) -> str:
    return f"{row['agreement_id']} version {row['version']}"
