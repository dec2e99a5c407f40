"""Every error a caller can act on, one class each, with a stable code.

    ComityError
    ├── Malformed            the request or the bytes are wrong; fix and send again
    │   ├── BadStatement     an entry, proof, checkpoint or signature that does not verify
    │   │   ├── Equivocation two signed heads of one log that contradict each other
    │   │   ├── RetiredKey   signed by a key that does not count for a log of this size
    │   │   └── UnknownKey   signed by a key that the roster does not name, or not yet
    │   └── Overflow         a sum or product leaves the signed 64-bit range
    ├── Unauthenticated      no valid certificate or token; obtain one
    ├── Forbidden            authenticated, but this caller may not do this
    ├── NotFound             no such thing here
    ├── Conflict             this id was used before with other content
    ├── Refused              a rule of the business says no; final for this id
    │   ├── InsufficientPoints
    │   ├── OutOfStock
    │   ├── QuoteExpired
    │   ├── HoldExpired
    │   ├── MandateRejected  signature, maximum, expiry or subject of the mandate
    │   ├── AgreementInactive
    │   ├── LimitExceeded    minimum, maximum, multiple or count limit of a programme or agreement
    │   ├── CapExceeded      the payer's net debit cap
    │   ├── Suspended        a participant is suspended or frozen
    │   ├── MemberLocked
    │   ├── SpendingFrozen   the brand lets nobody spend its points for now
    │   ├── NotEligible      the programme's rules of enrolment say no; `reason` says which
    │   ├── AlreadyUsed      a voucher, quote, mandate or hold that is spent
    │   ├── AlreadyDecided   the redemption has its one decision
    │   ├── NotYet           allowed later, not now
    │   └── NotReversible    more than was committed, or not a committed redemption
    ├── Unavailable          nothing was decided; repeat the same request
    │   ├── Overloaded       a limit on queue, rate or concurrency
    │   └── NotHeard         a counterparty's head is unknown, or cannot be linked yet
    └── LedgerFault          this ledger must not be served; an operator has to act
        ├── MissingLedger
        ├── ForeignLedger
        ├── ShorterLedger    restored from an older copy
        ├── ForkedLedger     another history under the same name
        └── LeaseHeld        another process writes this ledger

Messages are sentences for people and say what to do. Codes and metadata are for programs.
`comity.rpc` maps `status` to a gRPC status and rebuilds the same class at the caller.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar


class ComityError(Exception):
    """An error a caller can act on.

    `message` is public: it may cross the wire. `field` is the path of the offending request
    field, where one is to blame. `metadata` are short strings for programs.
    """

    code: ClassVar[str] = "COMITY"
    status: ClassVar[str] = "INTERNAL"
    """The name of the gRPC status code this class travels as."""

    def __init__(
        self, message: str, *, field: str = "", metadata: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.metadata = dict(metadata or {})


class Malformed(ComityError):
    code = "MALFORMED"
    status = "INVALID_ARGUMENT"


class BadStatement(Malformed):
    code = "BAD_STATEMENT"


class Equivocation(BadStatement):
    """Evidence of cheating: metadata `first` and `second` hold the two signed checkpoints."""

    code = "EQUIVOCATION"


class RetiredKey(BadStatement):
    code = "RETIRED_KEY"


class UnknownKey(BadStatement):
    code = "UNKNOWN_KEY"


class Overflow(Malformed):
    code = "OVERFLOW"
    status = "OUT_OF_RANGE"


class Unauthenticated(ComityError):
    code = "UNAUTHENTICATED"
    status = "UNAUTHENTICATED"


class Forbidden(ComityError):
    code = "FORBIDDEN"
    status = "PERMISSION_DENIED"


class NotFound(ComityError):
    code = "NOT_FOUND"
    status = "NOT_FOUND"


class Conflict(ComityError):
    code = "CONFLICT"
    status = "ALREADY_EXISTS"


class Refused(ComityError):
    code = "REFUSED"
    status = "FAILED_PRECONDITION"


class InsufficientPoints(Refused):
    code = "INSUFFICIENT_POINTS"


class OutOfStock(Refused):
    code = "OUT_OF_STOCK"


class QuoteExpired(Refused):
    code = "QUOTE_EXPIRED"


class HoldExpired(Refused):
    code = "HOLD_EXPIRED"


class MandateRejected(Refused):
    code = "MANDATE_REJECTED"


class AgreementInactive(Refused):
    code = "AGREEMENT_INACTIVE"


class LimitExceeded(Refused):
    code = "LIMIT_EXCEEDED"


class CapExceeded(Refused):
    code = "CAP_EXCEEDED"


class Suspended(Refused):
    code = "SUSPENDED"


class MemberLocked(Refused):
    code = "MEMBER_LOCKED"


class SpendingFrozen(Refused):
    code = "SPENDING_FROZEN"


class NotEligible(Refused):
    """Metadata `reason`: age, region, invitation."""

    code = "NOT_ELIGIBLE"


class AlreadyUsed(Refused):
    code = "ALREADY_USED"


class AlreadyDecided(Refused):
    code = "ALREADY_DECIDED"


class NotYet(Refused):
    code = "NOT_YET"


class NotReversible(Refused):
    code = "NOT_REVERSIBLE"


class Unavailable(ComityError):
    code = "UNAVAILABLE"
    status = "UNAVAILABLE"


class Overloaded(Unavailable):
    code = "OVERLOADED"
    status = "RESOURCE_EXHAUSTED"


class NotHeard(Unavailable):
    code = "NOT_HEARD"


class LedgerFault(ComityError):
    code = "LEDGER_FAULT"
    status = "FAILED_PRECONDITION"


class MissingLedger(LedgerFault):
    code = "MISSING_LEDGER"


class ForeignLedger(LedgerFault):
    code = "FOREIGN_LEDGER"


class ShorterLedger(LedgerFault):
    code = "SHORTER_LEDGER"


class ForkedLedger(LedgerFault):
    code = "FORKED_LEDGER"


class LeaseHeld(LedgerFault):
    code = "LEASE_HELD"


def _tree(root: type[ComityError]) -> Iterator[type[ComityError]]:
    yield root
    for child in root.__subclasses__():
        yield from _tree(child)


BY_CODE: Mapping[str, type[ComityError]] = {cls.code: cls for cls in _tree(ComityError)}
"""Every class by its code, to rebuild an error that crossed the wire or was recorded."""


def rebuild(
    code: str, message: str, *, field: str = "", metadata: Mapping[str, str] | None = None
) -> ComityError:
    """The error that `code` names; an unknown code (a newer peer) becomes `ComityError`."""
    return BY_CODE.get(code, ComityError)(message, field=field, metadata=metadata)
