"""What may be asked of clearing's book: one frozen value for each kind of durable step.

Evidence inside a command is verified already. Claims and reports carry no id: the redemption is
their key, and the book itself gives a repeated claim its first answer. What operators and
background work submit is kept apart by caller and id.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from comity.ledger.command import Content
from comity.ledger.statements import Proven
from comity.ledger.steps import Step
from comity.ledger.store import KnownHead
from comity.v1 import common_pb2, entry_pb2


@dataclass(frozen=True, slots=True, kw_only=True)
class Hear:
    """Heads of other logs, to be stored with the effects of the same batch."""

    step: ClassVar[Step] = Step.HEARD
    seen: tuple[KnownHead, ...]
    caller: str = ""
    id: str = ""

    def content(self) -> Mapping[str, Content]:
        return {"seen": [head.note for head in self.seen]}


# --- claims ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class DecideHold:
    """The acceptor asks to be paid for a hold."""

    step: ClassVar[Step] = Step.DECIDE
    caller: str
    issuer: str
    hold: Proven
    quote: bytes
    id: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        body = self.hold.entry.hold
        return (self.issuer, body.acceptor, body.redemption_id)

    @property
    def agreement(self) -> tuple[str, int]:
        return (self.hold.entry.hold.agreement_id, self.hold.entry.hold.agreement_version)

    def content(self) -> Mapping[str, Content]:
        return {"key": self.key, "hold": self.hold.citation.leaf_hash, "quote": self.quote}


@dataclass(frozen=True, slots=True, kw_only=True)
class DecidePledge:
    """The partner asks that the issuer accrue what it pledged to pay for."""

    step: ClassVar[Step] = Step.DECIDE
    caller: str
    pledge: Proven
    id: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        body = self.pledge.entry.pledge
        return (body.issuer, self.caller, body.redemption_id)

    @property
    def agreement(self) -> tuple[str, int]:
        return (self.pledge.entry.pledge.agreement_id, self.pledge.entry.pledge.agreement_version)

    def content(self) -> Mapping[str, Content]:
        return {"key": self.key, "pledge": self.pledge.citation.leaf_hash}


@dataclass(frozen=True, slots=True, kw_only=True)
class DecideReturn:
    """The acceptor gives back what it was paid, whole or in part."""

    step: ClassVar[Step] = Step.DECIDE
    caller: str
    returned: Proven
    id: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        body = self.returned.entry.returned
        return (body.issuer, self.caller, body.redemption_id)

    def content(self) -> Mapping[str, Content]:
        return {"key": self.key, "return": self.returned.citation.leaf_hash}


@dataclass(frozen=True, slots=True, kw_only=True)
class DecideAbort:
    """One of the two brands asks that the redemption never commit."""

    step: ClassVar[Step] = Step.DECIDE
    caller: str
    issuer: str
    acceptor: str
    redemption_id: str
    hold: Proven | None
    id: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.issuer, self.acceptor, self.redemption_id)

    def content(self) -> Mapping[str, Content]:
        hold = self.hold.citation.leaf_hash if self.hold is not None else None
        return {"key": self.key, "hold": hold}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReverseUndelivered:
    """Clearing's own: reverse a redemption whose delivery nobody reported in time."""

    step: ClassVar[Step] = Step.DECIDE
    issuer: str
    acceptor: str
    redemption_id: str
    caller: str = ""
    id: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.issuer, self.acceptor, self.redemption_id)

    def content(self) -> Mapping[str, Content]:
        return {"key": self.key}


Claim = DecideHold | DecidePledge | DecideReturn | DecideAbort | ReverseUndelivered


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportDelivery:
    """The acceptor shows its DELIVERY of a committed redemption."""

    step: ClassVar[Step] = Step.REPORT
    caller: str
    delivery: Proven
    id: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        body = self.delivery.entry.delivery
        return (body.issuer, self.caller, body.redemption_id)

    def content(self) -> Mapping[str, Content]:
        return {"key": self.key, "delivery": self.delivery.citation.leaf_hash}


