"""Replay: a brand's log folded, entry by entry, into what its tables must say.

Without the openings of its legs a log tells the totals by class and the course of every hold;
with them it tells each account and each lot. The fold is pure and knows nothing of tables,
peers or files. Whatever contradicts an invariant is written down with the entry it stands in,
and the fold goes on, so that one report names everything that is wrong.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from comity.ledger.membership import Membership
from comity.log.commitment import COMMITMENT_SIZE, commit
from comity.v1 import common_pb2, entry_pb2

PENDING: Final = int(entry_pb2.ACCOUNT_CLASS_PENDING)
AVAILABLE: Final = int(entry_pb2.ACCOUNT_CLASS_AVAILABLE)
HELD: Final = int(entry_pb2.ACCOUNT_CLASS_HELD)
SPENT: Final = int(entry_pb2.ACCOUNT_CLASS_SPENT)
CONVERTED: Final = int(entry_pb2.ACCOUNT_CLASS_CONVERTED)
DEBT: Final = int(entry_pb2.ACCOUNT_CLASS_DEBT)

_PART: Final = {PENDING: 0, AVAILABLE: 1, HELD: 2, DEBT: 3}
_PARTS: Final = ("pending", "available", "held", "debt")

_OWED: Final = 3
_CLASSES: Final = frozenset(entry_pb2.AccountClass.values()) - {0}

MAX_UNIT: Final = 128

_SALT: Final = b"\x0a\x10"
"""How the bytes of a LegOpening begin: field 1, 16 bytes. What follows the salt is committed to."""

MERCY: Final = 5
"""Contradictions of one rule that are kept in words; the others are counted."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was checked: an invariant (`I1` to `I18`) or a part of the evidence."""

    name: str
    passed: bool
    detail: str


class Findings:
    """What contradicts which rule."""

    __slots__ = ("_counts", "_kept")

    def __init__(self) -> None:
        self._kept: dict[str, list[str]] = defaultdict(list)
        self._counts: dict[str, int] = defaultdict(int)

    def add(self, rule: str, text: str) -> None:
        """Write down one contradiction."""
        self._counts[rule] += 1
        if len(self._kept[rule]) < MERCY:
            self._kept[rule].append(text)

    def check(self, rule: str, *, good: str) -> Check:
        """The result for one rule; `good` says what was found if nothing was."""
        count = self._counts.get(rule, 0)
        if not count:
            return Check(rule, passed=True, detail=good)
        more = f" And {count - MERCY} more." if count > MERCY else ""
        return Check(rule, passed=False, detail=" ".join(self._kept[rule]) + more)


@dataclass(frozen=True, slots=True)
class Cited:
    """A citation as a plain value."""

    origin: str
    index: int
    leaf: bytes


def cited(citation: common_pb2.Citation) -> Cited:
    """The citation as a value that can be compared and hashed."""
    return Cited(citation.origin, citation.index, citation.leaf_hash)


@dataclass(slots=True)
class LotState:
    """A lot as the log leaves it. `earned` is what the legs that issued points brought it."""

    account: str
    unit: str
    earned: int
    expires_at_us: int
    points: list[int]


@dataclass(slots=True)
class HoldState:
    """A HOLD and what became of it. `lots` are the points it took, by lot, if they are open."""

    index: int
    leaf: bytes
    body: entry_pb2.Hold
    lots: dict[str, int]
    ended: str = ""
    restored: int = 0
    restored_lots: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Effect:
    """An entry by which a brand carried out, or asks for, a decision."""

    kind: str
    index: int
    leaf: bytes
    redemption_id: str
    decision: Cited
    seq: int
    points: int
    hold_index: int = -1
    issuer: str = ""
    quote_digest: bytes = b""


