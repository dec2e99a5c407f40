"""What this organisation holds of other organisations' logs, and they of this one's.

Every batch between two organisations carries a `HeadExchange` each way (protocol, section 2,
step 5). It links what the other side knows of our log to our newest head, and asks for the
links that we miss. A head learnt through a third party stays *loose* until its owner links it.

Two signed heads of one size with two roots are an `Equivocation`. A head of our own log that
we cannot have signed, or that is longer than our log, is a `LedgerFault` of ours.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from comity.clock import Clock
from comity.errors import (
    BadStatement,
    ComityError,
    Equivocation,
    ForkedLedger,
    RetiredKey,
    ShorterLedger,
)
from comity.ledger import schema, statements
from comity.ledger.rows import Rows
from comity.ledger.statements import Proven
from comity.ledger.store import Head, KnownHead, LedgerStore
from comity.log import merkle
from comity.log.checkpoint import Checkpoint, CheckpointCache, Keys, read_checkpoint
from comity.v1 import common_pb2

MAX_LINKS = 64

VerifierOf = Callable[[str], Keys]
"""The keys of a log by its origin; raises a ComityError for an unknown origin."""


@dataclass(slots=True)
class _Acquaintance:
    """One counterparty: what we hold of its log, and it of ours."""

    linked: KnownHead | None = None
    loose: dict[int, KnownHead] = field(default_factory=dict)
    heard: bool = False
    # Of our log, as the counterparty last told us.
    knows: int = 0
    misses: tuple[int, ...] = ()


class HeadKeeper:
    """The heads of all counterparties, in memory; `record_heads` writes what a batch learnt.

    Safe for several threads.
    """

    def __init__(
        self,
        store: LedgerStore,
        *,
        origin: str,
        verifier_of: VerifierOf,
        clock: Clock,
        cache: CheckpointCache | None = None,
    ) -> None:
        self.origin = origin
        self._store = store
        self._verifier_of = verifier_of
        self._clock = clock
        self._cache = cache or CheckpointCache()
        self._lock = threading.RLock()
        self._known: dict[str, _Acquaintance] = {}
        self._told: Head | None = None
        for head in filter(self._counts, store.known_heads().values()):
            self._of(head.origin).linked = head
        for head in filter(self._counts, store.loose_heads()):
            self._of(head.origin).loose[head.size] = head

    # --- asking -----------------------------------------------------------------------

    def known(self, origin: str) -> KnownHead | None:
        """The highest linked head of a counterparty."""
        return self._of(origin).linked

    def highest(self, origin: str) -> int:
        """The largest signed size of a counterparty that we have seen, linked or loose."""
        one = self._of(origin)
        return max([one.linked.size if one.linked else 0, *one.loose])

    def heard(self, origin: str) -> bool:
        """Whether this counterparty has exchanged heads with this process since it started."""
        return self._of(origin).heard

    def oldest_loose_us(self, origin: str) -> int | None:
        """Since when the oldest unlinked head of a counterparty waits; None without one."""
        return min((head.at_us for head in self._of(origin).loose.values()), default=None)

    # --- forgetting -------------------------------------------------------------------

    def recheck(self, origin: str) -> None:
        """A log's keys have changed: forget the heads of it that do not count any more."""
        with self._lock:
            one = self._of(origin)
            if one.linked is not None and not self._counts(one.linked):
                one.linked = None
            one.loose = {size: head for size, head in one.loose.items() if self._counts(head)}

    def _counts(self, head: KnownHead) -> bool:
        """False only for a head above the size up to which its key signs."""
        try:
            self._open(head.origin, head.note)
        except RetiredKey:
            return False
        except ComityError:
            pass
        return True

    # --- telling ----------------------------------------------------------------------

    def mine(self, to: str, head: Head | None = None) -> common_pb2.HeadExchange:
        """Our side of the exchange with `to`, under `head` or our newest."""
        head = head or self._store.head()
        with self._lock:
            one = self._of(to)
            exchange = common_pb2.HeadExchange(
                known=one.linked.note if one.linked else b"",
                unlinked_sizes=sorted(one.loose)[:MAX_LINKS],
                now_us=self._clock(),
            )
            wanted = sorted({one.knows, *one.misses})
        if head.size:
            exchange.checkpoint = head.note
            self._remember_own(head)
            for size in wanted[:MAX_LINKS]:
                if 0 < size < head.size:
                    exchange.links.add(
                        from_size=size, hashes=self._store.consistency(size, head.size)
                    )
        return exchange

    # --- hearing ----------------------------------------------------------------------

    def hear(self, origin: str, exchange: common_pb2.HeadExchange) -> tuple[KnownHead, ...]:
        """Take in the other side of an exchange; returns the heads it taught us, to be recorded.

        Raises BadStatement, Equivocation, or a LedgerFault when the other side holds a signed
        head of our log that our log does not extend.
        """
        self._check_own(exchange.known)
        learnt: list[KnownHead] = []
        with self._lock:
            one = self._of(origin)
            if exchange.checkpoint:
                head = self._open(origin, exchange.checkpoint)
                links = {link.from_size: tuple(link.hashes) for link in exchange.links}
                self._take(one, head, exchange.checkpoint, links, learnt)
            one.heard = True
            if exchange.known:
                one.knows = self._own(exchange.known).size
            one.misses = tuple(exchange.unlinked_sizes)
        return tuple(learnt)

    def see(
        self, statement: common_pb2.Statement, origin: str
    ) -> tuple[Proven, tuple[KnownHead, ...]]:
        """Verify a statement of `origin`, whoever brought it.

        Returns it with the head it taught us (loose until linked), if that was new.
        """
        proven = statements.verify(
            statement, origin=origin, verifier=self._verifier_of(origin), cache=self._cache
        )
        learnt: list[KnownHead] = []
        with self._lock:
            self._take(self._of(origin), proven.head, proven.note, {}, learnt)
        return proven, tuple(learnt)

    # --- inside -----------------------------------------------------------------------

    def _of(self, origin: str) -> _Acquaintance:
        with self._lock:
            return self._known.setdefault(origin, _Acquaintance())

    def _open(self, origin: str, note: bytes) -> Checkpoint:
        return self._cache.open(note, origin=origin, verifier=self._verifier_of(origin))

    def _own(self, note: bytes) -> Checkpoint:
        """A head of ours which somebody holds, under whichever of our keys."""
        try:
            return self._open(self.origin, note)
        except RetiredKey:
            # Signed before our key was exchanged at a smaller size, or by whoever stole it.
            found = read_checkpoint(note)
            mine = self._store.head()
            if 0 < found.size <= mine.size and self._store.root(found.size) == found.root:
                return found
            return Checkpoint(self.origin, 0, merkle.EMPTY_ROOT)

    def _remember_own(self, head: Head) -> None:
        """The other side will name this head as the one it knows; its signature is our own."""
        if head is not self._told:
            own = Checkpoint(self.origin, head.size, head.root)
            self._cache.remember(head.note, own, verifier=self._verifier_of(self.origin))
            self._told = head

    def _check_own(self, note: bytes) -> None:
        """Raises a LedgerFault if `note` is a head of ours that our log does not extend."""
        if not note:
            return
        theirs = self._own(note)
        mine = self._store.head()
        if theirs.size > mine.size:
            raise ShorterLedger(
                f"Another organisation holds a signed head of {self.origin} at size "
                f"{theirs.size}; this ledger has {mine.size} entries. It was restored from an "
                "older copy: restore the newest one.",
                metadata={"theirs": str(theirs.size), "ours": str(mine.size)},
            )
        if theirs.size and self._store.root(theirs.size) != theirs.root:
            raise ForkedLedger(
                f"Another organisation holds a signed head of {self.origin} at size "
                f"{theirs.size} with another root: this ledger has another history.",
                metadata={"size": str(theirs.size)},
            )

    def _take(
        self,
        one: _Acquaintance,
        head: Checkpoint,
        note: bytes,
        links: dict[int, tuple[bytes, ...]],
        learnt: list[KnownHead],
    ) -> None:
        seen = KnownHead(
            origin=head.origin,
            size=head.size,
            root=head.root,
            note=note,
            linked=False,
            at_us=self._clock(),
        )
        for other in (one.linked, one.loose.get(head.size)):
            if other is not None and other.size == head.size and other.root != head.root:
                raise _equivocation(other, seen)
        linked = one.linked
        extends = linked is None or head.size == linked.size
        if linked is not None and head.size > linked.size and linked.size in links:
            _check_link(linked, head, links[linked.size])
            extends = True
        if extends or head.size == 0:
            if linked is None or head.size > linked.size:
                one.linked = _as_linked(seen)
                learnt.append(one.linked)
            for size in sorted(one.loose):
                if size == head.size:
                    learnt.append(_as_linked(one.loose.pop(size)))
                elif size < head.size and size in links:
                    _check_link(one.loose[size], head, links[size])
                    learnt.append(_as_linked(one.loose.pop(size)))
        elif head.size not in one.loose:
            one.loose[head.size] = seen
            learnt.append(seen)


