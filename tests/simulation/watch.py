"""What is watched while a simulated network runs: invariants I1–I18 (protocol, section 8).

After every commit the new entries are folded on by the kernel's own replay, and the tables of
that ledger are compared with it. Every message is searched for signed heads, which must be of
the log as it is and stay so, and for personal data. What must hold only in the end is looked at
once faults are over, by the same verification that anybody can run on real data.
"""

from __future__ import annotations

import base64
import re
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.message import DecodeError

from comity.ledger import entries
from comity.ledger.replay import Findings, Replay
from comity.terms import quotes
from comity.terms.cross_checks import cross_check
from comity.terms.decision_replay import COMMITTED, DecisionReplay
from comity.v1 import member_pb2
from comity.verify import database as verify_database
from comity.verify.log import LogPass
from comity.verify.report import AnyReplay
from comity.verify.tables import check_tables
from tests.simulation import identities, people
from tests.simulation.hosts import Host, driver
from tests.simulation.identities import CLEARING, NETWORK
from tests.simulation.network import Message

if TYPE_CHECKING:
    from tests.world import World

_NOTE: Final = re.compile(
    rb"(%s/[a-z0-9-]+)\n([0-9]{1,18})\n([A-Za-z0-9+/]{43}=)\n"
    % NETWORK.encode().replace(b".", b"\\.")
)
LIAR: Final = "liar"
"""The sender of messages that nobody has to believe."""

PERSONAL: Final = people.PERSONAL.encode()
_ORGANISATIONS: Final = frozenset({"PeerService", "ClearingService"})


