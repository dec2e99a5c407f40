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
"""Codes for one enrolment each. `account` is who has used it, or for whom alone it was made: a
member who was imported; else ""."""
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

adjustments = ledger_table(
    metadata,
    "adjustments",
    key("adjustment_id"),
    field("account"),
    field("points", BigInt),
    field("reason_code"),
    field("state"),
    field("proposed_by"),
    field("proposed_key"),
    field("proposed_at_us", BigInt),
    field("expires_at_us", BigInt),
    field("decided_by"),
    field("decided_at_us", BigInt),
    field("index", BigInt),
    CheckConstraint("state IN ('WAITING', 'DONE', 'REJECTED')", name="state"),
)
"""Points given and taken by hand, and those that wait for a second manager. `index` is the
ADJUSTMENT's, -1 while there is none."""
Index(None, adjustments.c.ledger, adjustments.c.proposed_at_us)

adjusted_days = ledger_table(
    metadata,
    "adjusted_days",
    key("account"),
    key("day", BigInt),
    field("points", BigInt),
)
"""How many points were given to or taken from an account on a local day by one manager alone."""

switches = ledger_table(
    metadata,
    "switches",
    key("name"),
    field("is_on", BigInt),
    field("reason_code"),
    field("changed_by"),
    field("changed_at_us", BigInt),
    CheckConstraint("is_on IN (0, 1)", name="is_on"),
)
"""What staff can switch at once: `burn_freeze`."""

claims = ledger_table(
    metadata,
    "claims",
    key("claim_id"),
    field("account"),
    field("purchase_id"),
    field("currency"),
    field("amount_minor", BigInt),
    field("occurred_at_us", BigInt),
    field("state"),
    field("claimed_at_us", BigInt),
    field("decided_by"),
    field("decided_at_us", BigInt),
    field("reason_code"),
    CheckConstraint("state IN ('WAITING', 'CONFIRMED', 'REJECTED')", name="state"),
)
"""Purchases that members say were missed."""
Index(None, claims.c.ledger, claims.c.account)
Index(None, claims.c.ledger, claims.c.state)

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

OPERATION_TABLES: tuple[Table, ...] = (
    invitations,
    applications,
    adjustments,
    adjusted_days,
    switches,
    claims,
    webhooks,
)