class Replay:
    """The fold of one brand's log.

    `opened` says that every entry comes with its opening. Public state: `totals` by (unit,
    class), `accounts` by (account, unit) as [pending, available, held, debt], `lots`, `holds`
    and `pledges` and `returns` by index, `effects` in order, and `membership`.
    """

    def __init__(self, origin: str, *, opened: bool, findings: Findings | None = None) -> None:
        self.origin = origin
        self.opened = opened
        self.findings = Findings() if findings is None else findings
        self.entries = 0
        self.at_us = 0
        self.totals: dict[tuple[str, int], int] = {}
        self.accounts: dict[tuple[str, str], list[int]] = {}
        self.lots: dict[str, LotState] = {}
        self.holds: dict[int, HoldState] = {}
        self.pledges: dict[int, tuple[bytes, entry_pb2.Pledge]] = {}
        self.returns: dict[int, tuple[bytes, int]] = {}
        self.effects: list[Effect] = []
        self.membership = Membership(self._contradicts, opened=opened)
        self._deliveries: dict[int, Effect] = {}
        self._once: set[tuple[str, str]] = set()

    # --- the fold -----------------------------------------------------------------------

    def add(
        self,
        index: int,
        entry: entry_pb2.Entry,
        *,
        kind: str,
        leaf: bytes,
        opening: entry_pb2.EntryOpening | None = None,
    ) -> None:
        """Fold the next entry; `kind` names its body, `leaf` is its hash in the log."""
        at_us = entry.at_us
        if at_us < self.at_us:
            self._contradicts("time", index, "is older than the entry before it")
        self.at_us = at_us
        self.entries += 1
        body = getattr(entry, kind)
        secrets: Sequence[entry_pb2.LegOpening] = () if opening is None else opening.legs
        if kind not in _WITHOUT_LEGS:
            self._move(index, body.legs, secrets)
        special = _SPECIAL.get(kind)
        if special is not None:
            special(self, index, leaf, body, secrets)
        elif kind == "marks":
            marks = () if opening is None else opening.marks
            self.membership.add_marks(index, at_us, body, marks)

    def _move(
        self, index: int, legs: Sequence[entry_pb2.Leg], secrets: Sequence[entry_pb2.LegOpening]
    ) -> None:
        """Balance the legs and book them; what they take from is looked at once all are booked."""
        opened = self.opened
        if opened and len(secrets) != len(legs):
            self._contradicts("openings", index, f"has {len(secrets)} openings of {len(legs)} legs")
            opened = False
        totals = self.totals
        sums: dict[str, int] = {}
        lowered: list[tuple[tuple[str, int], int, str | None, str]] = []
        account: str | None = None
        lot = ""
        for place, leg in enumerate(legs):
            account_class, unit, points = leg.account_class, leg.unit, leg.points
            sums[unit] = sums.get(unit, 0) + points
            at: tuple[str, int] = (unit, account_class)
            totals[at] = totals.get(at, 0) + points
            part = _PART.get(account_class)
            if part is None:
                if leg.account or account_class not in _CLASSES:
                    self._contradicts("I1", index, "has a leg of no account that could be")
                continue
            if opened:
                secret = secrets[place]
                account, lot = secret.account, secret.lot
                data = secret.SerializeToString()
                if data[:2] != _SALT or sha256(_LEG + data[2:]).digest() != leg.account:
                    self._contradicts("openings", index, "has a leg its opening does not open")
                source = secret.source
                if source:
                    self._book_source(account, unit, lot, source, points)
                self._book(index, part, account, unit, lot, points, secret.expires_at_us)
            elif len(leg.account) != COMMITMENT_SIZE:
                self._contradicts("I1", index, "has a member's leg without a commitment")
            if (points > 0) if part == _OWED else (points < 0):
                lowered.append((at, part, account, lot))
        for unit, total in sums.items():
            if total or not 0 < len(unit) <= MAX_UNIT:
                self._contradicts("I1", index, f"has legs in {unit!r} that sum to {total}")
        for at, part, account, lot in lowered:
            self._check_lowered(index, at, part, account, lot)

    def _book(
        self,
        index: int,
        part: int,
        account: str,
        unit: str,
        lot: str,
        points: int,
        expires_at_us: int,
    ) -> None:
        """Book a member's leg on its account and its lot."""
        balance = self.accounts.get((account, unit))
        if balance is None:
            balance = self.accounts[account, unit] = [0, 0, 0, 0]
        balance[part] += points
        if part == _OWED:
            return
        state = self.lots.get(lot)
        if state is None:
            if not lot:
                self._contradicts("I18", index, "moves points of no lot")
            state = self.lots[lot] = LotState(account, unit, points, expires_at_us, [0, 0, 0])
        elif state.account != account or state.unit != unit:
            self._contradicts("I18", index, f"moves lot {lot} to another account")
        state.points[part] += points
        state.expires_at_us = expires_at_us

    def _book_source(self, account: str, unit: str, lot: str, source: int, points: int) -> None:
        """Points are issued, or taken back; those on a lot there is already make it grow."""
        self.membership.book_source(account, unit, source, points)
        state = self.lots.get(lot)
        if state is not None and points > 0:
            state.earned += points

    def _check_lowered(
        self, index: int, at: tuple[str, int], part: int, account: str | None, lot: str
    ) -> None:
        """I2: what a leg took from is not negative, nor a debt positive."""
        sign = -1 if part == _OWED else 1
        left = self.totals[at]
        if sign * left < 0:
            self._contradicts("I2", index, f"takes the total of class {at[1]} to {left}")
        if account is None:
            return
        left = self.accounts[account, at[0]][part]
        if sign * left < 0:
            self._contradicts("I2", index, f"takes {_PARTS[part]} of {account} to {left}")
        if part != _OWED:
            left = self.lots[lot].points[part]
            if left < 0:
                self._contradicts("I2", index, f"takes {_PARTS[part]} of lot {lot} to {left}")

    # --- redemptions --------------------------------------------------------------------

    def _hold(
        self,
        index: int,
        leaf: bytes,
        body: entry_pb2.Hold,
        secrets: Sequence[entry_pb2.LegOpening],
    ) -> None:
        taken = _by_lot(body.legs, secrets, HELD)
        if _sum(body.legs, HELD) != body.points or _sum(body.legs, AVAILABLE) != -body.points:
            self._contradicts("I5", index, f"does not set {body.points} points aside")
        self._only_once(index, "hold", f"{body.acceptor}/{body.redemption_id}")
        self.holds[index] = HoldState(index, leaf, body, taken)

    def _end(
        self,
        index: int,
        leaf: bytes,
        body: Any,
        secrets: Sequence[entry_pb2.LegOpening],
    ) -> None:
        """POST or RELEASE: the end of a hold, whole and once."""
        kind = "post" if isinstance(body, entry_pb2.Post) else "release"
        points = -_sum(body.legs, HELD)
        self._effect(kind, index, leaf, body, points=points)
        hold = self._hold_of(index, body)
        if hold is None:
            return
        if hold.ended:
            self._contradicts("I9", index, f"ends hold {hold.index} again, after a {hold.ended}")
            return
        hold.ended = kind
        spent = _sum(body.legs, SPENT) + _sum(body.legs, CONVERTED)
        if points != hold.body.points or (spent != points if kind == "post" else spent):
            self._contradicts("I5", index, f"does not {kind} the whole of hold {hold.index}")
        freed = {lot: -taken for lot, taken in _by_lot(body.legs, secrets, HELD).items()}
        if self.opened and freed != hold.lots:
            self._contradicts("I18", index, f"ends other lots than hold {hold.index} took")

    def _restore(
        self,
        index: int,
        leaf: bytes,
        body: entry_pb2.Restore,
        secrets: Sequence[entry_pb2.LegOpening],
    ) -> None:
        points = -(_sum(body.legs, SPENT) + _sum(body.legs, CONVERTED))
        self._effect("restore", index, leaf, body, points=points)
        hold = self._hold_of(index, body)
        if hold is None:
            return
        if hold.ended != "post":
            self._contradicts("I12", index, f"restores hold {hold.index}, which was not posted")
        hold.restored += points
        if points < 1 or hold.restored > hold.body.points:
            self._contradicts("I12", index, f"restores more than hold {hold.index} spent")
        for lot, back in _by_lot(body.legs, secrets, AVAILABLE).items():
            now = hold.restored_lots[lot] = hold.restored_lots.get(lot, 0) + back
            if now > hold.lots.get(lot, 0):
                self._contradicts("I12", index, f"restores more to lot {lot} than it gave")

    # --- points of this brand at this brand ------------------------------------------------

    def _spend(
        self,
        index: int,
        leaf: bytes,
        body: entry_pb2.Spend,
        secrets: Sequence[entry_pb2.LegOpening],
    ) -> None:
        self.membership.add_spend(index, body.legs, _by_lot(body.legs, secrets, AVAILABLE))

    def _reinstate(
        self,
        index: int,
        leaf: bytes,
        body: entry_pb2.Reinstate,
        secrets: Sequence[entry_pb2.LegOpening],
    ) -> None:
        given = _by_lot(body.legs, secrets, AVAILABLE)
        self.membership.add_reinstate(index, body, given)
        for lot in given:
            state = self.lots[lot]
            if sum(state.points) > state.earned:
                self._contradicts("I12", index, f"brings lot {lot} above what it earned")

    def _convert(self, index: int, leaf: bytes, body: entry_pb2.Convert, secrets: object) -> None:
        self.membership.add_convert(index, body.legs)

    # --- deliveries, returns, pledges ------------------------------------------------------

    def _delivery(self, index: int, leaf: bytes, body: entry_pb2.Delivery, secrets: object) -> None:
        self._only_once(index, "delivery", f"{body.issuer}/{body.redemption_id}")
        effect = self._effect("delivery", index, leaf, body, points=0)
        self._deliveries[index] = effect

    def _return(self, index: int, leaf: bytes, body: entry_pb2.Return, secrets: object) -> None:
        self.returns[index] = (leaf, body.cumulative_points)
        # A RETURN of a pledged accrual names no delivery: there the partner delivered nothing.
        delivery = self._deliveries.get(body.delivery_index)
        if delivery is not None and (delivery.issuer, delivery.redemption_id) != (
            body.issuer,
            body.redemption_id,
        ):
            self._contradicts("I12", index, "returns another redemption's delivery")
        self._effect("returned", index, leaf, body, points=body.cumulative_points)

    def _accrual(self, index: int, leaf: bytes, body: entry_pb2.Accrual, secrets: object) -> None:
        if body.HasField("decision"):
            self._only_once(index, "accrual", body.decision.leaf_hash.hex())
            points = -_sum(body.legs, int(entry_pb2.ACCOUNT_CLASS_ISSUED))
            self._effect("accrual", index, leaf, body, points=points)

    def _pledge(self, index: int, leaf: bytes, body: entry_pb2.Pledge, secrets: object) -> None:
        self._only_once(index, "pledge", f"{body.issuer}/{body.redemption_id}")
        self.pledges[index] = (leaf, body)

    def _effect(self, kind: str, index: int, leaf: bytes, body: Any, *, points: int) -> Effect:
        effect = Effect(
            kind=kind,
            index=index,
            leaf=leaf,
            redemption_id=body.redemption_id,
            decision=cited(body.decision),
            seq=getattr(body, "seq", 0),
            points=points,
            hold_index=getattr(body, "hold_index", -1),
            issuer=getattr(body, "issuer", ""),
            quote_digest=getattr(body, "quote_digest", b""),
        )
        self.effects.append(effect)
        return effect

    def _hold_of(self, index: int, body: Any) -> HoldState | None:
        hold = self.holds.get(body.hold_index)
        if hold is None or hold.body.redemption_id != body.redemption_id:
            self._contradicts("I4", index, f"names {body.hold_index}, which is not its hold")
            return None
        return hold

    def _only_once(self, index: int, kind: str, name: str) -> None:
        if (kind, name) in self._once:
            self._contradicts("I9", index, f"is a second {kind} of {name}")
        self._once.add((kind, name))

    def _contradicts(self, rule: str, index: int, text: str) -> None:
        self.findings.add(rule, f"Entry {index} of {self.origin} {text}.")

    # --- the result ---------------------------------------------------------------------

    def checks(self, *, final: bool = False) -> tuple[Check, ...]:
        """What the log says of the invariants. `final`: nothing is under way any more (I5)."""
        self._check_totals()
        if final:
            for hold in self.holds.values():
                if not hold.ended:
                    self._contradicts("I5", hold.index, "is a hold that never ended")
        rules = {
            "time": "Times never decrease.",
            "I1": "The legs of every entry sum to zero per unit.",
            "I2": "No balance is negative.",
            "I3": f"Points issued are accounted for in {len(self.totals)} totals.",
            "I4": "Every post and release names its hold.",
            "I5": f"{len(self.holds)} holds end whole.",
            "I9": "Nothing is done twice.",
            "I12": "Nothing is restored or returned beyond what was spent.",
        }
        if self.opened:
            self._check_lots()
            rules |= {
                "openings": "Every leg is open.",
                "marks": self.membership.good,
                "I18": f"{len(self.lots)} lots sum to {len(self.accounts)} balances.",
            }
        return tuple(self.findings.check(rule, good=good) for rule, good in rules.items())

    def _check_totals(self) -> None:
        sums: dict[str, int] = defaultdict(int)
        for (unit, _), points in self.totals.items():
            sums[unit] += points
        for unit, total in sums.items():
            if total:
                self.findings.add("I3", f"The classes of {unit} in {self.origin} sum to {total}.")

    def _check_lots(self) -> None:
        sums: dict[tuple[str, str], list[int]] = {}
        for lot in self.lots.values():
            pending, available, held = lot.points
            if pending or available or held:
                found = sums.setdefault((lot.account, lot.unit), [0, 0, 0])
                found[0] += pending
                found[1] += available
                found[2] += held
        for at, balance in self.accounts.items():
            if sums.get(at, [0, 0, 0]) != balance[:3]:
                self.findings.add("I18", f"The lots of {at[0]} do not sum to its balance.")


