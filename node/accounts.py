"""Moving points: one entry's legs and the rows they change, kept in step.

A `Movement` is one entry in the making. Each change to a lot or a debt adds the leg, changes the
lot and the account's balance, and is remembered for the member's statement and the totals by
class; `append` seals the legs and writes all of it. So no rule can move points without an entry,
nor write an entry which the rows do not follow.

Whatever looks at an account's lots first calls `settle`: points whose time has come mature or
expire, by entries of their own, before the rule looks. The sweep does the same for accounts
which nobody touches, so no answer depends on when it ran.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final

from comity.errors import LimitExceeded, NotFound
from comity.ledger import entries
from comity.ledger.command import Batch
from comity.ledger.entries import LegDraft
from comity.ledger.rows import Rows
from comity.points import add
from comity.v1 import entry_pb2 as pb
from node import lots as lot_rules
from node.book import Rules
from node.lots import Lot
from node.programme import Clawback, LotDraft
from node.tables import accounts, class_totals, lots, members, postings

PENDING: Final = pb.ACCOUNT_CLASS_PENDING
AVAILABLE: Final = pb.ACCOUNT_CLASS_AVAILABLE
HELD: Final = pb.ACCOUNT_CLASS_HELD
ISSUED: Final = pb.ACCOUNT_CLASS_ISSUED
SPENT: Final = pb.ACCOUNT_CLASS_SPENT
EXPIRED: Final = pb.ACCOUNT_CLASS_EXPIRED
CLAWED_BACK: Final = pb.ACCOUNT_CLASS_CLAWED_BACK
CONVERTED: Final = pb.ACCOUNT_CLASS_CONVERTED
DEBT: Final = pb.ACCOUNT_CLASS_DEBT

CLASSES: Final = (
    PENDING, AVAILABLE, HELD, ISSUED, SPENT, EXPIRED, CLAWED_BACK, CONVERTED, DEBT,
)  # fmt: skip

MEMBER_PARTS: Final = {PENDING: "pending", AVAILABLE: "available", HELD: "held", DEBT: "debt"}
"""The columns of an account's balances, by class."""

_PARTS: Final = {part: account_class for account_class, part in MEMBER_PARTS.items()}

_KINDS: Final = {
    field.message_type.full_name: str(field.name)
    for field in pb.Entry.DESCRIPTOR.oneofs_by_name["body"].fields
    if field.message_type is not None
}
MAX_LEGS: Final = 1_000
_LEG_BYTES: Final = 60
_LEGS_BYTES: Final = 64_000


