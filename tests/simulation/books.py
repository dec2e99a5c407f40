"""What people were answered, and whether the network still says so in the end (I9).

Every answer that moved points is written down here as it was given. Once everything has come to
its end, the same request must get the same answer, and each account must hold exactly what its
answers add up to: nothing acknowledged is lost, nothing is done twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from comity.errors import NotFound
from comity.ledger import schema
from comity.ledger.replay import Replay
from comity.points import Rounding, divide
from comity.v1 import common_pb2, entry_pb2, member_pb2, merchant_pb2
from node.tables import postings
from tests.simulation.hosts import Host
from tests.simulation.people import Member, Wanted, insist

if TYPE_CHECKING:
    from tests.world import World

DELIVERED = (
    member_pb2.REDEMPTION_STATE_DELIVERED,
    member_pb2.REDEMPTION_STATE_PARTLY_REVERSED,
    member_pb2.REDEMPTION_STATE_REVERSED,
)


class Books:
    """What the network owes its people, by their own account."""

    def __init__(self) -> None:
        self.points: Counter[tuple[str, str]] = Counter()
        """By brand and account, over all classes a member owns, before redemptions."""
        self.sales: list[tuple[Member, merchant_pb2.Purchase]] = []
        self._answers: list[tuple[Callable[[], Awaitable[Any]], Any]] = []
        self._wanted: dict[str, tuple[Wanted, Member]] = {}
        self._decided: dict[str, member_pb2.Redemption] = {}
        self._refunded: dict[tuple[str, str, str], tuple[int, int]] = {}

    # --- writing down -----------------------------------------------------------------

    def same(self, first: object, *others: object) -> None:
        """Two who ask the same are answered alike."""
        for other in others:
            assert other == first, f"one request was answered {first} and {other}"

    def earned(self, brand: str, account: str, points: int) -> None:
        """A member was told of points, given or taken."""
        self.points[brand, account] += points

    def answered(self, ask: Callable[[], Awaitable[Any]], answer: object) -> None:
        """`ask` was answered finally; it has to be for ever."""
        self._answers.append((ask, answer))

    def partner_refunded(
        self, member: Member, answer: merchant_pb2.RefundPartnerPurchaseResponse
    ) -> None:
        """A partner was told how many points of a sale are reversed, and how many are lost."""
        at = (member.brand, member.account, answer.redemption_id)
        told = (answer.reversed_points, answer.unrecovered_points)
        before = self._refunded.get(at, (0, 0))
        assert all(now >= was for now, was in zip(told, before, strict=True)), (
            "I9: less than before"
        )
        self._refunded[at] = told

    def wanted(self, wanted: Wanted, member: Member) -> None:
        """A member asked for a redemption."""
        self._wanted[wanted.id] = (wanted, member)

    def decided(self, wanted: Wanted, shown: member_pb2.Redemption) -> None:
        """A member was shown the end of a redemption."""
        self._decided[wanted.id] = shown

    # --- comparing --------------------------------------------------------------------

    async def check(self, world: World) -> None:
        """Raises AssertionError where the network has forgotten, or done something twice."""
        for ask, answer in self._answers:
            again = await insist(ask)
            assert again == answer, f"I9: answered {answer} before and {again} now"
        expected = Counter(self.points)
        for wanted, member in self._wanted.values():
            await self._redemption(world, wanted, member, expected)
        for (brand, account, redemption_id), (points, _) in self._refunded.items():
            taken = _clawed_back(world.brands[brand], account, redemption_id)
            assert 0 <= taken <= points, f"{taken} of {points} reversed points were taken back"
            expected[brand, account] -= taken
        for name, host in world.brands.items():
            replay = world.watch.replay(host)
            assert isinstance(replay, Replay)
            for account, points in _expired(host).items():
                expected[name, account] -= points
            for (account, _), parts in replay.accounts.items():
                told = expected.pop((name, account), 0)
                assert sum(parts) == told, (
                    f"I9: {account} at {name} has {parts}, and its answers come to {told}"
                )
        assert not any(expected.values()), f"I9: {expected} have no account"

    async def _redemption(
        self,
        world: World,
        wanted: Wanted,
        member: Member,
        expected: Counter[tuple[str, str]],
    ) -> None:
        """What a redemption moved, by its end as the acceptor shows it."""
        before = self._decided.get(wanted.id)
        try:
            shown = await member.look(wanted)
        except NotFound:
            assert before is None, f"I9: {wanted.id} was {before} and is forgotten"
            return
        assert shown.state != member_pb2.REDEMPTION_STATE_PENDING, f"I5: {wanted.id} hangs"
        delivered = shown.state in DELIVERED and len(shown.receipt) == 3
        if before is not None:
            told = before.state in DELIVERED and len(before.receipt) == 3
            assert told == delivered, f"I9: {wanted.id} was {before.state} and is {shown.state}"
            assert before.vouchers == shown.vouchers, f"I9: other vouchers for {wanted.id}"
        if not delivered:
            return
        quote = wanted.quote
        expected[quote.issuer, member.account] -= quote.points - shown.reversed_points
        if quote.kind == common_pb2.REDEMPTION_KIND_EXCHANGE:
            # Also what clearing reversed because it was reported too late: these programmes let
            # a member owe what is clawed back.
            taken = shown.reversed_points
            back = divide(quote.acceptor_points * taken, quote.points, Rounding.HALF_UP)
            account = wanted.request.destination_account
            expected[quote.acceptor, account] += quote.acceptor_points - back


def _clawed_back(host: Host, account: str, redemption_id: str) -> int:
    """Points taken from an account for the refunds of one partner sale."""
    table = postings
    query = select(table.c.pending, table.c.available, table.c.held, table.c.debt).where(
        table.c.ledger == host.ledger,
        table.c.account == account,
        table.c.entry == "clawback",
        table.c.reference == redemption_id,
    )
    with host.engine.connect() as connection:
        return -sum(sum(parts) for parts in connection.execute(query))


def _expired(host: Host) -> Counter[str]:
    """Points by account that expired, as the log says."""
    table = schema.entries
    query = select(table.c.body, table.c.opening).where(
        table.c.ledger == host.ledger, table.c.kind == "expiry"
    )
    found: Counter[str] = Counter()
    with host.engine.connect() as connection:
        for body, opening in connection.execute(query):
            legs = entry_pb2.Entry.FromString(body).expiry.legs
            openings = entry_pb2.EntryOpening.FromString(opening).legs
            for leg, opened in zip(legs, openings, strict=True):
                found[opened.account] -= leg.points if opened.account else 0
    return found
