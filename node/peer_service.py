"""comity.v1.PeerService: what other brands, and clearing, ask of this brand.

Each method reads: hear the caller's heads, verify what it shows, submit, answer in statements.
Signatures are verified here, outside the writer: one for each hold, on the reading threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select

from comity.errors import BadStatement, ComityError, Forbidden, MandateRejected
from comity.keys import PublicKey
from comity.ledger.bulk import select_rows
from comity.ledger.command import Outcome
from comity.ledger.runner import Runner
from comity.ledger.store import LedgerStore
from comity.rpc.bounded import BoundedCache
from comity.rpc.caller import Caller, CallerKind
from comity.terms import books, mandates
from comity.v1 import common_pb2, peer_pb2
from comity.v1 import entry_pb2 as pb
from comity.validation import validate
from node.agreements import InForce, Offered
from node.book import Rules
from node.feed import Feed
from node.holds import PlaceHold, read_hold_request
from node.open_holds import OpenHolds
from node.peers import Peers
from node.pledges import NotePledge, RecoverAccrued, check_notice
from node.redemption_tables import book
from node.tables import devices

DEVICES_REMEMBERED: Final = 65_536


@dataclass(frozen=True, slots=True)
class _Device:
    """A device key and whose it is: neither ever changes. Whether it is good, the writer knows."""

    key: PublicKey
    account: str


class PeerService:
    """The use cases of neighbours."""

    def __init__(
        self,
        *,
        rules: Rules,
        store: LedgerStore,
        peers: Peers,
        feed: Feed,
        in_force: InForce,
        open_holds: OpenHolds,
        read: Runner,
    ) -> None:
        self._rules = rules
        self._store = store
        self._peers = peers
        self._feed = feed
        self._in_force = in_force
        self._open_holds = open_holds
        self._read = read
        self._devices: BoundedCache[str, _Device] = BoundedCache(DEVICES_REMEMBERED)

    async def place_holds(
        self, caller: Caller, request: peer_pb2.PlaceHoldsRequest
    ) -> peer_pb2.PlaceHoldsResponse:
        """Set points aside for each item, or say why not."""
        self._hear(caller, request.heads)
        read = await self._read(lambda: self._read_holds(caller.id, request.holds))
        commands = [one for one in read if isinstance(one, PlaceHold)]
        outcomes = iter(await self._peers.submit_all(commands))
        each: list[Outcome] = [
            one if isinstance(one, ComityError) else next(outcomes) for one in read
        ]
        indices = [one.entries[-1] for one in each if not isinstance(one, ComityError)]
        statements = iter(await self._peers.prove(indices) if indices else ())
        return peer_pb2.PlaceHoldsResponse(
            heads=self._mine(caller),
            results=[
                peer_pb2.HoldResult(failure=failure(one))
                if isinstance(one, ComityError)
                else peer_pb2.HoldResult(hold=next(statements))
                for one in each
            ],
        )

    async def deliver_pledges(
        self, caller: Caller, request: peer_pb2.DeliverPledgesRequest
    ) -> peer_pb2.DeliverPledgesResponse:
        """Take note of pledges, whose points follow with clearing's decision; or take back points
        of them that a refund asks for."""
        self._hear(caller, request.heads)
        read = [self._read_pledge(caller.id, one) for one in request.pledges]
        commands = [one for one in read if not isinstance(one, ComityError)]
        outcomes = iter(await self._peers.submit_all(commands))
        each = [one if isinstance(one, ComityError) else next(outcomes) for one in read]
        return peer_pb2.DeliverPledgesResponse(
            heads=self._mine(caller),
            results=[
                peer_pb2.PledgeResult(failure=failure(one))
                if isinstance(one, ComityError)
                else peer_pb2.PledgeResult(recovered_points=int.from_bytes(one.body, "big"))
                for one in each
            ],
        )

    async def offer_agreement(
        self, caller: Caller, request: peer_pb2.OfferAgreementRequest
    ) -> peer_pb2.OfferAgreementResponse:
        """Take note of another brand's PROPOSE, ACCEPT or TERMINATE."""
        self._hear(caller, request.heads)
        shown = self._peers.see(request.statement, self._peers.roster.origin_of(caller.id))
        validate(shown.entry)
        await self._peers.submit(Offered(brand=caller.id, shown=shown, statement=request.statement))
        await self._read(self._in_force.reload)
        return peer_pb2.OfferAgreementResponse(heads=self._mine(caller))

    async def exchange_heads(
        self, caller: Caller, request: peer_pb2.ExchangeHeadsRequest
    ) -> peer_pb2.ExchangeHeadsResponse:
        """Exchange heads; served before anything else is."""
        self._hear(caller, request.heads)
        return peer_pb2.ExchangeHeadsResponse(heads=self._mine(caller))

    async def read_book(
        self, caller: Caller, request: peer_pb2.ReadBookRequest
    ) -> peer_pb2.ReadBookResponse:
        """Rows of this brand's book, or digests of blocks of them."""
        return await self._read(lambda: self._book(request))

    async def read_mirror(
        self, caller: Caller, request: peer_pb2.ReadMirrorRequest
    ) -> peer_pb2.ReadMirrorResponse:
        """Clearing's log as mirrored here."""
        return await self._feed.read_mirror(request)

    # --- reading requests -------------------------------------------------------------

    def _read_holds(
        self, acceptor: str, requests: Sequence[peer_pb2.HoldRequest]
    ) -> list[PlaceHold | ComityError]:
        read: list[tuple[pb.Quote, pb.Mandate] | ComityError] = []
        for request in requests:
            try:
                read.append(
                    read_hold_request(self._rules, acceptor, request.quote, request.mandate)
                )
            except ComityError as error:
                read.append(error)
        found = self._find_devices(
            [one[1].key_id for one in read if not isinstance(one, ComityError)]
        )
        commands: list[PlaceHold | ComityError] = []
        for request, one in zip(requests, read, strict=True):
            if isinstance(one, ComityError):
                commands.append(one)
                continue
            quote, mandate = one
            device = found.get(mandate.key_id)
            if device is None:
                commands.append(
                    MandateRejected("No member has the device that signed.", field="key_id")
                )
                continue
            try:
                mandates.verify(request.mandate, device.key)
            except BadStatement as error:
                commands.append(error)
                continue
            commands.append(
                PlaceHold(
                    acceptor=acceptor,
                    quote_bytes=request.quote,
                    signed=request.mandate,
                    quote=quote,
                    mandate=mandate,
                    account=device.account,
                    full=self._open_holds.add(account=device.account, acceptor=acceptor),
                )
            )
        return commands

    def _find_devices(self, key_ids: Sequence[str]) -> dict[str, _Device]:
        found: dict[str, _Device] = {}
        missing = []
        for key_id in dict.fromkeys(key_ids):
            known = self._devices.get(key_id)
            if known is None:
                missing.append((key_id,))
            else:
                found[key_id] = known
        if missing:
            with self._store.engine.connect() as connection:
                rows = select_rows(connection, self._store.ledger, devices, ("key_id",), missing)
            for row in rows:
                device = _Device(PublicKey.from_bytes(row["public_key"]), row["account"])
                found[row["key_id"]] = device
                self._devices.put(row["key_id"], device)
        return found

    def _read_pledge(
        self, partner: str, notice: peer_pb2.PledgeNotice
    ) -> NotePledge | RecoverAccrued | ComityError:
        try:
            pledge = self._peers.see(notice.pledge, self._peers.roster.origin_of(partner))
            validate(pledge.entry)
            check_notice(self._rules, pledge, account=notice.account, salt=notice.salt)
        except ComityError as error:
            return error
        if notice.refund_points:
            return RecoverAccrued(
                partner=partner, pledge=pledge, cumulative_points=notice.refund_points
            )
        return NotePledge(partner=partner, pledge=pledge, account=notice.account)

    def _book(self, request: peer_pb2.ReadBookRequest) -> peer_pb2.ReadBookResponse:
        end = request.from_seq + request.limit
        here = book.c.ledger == self._store.ledger
        query = (
            select(book.c.row)
            .where(here, book.c.seq >= request.from_seq, book.c.seq < end)
            .order_by(book.c.seq)
        )
        last = select(book.c.seq).where(here).order_by(book.c.seq.desc()).limit(1)
        with self._store.engine.connect() as connection:
            rows = [
                peer_pb2.BookRow.FromString(data) for data in connection.execute(query).scalars()
            ]
            last_seq = connection.execute(last).scalar_one_or_none() or 0
        if not request.block:
            return peer_pb2.ReadBookResponse(rows=rows, last_seq=last_seq)
        digests = books.block_digests(
            rows, from_seq=request.from_seq, limit=request.limit, block=request.block
        )
        return peer_pb2.ReadBookResponse(digests=digests, last_seq=last_seq)

    # --- heads ------------------------------------------------------------------------

    def _hear(self, caller: Caller, heads: common_pb2.HeadExchange) -> None:
        self._peers.hear(self._origin(caller), heads)

    def _mine(self, caller: Caller) -> common_pb2.HeadExchange:
        return self._peers.heads.mine(self._origin(caller))

    def _origin(self, caller: Caller) -> str:
        if caller.kind is CallerKind.CLEARING:
            return self._peers.clearing_origin
        if caller.id == self._rules.participant:
            raise Forbidden("A brand is not its own neighbour.")
        return self._peers.roster.origin_of(caller.id)


def failure(error: ComityError) -> common_pb2.Failure:
    """An item's error on the wire."""
    return common_pb2.Failure(
        code=error.code, message=error.message[:1_024], field=error.field, metadata=error.metadata
    )
