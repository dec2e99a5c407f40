"""Moving points: one entry's legs and the rows they change, kept in step.

A `Movement` is one entry in the making. Each change to a lot or a debt adds the leg, changes the
lot and the account's balance, and is remembered for the member's statement and the totals by
class; `append` seals the legs and writes all of it. So no rule can move points without an entry,
nor write an entry which the rows do not follow. A member has an account in each of the brand's
units; where a rule names none, it is the one that partners redeem.

Whatever looks at an account's lots first calls `settle`: points whose time has come mature or
expire, by entries of their own, before the rule looks. The sweep does the same for accounts
which nobody touches, so no answer depends on when it ran.

Two columns of an account are notes to ourselves, which no entry states: `lot` is the lot that
grows when more points of a growth unit arrive, and before `due_at_us` no lot of the account
matures or expires.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
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
from node.event_tables import activity, marks, ranks
from node.lots import Lot
from node.programme import LotDraft
from node.programme.refunds import recover
from node.tables import accounts, class_totals, lots, members, postings, profiles

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

SOURCE_PARTS: Final = {
    pb.SOURCE_BUSINESS: "business",
    pb.SOURCE_ACTIVITY: "activity",
    pb.SOURCE_BONUS: "bonus",
}
"""The columns of an account in which points are told apart by their source."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """Why points are issued, or taken back: by which rule, from which source, borne by whom."""

    rule: str = ""
    source: pb.Source.ValueType = pb.SOURCE_BONUS
    funded_by: pb.Funding.ValueType = pb.FUNDING_MERCHANT


BY_HAND: Final = Given()
BY_PARTNER: Final = Given(source=pb.SOURCE_BUSINESS, funded_by=pb.FUNDING_PARTNER)


# --- reading --------------------------------------------------------------------------------


def prefetch_accounts(rules: Rules, rows: Rows, names: Iterable[str]) -> None:
    """Load what any rule about these accounts needs: member, balance, open lots, totals."""
    wanted = list(dict.fromkeys(names))
    prefetch_balances(rules, rows, wanted)
    rows.load_where(lots, ("account", "open"), [(name, 1) for name in wanted])


def prefetch_balances(rules: Rules, rows: Rows, names: Iterable[str]) -> None:
    """As `prefetch_accounts` with only the lots that grow, for rules that add points."""
    wanted = list(dict.fromkeys(names))
    rows.load(members, [(name,) for name in wanted])
    keys = [(name, unit) for name in wanted for unit in rules.units]
    rows.load(accounts, keys)
    growing = [row["lot"] for at in keys if (row := rows.get(accounts, at)) and row["lot"]]
    rows.load(lots, [(name,) for name in growing])
    prefetch_totals(rules, rows)
    if rules.reviewed:
        for table in (activity, ranks, profiles):
            rows.load(table, [(name,) for name in wanted])
        rows.load_where(marks, "account", wanted)


def prefetch_totals(rules: Rules, rows: Rows) -> None:
    """Load the totals by class."""
    rows.load(class_totals, [(unit, one) for unit in rules.units for one in CLASSES])


def member(rows: Rows, account: str) -> dict[str, Any]:
    """The member's row. Raises NotFound if nobody has this account, or it was erased."""
    row = rows.get(members, (account,))
    if row is None or row["erased_at_us"]:
        raise NotFound(f"There is no member {account} here.", field="account")
    return row


def balance(rules: Rules, rows: Rows, account: str, unit: str = "") -> dict[str, Any]:
    """The account's row in this unit: pending, available, held, debt."""
    unit = unit or rules.unit
    row = rows.get(accounts, (account, unit))
    if row is not None:
        return row
    if unit == rules.unit:
        raise NotFound(f"There is no member {account} here.", field="account")
    return empty_balance(account, unit)


def empty_balance(account: str, unit: str) -> dict[str, Any]:
    """The row of an account in which there never was a point."""
    parts = (*MEMBER_PARTS.values(), *SOURCE_PARTS.values(), "due_at_us")
    return {"account": account, "unit": unit, "lot": "", **dict.fromkeys(parts, 0)}


def open_lots(rows: Rows, account: str, unit: str = "") -> list[Lot]:
    """The lots with points in them, as this batch has them; of one unit if it is named."""
    found = rows.find(lots, ("account", "open"), (account, 1))
    return [Lot.of(row) for row in found if not unit or row["unit"] == unit]


