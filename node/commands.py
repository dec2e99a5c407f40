"""What a brand's programme can be asked to do, as frozen values.

`content` names what must not differ under one id. It leaves out whatever a digest should not
outlive: a profile is personal data, and a digest of it would still answer guesses after erasure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from comity.ledger.command import Content
from comity.ledger.steps import Step

INTERNAL = ""
"""The caller of what the node asks of itself."""

PurchaseLine = tuple[int, str, str]
"""Amount in minor units, category, product."""

Attributes = tuple[tuple[str, str | int | bool], ...]
"""What an event says of itself, by name."""


def _given(**fields: Content) -> dict[str, Content]:
    """The fields that were given at all: without them a command is what it was before they were."""
    return {name: value for name, value in fields.items() if value}


def _plain(attributes: Attributes) -> Content:
    """Attributes as content, in which true is not 1."""
    return [
        [name, type(value).__name__, int(value) if isinstance(value, bool) else value]
        for name, value in sorted(attributes)
    ]


# --- programme and time ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclareProgramme:
    """The programme this process started with; an entry only if it is a new one."""

    step: ClassVar[Step] = Step.PROGRAMME
    version: str
    digest: bytes
    file: bytes = b""

    @property
    def caller(self) -> str:
        return INTERNAL

    @property
    def id(self) -> str:
        return ""

    def content(self) -> Mapping[str, Content]:
        return {"version": self.version, "digest": self.digest}


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishProgramme:
    """A manager publishes a version. `without_notice`: it may take something away at once.

    `file` was read, and `version` is what it says.
    """

    step: ClassVar[Step] = Step.PROGRAMME
    caller: str
    id: str
    version: str
    file: bytes
    effective_at_us: int = 0
    without_notice: bool = False

    def content(self) -> Mapping[str, Content]:
        return {
            "file": self.file,
            "effective_at_us": self.effective_at_us,
            "without_notice": int(self.without_notice),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """Let what is due anywhere happen: at most so many lots mature or expire, and the levels and
    marks of at most so many members are looked at again."""

    step: ClassVar[Step] = Step.EXPIRE
    limit: int

    @property
    def caller(self) -> str:
        return INTERNAL

    @property
    def id(self) -> str:
        return ""

    def content(self) -> Mapping[str, Content]:
        return {"limit": self.limit}


# --- members --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrol:
    """A new member with a first device. Whoever retries, from wherever, is the same caller."""

    step: ClassVar[Step] = Step.ENROL
    id: str
    public_key: bytes
    name: str = ""
    email: str = ""
    birth_date: str = ""
    region: str = ""
    invitation: str = ""

    @property
    def caller(self) -> str:
        return "enrol"

    def content(self) -> Mapping[str, Content]:
        invited = {"invitation": self.invitation} if self.invitation else {}
        return {"public_key": self.public_key, **invited}


@dataclass(frozen=True, slots=True, kw_only=True)
class AddDevice:
    """One more device key, asked by a device of the member (`acting_key`)."""

    step: ClassVar[Step] = Step.DEVICE
    caller: str
    id: str
    account: str
    acting_key: str
    public_key: bytes

    def content(self) -> Mapping[str, Content]:
        return {"account": self.account, "public_key": self.public_key}


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeDevice:
    """A device key signs no more from now on."""

    step: ClassVar[Step] = Step.DEVICE
    caller: str
    id: str
    account: str
    acting_key: str
    key_id: str

    def content(self) -> Mapping[str, Content]:
        return {"account": self.account, "revoke": self.key_id}


@dataclass(frozen=True, slots=True, kw_only=True)
class LockMember:
    """A locked member earns and does not spend."""

    step: ClassVar[Step] = Step.LOCK
    caller: str
    id: str
    account: str
    locked: bool

    def content(self) -> Mapping[str, Content]:
        return {"account": self.account, "locked": int(self.locked)}


@dataclass(frozen=True, slots=True, kw_only=True)
class EraseMember:
    """Destroys what links a person to an account."""

    step: ClassVar[Step] = Step.ERASE
    caller: str
    id: str
    account: str

    def content(self) -> Mapping[str, Content]:
        return {"account": self.account}


# --- points ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordPurchase:
    """A sale that earns. Its id is the brand's, so a second till repeating it gets the same."""

    step: ClassVar[Step] = Step.PURCHASE
    purchase_id: str
    account: str
    currency: str
    minor: int
    occurred_at_us: int = 0
    lines: tuple[PurchaseLine, ...] = ()
    store: str = ""
    attributes: Attributes = ()

    @property
    def caller(self) -> str:
        return "purchases"

    @property
    def id(self) -> str:
        return self.purchase_id

    def content(self) -> Mapping[str, Content]:
        always: dict[str, Content] = {
            "account": self.account,
            "amount.currency": self.currency,
            "amount.minor": self.minor,
            "occurred_at_us": self.occurred_at_us,
        }
        said = _plain(self.attributes)
        return always | _given(lines=self.lines, store=self.store, attributes=said)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordEvent:
    """Something the programme knows happened. Its id is the brand's, like a purchase's."""

    step: ClassVar[Step] = Step.EVENT
    event_id: str
    account: str
    type: str
    occurred_at_us: int = 0
    attributes: Attributes = ()

    @property
    def caller(self) -> str:
        return "events"

    @property
    def id(self) -> str:
        return self.event_id

    def content(self) -> Mapping[str, Content]:
        return {
            "account": self.account,
            "type": self.type,
            "occurred_at_us": self.occurred_at_us,
            "attributes": _plain(self.attributes),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundPurchase:
    """All that was refunded of a purchase so far."""

    step: ClassVar[Step] = Step.REFUND
    caller: str
    id: str
    purchase_id: str
    currency: str
    cumulative_minor: int
    kept_lines: tuple[int, ...] = ()

    def content(self) -> Mapping[str, Content]:
        always: dict[str, Content] = {
            "purchase_id": self.purchase_id,
            "cumulative.currency": self.currency,
            "cumulative.minor": self.cumulative_minor,
        }
        return always | _given(kept_lines=self.kept_lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class SetMark:
    """A manager gives a badge, title or tag by hand, or takes it. `kind` is a `MarkKind`."""

    step: ClassVar[Step] = Step.MARK
    caller: str
    id: str
    account: str
    kind: int
    name: str
    given: bool
    reason_code: str

    def content(self) -> Mapping[str, Content]:
        return {
            "account": self.account,
            "kind": self.kind,
            "name": self.name,
            "given": int(self.given),
            "reason_code": self.reason_code,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertPoints:
    """A member turns points of one unit into another. Asked by the device `acting_key`."""

    step: ClassVar[Step] = Step.CONVERT
    caller: str
    id: str
    account: str
    acting_key: str
    conversion: str
    points: int

    def content(self) -> Mapping[str, Content]:
        return {"account": self.account, "conversion": self.conversion, "points": self.points}


@dataclass(frozen=True, slots=True, kw_only=True)
class AdjustPoints:
    """A manager gives points, or takes them."""

    step: ClassVar[Step] = Step.ADJUST
    caller: str
    id: str
    account: str
    points: int
    reason_code: str

    def content(self) -> Mapping[str, Content]:
        return {"account": self.account, "points": self.points, "reason_code": self.reason_code}


# --- rewards --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class PutReward:
    """A reward of the catalogue, new or changed. `reward` are the bytes of a `Reward`."""

    step: ClassVar[Step] = Step.STOCK
    caller: str
    id: str
    reward_id: str
    reward: bytes

    def content(self) -> Mapping[str, Content]:
        return {"reward_id": self.reward_id, "reward": self.reward}


@dataclass(frozen=True, slots=True, kw_only=True)
class SetStock:
    """More or fewer free pieces."""

    step: ClassVar[Step] = Step.STOCK
    caller: str
    id: str
    reward_id: str
    change: int

    def content(self) -> Mapping[str, Content]:
        return {"reward_id": self.reward_id, "change": self.change}


@dataclass(frozen=True, slots=True, kw_only=True)
class UseVoucher:
    """A till takes a voucher. `code` is in its one spelling."""

    step: ClassVar[Step] = Step.VOUCHER
    caller: str
    id: str
    code: str

    def content(self) -> Mapping[str, Content]:
        return {"code": self.code}


# --- staff ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class AddStaffKey:
    """A key of a till, a manager or an auditor."""

    step: ClassVar[Step] = Step.DEVICE
    caller: str
    id: str
    role: str
    name: str
    public_key: bytes

    def content(self) -> Mapping[str, Content]:
        return {"role": self.role, "name": self.name, "public_key": self.public_key}


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveStaffKey:
    """A till, a manager or an auditor loses its key, and every session with it."""

    step: ClassVar[Step] = Step.DEVICE
    caller: str
    id: str
    key_id: str

    def content(self) -> Mapping[str, Content]:
        return {"key_id": self.key_id}
