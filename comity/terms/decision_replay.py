"""Replay of clearing's log: decisions folded into numbers, windows and positions.

The same fold as `comity.ledger.replay`, for the one log that decides. Without the openings it
checks that every redemption is decided once, under gapless numbers, in one window; with them it
recomputes every position, cap and reversal.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Final

from comity.errors import BadStatement, Malformed
from comity.ledger.entries import check_decision_opening
from comity.ledger.replay import Check, Cited, Findings, cited
from comity.log.history import KeyHistory, rotation_message
from comity.log.note import VerifierKey
from comity.points import MAX
from comity.terms.positions import DRIFT, OPERATOR, effects
from comity.v1 import common_pb2, entry_pb2

COMMITTED: Final = int(entry_pb2.OUTCOME_COMMITTED)
ABORTED: Final = int(entry_pb2.OUTCOME_ABORTED)
ACCRUAL: Final = int(common_pb2.REDEMPTION_KIND_ACCRUAL)

Key = tuple[str, str, str]
"""Issuer, acceptor, redemption id: what clearing decides once."""


@dataclass(slots=True)
class Decided:
    """One DECISION. Figures are None until they are opened; `currency` is empty then."""

    index: int
    leaf: bytes
    outcome: int
    kind: int
    issuer: str
    acceptor: str
    redemption_id: str
    quote_digest: bytes
    cites: Cited | None
    original: Cited | None
    window: int
    issuer_seq: int
    acceptor_seq: int
    reason: str
    points: int | None = None
    amount: int | None = None
    fee: int | None = None
    currency: str = ""

    @property
    def key(self) -> Key:
        return (self.issuer, self.acceptor, self.redemption_id)

    @property
    def payer(self) -> str:
        """Whose entry promises to pay."""
        return self.acceptor if self.kind == ACCRUAL else self.issuer


@dataclass(slots=True)
class _Reversed:
    points: int = 0
    amount: int = 0
    fee: int = 0


class DecisionReplay:
    """The fold of clearing's log.

    Public state: `decisions` by index, `committed` and `aborted` by key, `seqs` by participant,
    `positions` by (participant, currency), `nets` of each window in the same form,
    `settlements` by window (the digest of the table), `closings` by window, `roster` by origin
    (the keys, as `comity.log.history` writes them), `window` (the open one).
    """

    def __init__(self, origin: str, *, opened: bool, findings: Findings | None = None) -> None:
        self.origin = origin
        self.network = origin.partition("/")[0]
        self.opened = opened
        self.findings = Findings() if findings is None else findings
        self.entries = 0
        self.at_us = 0
        self.window = 1
        self.decisions: dict[int, Decided] = {}
        self.committed: dict[Key, Decided] = {}
        self.aborted: dict[Key, Decided] = {}
        self.reversals: dict[Key, list[Decided]] = defaultdict(list)
        self.seqs: dict[str, int] = {}
        self.positions: dict[tuple[str, str], int] = defaultdict(int)
        self.nets: dict[int, dict[tuple[str, str], int]] = defaultdict(lambda: defaultdict(int))
        self.caps: dict[tuple[str, str], int] = {}
        self.closings: dict[int, Cited] = {}
        self.settlements: dict[int, bytes] = {}
        self.roster: dict[str, str] = {}
        self._revoked: set[str] = set()
        self._in_window = 0
        self._spent: set[object] = set()
        self._reversed: dict[Key, _Reversed] = defaultdict(_Reversed)

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
        if entry.at_us < self.at_us:
            self._contradicts("time", index, "is older than the entry before it")
        self.at_us = entry.at_us
        self.entries += 1
        body = getattr(entry, kind)
        match kind:
            case "decision":
                self._decision(index, leaf, body, opening)
            case "heads":
                self._check_seqs(index, body.last)
            case "window":
                self._window(index, leaf, body)
            case "settlement":
                self._settlement(index, body)
            case "admit":
                self._admit(index, body)
                self.seqs.setdefault(body.participant, 0)
            case "rotate" | "revoke":
                self._change_keys(index, body)
            case "cap":
                at = (body.participant, body.net_debit_cap.currency)
                self.caps[at] = body.net_debit_cap.minor

    def _admit(self, index: int, body: entry_pb2.Admit) -> None:
        before = self.roster.setdefault(body.origin, body.vkey)
        if body.vkey != before.rpartition(" ")[2] or body.participant in self._revoked:
            self._contradicts("keys", index, f"admits {body.participant} with another key")

    def _change_keys(self, index: int, body: entry_pb2.Rotate | entry_pb2.Revoke) -> None:
        """ROTATE or REVOKE: what the log's keys are from now on, and that the new one agrees."""
        origin = f"{self.network}/{body.participant}"
        try:
            before = KeyHistory.parse(self.roster.get(origin, ""))
            if isinstance(body, entry_pb2.Revoke):
                self.roster[origin] = str(before.ended(body.last_size))
                self._revoked.add(body.participant)
                return
            new = VerifierKey.parse(body.vkey)
            self.roster[origin] = str(before.rotated(new, body.last_size))
        except Malformed as error:
            text = f"changes the keys of {body.participant} wrongly: {error.message[:-1]}"
            self._contradicts("keys", index, text)
            return
        message = rotation_message(str(before.current), body.vkey)
        if not new.verify(message, body.new_signature):
            self._contradicts("keys", index, f"gives {body.participant} a key that did not agree")

    def _decision(
        self,
        index: int,
        leaf: bytes,
        body: entry_pb2.Decision,
        opening: entry_pb2.EntryOpening | None,
    ) -> None:
        decided = Decided(
            index=index,
            leaf=leaf,
            outcome=int(body.outcome),
            kind=int(body.kind),
            issuer=body.issuer,
            acceptor=body.acceptor,
            redemption_id=body.redemption_id,
            quote_digest=body.quote_digest,
            cites=cited(body.cites) if body.HasField("cites") else None,
            original=cited(body.original) if body.HasField("original") else None,
            window=body.window,
            issuer_seq=body.issuer_seq,
            acceptor_seq=body.acceptor_seq,
            reason=body.reason,
        )
        self.decisions[index] = decided
        self._count(decided)
        if decided.outcome in (COMMITTED, ABORTED):
            self._first(decided)
        else:
            self._again(decided)
        if self.opened:
            self._open(decided, body, opening)

    def _count(self, decided: Decided) -> None:
        """Numbers and window (I14, I16)."""
        for participant, seq in (
            (decided.issuer, decided.issuer_seq),
            (decided.acceptor, decided.acceptor_seq),
        ):
            expected = self.seqs.get(participant, 0) + 1
            if seq != expected:
                self._contradicts(
                    "I14", decided.index, f"has number {seq} for {participant}, not {expected}"
                )
            self.seqs[participant] = max(seq, expected)
        if decided.window != self.window:
            self._contradicts(
                "I16", decided.index, f"is in window {decided.window} while {self.window} is open"
            )
        self._in_window += 1

    def _first(self, decided: Decided) -> None:
        """COMMITTED or ABORTED: the one answer (I13)."""
        index, key = decided.index, decided.key
        if key in self.committed or key in self.aborted:
            self._contradicts("I13", index, f"decides {decided.redemption_id} a second time")
        if decided.outcome == ABORTED:
            self.aborted.setdefault(key, decided)
            return
        self.committed.setdefault(key, decided)
        for party in {decided.issuer, decided.acceptor} & self._revoked:
            self._contradicts("keys", index, f"commits with {party}, which was revoked")
        if decided.cites is None:
            self._contradicts("I13", index, "commits without an entry of the payer")
            return
        if decided.cites.origin != f"{self.network}/{decided.payer}":
            self._contradicts("I13", index, "commits on an entry of somebody else than the payer")
        self._spend(index, decided.cites, "the hold or pledge")
        if decided.quote_digest:
            self._spend(index, (decided.issuer, decided.quote_digest), "the quote")

    def _spend(self, index: int, what: object, name: str) -> None:
        if what in self._spent:
            self._contradicts("I13", index, f"commits {name} of another COMMITTED again")
        self._spent.add(what)

    def _again(self, decided: Decided) -> None:
        """REVERSED or ADJUSTED: of one COMMITTED before it (I12)."""
        original = self.committed.get(decided.key)
        named = decided.original
        if (
            original is None
            or named is None
            or named != Cited(self.origin, original.index, original.leaf)
        ):
            self._contradicts("I12", decided.index, "does not name the COMMITTED it takes back")
            return
        self.reversals[decided.key].append(decided)

    def _window(self, index: int, leaf: bytes, body: entry_pb2.Window) -> None:
        if body.window != self.window:
            self._contradicts("I16", index, f"closes window {body.window}, not {self.window}")
        if body.decisions != self._in_window:
            self._contradicts(
                "I16", index, f"counts {body.decisions} decisions and there are {self._in_window}"
            )
        self._check_seqs(index, body.last)
        self.closings[body.window] = Cited(self.origin, index, leaf)
        self.window = body.window + 1
        self._in_window = 0

    def _check_seqs(self, index: int, last: Any) -> None:
        named = {one.participant: one.seq for one in last}
        for participant in sorted(self.seqs.keys() | named.keys()):
            seq = self.seqs.get(participant, 0)
            if named.get(participant, 0) != seq:
                self._contradicts(
                    "I14",
                    index,
                    f"names {named.get(participant, 0)} as the last number of {participant}, "
                    f"which is {seq}",
                )

    def _settlement(self, index: int, body: entry_pb2.Settlement) -> None:
        if body.window not in self.closings:
            self._contradicts("I16", index, f"settles window {body.window}, which is not closed")
        if body.window in self.settlements:
            self._contradicts("I16", index, f"settles window {body.window} a second time")
            return
        self.settlements[body.window] = body.table
        for at, net in self.nets[body.window].items():
            self.positions[at] -= net

    # --- figures ------------------------------------------------------------------------

    def _open(
        self, decided: Decided, body: entry_pb2.Decision, opening: entry_pb2.EntryOpening | None
    ) -> None:
        shown = opening.decision if opening is not None else entry_pb2.DecisionOpening()
        try:
            _require_open(body, shown)
            check_decision_opening(body, shown)
        except BadStatement as error:
            self._contradicts("openings", decided.index, f"is not open: {error.message[:-1]}")
            return
        if decided.outcome == ABORTED or not shown.amounts_salt:
            return
        amounts = shown.amounts
        decided.points = shown.points
        decided.amount, decided.fee = amounts.amount.minor, amounts.fee.minor
        decided.currency = amounts.amount.currency
        self._move(decided, shown)
        if decided.outcome != COMMITTED:
            self._take_back(decided)

    def _move(self, decided: Decided, shown: entry_pb2.DecisionOpening) -> None:
        """Positions and caps (I6, I15)."""
        index, currency = decided.index, decided.currency
        change = effects(issuer=decided.issuer, acceptor=decided.acceptor, amounts=shown.amounts)
        net = self.nets[decided.window]
        for participant, moved in change.items():
            at = (participant, currency)
            if moved or participant not in (OPERATOR, DRIFT):
                self.positions[at] += moved
                net[at] += moved
            after = self.positions[at]
            if abs(after) > MAX:
                self._contradicts("I6", index, f"takes {participant} beyond 64 bits")
            if decided.outcome == COMMITTED and moved < 0 and after < -self.caps.get(at, 0):
                self._contradicts("I15", index, f"takes {participant} to {after}, below its cap")
        for participant, salt, opened in (
            (decided.issuer, shown.issuer_position_salt, shown.issuer_position),
            (decided.acceptor, shown.acceptor_position_salt, shown.acceptor_position),
        ):
            here = self.positions[participant, currency]
            if salt and (opened.minor, opened.currency) != (here, currency):
                self._contradicts(
                    "I6", index, f"states position {opened.minor} of {participant}, not {here}"
                )

    def _take_back(self, decided: Decided) -> None:
        """Never above what was committed, and wholly reversed is as if never redeemed (I12)."""
        original = self.committed.get(decided.key)
        if original is None or original.points is None:
            return
        back = self._reversed[decided.key]
        back.points += abs(decided.points or 0)
        back.amount -= decided.amount or 0
        back.fee -= decided.fee or 0
        whole = (original.points, original.amount or 0, original.fee or 0)
        so_far = (back.points, back.amount, back.fee)
        beyond = any(
            abs(part) > abs(of) or part * of < 0 for part, of in zip(so_far, whole, strict=True)
        )
        if beyond or (back.points == original.points and so_far != whole):
            self._contradicts(
                "I12", decided.index, f"brings what is reversed to {so_far} of {whole} committed"
            )

    def _contradicts(self, rule: str, index: int, text: str) -> None:
        self.findings.add(rule, f"Entry {index} of {self.origin} {text}.")

    # --- the result ---------------------------------------------------------------------

    def reversed_until(self, decided: Decided) -> int:
        """The points of its redemption reversed by `decided` and those before it."""
        return sum(
            abs(one.points or 0)
            for one in self.reversals[decided.key]
            if one.index <= decided.index
        )

    def checks(self) -> tuple[Check, ...]:
        """What the log says of the invariants."""
        rules = {
            "time": "Times never decrease.",
            "keys": f"{len(self.roster)} logs, each with one key for every size.",
            "I12": "What is reversed was committed before.",
            "I13": f"{len(self.committed)} COMMITTED, each on an entry of its payer, once.",
            "I14": f"Numbers of {len(self.seqs)} participants have no gap; HEADS are true.",
            "I16": f"{len(self.decisions)} decisions, each in one of {self.window} windows.",
        }
        if self.opened:
            self._check_sums()
            rules |= {
                "openings": "Every figure is open.",
                "I6": f"{len(self.positions)} positions sum to zero, in every window.",
                "I15": "Nobody passed its net debit cap.",
            }
        return tuple(self.findings.check(rule, good=good) for rule, good in rules.items())

    def _check_sums(self) -> None:
        for name, rows in [("positions", self.positions)] + [
            (f"nets of window {window}", net) for window, net in self.nets.items()
        ]:
            sums: dict[str, int] = defaultdict(int)
            for (_, currency), minor in rows.items():
                sums[currency] += minor
            for currency, total in sums.items():
                if total:
                    self.findings.add("I6", f"The {name} in {currency} sum to {total}.")


def _require_open(body: entry_pb2.Decision, shown: entry_pb2.DecisionOpening) -> None:
    for commitment, salt, name in (
        (body.points, shown.points_salt, "points"),
        (body.amounts, shown.amounts_salt, "amounts"),
        (body.issuer_position, shown.issuer_position_salt, "issuer position"),
        (body.acceptor_position, shown.acceptor_position_salt, "acceptor position"),
    ):
        if commitment and not salt:
            raise BadStatement(f"The {name} of the decision come without a salt.")
        if salt and not commitment:
            raise BadStatement(f"The {name} are opened and the decision has none.")