def know_lots(rows: Rows, account: str) -> None:
    """Load the account's open lots, for the rare rule that finds out late that it needs them."""
    rows.load_where(lots, ("account", "open"), [(account, 1)])


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
        self._changes: dict[tuple[str, str], dict[str, int]] = {}
        self._growing: dict[tuple[str, str], str] = {}
        self._due: dict[tuple[str, str], int] = {}

    @property
    def legs(self) -> int:
        """How many legs there are so far."""
        return len(self._drafts)

    def new_lot(
        self, account: str, draft: LotDraft, *, unit: str, pending: bool, given: Given
    ) -> Lot:
        """A new lot with these points, pending or available."""
        made = Lot(
            lot=lot_rules.lot_name(self._batch.size, len(self._drafts)),
            account=account,
            unit=unit,
            earned=draft.points,
            pending=draft.points if pending else 0,
            available=0 if pending else draft.points,
            held=0,
            earned_at_us=draft.earned_at_us,
            available_at_us=draft.available_at_us,
            expires_at_us=draft.expires_at_us,
        )
        self._batch.rows.insert(lots, made.row())
        self._leg(made, "pending" if pending else "available", draft.points, given)
        if not pending and self._rules.grows(unit):
            self._growing[account, unit] = made.lot
        return made

    def growing(self, account: str, unit: str, expires_at_us: int) -> Lot | None:
        """The lot that grows by points of this expiry which are available at once, if any does."""
        rows = self._batch.rows
        name = self._growing.get((account, unit))
        if name is None:
            name = balance(self._rules, rows, account, unit)["lot"]
        if not name:
            return None
        found = lot(rows, name)
        return found if found.expires_at_us == expires_at_us and not found.pending else None

    def grow(self, lot: Lot, points: int, given: Given) -> Lot:
        """More points in a lot of a growth unit."""
        grown = replace(lot, earned=lot.earned + points, available=lot.available + points)
        self._batch.rows.put(lots, grown.row())
        self._leg(grown, "available", points, given)
        return grown

    def change(
        self,
        lot: Lot,
        *,
        pending: int = 0,
        available: int = 0,
        held: int = 0,
        given: Given | None = None,
    ) -> Lot:
        """Move points into or out of parts of a lot; returns the lot as it is now."""
        changed = lot.changed(pending=pending, available=available, held=held)
        self._batch.rows.put(lots, changed.row())
        for part, points in (("pending", pending), ("available", available), ("held", held)):
            if points:
                self._leg(changed, part, points, given)
        return changed

    def end(self, lot: Lot, *, pending: int = 0, available: int = 0) -> Lot:
        """Points of a lot end unspent, which a later refund has to know."""
        gone = replace(lot, gone=lot.gone + pending + available)
        return self.change(gone, pending=-pending, available=-available)

    def extend(self, lot: Lot, expires_at_us: int) -> Lot:
        """The points of a lot live longer: they leave it and come back with the new expiry."""
        later = replace(lot, expires_at_us=expires_at_us)
        self._batch.rows.put(lots, later.row())
        for part in ("pending", "available", "held"):
            points = getattr(lot, part)
            if points:
                self._leg(lot, part, -points)
                self._leg(later, part, points)
        return later

    def debt(
        self, account: str, points: int, *, unit: str = "", given: Given | None = None
    ) -> None:
        """Change what the member owes: negative is more debt."""
        if points:
            unit = unit or self._rules.unit
            self._draft(DEBT, points, unit, account=account, given=given)
            self._change(account, unit, "debt", points, given)

    def owed(self, account: str, unit: str = "") -> int:
        """What the member owes once this entry is written."""
        unit = unit or self._rules.unit
        owed: int = -balance(self._rules, self._batch.rows, account, unit)["debt"]
        changes = self._changes.get((account, unit))
        return owed - changes["debt"] if changes is not None else owed

    def own(self, account_class: pb.AccountClass.ValueType, points: int, *, unit: str = "") -> None:
        """A leg of one of the programme's own classes."""
        if points:
            self._draft(account_class, points, unit or self._rules.unit)

    def event(self, text: str) -> None:
        """What happened, for an entry that commits to its event; it stays with the opening."""
        self._event = text

    def append(self, body: Any) -> int:
        """Write the entry with `body`, whose legs these become; returns its index.

        Raises LimitExceeded if it moves more lots than one entry can hold.
        """
        rules, batch = self._rules, self._batch
        self._check_size()
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

    def _check_size(self) -> None:
        size = sum([_LEG_BYTES + len(draft.unit) for draft in self._drafts])
        if len(self._drafts) > MAX_LEGS or size > _LEGS_BYTES:
            most = max_legs(max((draft.unit for draft in self._drafts), key=len))
            raise LimitExceeded(
                "This would move points of too many lots at once; do it in parts.",
                metadata={"legs": str(len(self._drafts)), "most": str(most)},
            )

    def _leg(self, lot: Lot, part: str, points: int, given: Given | None = None) -> None:
        self._draft(
            _PARTS[part],
            points,
            lot.unit,
            account=lot.account,
            lot=lot.lot,
            expires_at_us=lot.expires_at_us,
            given=given,
        )
        self._change(lot.account, lot.unit, part, points, given)
        at, due = (lot.account, lot.unit), lot.due_at_us
        if due:
            known = self._due.get(at)
            self._due[at] = due if known is None else min(known, due)

    def _draft(
        self,
        account_class: pb.AccountClass.ValueType,
        points: int,
        unit: str,
        *,
        account: str = "",
        lot: str = "",
        expires_at_us: int = 0,
        given: Given | None = None,
    ) -> None:
        if given is None:
            draft = LegDraft(account_class, unit, points, account, lot, expires_at_us)
        else:
            why = (given.rule, given.source, given.funded_by)
            draft = LegDraft(account_class, unit, points, account, lot, expires_at_us, *why)
        self._drafts.append(draft)

    def _change(self, account: str, unit: str, part: str, points: int, given: Given | None) -> None:
        changes = self._changes.get((account, unit))
        if changes is None:
            changes = self._changes[account, unit] = defaultdict(int)
        changes[part] += points
        if given is not None:
            changes[SOURCE_PARTS[given.source]] += points

    def _keep_balances(self, index: int, kind: str) -> None:
        rows = self._batch.rows
        for at, changes in self._changes.items():
            account, unit = at
            row = balance(self._rules, rows, account, unit)
            for part, points in changes.items():
                row[part] = add(row[part], points)
            row["lot"] = self._growing.get(at, row["lot"])
            due = self._due.get(at, 0)
            if due and (not row["due_at_us"] or due < row["due_at_us"]):
                row["due_at_us"] = due
            rows.put(accounts, row)
            rows.insert(
                postings,
                {
                    "account": account,
                    "index": index,
                    "unit": unit,
                    "at_us": self._batch.now_us,
                    "entry": kind,
                    **{part: changes[part] for part in MEMBER_PARTS.values()},
                    "reference": self._reference,
                },
            )

    def _keep_totals(self) -> None:
        rows = self._batch.rows
        sums: dict[tuple[str, int], int] = {}
        for draft in self._drafts:
            at = (draft.unit, draft.account_class)
            sums[at] = sums.get(at, 0) + draft.points
        for total_at, points in sums.items():
            row = rows.get(class_totals, total_at)
            before = 0 if row is None else row["points"]
            total = {"unit": total_at[0], "account_class": total_at[1]}
            rows.put(class_totals, total | {"points": add(before, points)})