def max_legs(unit: str) -> int:
    """How many legs in this unit surely fit one entry."""
    return min(MAX_LEGS, _LEGS_BYTES // (_LEG_BYTES + len(unit)))


# --- reading --------------------------------------------------------------------------------


def prefetch_accounts(rules: Rules, rows: Rows, names: Iterable[str]) -> None:
    """Load what any rule about these accounts needs: member, balance, open lots, totals."""
    wanted = list(dict.fromkeys(names))
    prefetch_balances(rules, rows, wanted)
    rows.load_where(lots, ("account", "open"), [(name, 1) for name in wanted])


def prefetch_balances(rules: Rules, rows: Rows, names: Iterable[str]) -> None:
    """As `prefetch_accounts` without the lots, for rules that only add points."""
    wanted = list(dict.fromkeys(names))
    rows.load(members, [(name,) for name in wanted])
    rows.load(accounts, [(name, rules.unit) for name in wanted])
    prefetch_totals(rules, rows)


def prefetch_totals(rules: Rules, rows: Rows) -> None:
    """Load the totals by class."""
    rows.load(class_totals, [(rules.unit, one) for one in CLASSES])


def member(rows: Rows, account: str) -> dict[str, Any]:
    """The member's row. Raises NotFound if nobody has this account, or it was erased."""
    row = rows.get(members, (account,))
    if row is None or row["erased_at_us"]:
        raise NotFound(f"There is no member {account} here.", field="account")
    return row


def balance(rules: Rules, rows: Rows, account: str) -> dict[str, Any]:
    """The account's row: pending, available, held, debt."""
    row = rows.get(accounts, (account, rules.unit))
    if row is None:
        raise NotFound(f"There is no member {account} here.", field="account")
    return row


def open_lots(rows: Rows, account: str) -> list[Lot]:
    """The lots with points in them, as this batch has them."""
    return [Lot.of(row) for row in rows.find(lots, ("account", "open"), (account, 1))]


def lot(rows: Rows, name: str) -> Lot:
    """One lot that was loaded, open or not."""
    row = rows.get(lots, (name,))
    assert row is not None, f"lot {name} does not exist"
    return Lot.of(row)


# --- moving ---------------------------------------------------------------------------------


class Movement:
    """One entry in the making."""

    def __init__(self, rules: Rules, batch: Batch, *, reference: str = "") -> None:
        """`reference` is what the member's statement says is behind the entry."""
        self._rules = rules
        self._batch = batch
        self._reference = reference
        self._event = ""
        self._drafts: list[LegDraft] = []
        self._changes: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))

    @property
    def legs(self) -> int:
        """How many legs there are so far."""
        return len(self._drafts)

    def new_lot(self, account: str, draft: LotDraft, *, pending: bool) -> Lot:
        """A new lot with these points, pending or available."""
        made = Lot(
            lot=lot_rules.lot_name(self._batch.size, len(self._drafts)),
            account=account,
            unit=self._rules.unit,
            earned=draft.points,
            pending=draft.points if pending else 0,
            available=0 if pending else draft.points,
            held=0,
            earned_at_us=draft.earned_at_us,
            available_at_us=draft.available_at_us,
            expires_at_us=draft.expires_at_us,
        )
        self._batch.rows.insert(lots, made.row())
        self._leg(made, "pending" if pending else "available", draft.points)
        return made

    def change(self, lot: Lot, *, pending: int = 0, available: int = 0, held: int = 0) -> Lot:
        """Move points into or out of parts of a lot; returns the lot as it is now."""
        changed = lot.changed(pending=pending, available=available, held=held)
        self._batch.rows.put(lots, changed.row())
        for part, points in (("pending", pending), ("available", available), ("held", held)):
            if points:
                self._leg(changed, part, points)
        return changed

    def debt(self, account: str, points: int) -> None:
        """Change what the member owes: negative is more debt."""
        if points:
            self._draft(DEBT, points, account=account)
            self._changes[account]["debt"] += points

    def owed(self, account: str) -> int:
        """What the member owes once this entry is written."""
        owed: int = -balance(self._rules, self._batch.rows, account)["debt"]
        return owed - self._changes[account]["debt"]

    def own(self, account_class: pb.AccountClass.ValueType, points: int) -> None:
        """A leg of one of the programme's own classes."""
        if points:
            self._draft(account_class, points)

    def event(self, text: str) -> None:
        """What happened, for an entry that commits to its event; it stays with the opening."""
        self._event = text

    def append(self, body: Any) -> int:
        """Write the entry with `body`, whose legs these become; returns its index.

        Raises LimitExceeded if it moves more lots than one entry can hold.
        """
        rules, batch = self._rules, self._batch
        if len(self._drafts) > max_legs(rules.unit):
            raise LimitExceeded(
                "This would move points of too many lots at once; do it in parts.",
                metadata={"legs": str(len(self._drafts)), "most": str(max_legs(rules.unit))},
            )
        public, private = entries.seal_legs(self._drafts, batch.random)
        body.legs.extend(public)
        opening = pb.EntryOpening(legs=private)
        if self._event:
            opening.event = self._event
            opening.event_salt = batch.random(entries.SALT_BYTES)
            body.event = entries.seal_event(self._event, opening.event_salt)
        data = entries.encode(body, origin=rules.origin, at_us=batch.now_us)
        kind = _KINDS[body.DESCRIPTOR.full_name]
        index = batch.append(data, kind=kind, opening=entries.canonical(opening))
        self._keep_balances(index, kind)
        self._keep_totals()
        return index

    def _leg(self, lot: Lot, part: str, points: int) -> None:
        self._draft(
            _PARTS[part],
            points,
            account=lot.account,
            lot=lot.lot,
            expires_at_us=lot.expires_at_us,
        )
        self._changes[lot.account][part] += points

    def _draft(
        self,
        account_class: pb.AccountClass.ValueType,
        points: int,
        *,
        account: str = "",
        lot: str = "",
        expires_at_us: int = 0,
    ) -> None:
        self._drafts.append(
            LegDraft(
                account_class=account_class,
                unit=self._rules.unit,
                points=points,
                account=account,
                lot=lot,
                expires_at_us=expires_at_us,
            )
        )

    def _keep_balances(self, index: int, kind: str) -> None:
        rows, unit = self._batch.rows, self._rules.unit
        for account, changes in self._changes.items():
            row = balance(self._rules, rows, account)
            for part, points in changes.items():
                row[part] = add(row[part], points)
            rows.put(accounts, row)
            rows.insert(
                postings,
                {
                    "account": account,
                    "index": index,
                    "unit": unit,
                    "at_us": self._batch.now_us,
                    "entry": kind,
                    **{part: changes[part] for part in ("pending", "available", "held", "debt")},
                    "reference": self._reference,
                },
            )

    def _keep_totals(self) -> None:
        rows, unit = self._batch.rows, self._rules.unit
        sums: dict[int, int] = defaultdict(int)
        for draft in self._drafts:
            sums[draft.account_class] += draft.points
        for account_class, points in sums.items():
            row = rows.get(class_totals, (unit, account_class))
            before = 0 if row is None else row["points"]
            total = {"unit": unit, "account_class": account_class}
            rows.put(class_totals, total | {"points": add(before, points)})


