"""How many points may be waiting for decisions: a limit on open holds, per member and acceptor.

Every hold rests on what a neighbour promises to bring before clearing. One that never does may
not set aside without end. Holds are counted from above: each new one adds one, and only when a
limit is reached are those that are still held counted in the table, once a second at most. So a
limit is exceeded by no more than what is being committed at that moment, and counting costs
nothing as long as nobody comes near it.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from typing import Final

from sqlalchemy import func, literal_column, select

from comity.clock import SECOND, Clock
from comity.ledger.store import LedgerStore
from node.redemption_tables import holds

MEMBERS_REMEMBERED: Final = 65_536
RECOUNT_US: Final = SECOND


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldLimits:
    """The most open holds of one member, and for one acceptor."""

    per_member: int = 256
    per_acceptor: int = 100_000


class OpenHolds:
    """The open holds of this issuer. May be used from several threads."""

    def __init__(self, store: LedgerStore, clock: Clock, limits: HoldLimits) -> None:
        self._store = store
        self._clock = clock
        self._limits = limits
        self._lock = threading.Lock()
        self._members: Counter[str] = Counter()
        self._acceptors: Counter[str] = Counter()
        self._counted_at_us: int | None = None

    def add(self, *, account: str, acceptor: str) -> str:
        """Count one more hold; why it may not be placed, or empty if it may."""
        with self._lock:
            if self._full(account, acceptor) or len(self._members) > MEMBERS_REMEMBERED:
                self._recount()
            reason = self._full(account, acceptor)
            if not reason:
                self._members[account] += 1
                self._acceptors[acceptor] += 1
            return reason

    def _full(self, account: str, acceptor: str) -> str:
        if self._counted_at_us is None:
            self._recount()
        if self._members[account] >= self._limits.per_member:
            return (
                f"{self._limits.per_member} redemptions of this member are undecided, which is the "
                "most allowed; wait for them."
            )
        if self._acceptors[acceptor] >= self._limits.per_acceptor:
            return (
                f"{self._limits.per_acceptor} redemptions at {acceptor} are undecided, which is "
                "the most allowed; bring them before clearing first."
            )
        return ""

    def _recount(self) -> None:
        now_us = self._clock()
        if self._counted_at_us is not None and now_us - self._counted_at_us < RECOUNT_US:
            return
        query = (
            select(holds.c.account, holds.c.acceptor, func.count())
            .where(
                holds.c.ledger == self._store.ledger,
                # Not a parameter: the index holds only what is held, and has to be recognised.
                holds.c.state == literal_column("'HELD'"),
            )
            .group_by(holds.c.account, holds.c.acceptor)
        )
        self._members.clear()
        self._acceptors.clear()
        with self._store.engine.connect() as connection:
            for account, acceptor, count in connection.execute(query):
                self._members[account] += count
                self._acceptors[acceptor] += count
        self._counted_at_us = now_us
