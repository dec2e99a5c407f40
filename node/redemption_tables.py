"""What a brand keeps of redemptions between brands, in both of its parts, and of the network.

Added to the metadata of `node.tables`. States are words, and the schema knows them all.
"""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Index, LargeBinary, Table

from comity.ledger.schema import BigInt, field, key, ledger_table
from node.tables import metadata

# --- as the issuer --------------------------------------------------------------------------

holds = ledger_table(
    metadata,
    "holds",
    key("redemption_id"),
    key("acceptor"),
    field("index", BigInt),
    field("leaf_hash", LargeBinary),
    field("state"),
    field("account"),
    field("kind", BigInt),
    field("agreement_id"),
    field("agreement_version", BigInt),
    field("quote_digest", LargeBinary),
    field("points", BigInt),
    field("taken"),
    field("expires_at_us", BigInt),
    field("ended_index", BigInt),
    field("restored_points", BigInt),
    field("restored_indices"),
    field("decision", LargeBinary),
    CheckConstraint("state IN ('HELD', 'POSTED', 'RELEASED')", name="state"),
    CheckConstraint("points > 0", name="points"),
    CheckConstraint("restored_points BETWEEN 0 AND points", name="restored"),
)
"""Points set aside for an acceptor, by the index of the HOLD.

`taken` lists the lots in the order in which they gave, as `lot:points` separated by blanks; a
restoration gives back in the reverse order. `ended_index` is the POST's or RELEASE's, -1 while
held; `restored_indices` those of the RESTOREs. `decision` is the hash of the DECISION that ended
the hold.
"""
Index(
    None,
    holds.c.ledger,
    holds.c.expires_at_us,
    sqlite_where=holds.c.state == "HELD",
    postgresql_where=holds.c.state == "HELD",
)

redeemed_days = ledger_table(
    metadata,
    "redeemed_days",
    key("account"),
    key("day", BigInt),
    field("redemptions", BigInt),
    field("points", BigInt),
)
"""What a member has had set aside on a local day (proleptic ordinal)."""

notices = ledger_table(
    metadata,
    "notices",
    key("partner"),
    key("redemption_id"),
    field("state"),
    field("pledge", LargeBinary),
    field("account"),
    field("points", BigInt),
    field("accrued_index", BigInt),
    field("lot"),
    field("reversed_points", BigInt),
    field("decision", LargeBinary),
    field("cites", LargeBinary),
    field("seq", BigInt),
    field("asked_points", BigInt),
    field("recovered_points", BigInt),
    field("reversed_seq", BigInt),
    CheckConstraint("state IN ('NOTED', 'COMMITTED', 'ABORTED', 'ACCRUED')", name="state"),
    CheckConstraint("reversed_points BETWEEN 0 AND points", name="reversed"),
)
"""Pledges of partners: notice and decision meet here, whichever comes first.

`pledge`, `decision` and what the decision `cites` are the bytes of Citations; each is empty until
it is here. `reversed_seq` is our number for the last REVERSED carried out. Where the partner bears
what cannot be taken back, it asks for `asked_points` first and `recovered_points` of them were.
"""

# --- as the acceptor ------------------------------------------------------------------------

redemptions = ledger_table(
    metadata,
    "redemptions",
    key("redemption_id"),
    field("issuer"),
    field("state"),
    field("kind", BigInt),
    field("quote", LargeBinary),
    field("mandate", LargeBinary),
    field("reward_id"),
    field("quantity", BigInt),
    field("destination"),
    field("points", BigInt),
    field("acceptor_points", BigInt),
    field("reserved_at_us", BigInt),
    field("hold", LargeBinary),
    field("decision", LargeBinary),
    field("delivery_index", BigInt),
    field("vouchers"),
    field("voucher_salt", LargeBinary),
    field("lot"),
    field("failure", LargeBinary),
    field("reversed_points", BigInt),
    CheckConstraint("state IN ('RESERVED', 'DELIVERED', 'FAILED', 'REVERSED')", name="state"),
    CheckConstraint("reversed_points BETWEEN 0 AND points", name="reversed"),
)
"""The recovery record of each redemption here, from RESERVED until its decision.

`mandate` is the bytes of a SignedMandate, `hold` of a Statement, `decision` of a Decided,
`failure` of a Failure. `vouchers` are codes separated by blanks. `delivery_index` is -1 without
a DELIVERY. REVERSED: decided COMMITTED, then taken back whole before anything was handed out;
until the driver ends it so, `reversed_points` of the RESERVED row forbid its delivery.
"""
Index(
    None,
    redemptions.c.ledger,
    redemptions.c.redemption_id,
    sqlite_where=redemptions.c.state == "RESERVED",
    postgresql_where=redemptions.c.state == "RESERVED",
)
Index(None, redemptions.c.ledger, redemptions.c.reserved_at_us)

returns = ledger_table(
    metadata,
    "returns",
    key("redemption_id"),
    key("cumulative_points", BigInt),
    field("index", BigInt),
    field("state"),
    field("reason_code"),
    CheckConstraint("state IN ('CLAIMED', 'REVERSED', 'REFUSED')", name="state"),
    CheckConstraint("cumulative_points > 0", name="points"),
)
"""RETURN entries by redemption and cumulative points, and what clearing made of them."""
Index(
    None,
    returns.c.ledger,
    returns.c.index,
    sqlite_where=returns.c.state == "CLAIMED",
    postgresql_where=returns.c.state == "CLAIMED",
)