# --- what several rules do ------------------------------------------------------------------


def credit(rules: Rules, batch: Batch, movement: Movement, account: str, draft: LotDraft) -> str:
    """Give points: a debt is paid first, the rest becomes a lot. Returns its name, or "".

    The counterpart leg (ISSUED or another) is the caller's.
    """
    paid = min(movement.owed(account), draft.points)
    movement.debt(account, paid)
    if draft.points == paid:
        return ""
    rest = replace(draft, points=draft.points - paid)
    return movement.new_lot(account, rest, pending=draft.available_at_us > batch.now_us).lot


def claw_back(
    rules: Rules, batch: Batch, movement: Movement, account: str, points: int, first: str = ""
) -> tuple[int, int]:
    """Take points back: (how many were taken, how many of those became a debt).

    The lot named `first` gives before the others, pending before available. What the balance does
    not have is forgiven or owed, as the programme says. The counterpart leg is the caller's.
    """
    rows, left = batch.rows, points
    if first:
        earned = lot(rows, first)
        pending = min(earned.pending, left)
        available = min(earned.available, left - pending)
        if pending or available:
            movement.change(earned, pending=-pending, available=-available)
            left -= pending + available
    for other, part in lot_rules.take_up_to(open_lots(rows, account), left, batch.now_us):
        movement.change(other, available=-part)
        left -= part
    if rules.programme.clawback_policy is Clawback.WITHIN_BALANCE:
        return points - left, 0
    movement.debt(account, -left)
    return points, left


def give_back(
    rules: Rules, batch: Batch, movement: Movement, lot: Lot, points: int, *, held: int = 0
) -> Lot:
    """Points come back to the lot they were taken from; it must have been loaded.

    A debt is paid first. If the lot has expired meanwhile, the programme's grace begins. With
    `held`, so many points leave the lot's held part at the same time (a release); without it
    they come from a counterpart leg of the caller's (a restoration).
    """
    paid = min(movement.owed(lot.account), points)
    grace = rules.programme.expired_lot_grace_days
    expiry = lot_rules.expiry_on_return(lot, batch.now_us, grace_days=grace)
    movement.debt(lot.account, paid)
    return movement.change(replace(lot, expires_at_us=expiry), available=points - paid, held=-held)


# --- what happens by itself -----------------------------------------------------------------


def settle(rules: Rules, batch: Batch, account: str) -> None:
    """Let what is due on this account happen: pending points mature, old points expire."""
    due = [one for one in open_lots(batch.rows, account) if 0 < one.due_at_us <= batch.now_us]
    settle_lots(rules, batch, due)


def settle_lots(rules: Rules, batch: Batch, due: Iterable[Lot]) -> None:
    """Mature and expire these lots, each kind in as few entries as their size allows."""
    some = list(due)
    now_us = batch.now_us
    ripe = [one for one in some if one.pending and one.available_at_us <= now_us]
    size = max_legs(rules.unit) // 2
    matured: dict[str, Lot] = {}
    for at in range(0, len(ripe), size):
        movement = Movement(rules, batch, reference="matured")
        for one in ripe[at : at + size]:
            changed = movement.change(one, pending=-one.pending, available=one.pending)
            matured[one.lot] = changed
        movement.append(pb.Transfer())
    over = [matured.get(one.lot, one) for one in some]
    expire(rules, batch, [one for one in over if one.expired(now_us)], reference="expired")


def expire(rules: Rules, batch: Batch, over: Iterable[Lot], *, reference: str) -> None:
    """End what is pending or available in these lots; held points stay until a decision."""
    ending = [one for one in over if one.pending or one.available]
    size = max_legs(rules.unit) // 2 - 1
    for at in range(0, len(ending), size):
        movement = Movement(rules, batch, reference=reference)
        gone = 0
        for one in ending[at : at + size]:
            movement.change(one, pending=-one.pending, available=-one.available)
            gone += one.pending + one.available
        movement.own(EXPIRED, gone)
        movement.append(pb.Expiry())