# --- agreements -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class PutInForce:
    """Both brands have signed the same terms."""

    step: ClassVar[Step] = Step.AGREE
    caller: str
    propose: Proven
    accept: Proven
    id: str = ""

    @property
    def terms(self) -> common_pb2.AgreementTerms:
        return self.propose.entry.propose.terms

    @property
    def agreement_id(self) -> str:
        return self.terms.agreement_id

    def content(self) -> Mapping[str, Content]:
        return {
            "propose": self.propose.citation.leaf_hash,
            "accept": self.accept.citation.leaf_hash,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class EndAgreement:
    """One of the two brands ends an agreement."""

    step: ClassVar[Step] = Step.AGREE
    caller: str
    signatory: str
    terminate: Proven
    id: str = ""

    @property
    def agreement_id(self) -> str:
        return self.terminate.entry.terminate.agreement_id

    def content(self) -> Mapping[str, Content]:
        return {"terminate": self.terminate.citation.leaf_hash}


# --- windows --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteHeads:
    """Name every participant's last number, so that a cut tail is noticed."""

    step: ClassVar[Step] = Step.HEADS
    caller: str = ""
    id: str = ""

    def content(self) -> Mapping[str, Content]:
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseWindow:
    """Draw the line under the open window; the next one opens with it."""

    step: ClassVar[Step] = Step.CLOSE
    caller: str
    id: str
    window: int

    def content(self) -> Mapping[str, Content]:
        return {"window": self.window}


@dataclass(frozen=True, slots=True, kw_only=True)
class SettleWindow:
    """State who pays whom for a closed window."""

    step: ClassVar[Step] = Step.SETTLE
    caller: str
    id: str
    window: int
    acknowledge_within_us: int

    def content(self) -> Mapping[str, Content]:
        return {"window": self.window}


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordAcknowledgement:
    """A brand's ACK or PROTEST of a settlement."""

    step: ClassVar[Step] = Step.ACKNOWLEDGE
    caller: str
    answer: Proven
    id: str = ""

    @property
    def window(self) -> int:
        entry = self.answer.entry
        body = entry.ack if entry.WhichOneof("body") == "ack" else entry.protest
        return int(body.window)

    def content(self) -> Mapping[str, Content]:
        return {"answer": self.answer.citation.leaf_hash}


# --- roster ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Admit:
    """A brand joins, or comes back with a new TLS key or address under the same log key."""

    step: ClassVar[Step] = Step.ADMIT
    caller: str
    id: str
    admit: entry_pb2.Admit
    caps: tuple[tuple[str, int], ...] = ()
    certificate: bytes = b""

    def content(self) -> Mapping[str, Content]:
        body = self.admit
        return {
            "participant": body.participant,
            "vkey": body.vkey,
            "tls_key_hash": body.tls_key_hash,
            "display_name": body.display_name,
            "peer_address": body.peer_address,
            "public_address": body.public_address,
            "caps": self.caps,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RotateKey:
    """Exchange a participant's log key; see `clearing.key_changes`.

    `last_size` None leaves it to clearing; `old_signature` is empty for a lost or stolen key.
    """

    step: ClassVar[Step] = Step.ROTATE
    caller: str
    id: str
    participant: str
    vkey: str
    new_signature: bytes
    old_signature: bytes
    last_size: int | None

    def content(self) -> Mapping[str, Content]:
        return {
            "participant": self.participant,
            "vkey": self.vkey,
            "new_signature": self.new_signature,
            "old_signature": self.old_signature,
            "last_size": self.last_size,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeParticipant:
    """End a participant, for good."""

    step: ClassVar[Step] = Step.REVOKE
    caller: str
    id: str
    participant: str
    reason: str

    def content(self) -> Mapping[str, Content]:
        return {"participant": self.participant, "reason": self.reason}


@dataclass(frozen=True, slots=True, kw_only=True)
class SetStanding:
    """Suspend, freeze or resume a participant."""

    step: ClassVar[Step] = Step.STATUS
    caller: str
    id: str
    participant: str
    status: entry_pb2.ParticipantStatus.ValueType
    reason: str

    def content(self) -> Mapping[str, Content]:
        return {
            "participant": self.participant,
            "status": int(self.status),
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SetCap:
    """Say how far below zero a participant's running position may go in one currency."""

    step: ClassVar[Step] = Step.CAP
    caller: str
    id: str
    participant: str
    currency: str
    cap_minor: int

    def content(self) -> Mapping[str, Content]:
        return {
            "participant": self.participant,
            "currency": self.currency,
            "net_debit_cap": self.cap_minor,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmitAuditor:
    """A key whose holder may read clearing's entries with their openings."""

    step: ClassVar[Step] = Step.ADMIT
    caller: str
    id: str
    auditor: str
    key_id: str
    public_key: bytes

    def content(self) -> Mapping[str, Content]:
        return {"auditor": self.auditor, "public_key": self.public_key}


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeAuditor:
    """End an auditor's key."""

    step: ClassVar[Step] = Step.REVOKE
    caller: str
    id: str
    key_id: str

    def content(self) -> Mapping[str, Content]:
        return {"key_id": self.key_id}