pledges = ledger_table(
    metadata,
    "pledges",
    key("redemption_id"),
    field("purchase_id"),
    field("issuer"),
    field("state"),
    field("account"),
    field("salt", LargeBinary),
    field("points", BigInt),
    field("agreement_id"),
    field("agreement_version", BigInt),
    field("index", BigInt),
    field("noticed", BigInt),
    field("currency"),
    field("decision", LargeBinary),
    field("amount_minor", BigInt),
    field("refunded_minor", BigInt),
    field("asked_points", BigInt),
    field("answered_points", BigInt),
    field("recovered_points", BigInt),
    CheckConstraint("state IN ('PLEDGED', 'COMMITTED', 'ABORTED')", name="state"),
    CheckConstraint("noticed IN (0, 1)", name="noticed"),
)
"""Promises to pay for points earned here at another brand, and what refunds take back of them.

`decision` is the bytes of the Citation of COMMITTED, empty before. Points of refunds are
cumulative: `asked_points` go with what was refunded, `answered_points` of these are settled as to
who bears them, and `recovered_points` are to be reversed at clearing, by RETURN entries. Sales of
earlier releases have no amount.
"""
Index(
    None,
    pledges.c.ledger,
    pledges.c.redemption_id,
    sqlite_where=pledges.c.asked_points > pledges.c.answered_points,
    postgresql_where=pledges.c.asked_points > pledges.c.answered_points,
)
Index(
    None,
    pledges.c.ledger,
    pledges.c.index,
    sqlite_where=(pledges.c.state == "PLEDGED") | (pledges.c.noticed == 0),
    postgresql_where=(pledges.c.state == "PLEDGED") | (pledges.c.noticed == 0),
)

# --- agreements and the network -------------------------------------------------------------

agreements = ledger_table(
    metadata,
    "agreements",
    key("agreement_id"),
    key("version", BigInt),
    field("issuer"),
    field("acceptor"),
    field("state"),
    field("terms", LargeBinary),
    field("digest", LargeBinary),
    field("own_index", BigInt),
    field("propose", LargeBinary),
    field("terminate_index", BigInt),
    field("active_from_us", BigInt),
    field("active_until_us", BigInt),
    CheckConstraint(
        "state IN ('PROPOSED', 'OFFERED', 'ACCEPTED', 'ACTIVE', 'SUPERSEDED', 'TERMINATED')",
        name="state",
    ),
)
"""Agreements of this brand, each version. `own_index` is that of our PROPOSE or ACCEPT, -1 for
none, `terminate_index` that of our TERMINATE; `propose` the bytes of the other brand's PROPOSE
statement. Active half-open, as clearing's
AGREEMENT entry says: active_from_us <= t < active_until_us."""

roster = ledger_table(
    metadata,
    "roster",
    key("participant"),
    field("origin"),
    field("vkey"),
    field("old_keys"),
    field("tls_key_hash", LargeBinary),
    field("display_name"),
    field("peer_address"),
    field("public_address"),
    field("status", BigInt),
    field("revoked", BigInt),
)
"""Who is admitted, as clearing's log tells it. `old_keys` are lines `<last size> <vkey>`."""

mirror = ledger_table(
    metadata,
    "mirror",
    key("index", BigInt),
    field("body", LargeBinary),
    field("opening", LargeBinary, nullable=True),
)
"""Clearing's log, byte for byte, with our openings (bytes of DecisionOpening)."""

mirror_state = ledger_table(
    metadata,
    "mirror_state",
    key("origin"),
    field("size", BigInt),
    field("frontier", LargeBinary),
    field("note", LargeBinary),
    field("applied", BigInt),
    field("last_seq", BigInt),
    field("reported", BigInt),
    CheckConstraint("applied <= size", name="applied"),
)
"""How far the mirror reaches, up to where its effects are applied, our last decision number,
and the index of our log below which every DELIVERY has been reported."""

book = ledger_table(
    metadata,
    "book",
    key("seq", BigInt),
    field("window", BigInt),
    field("row", LargeBinary),
    field("currency"),
    field("net_minor", BigInt),
    field("out_minor", BigInt),
    field("in_minor", BigInt),
    field("fee_minor", BigInt),
    field("index", BigInt),
)
"""Our book: one row for each decision that concerns us, `row` the bytes of a BookRow, `index` the
DECISION's. `net_minor` is what it changes of our position: in - out - fee."""
Index(None, book.c.ledger, book.c.window)

settlements = ledger_table(
    metadata,
    "settlements",
    key("window", BigInt),
    field("index", BigInt),
    field("leaf_hash", LargeBinary),
    field("table", LargeBinary),
    field("state"),
    field("answer_index", BigInt),
    CheckConstraint("state IN ('SEEN', 'ACKNOWLEDGED', 'PROTESTED', 'ANSWERED')", name="state"),
)
"""SETTLEMENT entries seen, by window. `table` is the hash it names; ANSWERED once clearing has
our ACK or PROTEST."""

REDEMPTION_TABLES: tuple[Table, ...] = (
    holds,
    redeemed_days,
    notices,
    redemptions,
    returns,
    pledges,
    agreements,
    roster,
    mirror,
    mirror_state,
    book,
    settlements,
)