def record_heads(rows: Rows, seen: Iterable[KnownHead]) -> None:
    """Write what `hear` and `see` taught, in the commit of the effect that relied on it."""
    for head in seen:
        at = (head.origin,)
        place = (head.origin, head.size)
        rows.load(schema.heads, [at])
        rows.load(schema.loose_heads, [place])
        if not head.linked:
            rows.put(
                schema.loose_heads,
                {
                    "origin": head.origin,
                    "size": head.size,
                    "root": head.root,
                    "note": head.note,
                    "at_us": head.at_us,
                },
            )
            continue
        if rows.get(schema.loose_heads, place) is not None:
            rows.delete(schema.loose_heads, place)
        before = rows.get(schema.heads, at)
        if before is None or before["size"] < head.size:
            rows.put(
                schema.heads,
                {
                    "origin": head.origin,
                    "size": head.size,
                    "root": head.root,
                    "note": head.note,
                    "linked": 1,
                    "at_us": head.at_us,
                },
            )


def forget_heads(rows: Rows, origin: str, *, above: int) -> None:
    """Delete the heads of a log above a size, in the commit which retires the key they bear.

    As `HeadKeeper.recheck` does in memory: no head under a newer key was heard before.
    """
    rows.load_where(schema.loose_heads, "origin", [origin])
    for row in rows.find(schema.loose_heads, "origin", origin):
        if row["size"] > above:
            rows.delete(schema.loose_heads, (origin, row["size"]))
    rows.load(schema.heads, [(origin,)])
    highest = rows.get(schema.heads, (origin,))
    if highest is not None and highest["size"] > above:
        rows.delete(schema.heads, (origin,))


def _as_linked(head: KnownHead) -> KnownHead:
    return KnownHead(
        origin=head.origin,
        size=head.size,
        root=head.root,
        note=head.note,
        linked=True,
        at_us=head.at_us,
    )


def _check_link(old: KnownHead, new: Checkpoint, hashes: tuple[bytes, ...]) -> None:
    try:
        merkle.verify_consistency(
            old_size=old.size,
            new_size=new.size,
            old_root=old.root,
            new_root=new.root,
            proof=hashes,
        )
    except BadStatement as error:
        raise BadStatement(
            f"The head of {old.origin} at {new.size} is not proven to extend the one at {old.size}."
        ) from error


def _equivocation(one: KnownHead, other: KnownHead) -> Equivocation:
    return Equivocation(
        f"{one.origin} signed two heads of size {one.size} with two roots.",
        metadata={"first": one.note.decode(), "second": other.note.decode()},
    )
