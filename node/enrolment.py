"""Who may join, and how: openly, invited, approved by a manager, or once a payment is confirmed.

The programme states the mode, the least age and the regions; what a person says of age and place
is checked here and kept with the profile, never in the log. An enrolment that has to wait is an
application: its account exists for nobody until staff decide, so it neither earns nor spends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, ClassVar, Final

from comity.errors import AlreadyDecided, Conflict, Malformed, NotEligible, NotFound, Refused
from comity.ledger.command import Batch, Content
from comity.ledger.entries import canonical
from comity.ledger.rows import Rows
from comity.ledger.steps import Step
from comity.v1 import member_pb2, office_pb2
from node.book import Handler, Handlers, Rules
from node.commands import Enrol
from node.members import add_device, join, key_name
from node.operation_tables import applications, invitations
from node.programme.calendar import local_day
from node.tables import devices

WAITING, ADMITTED, REFUSED = "WAITING", "ADMITTED", "REFUSED"
APPROVAL, PAYMENT = "approval", "payment"

STATES: Final[Mapping[str, member_pb2.EnrolmentState.ValueType]] = {
    APPROVAL: member_pb2.ENROLMENT_STATE_AWAITS_APPROVAL,
    PAYMENT: member_pb2.ENROLMENT_STATE_AWAITS_PAYMENT,
}
NOTHING_SAID: Final = {"name": "", "email": "", "birth_date": "", "region": ""}


# --- who may --------------------------------------------------------------------------------


def check_birth_date(text: str) -> None:
    """Raises Malformed for what is no day of the calendar."""
    if not text:
        return
    try:
        date.fromisoformat(text)
    except ValueError:
        raise Malformed(
            "There is no such day; write the date of birth like 1990-03-21.",
            field="profile.birth_date",
        ) from None


def age_on(born: date, day: date) -> int:
    """Whole years of age on a day. Who was born on 29 February is older from 1 March on, in
    years which have no such day."""
    return day.year - born.year - ((day.month, day.day) < (born.month, born.day))


def check_eligible(rules: Rules, command: Enrol, now_us: int) -> None:
    """Raises NotEligible, with the reason, for who is too young or lives elsewhere; Malformed for
    who is not born yet."""
    wanted = rules.programme.enrolment
    day = local_day(rules.programme, now_us)
    if command.birth_date and date.fromisoformat(command.birth_date) > day:
        raise Malformed("This date of birth is still to come.", field="profile.birth_date")
    if wanted.minimum_age:
        if not command.birth_date:
            raise _not_eligible(
                "age", "This programme asks for your date of birth.", "profile.birth_date"
            )
        if age_on(date.fromisoformat(command.birth_date), day) < wanted.minimum_age:
            raise _not_eligible(
                "age",
                f"Members of this programme are at least {wanted.minimum_age} years old.",
                "profile.birth_date",
            )
    if wanted.regions and command.region not in wanted.regions:
        raise _not_eligible(
            "region",
            f"Members of this programme live in {', '.join(wanted.regions)}; say where you live.",
            "profile.region",
        )


def _not_eligible(reason: str, sentence: str, field: str) -> NotEligible:
    return NotEligible(sentence, field=field, metadata={"reason": reason})


# --- joining --------------------------------------------------------------------------------


def _prefetch_enrol(rules: Rules, rows: Rows, commands: Sequence[Enrol]) -> None:
    keys = [key_name(command.public_key) for command in commands]
    rows.load(devices, [(key,) for key in keys])
    rows.load(invitations, [(one.invitation,) for one in commands if one.invitation])
    if rules.programme.enrolment.mode in ("approved", "paid"):
        rows.load_where(applications, ("key_id", "state"), [(key, WAITING) for key in keys])


def _enrol(rules: Rules, batch: Batch, command: Enrol) -> bytes:
    mode = rules.programme.enrolment.mode
    invited = command.invitation and batch.rows.get(invitations, (command.invitation,))
    if invited and invited["account"] and invited["state"] == "VALID":
        return _take_over(batch, command, invited["account"])
    check_eligible(rules, command, batch.now_us)
    account = f"acc_{batch.random(16).hex()}"
    said = {name: getattr(command, name) for name in NOTHING_SAID}
    if mode in ("approved", "paid"):
        return _apply(batch, command, account, said, APPROVAL if mode == "approved" else PAYMENT)
    if mode == "invited":
        _use_invitation(batch, command, account)
    key_id = join(rules, batch, account, command.public_key, said)
    return canonical(
        member_pb2.EnrolResponse(
            account=account, key_id=key_id, state=member_pb2.ENROLMENT_STATE_MEMBER
        )
    )


def _take_over(batch: Batch, command: Enrol, account: str) -> bytes:
    """The first device of a member who was imported, and who has this code from the brand."""
    _use_invitation(batch, command, account)
    key_id = add_device(batch, account, command.public_key)
    return canonical(
        member_pb2.EnrolResponse(
            account=account, key_id=key_id, state=member_pb2.ENROLMENT_STATE_MEMBER
        )
    )


def _use_invitation(batch: Batch, command: Enrol, account: str) -> None:
    if not command.invitation:
        raise _not_eligible(
            "invitation", "This programme asks for an invitation; give its code.", "invitation"
        )
    row = batch.rows.get(invitations, (command.invitation,))
    if row is None or row["state"] != "VALID" or row["expires_at_us"] <= batch.now_us:
        # Whether there ever was such a code is nobody's business.
        raise _not_eligible(
            "invitation",
            "This invitation is not good, or no longer; ask the brand for another.",
            "invitation",
        )
    batch.rows.put(invitations, row | {"state": "USED", "account": account})


def _apply(
    batch: Batch, command: Enrol, account: str, said: Mapping[str, str], awaits: str
) -> bytes:
    key_id = key_name(command.public_key)
    waiting = batch.rows.find(applications, ("key_id", "state"), (key_id, WAITING))
    if waiting or batch.rows.get(devices, (key_id,)) is not None:
        raise Conflict(
            "This device key has asked to join already; make a new key for a new enrolment.",
            field="public_key",
        )
    batch.rows.insert(
        applications,
        {
            "account": account,
            "enrolment_id": command.id,
            "key_id": key_id,
            "public_key": command.public_key,
            "awaits": awaits,
            "state": WAITING,
            "asked_at_us": batch.now_us,
            "decided_at_us": 0,
            "decided_by": "",
            "reason": "",
            **said,
        },
    )
    return canonical(member_pb2.EnrolResponse(account=account, key_id=key_id, state=STATES[awaits]))


# --- deciding -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmitApplicant:
    """A manager lets somebody in; or, with `payment` as its reference, staff took the fee."""

    step: ClassVar[Step] = Step.ENROL
    caller: str
    id: str
    account: str
    payment: str = ""
    currency: str = ""
    minor: int = 0

    def content(self) -> Mapping[str, Content]:
        return {
            "account": self.account,
            "reference": self.payment,
            "amount.currency": self.currency,
            "amount.minor": self.minor,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RefuseApplicant:
    """A manager says no."""

    step: ClassVar[Step] = Step.ENROL
    caller: str
    id: str
    account: str
    reason_code: str

    def content(self) -> Mapping[str, Content]:
        return {"account": self.account, "reason_code": self.reason_code}


def _prefetch(
    rules: Rules, rows: Rows, commands: Sequence[AdmitApplicant | RefuseApplicant]
) -> None:
    keys = [(command.account,) for command in commands]
    rows.load(applications, keys)
    found = [row for at in keys if (row := rows.get(applications, at)) is not None]
    rows.load(devices, [(row["key_id"],) for row in found])


def _admit(rules: Rules, batch: Batch, command: AdmitApplicant) -> bytes:
    row = _waiting(batch.rows, command.account)
    if row["awaits"] == APPROVAL and command.payment:
        raise Refused("This membership is not paid for: a manager approves it.")
    if command.payment and command.minor < 1:
        raise Malformed("A payment is above zero.", field="amount.minor")
    said = {name: str(row[name]) for name in NOTHING_SAID}
    join(rules, batch, command.account, row["public_key"], said)
    paid = f"{command.payment}: {command.minor} {command.currency}" if command.payment else ""
    _decide(batch, row, command.caller, ADMITTED, paid)
    if command.payment:
        return canonical(office_pb2.ConfirmPaymentResponse())
    return canonical(office_pb2.AdmitApplicantResponse())


def _refuse(rules: Rules, batch: Batch, command: RefuseApplicant) -> bytes:
    row = _waiting(batch.rows, command.account)
    _decide(batch, row, command.caller, REFUSED, command.reason_code)
    return canonical(office_pb2.RefuseApplicantResponse())


def _waiting(rows: Rows, account: str) -> dict[str, Any]:
    row = rows.get(applications, (account,))
    if row is None:
        raise NotFound(f"Nobody asked to join as {account}.", field="account")
    if row["state"] != WAITING:
        raise AlreadyDecided(f"{account} was {row['state'].lower()} before.")
    return row


def _decide(batch: Batch, row: dict[str, Any], by: str, state: str, reason: str) -> None:
    batch.rows.put(
        applications,
        row
        | NOTHING_SAID
        | {"state": state, "decided_at_us": batch.now_us, "decided_by": by, "reason": reason},
    )


HANDLERS: Handlers = {
    Enrol: Handler(_prefetch_enrol, _enrol),
    AdmitApplicant: Handler(_prefetch, _admit),
    RefuseApplicant: Handler(_prefetch, _refuse),
}