def _leg_prefix() -> bytes:
    """What `commit("leg", salt, value)` hashes before the salt, for salts of 16 bytes."""
    domain, label, salt = b"comity-commitment/v1\n", b"leg", 16
    prefix = domain + len(label).to_bytes(8, "big") + label + salt.to_bytes(8, "big")
    probe = bytes(range(salt))
    assert sha256(prefix + probe).digest() == commit("leg", probe, b"")
    return prefix


_LEG: Final = _leg_prefix()


def _sum(legs: Iterable[entry_pb2.Leg], account_class: int) -> int:
    return sum(leg.points for leg in legs if leg.account_class == account_class)


def _by_lot(
    legs: Sequence[entry_pb2.Leg], secrets: Sequence[entry_pb2.LegOpening], account_class: int
) -> dict[str, int]:
    """Points by lot of the legs of one class; nothing if the legs are not opened."""
    found: dict[str, int] = {}
    if len(secrets) == len(legs):
        for leg, secret in zip(legs, secrets, strict=True):
            if leg.account_class == account_class:
                found[secret.lot] = found.get(secret.lot, 0) + leg.points
    return found


_WITHOUT_LEGS: Final = frozenset(
    field.name
    for field in entry_pb2.Entry.DESCRIPTOR.oneofs_by_name["body"].fields
    if field.message_type is not None and "legs" not in field.message_type.fields_by_name
)

_SPECIAL: Final[dict[str, Any]] = {
    "accrual": Replay._accrual,
    "hold": Replay._hold,
    "post": Replay._end,
    "release": Replay._end,
    "restore": Replay._restore,
    "delivery": Replay._delivery,
    "returned": Replay._return,
    "pledge": Replay._pledge,
    "spend": Replay._spend,
    "reinstate": Replay._reinstate,
    "convert": Replay._convert,
}

BRAND_KINDS: Final = frozenset(
    field.name
    for field in entry_pb2.Entry.DESCRIPTOR.oneofs_by_name["body"].fields
    if field.number < 60
)
"""Bodies that stand in a brand's log; all others stand in clearing's."""
