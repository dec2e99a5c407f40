"""What a brand keeps to operate its programme: who may join, whom it tells of changes.

These tables join those of `node.tables`.
"""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Index, LargeBinary, Table

from comity.ledger.schema import BigInt, field, key, ledger_table
from node.tables import metadata

invitations = ledger_table(
    metadata,
    "invitations",
    key("code"),
    field("state"),
    field("made_at_us", BigInt),
    field("expires_at_us", BigInt),
    field("made_by"),
    field("account"),
    CheckConstraint("state IN ('VALID', 'USED', 'REVOKED')", name="state"),
)
"""Codes for one enrolment each. `account` is who has used it, "" while nobody has."""
Index(None, invitations.c.ledger, invitations.c.account)

applications = ledger_table(
    metadata,
    "applications",
    key("account"),
    field("enrolment_id"),
    field("key_id"),
    field("public_key", LargeBinary),
    field("awaits"),
    field("state"),
    field("asked_at_us", BigInt),
    field("decided_at_us", BigInt),
    field("decided_by"),
    field("reason"),
    field("name"),
    field("email"),
    field("birth_date"),
    field("region"),
    CheckConstraint("awaits IN ('approval', 'payment')", name="awaits"),
    CheckConstraint("state IN ('WAITING', 'ADMITTED', 'REFUSED')", name="state"),
)
"""Enrolments that waited, or wait, for staff. `account` is the one that the member gets; until
then nobody has it. What was said of the person stays only while the application waits. `reason`
is why it was refused, or the payment's reference."""
Index(None, applications.c.ledger, applications.c.key_id)
Index(None, applications.c.ledger, applications.c.state)

webhooks = ledger_table(
    metadata,
    "webhooks",
    key("name"),
    field("url"),
    field("kinds"),
    field("salt", LargeBinary),
    field("old_salt", LargeBinary),
    field("old_until_us", BigInt),
    field("state"),
    field("next_index", BigInt),
    field("failures", BigInt),
    field("failing_since_us", BigInt),
    field("retry_at_us", BigInt),
    field("last_error"),
    field("changed_at_us", BigInt),
    CheckConstraint("state IN ('ACTIVE', 'PAUSED', 'FAILED')", name="state"),
    CheckConstraint("next_index >= 0", name="next_index"),
)
"""The endpoints that are told of this log, and how far each has taken it: entries below
`next_index` have been told. `salt` leads to its keys, `old_salt` to those before until
`old_until_us`. `changed_at_us` is when somebody last set it, so that what an attempt found out
counts only for the endpoint as it was."""

OPERATION_TABLES: tuple[Table, ...] = (invitations, applications, webhooks)