# --- what several rules do ------------------------------------------------------------------


def credit(
    rules: Rules,
    batch: Batch,
    movement: Movement,
    account: str,
    draft: LotDraft,
    *,
    unit: str = "",
    given: Given = BY_HAND,
) -> str:
    """Give points: a debt is paid first, the rest becomes a lot. Returns its name, or "".

    In a growth unit the lot there is may grow instead; in one that lives by being earned, all its
    points live longer. The counterpart leg (ISSUED or another)
    is the caller's.
    """
    unit = unit or rules.unit
    paid = min(movement.owed(account, unit), draft.points)
    movement.debt(account, paid, unit=unit, given=given)
    if draft.points == paid:
        return ""
    rest = replace(draft, points=draft.points - paid)
    if rules.idles(unit):
        know_lots(rows := batch.rows, account)
        for one in open_lots(rows, account, unit):
            if one.expires_at_us < rest.expires_at_us:
                movement.extend(one, rest.expires_at_us)
    pending = draft.available_at_us > batch.now_us
    if rules.grows(unit) and not pending:
        growing = movement.growing(account, unit, rest.expires_at_us)
        if growing is not None:
            return movement.grow(growing, rest.points, given).lot
    return movement.new_lot(account, rest, unit=unit, pending=pending, given=given).lot