class Watch:
    """The eye on one world. What it sees goes to the world's failures."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._logs: dict[str, LogPass] = {}
        self._heads: dict[tuple[str, int], bytes] = {}
        self._expiries: dict[bytes, int] = {}
        self._quiet = False
        world.ground.committed = self.committed
        world.network.listeners.append(self.heard)

    # --- after every commit -----------------------------------------------------------

    def committed(self, host: Host) -> None:
        """A batch of this host was decided: look at what it wrote."""
        # Plain SQL, because this runs after every commit.
        with driver(host.engine) as connection:
            cursor = connection.cursor()
            self._follow(host, cursor)
            replay = self._log(host).replay
            if isinstance(replay, Replay):
                self._check_brand(host, cursor, replay)
            else:
                self._check_clearing(host, cursor, replay)

    def replay(self, host: Host) -> AnyReplay:
        """The fold of a log so far."""
        return self._log(host).replay

    def forget(self, host: Host) -> None:
        """Its database was replaced: fold its log anew. What it has signed stays known."""
        self._logs.pop(host.name, None)

    def _log(self, host: Host) -> LogPass:
        if host.name not in self._logs:
            self._logs[host.name] = LogPass(f"{NETWORK}/{host.name}", opened=True)
        return self._logs[host.name]

    def _follow(self, host: Host, cursor: sqlite3.Cursor) -> None:
        """Fold the entries that are new."""
        taken = self._log(host)
        start = taken.size
        rows = cursor.execute(
            'SELECT body, opening FROM entries WHERE ledger = ? AND "index" >= ? ORDER BY "index"',
            (host.ledger, start),
        ).fetchall()
        if not rows:
            return
        taken.add([body for body, _ in rows], [opening for _, opening in rows])
        for check in taken.checks():
            if not check.passed:
                self._fail(f"{check.name} at {host.name}: {check.detail}")
        for index, (body, _) in enumerate(rows, start):
            if PERSONAL in body:
                self._fail(f"I11: entry {index} of {host.name} holds personal data")
            if host.name == CLEARING:
                self._check_in_time(index, body)

    def _check_in_time(self, index: int, body: bytes) -> None:
        """A quote commits only while it lives, on clearing's clock."""
        entry = entries.decode(body)
        if entry.WhichOneof("body") != "decision" or entry.decision.outcome != COMMITTED:
            return
        expires_us = self._expiries.get(entry.decision.quote_digest)
        if expires_us is not None and entry.at_us >= expires_us:
            self._fail(f"DECISION {index} commits a quote that expired before it")

    def _check_brand(self, host: Host, cursor: sqlite3.Cursor, replay: Replay) -> None:
        """I10: the tables are what the log gives. I18: pieces promised are pieces there are."""
        self._same(
            host,
            "accounts",
            cursor.execute(_ACCOUNTS, (host.ledger,)),
            {at: tuple(points) for at, points in replay.accounts.items()},
        )
        self._same(
            host,
            "lots",
            cursor.execute(_LOTS, (host.ledger,)),
            {
                (name, lot.account): (lot.earned, *lot.points, lot.expires_at_us)
                for name, lot in replay.lots.items()
            },
        )
        self._same(
            host,
            "class_totals",
            cursor.execute(_TOTALS, (host.ledger,)),
            {at: (points,) for at, points in replay.totals.items()},
        )
        for text in _BRAND_RULES:
            for row in cursor.execute(text, {"ledger": host.ledger}):
                self._fail(f"{' '.join(map(str, row))}, at {host.name}")

    def _check_clearing(self, host: Host, cursor: sqlite3.Cursor, replay: DecisionReplay) -> None:
        """I6, I10: positions are what the log gives, and sum to zero."""
        self._same(
            host,
            "positions",
            cursor.execute(_POSITIONS, (host.ledger,)),
            {at: (minor,) for at, minor in replay.positions.items()},
        )
        for text in _CLEARING_RULES:
            for row in cursor.execute(text, {"ledger": host.ledger}):
                self._fail(" ".join(map(str, row)))

    def _same(
        self,
        host: Host,
        table: str,
        rows: Iterable[tuple[Any, ...]],
        expected: dict[Any, tuple[int, ...]],
    ) -> None:
        """A table whose rows begin with a key of two columns, against what the log gives."""
        stored = {row[:2]: row[2:] for row in rows}
        if stored == expected:
            return
        for at in stored.keys() | expected.keys():
            one, other = stored.get(at, ()), expected.get(at, ())
            if one != other and (any(one) or any(other)):
                self._fail(f"I10: {table} at {host.name} has {one} for {at}, its log {other}")

    # --- on the wire ------------------------------------------------------------------

    def heard(self, message: Message) -> None:
        """Search a message for signed heads, personal data and quotes; what liars say is not."""
        if message.sender == LIAR:
            return
        for origin, size, root in _NOTE.findall(message.data):
            self._check_head(origin.decode(), int(size), base64.b64decode(root))
        service, _, method = message.path.rpartition("/")
        if service.rpartition(".")[2] in _ORGANISATIONS and PERSONAL in message.data:
            self._fail(f"I11: {message.path} from {message.sender} holds personal data")
        if method == "GetQuote" and message.is_answer:
            self._remember_quote(message.data)

    def _check_head(self, origin: str, size: int, root: bytes) -> None:
        """I8, I17: a head on the wire is one of the log's, now and for ever."""
        known = self._heads.get((origin, size))
        if known == root:
            return
        host = self._world.ground.hosts.get(origin.partition("/")[2])
        if known is not None or host is None:
            self._fail(f"I8: two heads of {origin} at size {size}")
            return
        self._heads[origin, size] = root
        store = host.store
        if size > store.head().size:
            self._fail(f"I17: {origin} released a head of size {size} before its commit")
        elif size and store.root(size) != root:
            self._fail(f"I8: {origin} released a head of size {size} of another history")

    def _remember_quote(self, data: bytes) -> None:
        try:
            quoted = member_pb2.GetQuoteResponse.FromString(data)
            quote = quotes.read(quoted.quote)
        except (DecodeError, Exception):  # noqa: BLE001 - a refusal is no quote
            return
        self._expiries[quotes.digest(quoted.quote)] = quote.expires_at_us

    # --- now and then, and in the end -------------------------------------------------

    def check(self, *, final: bool = False) -> None:
        """Everything again, across the organisations; with `final` what must be in the end."""
        hosts = self._world.hosts
        for host in hosts:
            self.committed(host)
        clearing = self._log(self._world.clearing).replay
        assert isinstance(clearing, DecisionReplay)
        brands: dict[str, Replay] = {}
        for name, brand in self._world.brands.items():
            replay = self._log(brand).replay
            assert isinstance(replay, Replay)
            brands[name] = replay
        for host in hosts:
            with host.engine.connect() as connection:
                found = Findings()
                good = check_tables(
                    connection, host.ledger, self._log(host).replay, _reading, found
                )
            for name in good:
                check = found.check(name, good="")
                if not check.passed:
                    self._fail(f"I10: {check.detail} At {host.name}.")
        for check in cross_check(clearing, brands, final=final):
            if not check.passed:
                self._fail(f"{check.name}: {check.detail}")
        for (origin, size), root in self._heads.items():
            store = self._world.ground.hosts[origin.partition("/")[2]].store
            if size > store.head().size or (size and store.root(size) != root):
                self._fail(f"I17: {origin} does not extend its head of size {size}")
        if final:
            for host in hosts:
                own = identities.signer(host.name)
                self._verify(host, clearing.roster.get(own.origin, own.vkey))

    def _verify(self, host: Host, vkey: str) -> None:
        """As anybody verifies a database: `comity verify` on a copy (I10)."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "copy.db"
            path.write_bytes(host.copy())
            report = verify_database.database(path, ledger=host.ledger, vkey=vkey, final=True)
        for check in report.checks:
            if not check.passed:
                self._fail(f"{check.name} at {host.name}: {check.detail}")

    def roots(self) -> dict[str, str]:
        """The root of every log: the whole run in a few lines."""
        return {host.name: host.store.head().root.hex() for host in self._world.hosts}

    def _fail(self, text: str) -> None:
        if text not in self._world.failures:
            self._world.failures.append(text)


@contextmanager
def _reading(table: str) -> Iterator[None]:
    """Whatever cannot be read is a failure of the test itself."""
    yield


_ACCOUNTS: Final = (
    "SELECT account, unit, pending, available, held, debt FROM accounts WHERE ledger = ?"
)
_LOTS: Final = (
    "SELECT lot, account, earned, pending, available, held, expires_at_us FROM lots"
    " WHERE ledger = ?"
)
_TOTALS: Final = "SELECT unit, account_class, points FROM class_totals WHERE ledger = ?"
_POSITIONS: Final = "SELECT participant, currency, running_minor FROM positions WHERE ledger = ?"

_BRAND_RULES: Final = (
    """SELECT 'I18: of', reward_id, 'there are', stock, 'and promised', reserved + delivered
       FROM rewards WHERE ledger = :ledger AND (reserved < 0 OR delivered < 0
         OR (NOT unlimited AND reserved + delivered > stock))""",
    """SELECT 'I5: of', r.reward_id, r.reserved, 'are reserved' FROM rewards r
       WHERE r.ledger = :ledger AND r.reserved <> (SELECT coalesce(sum(d.quantity), 0)
         FROM redemptions d WHERE d.ledger = r.ledger AND d.reward_id = r.reward_id
         AND d.state = 'RESERVED')""",
    """SELECT 'I4: held are', held, 'and holds of', holding FROM
       (SELECT coalesce(sum(held), 0) AS held FROM accounts WHERE ledger = :ledger),
       (SELECT coalesce(sum(points), 0) AS holding FROM holds
         WHERE ledger = :ledger AND state = 'HELD') WHERE held <> holding""",
    """SELECT 'I18:', code, 'is a voucher of', v.redemption_id, 'which is', d.state
       FROM vouchers v LEFT JOIN redemptions d
         ON d.ledger = v.ledger AND d.redemption_id = v.redemption_id
       WHERE v.ledger = :ledger AND d.state IS NOT 'DELIVERED'""",
    """SELECT 'I2:', account, 'has', pending, available, held, debt FROM accounts
       WHERE ledger = :ledger AND (pending < 0 OR available < 0 OR held < 0 OR debt > 0)""",
)
"""Queries which find what must not be, as sentences."""

_CLEARING_RULES: Final = (
    """SELECT 'I6: positions in', currency, 'sum to', sum(running_minor) FROM positions
       WHERE ledger = :ledger GROUP BY currency HAVING sum(running_minor) <> 0""",
    """SELECT 'I6: window', "window", 'in', currency, 'sums to', sum(in_minor - out_minor
         - fees_minor + drift_minor) FROM totals WHERE ledger = :ledger
       GROUP BY "window", currency
       HAVING sum(in_minor - out_minor - fees_minor + drift_minor) <> 0""",
    """SELECT 'I12: reversed of', redemption_id, reversed_points, 'of', points FROM redemptions
       WHERE ledger = :ledger AND reversed_points > points""",
)
