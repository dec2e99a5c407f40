"""From what a brand sends to commands: every statement is verified before anything is asked.

What does not verify is INVALID, what cannot be judged yet is RETRY; both are the result of their
item alone and write nothing (protocol, section 3 step 5).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TypeVar

from clearing.commands import (
    Claim,
    DecideAbort,
    DecideHold,
    DecidePledge,
    DecideReturn,
    EndAgreement,
    PutInForce,
    RecordAcknowledgement,
    ReportDelivery,
)
from clearing.liveness import Liveness
from clearing.roster import Roster
from comity.errors import BadStatement, ComityError, Forbidden, Malformed, RetiredKey
from comity.ledger import entries
from comity.ledger.heads import HeadKeeper
from comity.ledger.statements import Proven
from comity.ledger.store import KnownHead
from comity.v1.clearing_pb2 import ClaimItem, RegisterAgreementRequest
from comity.v1.common_pb2 import HeadExchange, Statement

Item = TypeVar("Item")
Read = TypeVar("Read")


class Evidence:
    """Reads what brands show; `learn` is told the heads it teaches, to have them stored."""

    def __init__(
        self,
        *,
        heads: HeadKeeper,
        roster: Roster,
        liveness: Liveness,
        learn: Callable[[Iterable[KnownHead]], None],
    ) -> None:
        self._heads = heads
        self._roster = roster
        self._liveness = liveness
        self._learn = learn

    def hear(self, caller: str, exchange: HeadExchange) -> None:
        """Take in the caller's side of an exchange of heads."""
        self._learn(self._liveness.hear(caller, exchange))

    def hear_follower(self, caller: str, exchange: HeadExchange) -> None:
        """As `hear`, for whoever follows our log: that is where a brand learns that its own key
        was exchanged, so a head which it still signed by the old one is only not taken."""
        with suppress(RetiredKey):
            self.hear(caller, exchange)

    def each(self, items: Iterable[Item], read: Callable[[Item], Read]) -> list[Read | ComityError]:
        """Read every item; an item's error stands in its place."""
        found: list[Read | ComityError] = []
        for item in items:
            try:
                found.append(read(item))
            except ComityError as error:
                found.append(error)
        return found

    # --- claims -----------------------------------------------------------------------

    def claim(self, caller: str, item: ClaimItem) -> Claim:
        """The command of one claim."""
        match item.WhichOneof("claim"):
            case "hold":
                issuer, hold = self._by_whom(item.hold.hold, "hold")
                self._may_commit(issuer, caller)
                self._liveness.require_linked(issuer)
                return DecideHold(caller=caller, issuer=issuer, hold=hold, quote=item.hold.quote)
            case "pledge":
                pledge = self._own(caller, item.pledge.pledge, "pledge")
                self._may_commit(pledge.entry.pledge.issuer, caller)
                self._liveness.require_linked(caller)
                return DecidePledge(caller=caller, pledge=pledge)
            case "returned":
                returned = self._own(caller, item.returned.returned, "returned")
                self._liveness.require_heard(returned.entry.returned.issuer, caller)
                return DecideReturn(caller=caller, returned=returned)
            case "abort":
                return self._abort(caller, item)
        raise Malformed("The claim is empty.", field="claim")

    def _may_commit(self, issuer: str, acceptor: str) -> None:
        self._liveness.require_heard(issuer, acceptor)
        self._liveness.require_clock()

    def _abort(self, caller: str, item: ClaimItem) -> DecideAbort:
        asked = item.abort
        if caller not in (asked.issuer, asked.acceptor):
            raise Forbidden("Only the two brands of a redemption may ask for its abort.")
        self._liveness.require_heard(asked.issuer, asked.acceptor)
        hold = None
        if asked.HasField("hold"):
            hold = self._own(asked.issuer, asked.hold, "hold")
        if caller == asked.issuer:
            self._liveness.require_clock()
        return DecideAbort(
            caller=caller,
            issuer=asked.issuer,
            acceptor=asked.acceptor,
            redemption_id=asked.redemption_id,
            hold=hold,
        )

    # --- everything else --------------------------------------------------------------

    def delivery(self, caller: str, statement: Statement) -> ReportDelivery:
        """The command of one report."""
        return ReportDelivery(caller=caller, delivery=self._own(caller, statement, "delivery"))

    def agreement(
        self, caller: str, request: RegisterAgreementRequest
    ) -> PutInForce | EndAgreement:
        """The command which registers or ends an agreement. Both brands may bring either."""
        if request.HasField("terminate"):
            if request.HasField("propose") or request.HasField("accept"):
                raise Malformed("A TERMINATE is registered alone.", field="terminate")
            signatory, terminate = self._by_whom(request.terminate, "terminate")
            return EndAgreement(caller=caller, signatory=signatory, terminate=terminate)
        if not (request.HasField("propose") and request.HasField("accept")):
            raise Malformed("An agreement needs its PROPOSE and its ACCEPT.", field="accept")
        _, propose = self._by_whom(request.propose, "propose")
        _, accept = self._by_whom(request.accept, "accept")
        terms = propose.entry.propose.terms
        if caller not in (terms.issuer, terms.acceptor):
            raise Forbidden("Only its two parties register an agreement.")
        return PutInForce(caller=caller, propose=propose, accept=accept)

    def acknowledgement(self, caller: str, statement: Statement) -> RecordAcknowledgement:
        """The command of an ACK or PROTEST."""
        answer = self._own(caller, statement, "ack", "protest")
        return RecordAcknowledgement(caller=caller, answer=answer)

    # --- statements -------------------------------------------------------------------

    def _own(self, participant: str, statement: Statement, *kinds: str) -> Proven:
        """A statement of one participant's log, of one of these kinds."""
        origin = self._roster.member(participant).origin
        proven, learnt = self._heads.see(statement, origin)
        self._learn(learnt)
        kind = entries.kind(proven.entry)
        if kind not in kinds:
            raise Malformed(f"A {' or '.join(kinds)} entry is needed here, not a {kind} entry.")
        return proven

    def _by_whom(self, statement: Statement, kind: str) -> tuple[str, Proven]:
        """A statement of some participant's log, and whose it is.

        The checkpoint's first line says which key to look for; that key's signature proves it.
        """
        first, _, _ = statement.checkpoint.partition(b"\n")
        try:
            origin = first.decode()
        except UnicodeDecodeError:
            raise BadStatement("The checkpoint names no log.") from None
        member = self._roster.by_origin(origin)
        return member.participant, self._own(member.participant, statement, kind)
