"""What a brand keeps beside its log: members, lots, rewards, vouchers, staff.

`metadata` begins as a copy of the kernel's tables; `node.redemption_tables` adds the tables of
redemptions and agreements to it. The schema states the invariants it can state: nothing is
negative, stock is never promised twice, a lot holds no more than it may.
"""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Index, LargeBinary, Table

from comity.ledger.schema import BigInt, field, key, ledger_table, service_metadata

metadata = service_metadata()

programmes = ledger_table(
    metadata,
    "programmes",
    key("index", BigInt),
    field("version"),
    field("digest", LargeBinary),
    field("effective_at_us", BigInt),
    field("file", LargeBinary),
)
"""Every version of the programme, by the index of its PROGRAMME entry, with the bytes of its file
(empty for one of a release that did not keep them)."""

members = ledger_table(
    metadata,
    "members",
    key("account"),
    field("created_at_us", BigInt),
    field("locked", BigInt),
    field("erased_at_us", BigInt),
    CheckConstraint("locked IN (0, 1)", name="locked"),
)
"""Who belongs, by pseudonym. `erased_at_us` is 0 for a member who was not erased."""

profiles = ledger_table(
    metadata,
    "profiles",
    key("account"),
    field("name"),
    field("email"),
    field("birth_date"),
    field("region"),
)
"""Personal data of members, all of it. Erasing a member deletes the row; nothing else names a
person. `birth_date` is like 1990-03-21, `region` a country's two letters, each "" if unknown."""

devices = ledger_table(
    metadata,
    "devices",
    key("key_id"),
    field("account"),
    field("public_key", LargeBinary),
    field("added_at_us", BigInt),
    field("revoked_at_us", BigInt),
)
"""The keys a member signs with. `revoked_at_us` is 0 while the key is good."""
Index(None, devices.c.ledger, devices.c.account)

accounts = ledger_table(
    metadata,
    "accounts",
    key("account"),
    key("unit"),
    field("pending", BigInt),
    field("available", BigInt),
    field("held", BigInt),
    field("debt", BigInt),
    field("business", BigInt),
    field("activity", BigInt),
    field("bonus", BigInt),
    field("lot"),
    field("due_at_us", BigInt),
    CheckConstraint("pending >= 0", name="pending"),
    CheckConstraint("available >= 0", name="available"),
    CheckConstraint("held >= 0", name="held"),
    CheckConstraint("debt <= 0", name="debt"),
)
"""Balances, kept with every entry and never summed on read; lots sum to them.

`business`, `activity` and `bonus` are what was issued from each source less what was taken back.
`lot` is the lot that grows when points of a growth unit arrive, "" for none; before `due_at_us` no
lot of the account matures or expires. No entry states these two.
"""

lots = ledger_table(
    metadata,
    "lots",
    key("lot"),
    field("account"),
    field("unit"),
    field("earned", BigInt),
    field("pending", BigInt),
    field("available", BigInt),
    field("held", BigInt),
    field("earned_at_us", BigInt),
    field("available_at_us", BigInt),
    field("expires_at_us", BigInt),
    field("due_at_us", BigInt),
    field("open", BigInt),
    field("gone", BigInt),
    CheckConstraint("pending >= 0", name="pending"),
    CheckConstraint("available >= 0", name="available"),
    CheckConstraint("held >= 0", name="held"),
    CheckConstraint("pending + available + held <= earned", name="earned"),
    CheckConstraint(
        "open = CASE WHEN pending + available + held > 0 THEN 1 ELSE 0 END", name="open"
    ),
)
"""Points earned together, with one expiry (`expires_at_us` 0: never).

The name is `<entry index>.<leg number>` of the leg which made it. `due_at_us` is when it next
matures or expires by itself, 0 for never. `gone` are points that ended in it unspent and that no
refund has counted yet, which no entry states. `open` is 1 while any point is in it.
"""
Index(None, lots.c.ledger, lots.c.account, lots.c.open)
Index(None, lots.c.ledger, lots.c.due_at_us)

postings = ledger_table(
    metadata,
    "postings",
    key("account"),
    key("index", BigInt),
    key("unit"),
    field("at_us", BigInt),
    field("entry"),
    field("pending", BigInt),
    field("available", BigInt),
    field("held", BigInt),
    field("debt", BigInt),
    field("reference"),
)
"""What each entry changed of each account: the member's statement."""

class_totals = ledger_table(
    metadata,
    "class_totals",
    key("unit"),
    key("account_class", BigInt),
    field("points", BigInt),
)
"""The sum of all legs by class, kept with every entry. Over all classes it is zero."""

rewards = ledger_table(
    metadata,
    "rewards",
    key("reward_id"),
    field("title"),
    field("kind", BigInt),
    field("price_points", BigInt),
    field("retail_currency"),
    field("retail_minor", BigInt),
    field("active", BigInt),
    field("unlimited", BigInt),
    field("stock", BigInt),
    field("reserved", BigInt),
    field("delivered", BigInt),
    CheckConstraint("active IN (0, 1)", name="active"),
    CheckConstraint("unlimited IN (0, 1)", name="unlimited"),
    CheckConstraint("reserved >= 0", name="reserved"),
    CheckConstraint("delivered >= 0", name="delivered"),
    CheckConstraint("unlimited = 1 OR reserved + delivered <= stock", name="stock"),
)
"""The catalogue. `stock` counts every piece ever supplied; free is what neither waits for a
decision (`reserved`) nor was handed out (`delivered`)."""

vouchers = ledger_table(
    metadata,
    "vouchers",
    key("code"),
    field("reward_id"),
    field("redemption_id"),
    field("state"),
    field("issued_at_us", BigInt),
    field("used_at_us", BigInt),
    field("used_by"),
    CheckConstraint("state IN ('VALID', 'USED', 'VOID')", name="state"),
)
"""Codes handed out. A code is used at most once."""
Index(None, vouchers.c.ledger, vouchers.c.redemption_id)

staff = ledger_table(
    metadata,
    "staff",
    key("key_id"),
    field("role"),
    field("name"),
    field("public_key", LargeBinary),
    field("added_at_us", BigInt),
    CheckConstraint("role IN ('till', 'manager', 'auditor')", name="role"),
)
"""The keys of tills, managers and admitted auditors."""

PROGRAMME_TABLES: tuple[Table, ...] = (
    programmes,
    members,
    profiles,
    devices,
    accounts,
    lots,
    postings,
    class_totals,
    rewards,
    vouchers,
    staff,
)
