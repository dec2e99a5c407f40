"""Logs in memory for tests of replay and verification: a test says what each entry holds."""

from __future__ import annotations

import hashlib
import random as seeded
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import Message

from comity.keys import SigningKey
from comity.ledger import entries, statements
from comity.ledger.entries import LegDraft, canonical
from comity.ledger.replay import Replay
from comity.ledger.signer import LogSigner
from comity.log.merkle import leaf_hash
from comity.log.note import VerifierKey
from comity.log.tiles import TileTree
from comity.terms import agreements
from comity.terms.decision_replay import DecisionReplay
from comity.terms.positions import effects
from comity.v1 import common_pb2, entry_pb2

NETWORK = "comity.example"
CLEARING = f"{NETWORK}/clearing"
UNIT = "grocery/points"

PENDING = entry_pb2.ACCOUNT_CLASS_PENDING
AVAILABLE = entry_pb2.ACCOUNT_CLASS_AVAILABLE
HELD = entry_pb2.ACCOUNT_CLASS_HELD
ISSUED = entry_pb2.ACCOUNT_CLASS_ISSUED
SPENT = entry_pb2.ACCOUNT_CLASS_SPENT
DEBT = entry_pb2.ACCOUNT_CLASS_DEBT
CLAWED_BACK = entry_pb2.ACCOUNT_CLASS_CLAWED_BACK

COMMITTED = entry_pb2.OUTCOME_COMMITTED
ABORTED = entry_pb2.OUTCOME_ABORTED
REVERSED = entry_pb2.OUTCOME_REVERSED
REWARD = common_pb2.REDEMPTION_KIND_REWARD


def rdm(name: str) -> str:
    return f"rdm_{hashlib.sha256(name.encode()).hexdigest()[:32]}"


