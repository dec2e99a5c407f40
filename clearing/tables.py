"""What clearing keeps beside its log: roster, agreements, decisions, positions, windows.

All of it follows from clearing's own log and its openings; the tables exist so that a decision
reads a few rows instead of replaying history.
"""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Index, LargeBinary, UniqueConstraint

from comity.ledger.schema import BigInt, field, key, ledger_table, service_metadata

metadata = service_metadata()

participants = ledger_table(
    metadata,
    "participants",
    key("participant"),
    field("origin"),
    field("vkey"),
    field("tls_key_hash", LargeBinary),
    field("display_name"),
    field("peer_address"),
    field("public_address"),
    field("status", BigInt),
    field("seq", BigInt),
    field("admitted_index", BigInt),
    CheckConstraint("status IN (1, 2, 3)", name="status"),
    CheckConstraint("seq >= 0", name="seq"),
    Index("ix_participants_ledger_status", "ledger", "status"),
)
"""The roster. `seq` is the number of the last decision which concerns the participant."""

standings = ledger_table(
    metadata,
    "standings",
    key("participant"),
    key("payer"),
    field("head_size", BigInt),
)
"""For a suspended participant: how long each brand's log was, as clearing knew it then.

An entry below that size existed before the suspension.
"""

caps = ledger_table(
    metadata,
    "caps",
    key("participant"),
    key("currency"),
    field("cap_minor", BigInt),
    CheckConstraint("cap_minor >= 0", name="cap_minor"),
)
"""How far below zero a running position may go; without a row, not at all."""

positions = ledger_table(
    metadata,
    "positions",
    key("participant"),
    key("currency"),
    field("running_minor", BigInt),
)
"""All obligations not yet settled, `operator` and `drift` included: zero in sum per currency."""

agreements = ledger_table(
    metadata,
    "agreements",
    key("agreement_id"),
    key("version", BigInt),
    field("issuer"),
    field("acceptor"),
    field("terms", LargeBinary),
    field("digest", LargeBinary),
    field("valid_from_us", BigInt),
    field("ends_us", BigInt),
    field("propose", LargeBinary),
    field("entry_index", BigInt),
    field("terminate_leaf", LargeBinary, nullable=True),
    field("terminate_index", BigInt, nullable=True),
)
"""Terms in force, one row a version. `ends_us` moves forward in time never: a later version or
a TERMINATE only brings it nearer."""

redemptions = ledger_table(
    metadata,
    "redemptions",
    key("issuer"),
    key("acceptor"),
    key("redemption_id"),
    field("kind", BigInt),
    field("outcome", BigInt),
    field("agreement_id"),
    field("agreement_version", BigInt),
    field("claim_leaf", LargeBinary, nullable=True),
    field("hold_index", BigInt, nullable=True),
    field("quote_digest", LargeBinary, nullable=True),
    field("mandate_digest", LargeBinary, nullable=True),
    field("currency"),
    field("points", BigInt),
    field("amount_minor", BigInt),
    field("fee_minor", BigInt),
    field("reversed_points", BigInt),
    field("reversed_minor", BigInt),
    field("reversed_fee_minor", BigInt),
    field("decision_index", BigInt),
    field("decision_leaf", LargeBinary),
    field("acceptor_seq", BigInt),
    field("delivery_index", BigInt, nullable=True),
    field("delivery_leaf", LargeBinary, nullable=True),
    field("deliver_by_us", BigInt),
    field("due_us", BigInt, nullable=True),
    UniqueConstraint("ledger", "issuer", "quote_digest", name="uq_redemptions_quote"),
    UniqueConstraint("ledger", "issuer", "mandate_digest", name="uq_redemptions_mandate"),
    UniqueConstraint("ledger", "issuer", "hold_index", name="uq_redemptions_hold"),
    CheckConstraint("outcome IN (1, 2)", name="outcome"),
    CheckConstraint("reversed_points BETWEEN 0 AND points", name="reversed_points"),
    Index("ix_redemptions_ledger_due_us", "ledger", "due_us"),
)
"""What was decided on each redemption, once. `hold_index`, `quote_digest` and `mandate_digest`
are set for a COMMITTED hold only, and so each is spent at most once. `due_us` is set while a
delivery is awaited."""

decisions = ledger_table(
    metadata,
    "decisions",
    key("entry_index", BigInt),
    field("leaf", LargeBinary),
    field("at_us", BigInt),
    field("issuer"),
    field("acceptor"),
    field("redemption_id"),
    field("kind", BigInt),
    field("outcome", BigInt),
    field("claim_leaf", LargeBinary, nullable=True),
    field("reason"),
    field("window", BigInt),
    field("issuer_seq", BigInt),
    field("acceptor_seq", BigInt),
    field("currency"),
    field("points", BigInt),
    field("amount_minor", BigInt),
    field("fee_minor", BigInt),
    field("drift_minor", BigInt),
    UniqueConstraint("ledger", "issuer", "issuer_seq", name="uq_decisions_issuer_seq"),
    UniqueConstraint("ledger", "acceptor", "acceptor_seq", name="uq_decisions_acceptor_seq"),
    CheckConstraint("outcome IN (1, 2, 3, 4)", name="outcome"),
    Index("ix_decisions_ledger_redemption", "ledger", "issuer", "acceptor", "redemption_id"),
    Index("ix_decisions_ledger_window", "ledger", "window"),
)
"""Clearing's book: one row for each DECISION entry. Figures carry the signs of `Amounts`."""

windows = ledger_table(
    metadata,
    "windows",
    key("window", BigInt),
    field("state", BigInt),
    field("decisions", BigInt),
    field("opened_at_us", BigInt),
    field("closed_at_us", BigInt),
    field("settled_at_us", BigInt),
    field("closing_index", BigInt, nullable=True),
    field("closing_leaf", LargeBinary, nullable=True),
    field("settlement_index", BigInt, nullable=True),
    field("settlement_leaf", LargeBinary, nullable=True),
    field("settlement", LargeBinary, nullable=True),
    field("acknowledge_by_us", BigInt),
    CheckConstraint("state IN (1, 2, 3)", name="state"),
    Index("ix_windows_ledger_state", "ledger", "state"),
)
"""Settlement periods. `settlement` holds the bytes of the SettlementTable."""

spans = ledger_table(
    metadata,
    "spans",
    key("window", BigInt),
    key("participant"),
    field("first_seq", BigInt),
    field("last_seq", BigInt),
    field("decisions", BigInt),
    CheckConstraint("last_seq - first_seq + 1 = decisions", name="gapless"),
)
"""Which of a participant's numbers a window holds."""

totals = ledger_table(
    metadata,
    "totals",
    key("window", BigInt),
    key("participant"),
    key("currency"),
    field("opening_minor", BigInt),
    field("in_minor", BigInt),
    field("out_minor", BigInt),
    field("fees_minor", BigInt),
    field("drift_minor", BigInt),
    field("decisions", BigInt),
)
"""The sums of a window, kept in the batch of each decision, so that closing it adds nothing up.

What the window moved is in - out - fees + drift; `operator` and `drift` have rows like brands.
"""

acknowledgements = ledger_table(
    metadata,
    "acknowledgements",
    key("window", BigInt),
    key("participant"),
    field("kind"),
    field("entry_index", BigInt),
    field("leaf", LargeBinary),
    field("reason"),
    field("at_us", BigInt),
    CheckConstraint("kind IN ('ack', 'protest')", name="kind"),
)

auditors = ledger_table(
    metadata,
    "auditors",
    key("key_id"),
    field("auditor"),
    field("public_key", LargeBinary),
    field("at_us", BigInt),
)
