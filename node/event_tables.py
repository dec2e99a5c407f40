"""What a brand keeps of events, of what they earned and paid, and of where its members stand.

Added to the metadata of `node.tables`. Ranks and marks follow from the log; the rest is what the
next event and the next refund have to know, and what an explanation shows.
"""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Index, LargeBinary, Table

from comity.ledger.schema import BigInt, field, key, ledger_table
from node.tables import metadata

events = ledger_table(
    metadata,
    "events",
    key("event_id"),
    field("account"),
    field("type"),
    field("at_us", BigInt),
    field("recorded_at_us", BigInt),
    field("programme_version"),
    field("currency"),
    field("amount_minor", BigInt),
    field("refunded_minor", BigInt),
    field("details", LargeBinary),
    CheckConstraint("refunded_minor BETWEEN 0 AND amount_minor", name="refunded"),
)
"""What happened, purchases among it. `details` are the bytes of an `EventDetails`: lines,
attributes and what each rule said; erasing the member empties it."""
Index(None, events.c.ledger, events.c.account)

earnings = ledger_table(
    metadata,
    "earnings",
    key("event_id"),
    key("place", BigInt),
    field("rule"),
    field("unit"),
    field("points", BigInt),
    field("reversed_points", BigInt),
    field("lot"),
    field("numerator", BigInt),
    field("denominator", BigInt),
    field("by_line", BigInt),
    field("source", BigInt),
    field("funded_by", BigInt),
    CheckConstraint("points > 0", name="points"),
    CheckConstraint("reversed_points BETWEEN 0 AND points", name="reversed"),
    CheckConstraint("by_line IN (0, 1)", name="by_line"),
)
"""What each rule gave for an event, and how much of it remains when a part is refunded:
`numerator / denominator` points for each minor unit kept, or all of it as long as anything is
kept where both are 0. `lot` is empty if all of it paid a debt."""

counts = ledger_table(
    metadata,
    "counts",
    key("account"),
    key("rule"),
    key("period"),
    field("times", BigInt),
    field("points", BigInt),
    CheckConstraint("times >= 0", name="times"),
    CheckConstraint("points >= 0", name="points"),
)
"""What the limits of rules have counted, by period."""

activity = ledger_table(
    metadata,
    "activity",
    key("account"),
    field("purchases", BigInt),
    field("spend_minor", BigInt),
    field("first_purchase_at_us", BigInt),
    field("last_purchase_at_us", BigInt),
    field("last_event_at_us", BigInt),
)
"""What a member did, in sums."""

ranks = ledger_table(
    metadata,
    "ranks",
    key("account"),
    field("level"),
    field("since_us", BigInt),
    field("until_us", BigInt),
    field("pinned", BigInt),
    field("due_at_us", BigInt),
)
"""The level each member has (`until_us` 0: without end; `pinned`: it stays although what it was
reached with was converted), and when it is to be looked at again
though nothing happens (`due_at_us` 0: never)."""
Index(None, ranks.c.ledger, ranks.c.due_at_us)

marks = ledger_table(
    metadata,
    "marks",
    key("account"),
    key("kind", BigInt),
    key("name"),
    field("since_us", BigInt),
)
"""The badges, titles and tags that members have, by `MarkKind`."""

payments = ledger_table(
    metadata,
    "payments",
    key("order_id"),
    field("index", BigInt),
    field("account"),
    field("unit"),
    field("points", BigInt),
    field("currency"),
    field("amount_minor", BigInt),
    field("covered_minor", BigInt),
    field("taken"),
    field("refunded_points", BigInt),
    CheckConstraint("points > 0", name="points"),
    CheckConstraint("covered_minor BETWEEN 1 AND amount_minor", name="covered"),
    CheckConstraint("refunded_points BETWEEN 0 AND points", name="refunded"),
)
"""Orders that points paid a part of, by the SPEND entry at `index`. `taken` are the lots in the
order in which they gave, as `lot:points` with spaces between."""

EVENT_TABLES: tuple[Table, ...] = (events, earnings, counts, activity, ranks, marks, payments)