def digest(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def terms(**changed: Any) -> common_pb2.AgreementTerms:
    """Grocery's points at fuel: one cent a point, 2 % fee that fuel pays."""
    plain: dict[str, Any] = {
        "agreement_id": "agr_grocery-fuel",
        "version": 1,
        "issuer": "grocery",
        "acceptor": "fuel",
        "conversion": common_pb2.Ratio(numerator=2, denominator=1),
        "points_rounding": common_pb2.ROUNDING_UP,
        "price": common_pb2.Ratio(numerator=1, denominator=2),
        "currency": "EUR",
        "amount_rounding": common_pb2.ROUNDING_HALF_UP,
        "fee_basis_points": 200,
        "fee_fixed_minor": 3,
        "fee_payer": common_pb2.FEE_PAYER_ACCEPTOR,
        "minimum_points": 10,
        "maximum_points": 100_000,
        "quote_life_us": 300_000_000,
        "claim_grace_us": 600_000_000,
        "deliver_within_us": 3_600_000_000,
        "valid_from_us": 1_000,
        "valid_until_us": 10**15,
        "kinds": [REWARD, common_pb2.REDEMPTION_KIND_EXCHANGE],
        "salt": bytes(16),
    }
    return common_pb2.AgreementTerms(**(plain | changed))


@dataclass
class Log:
    """One organisation's log; the bytes as they would be stored, with their openings."""

    participant: str
    bodies: list[bytes] = field(default_factory=list)
    openings: list[bytes] = field(default_factory=list)
    at_us: int = 1_000
    random: Callable[[int], bytes] = field(default_factory=lambda: seeded.Random(3).randbytes)

    @property
    def origin(self) -> str:
        return f"{NETWORK}/{self.participant}"

    @property
    def signer(self) -> LogSigner:
        return LogSigner(self.origin, SigningKey(digest(self.participant)))

    @property
    def verifier(self) -> VerifierKey:
        return VerifierKey.parse(self.signer.vkey)

    def append(self, body: Message, opening: entry_pb2.EntryOpening | None = None) -> int:
        self.at_us += 1
        self.bodies.append(entries.encode(body, origin=self.origin, at_us=self.at_us))
        self.openings.append(canonical(opening or entry_pb2.EntryOpening()))
        return len(self.bodies) - 1

    def move(self, body: Any, *drafts: LegDraft, balanced: bool = True) -> int:
        """Append a body with these legs, sealed; unbalanced ones if a test insists."""
        if balanced:
            public, private = entries.seal_legs(drafts, self.random)
        else:
            public, private = [], []
            for draft in drafts:
                back = LegDraft(ISSUED, draft.unit, -draft.points)
                legs, secrets = entries.seal_legs((draft, back), self.random)
                public.append(legs[0])
                private.append(secrets[0])
        body.legs.extend(public)
        return self.append(body, entry_pb2.EntryOpening(legs=private))

    def cite(self, index: int) -> common_pb2.Citation:
        return entries.cite(self.origin, index, self.bodies[index])

    def tree(self) -> TileTree:
        tree = TileTree(0, lambda level, index: b"")
        tree.append([leaf_hash(body) for body in self.bodies])
        return tree

    def note(self) -> bytes:
        tree = self.tree()
        return self.signer.sign(tree.size, tree.root())

    def statement(self, index: int) -> common_pb2.Statement:
        return statements.make(
            self.bodies[index],
            index=index,
            hashes=self.tree().inclusion(index),
            checkpoint=self.note(),
        )

    def fold(self, *, opened: bool = True) -> Any:
        """The replay of this log."""
        kind = DecisionReplay if self.participant == "clearing" else Replay
        replay = kind(self.origin, opened=opened)
        for index, (body, opening) in enumerate(zip(self.bodies, self.openings, strict=True)):
            entry = entries.decode_but_legs(body, origin=self.origin)
            replay.add(
                index,
                entry,
                kind=entries.kind(entry),
                leaf=leaf_hash(body),
                opening=entry_pb2.EntryOpening.FromString(opening) if opened else None,
            )
        return replay


def failed(checks: Sequence[Any]) -> dict[str, str]:
    """The failed checks by name."""
    return {check.name: check.detail for check in checks if not check.passed}


# --- a brand's movements ----------------------------------------------------------------------


def leg(
    account_class: entry_pb2.AccountClass.ValueType,
    points: int,
    *,
    account: str = "acc_a",
    lot: str = "0.1",
) -> LegDraft:
    """One leg; of a programme class if that class has no accounts, of a debt without a lot."""
    if account_class not in entries.MEMBER_CLASSES:
        return LegDraft(account_class, UNIT, points)
    return LegDraft(account_class, UNIT, points, account, "" if account_class == DEBT else lot)


def earn(log: Log, points: int, *, account: str = "acc_a", lot: str = "0.1") -> int:
    return log.move(
        entry_pb2.Accrual(event=digest("event"), programme_version="1"),
        leg(ISSUED, -points),
        leg(AVAILABLE, points, account=account, lot=lot),
    )


def hold(log: Log, points: int, *, name: str = "first", lot: str = "0.1", amount: int = 0) -> int:
    body = entry_pb2.Hold(
        network=NETWORK,
        acceptor="fuel",
        redemption_id=rdm(name),
        kind=REWARD,
        agreement_id="agr_grocery-fuel",
        agreement_version=1,
        quote_digest=digest(f"quote {name}"),
        mandate_digest=digest(f"mandate {name}"),
        points=points,
        amount=common_pb2.Money(currency="EUR", minor=amount),
        expires_at_us=10**12,
    )
    return log.move(body, leg(AVAILABLE, -points, lot=lot), leg(HELD, points, lot=lot))


def end(
    log: Log,
    kind: type[Any],
    held: int,
    points: int,
    *,
    decision: common_pb2.Citation | None = None,
    name: str = "first",
    lot: str = "0.1",
    seq: int = 1,
) -> int:
    """POST or RELEASE of a hold."""
    body = kind(
        decision=decision or entries.cite(CLEARING, 5, b"decision"),
        seq=seq,
        redemption_id=rdm(name),
        hold_index=held,
    )
    to = leg(SPENT, points) if kind is entry_pb2.Post else leg(AVAILABLE, points, lot=lot)
    return log.move(body, leg(HELD, -points, lot=lot), to)


def restore(
    log: Log,
    held: int,
    points: int,
    *,
    decision: common_pb2.Citation | None = None,
    name: str = "first",
    lot: str = "0.1",
    seq: int = 2,
) -> int:
    body = entry_pb2.Restore(
        decision=decision or entries.cite(CLEARING, 6, b"reversal"),
        seq=seq,
        redemption_id=rdm(name),
        hold_index=held,
    )
    return log.move(body, leg(SPENT, -points), leg(AVAILABLE, points, lot=lot))


# --- clearing's decisions ---------------------------------------------------------------------


@dataclass
class Clearing:
    """Clearing's log, kept right unless a test says otherwise."""

    log: Log = field(default_factory=lambda: Log("clearing"))
    seqs: dict[str, int] = field(default_factory=dict)
    positions: dict[str, int] = field(default_factory=dict)
    nets: dict[int, dict[str, int]] = field(default_factory=dict)
    window: int = 1
    decisions: int = 0

    def admit(self, participant: str, *, cap: int = 1_000_000) -> None:
        origin = f"{NETWORK}/{participant}"
        self.log.append(
            entry_pb2.Admit(
                participant=participant,
                origin=origin,
                vkey=Log(participant).signer.vkey,
                tls_key_hash=digest("tls"),
            )
        )
        money = common_pb2.Money(currency="EUR", minor=cap)
        self.log.append(entry_pb2.Cap(participant=participant, net_debit_cap=money))
        self.seqs[participant] = 0

    def decide(
        self,
        outcome: entry_pb2.Outcome.ValueType = COMMITTED,
        *,
        name: str = "first",
        points: int = 100,
        amounts: entry_pb2.Amounts | None = None,
        cites: common_pb2.Citation | None = None,
        original: int | None = None,
        **changed: Any,
    ) -> int:
        """Append a DECISION between grocery and fuel, with `changed` fields."""
        salts = [self.log.random(16) for _ in range(4)]
        self.decisions += 1
        for participant in ("grocery", "fuel"):
            self.seqs[participant] = self.seqs.get(participant, 0) + 1
        body: dict[str, Any] = {
            "outcome": outcome,
            "kind": REWARD,
            "issuer": "grocery",
            "acceptor": "fuel",
            "redemption_id": rdm(name),
            "quote_digest": digest(f"quote {name}"),
            "cites": cites,
            "window": self.window,
            "issuer_seq": self.seqs["grocery"],
            "acceptor_seq": self.seqs["fuel"],
        }
        opening = entry_pb2.DecisionOpening()
        if original is not None:
            body["original"] = self.log.cite(original)
        if outcome != ABORTED:
            moved = amounts or agreements.amounts(terms(), points)
            net = self.nets.setdefault(self.window, {})
            for who, change in effects(issuer="grocery", acceptor="fuel", amounts=moved).items():
                self.positions[who] = self.positions.get(who, 0) + change
                net[who] = net.get(who, 0) + change
            here = {
                who: common_pb2.Money(currency="EUR", minor=self.positions[who])
                for who in ("grocery", "fuel")
            }
            body |= {
                "points": entries.seal_points(points, salts[0]),
                "amounts": entries.seal_amounts(moved, salts[1]),
                "issuer_position": entries.seal_position(here["grocery"], salts[2]),
                "acceptor_position": entries.seal_position(here["fuel"], salts[3]),
            }
            opening = entry_pb2.DecisionOpening(
                points_salt=salts[0],
                points=points,
                amounts_salt=salts[1],
                amounts=moved,
                issuer_position_salt=salts[2],
                issuer_position=here["grocery"],
                acceptor_position_salt=salts[3],
                acceptor_position=here["fuel"],
            )
        return self.log.append(
            entry_pb2.Decision(**(body | changed)), entry_pb2.EntryOpening(decision=opening)
        )

    def heads(self, **changed: int) -> int:
        return self.log.append(entry_pb2.Heads(last=self._last(changed)))

    def close(self, *, window: int | None = None, decisions: int | None = None) -> int:
        index = self.log.append(
            entry_pb2.Window(
                window=self.window if window is None else window,
                last=self._last({}),
                decisions=self.decisions if decisions is None else decisions,
            )
        )
        self.window, self.decisions = self.window + 1, 0
        return index

    def settle(self, window: int, *, table: bytes = digest("table")) -> int:
        for who, net in self.nets.get(window, {}).items():
            self.positions[who] -= net
        return self.log.append(entry_pb2.Settlement(window=window, table=table))

    def _last(self, changed: dict[str, int]) -> list[entry_pb2.ParticipantSeq]:
        return [
            entry_pb2.ParticipantSeq(participant=name, seq=seq)
            for name, seq in sorted((self.seqs | changed).items())
        ]
