"""This brand's neighbours: who they are, how they are reached, and one courier for each errand.

The roster comes from clearing's log alone. Every batch carries heads both ways; what the heads of
others teach is kept until the next command, and stored in the same batch as what relies on it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, TypeVar

from sqlalchemy import select

from comity.clock import SECOND, Clock
from comity.errors import (
    BadStatement,
    ComityError,
    LedgerFault,
    NotFound,
    NotHeard,
    RetiredKey,
    Unauthenticated,
    Unavailable,
    UnknownKey,
    rebuild,
)
from comity.ledger import statements
from comity.ledger.command import Answer, Command, Outcome
from comity.ledger.heads import HeadKeeper
from comity.ledger.queue import CommandQueue
from comity.ledger.statements import Proven
from comity.ledger.store import KnownHead, LedgerStore
from comity.log.history import KeyHistory
from comity.log.note import VerifierKey
from comity.rpc.channel import Channel, stub
from comity.rpc.courier import Courier
from comity.v1 import clearing_pb2, common_pb2, peer_pb2
from comity.v1.clearing_pb2_grpc import ClearingServiceStub
from comity.v1.peer_pb2_grpc import PeerServiceStub
from node.gate import Alarm, Gate
from node.mirror import Hear, keys_of
from node.redemption_tables import roster

CLEARING: Final = "clearing"
PULSE_EVERY_S: Final = 1.0

IDLE_PULSE_S: Final = 2.0
"""A node that has nothing to tell asks this often which heads clearing learnt from others."""

T = TypeVar("T")

Connect = Callable[[str, str], Channel]
"""`connect(participant, address)`: a channel to its peer listener; connects when first used."""

REPORT_LINGER_S: Final = 0.03
"""How long a delivery waits for others to be reported with it: nobody waits for a report."""


class Roster:
    """Who is admitted, in memory; read again whenever the mirror changes it."""

    def __init__(
        self, store: LedgerStore, *, own: Callable[[], KeyHistory], clearing: VerifierKey
    ) -> None:
        """`own` answers the keys of our own log, as our signer has them."""
        self._store = store
        self._own = own
        self._own_origin = own().name
        self._clearing = KeyHistory.of(clearing)
        self._keys: dict[str, KeyHistory] = {}
        self._rows: dict[str, dict[str, Any]] = {}
        self.reload()

    def reload(self) -> None:
        """Read the table again."""
        query = select(roster).where(roster.c.ledger == self._store.ledger)
        with self._store.engine.connect() as connection:
            rows = [dict(row) for row in connection.execute(query).mappings()]
        self._rows = {row["participant"]: row for row in rows}
        self._keys = {row["origin"]: keys_of(row) for row in rows if not row["revoked"]}

    def verifier_of(self, origin: str) -> KeyHistory:
        """The keys of a log. Raises NotFound for one that is not admitted, or was revoked."""
        if origin == self._own_origin:
            return self._own()
        found = self._clearing if origin == self._clearing.name else self._keys.get(origin)
        if found is None:
            raise NotFound(f"{origin} is not a log of this network, as far as is known here.")
        return found

    def origin_of(self, participant: str) -> str:
        """The log of a participant. Raises NotFound."""
        return str(self._row(participant)["origin"])

    def address_of(self, participant: str) -> str:
        """Where its peer listener answers. Raises NotFound."""
        return str(self._row(participant)["peer_address"])

    def key_hash_of(self, participant: str) -> bytes:
        """SHA-256 of the public key of its certificate. Raises NotFound."""
        return bytes(self._row(participant)["tls_key_hash"])

    def _row(self, participant: str) -> dict[str, Any]:
        row = self._rows.get(participant)
        if row is None or row["revoked"]:
            raise NotFound(f"{participant} is not a participant of this network.")
        return row


class Peers:
    """The way to clearing and to every other brand."""

    def __init__(
        self,
        *,
        network: str,
        participant: str,
        roster: Roster,
        heads: HeadKeeper,
        queue: CommandQueue,
        gate: Gate,
        connect: Connect,
        clearing: Channel,
        alarm: Alarm,
        clock: Clock,
        idle_pulse_s: float = IDLE_PULSE_S,
    ) -> None:
        self.network = network
        self.participant = participant
        self.roster = roster
        self.heads = heads
        self.gate = gate
        self.clearing_origin = f"{network}/{CLEARING}"
        self.clearing: Any = stub(ClearingServiceStub, clearing)
        self._queue = queue
        self._connect = connect
        self._alarm = alarm
        self._channels: dict[str, tuple[str, Channel]] = {CLEARING: ("", clearing)}
        self._stubs: dict[str, Any] = {}
        self._seen: list[KnownHead] = []
        self._clock = clock
        self._idle_pulse_us = int(idle_pulse_s * SECOND)
        self._pulsed_size = -1
        self._pulsed_us = 0
        self._owes_links = False
        self._holds: dict[str, Courier[peer_pb2.HoldRequest, common_pb2.Statement]] = {}
        self._notices: dict[str, Courier[peer_pb2.PledgeNotice, int]] = {}
        self.claims: Courier[clearing_pb2.ClaimItem, clearing_pb2.Decided] = Courier(self._claim)
        self.reports: Courier[int, None] = Courier(self._report, linger_s=REPORT_LINGER_S)
        self.resolves: Courier[clearing_pb2.RedemptionKey, clearing_pb2.ResolveResult] = Courier(
            self._resolve
        )

    # --- errands ----------------------------------------------------------------------

    def holds(self, issuer: str) -> Courier[peer_pb2.HoldRequest, common_pb2.Statement]:
        """Asks an issuer to set points aside."""
        if issuer not in self._holds:
            self._holds[issuer] = Courier(lambda items: self._place_holds(issuer, items))
        return self._holds[issuer]

    def notices(self, issuer: str) -> Courier[peer_pb2.PledgeNotice, int]:
        """Tells an issuer of pledges; answers what of a refund's points it has taken back."""
        if issuer not in self._notices:
            self._notices[issuer] = Courier(lambda items: self._deliver_pledges(issuer, items))
        return self._notices[issuer]

    async def offer(self, brand: str, statement: common_pb2.Statement) -> None:
        """Show another brand a PROPOSE, ACCEPT or TERMINATE."""
        origin = self.roster.origin_of(brand)
        response = await _ask(
            self._peer(brand).OfferAgreement(
                peer_pb2.OfferAgreementRequest(heads=self.heads.mine(origin), statement=statement)
            )
        )
        self.hear(origin, response.heads)

    async def ask_clearing(self, method: str, request: Any) -> Any:
        """One RPC of ClearingService that carries heads; `heads` is filled in and heard."""
        request.heads.CopyFrom(self.heads.mine(self.clearing_origin))
        response = await _ask(getattr(self.clearing, method)(request))
        self.hear(self.clearing_origin, response.heads)
        return response

    async def follow(self, *, start: int, limit: int, wait_ms: int) -> clearing_pb2.FollowResponse:
        """A page of clearing's log."""
        request = clearing_pb2.FollowRequest(
            heads=self.heads.mine(self.clearing_origin),
            from_index=start,
            limit=limit,
            wait_ms=wait_ms,
        )
        response: clearing_pb2.FollowResponse = await _ask(
            self.clearing.Follow(request, timeout=wait_ms / 1_000 + 10.0)
        )
        self.hear(self.clearing_origin, response.heads)
        return response

    # --- heads ------------------------------------------------------------------------

    def recheck(self, participant: str) -> None:
        """The keys of a participant's log have changed."""
        origin = f"{self.network}/{participant}"
        self.heads.recheck(origin)
        self._seen = [head for head in self._seen if head.origin != origin]

    def hear(self, origin: str, exchange: common_pb2.HeadExchange) -> None:
        """Take in the other side's heads. Raises BadStatement; a LedgerFault shuts the gate."""
        try:
            self._seen += self.heads.hear(origin, exchange)
        except LedgerFault as fault:
            self.gate.shut(fault)
            raise
        except UnknownKey as error:
            raise _not_yet(error) from error
        except RetiredKey:
            # A neighbour that has yet to read that its key was exchanged; nothing is taken.
            raise
        except BadStatement as error:
            self._alarm(f"hearing the heads of {origin}", error)
            raise
        if origin == self.clearing_origin:
            self._owes_links = bool(exchange.unlinked_sizes)

    def see(self, statement: common_pb2.Statement, origin: str) -> Proven:
        """Verify a statement of a log, whoever brought it. Raises BadStatement, or NotHeard for a
        key of which clearing's feed has not told yet."""
        try:
            proven, learnt = self.heads.see(statement, origin)
        except UnknownKey as error:
            raise _not_yet(error) from error
        self._seen += learnt
        return proven

    async def submit_all(self, commands: Sequence[Command]) -> list[Outcome]:
        """Commit commands, in one batch with the heads that they may rely on."""
        if not self._seen:
            return await self._queue.submit_all(commands)
        hear = Hear(seen=tuple(self._seen))
        self._seen = []
        first, *rest = await self._queue.submit_all([hear, *commands])
        if isinstance(first, ComityError):
            self._seen = [*hear.seen, *self._seen]
        return rest

    async def submit(self, command: Command) -> Answer:
        """As `submit_all`, for one command; raises the error it was answered."""
        (outcome,) = await self.submit_all((command,))
        if isinstance(outcome, ComityError):
            raise outcome
        return outcome

    def own_size(self) -> int:
        """How many entries our own log has."""
        return self._queue.store.head().size

    async def prove(self, indices: Sequence[int]) -> list[common_pb2.Statement]:
        """Statements of our own entries, all under one head."""
        proven = await self._queue.prove(indices)
        return [
            statements.make(
                entry.body, index=entry.index, hashes=entry.path, checkpoint=proven.head.note
            )
            for entry in proven.entries
        ]

    async def pulse(self) -> None:
        """Exchange heads with clearing; the first one to succeed opens the gate."""
        size = self.own_size()
        await self.ask_clearing("Pulse", clearing_pb2.PulseRequest())
        self._pulsed_size = size
        self.gate.open()

    async def run(self) -> None:
        """Pulse at once, then in every second in which our log grew or clearing misses a link.

        An idle node pulses as well, less often: what others show clearing of our log has to be
        linked by us, within clearing's patience, and only clearing's answer tells what it is.
        Raises a fault of our ledger.
        """
        while True:
            grew = self.own_size() != self._pulsed_size
            if grew or self._owes_links or self._idle_for_long() or not self.gate.is_open:
                await self._try_pulse()
                if self._owes_links:
                    await self._try_pulse()
            await asyncio.sleep(PULSE_EVERY_S)

    def _idle_for_long(self) -> bool:
        """Whether the last pulse is too old, or of a time that the clock has yet to reach."""
        return not 0 <= self._clock() - self._pulsed_us < self._idle_pulse_us

    async def _try_pulse(self) -> None:
        self._pulsed_us = self._clock()
        try:
            await self.pulse()
        except (LedgerFault, BadStatement):
            # A fault has shut the gate, whose watch ends the process; a lie was an alarm.
            self.gate.raise_fault()
        except ComityError:
            # Clearing is away; the next second asks again.
            return

    async def close(self) -> None:
        """Stop the couriers and close the channels."""
        couriers: Iterable[Courier[Any, Any]] = (
            self.claims,
            self.reports,
            self.resolves,
            *self._holds.values(),
            *self._notices.values(),
        )
        for courier in couriers:
            await courier.close()
        for _, channel in self._channels.values():
            await channel.close()

    # --- sending ----------------------------------------------------------------------

    def _peer(self, participant: str) -> Any:
        """The stub for a brand, at the address that the roster has now."""
        address = self.roster.address_of(participant)
        known = self._channels.get(participant)
        if known is None or known[0] != address:
            channel = self._connect(participant, address)
            self._channels[participant] = (address, channel)
            self._stubs[participant] = stub(PeerServiceStub, channel)
        return self._stubs[participant]

    async def _place_holds(
        self, issuer: str, items: Sequence[peer_pb2.HoldRequest]
    ) -> list[common_pb2.Statement | ComityError]:
        origin = self.roster.origin_of(issuer)
        request = peer_pb2.PlaceHoldsRequest(heads=self.heads.mine(origin), holds=items)
        response = await _ask(self._peer(issuer).PlaceHolds(request))
        self.hear(origin, response.heads)
        return [
            result.hold if result.WhichOneof("result") == "hold" else failed(result.failure)
            for result in response.results
        ]

    async def _deliver_pledges(
        self, issuer: str, items: Sequence[peer_pb2.PledgeNotice]
    ) -> list[ComityError | int]:
        origin = self.roster.origin_of(issuer)
        request = peer_pb2.DeliverPledgesRequest(heads=self.heads.mine(origin), pledges=items)
        response = await _ask(self._peer(issuer).DeliverPledges(request))
        self.hear(origin, response.heads)
        return [
            failed(result.failure) if result.HasField("failure") else result.recovered_points
            for result in response.results
        ]

    async def _claim(
        self, items: Sequence[clearing_pb2.ClaimItem]
    ) -> list[clearing_pb2.Decided | ComityError]:
        response = await self.ask_clearing("Claim", clearing_pb2.ClaimRequest(claims=items))
        return [
            result.decided if result.WhichOneof("result") == "decided" else failed(result.failure)
            for result in response.results
        ]

    async def _report(self, indices: Sequence[int]) -> list[ComityError | None]:
        deliveries = await self.prove(indices)
        response = await self.ask_clearing(
            "Report", clearing_pb2.ReportRequest(deliveries=deliveries)
        )
        return [
            failed(result.failure) if result.HasField("failure") else None
            for result in response.results
        ]

    async def _resolve(
        self, keys: Sequence[clearing_pb2.RedemptionKey]
    ) -> list[clearing_pb2.ResolveResult | ComityError]:
        response = await self.ask_clearing("Resolve", clearing_pb2.ResolveRequest(keys=keys))
        return list(response.results)


def failed(failure: common_pb2.Failure) -> ComityError:
    """The error in an item's result."""
    if not failure.code:
        return BadStatement("The neighbour answered an item with neither result nor failure.")
    return _ours(
        rebuild(failure.code, failure.message, field=failure.field, metadata=dict(failure.metadata))
    )


def _not_yet(error: UnknownKey) -> NotHeard:
    return NotHeard(
        f"{error.message} If the log's key was exchanged, clearing's feed will say so; repeat.",
    )


async def _ask(call: Awaitable[T]) -> T:
    """The answer of a call; what is wrong with the neighbour itself is `Unavailable` to us.

    So is a head of ours under a key that was exchanged: our feed will tell us too.
    """
    try:
        return await call
    except RetiredKey as error:
        raise NotHeard(f"Our key was exchanged; our feed will say so: {error.message}") from error
    except ComityError as error:
        raise _ours(error) from error


def _ours(error: ComityError) -> ComityError:
    if isinstance(error, LedgerFault | Unauthenticated) or type(error) is ComityError:
        return Unavailable(f"The neighbour cannot answer now: {error.message}")
    return error