def claw_back(
    rules: Rules,
    batch: Batch,
    movement: Movement,
    account: str,
    points: int,
    first: str = "",
    *,
    unit: str = "",
    given: Given | None = BY_HAND,
) -> tuple[int, int]:
    """Take points back: (how many were taken, how many of those became a debt).

    The lot named `first`, in which they came, gives before the others; what ended in it unspent
    is not asked for again. What the balance does not have is forgiven or owed, as the unit says.
    The counterpart leg is the caller's.
    """
    rows, unit = batch.rows, unit or rules.unit
    own = lot(rows, first) if first else None
    others = [one for one in open_lots(rows, account, unit) if one.lot != first]
    found = recover(
        rules.clawback(unit),
        points,
        pending=own.pending if own is not None else 0,
        available=own.available if own is not None else 0,
        expired=own.gone if own is not None else 0,
        elsewhere=lot_rules.spendable(others, batch.now_us),
    )
    if own is not None:
        rest = replace(own, gone=own.gone - found.expired)
        movement.change(rest, pending=-found.pending, available=-found.available, given=given)
    for other, part in lot_rules.take_up_to(others, found.elsewhere, batch.now_us):
        movement.change(other, available=-part, given=given)
    movement.debt(account, -found.debt, unit=unit, given=given)
    return found.taken, found.debt


def give_back(
    rules: Rules, batch: Batch, movement: Movement, lot: Lot, points: int, *, held: int = 0
) -> Lot:
    """Points come back to the lot they were taken from; it must have been loaded.

    A debt is paid first. If the lot has expired meanwhile, the programme's grace begins. With
    `held`, so many points leave the lot's held part at the same time (a release); without it
    they come from a counterpart leg of the caller's (a restoration).
    """
    paid = min(movement.owed(lot.account, lot.unit), points)
    grace = rules.grace_days(lot.unit)
    expiry = lot_rules.expiry_on_return(lot, batch.now_us, grace_days=grace)
    movement.debt(lot.account, paid, unit=lot.unit)
    return movement.change(replace(lot, expires_at_us=expiry), available=points - paid, held=-held)


# --- what happens by itself -----------------------------------------------------------------


def settle(rules: Rules, batch: Batch, account: str) -> None:
    """Let what is due on this account happen: pending points mature, old points expire."""
    rows = batch.rows
    some = open_lots(rows, account)
    settle_lots(rules, batch, [one for one in some if 0 < one.due_at_us <= batch.now_us])
    next_due: dict[str, int] = {}
    for one in open_lots(rows, account):
        due = one.due_at_us
        if due and due < next_due.get(one.unit, due + 1):
            next_due[one.unit] = due
    for unit in rules.units:
        row = rows.get(accounts, (account, unit))
        if row is not None and row["due_at_us"] != next_due.get(unit, 0):
            rows.put(accounts, row | {"due_at_us": next_due.get(unit, 0)})


def is_due(rules: Rules, rows: Rows, account: str, now_us: int) -> bool:
    """Whether something on this account may mature or expire by now; its lots may be unknown."""
    return any(
        row is not None and 0 < row["due_at_us"] <= now_us
        for row in (rows.get(accounts, (account, unit)) for unit in rules.units)
    )


def settle_lots(rules: Rules, batch: Batch, due: Iterable[Lot]) -> None:
    """Mature and expire these lots, each kind in as few entries as their size allows."""
    some = list(due)
    now_us = batch.now_us
    ripe = [one for one in some if one.pending and one.available_at_us <= now_us]
    matured: dict[str, Lot] = {}
    for part in _parts(rules, ripe):
        movement = Movement(rules, batch, reference="matured")
        for one in part:
            changed = movement.change(one, pending=-one.pending, available=one.pending)
            matured[one.lot] = changed
        movement.append(pb.Transfer())
    over = [matured.get(one.lot, one) for one in some]
    expire(rules, batch, [one for one in over if one.expired(now_us)], reference="expired")


def expire(rules: Rules, batch: Batch, over: Iterable[Lot], *, reference: str) -> None:
    """End what is pending or available in these lots; held points stay until a decision."""
    ending = [one for one in over if one.pending or one.available]
    for part in _parts(rules, ending):
        movement = Movement(rules, batch, reference=reference)
        gone: dict[str, int] = defaultdict(int)
        for one in part:
            movement.end(one, pending=one.pending, available=one.available)
            gone[one.unit] += one.pending + one.available
        for unit, points in gone.items():
            movement.own(EXPIRED, points, unit=unit)
        movement.append(pb.Expiry())


def _parts(rules: Rules, some: Sequence[Lot]) -> Iterator[Sequence[Lot]]:
    """These lots in parts of which one entry surely holds two legs each, and one for each unit."""
    size = (max_legs(max(rules.units, key=len)) - len(rules.units)) // 2
    for at in range(0, len(some), size):
        yield some[at : at + size]
