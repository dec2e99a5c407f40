"""A changed value in any column that follows from a log is found, and its table is named."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from hashlib import sha256
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, MetaData, Table, select, text, update

import clearing.tables
import node.tables
from comity.ledger.engine import writer
from comity.v1 import common_pb2, member_pb2, merchant_pb2, operator_pb2
from comity.verify.database import snapshot
from node.commands import DeclareProgramme
from tests.redemption_world import GUEST, MANAGER, TILL, Node, NodeWorld, pair
from tests.unit.replay_log import failed

BRAND: dict[str, set[str]] = {
    # What only the programme, the catalogue or a till knows; notes that the node leaves itself;
    # signatures of clearing, whose key is not in the database.
    "accounts": {"lot", "due_at_us"},
    "lots": {"earned_at_us", "available_at_us", "due_at_us", "open", "gone"},
    "postings": {"unit", "reference"},
    "class_totals": set(),
    "programmes": set(),
    "holds": set(),
    "redeemed_days": {"day"},
    "redemptions": {"reward_id", "destination", "reserved_at_us", "failure"},
    "vouchers": {"state", "used_at_us", "used_by"},
    "rewards": {
        "title", "kind", "price_points", "retail_currency", "retail_minor", "active", "unlimited",
        "stock",
    },
    "returns": set(),
    "pledges": {"purchase_id", "noticed", "currency", "amount_minor"},
    "notices": {"pledge", "asked_points", "recovered_points"},
    "agreements": {"state", "propose", "issuer", "acceptor"},
    "roster": set(),
    "mirror": set(),
    "mirror_state": {"applied", "reported", "note"},
    "book": set(),
    "settlements": set(),
}  # fmt: skip
"""The tables of a brand that follow from logs, with the columns that nothing contradicts."""

CLEARING: dict[str, set[str]] = {
    "participants": set(),
    "caps": set(),
    "positions": set(),
    "agreements": set(),
    "redemptions": {
        "agreement_id", "agreement_version", "delivery_index", "delivery_leaf", "due_us",
    },
    "decisions": set(),
    "windows": {"opened_at_us"},
    "spans": set(),
    "totals": set(),
}  # fmt: skip
BLAMED = {"mirror_state": {"mirror"}}
"""Where another table's name stands for it: what is wrong is that the two do not fit."""


def columns(metadata: MetaData, tables: dict[str, set[str]]) -> list[tuple[str, str]]:
    """Every column that follows from a log."""
    return [
        (name, column.name)
        for name, unproven in tables.items()
        for column in metadata.tables[name].columns
        if column.name != "ledger" and column.name not in unproven
    ]


def answered(one: Node) -> bool:
    """Whether clearing has the brand's answer to the settlement."""
    return [row["state"] for row in one.rows("settlements")] == ["ANSWERED"]


async def lived() -> NodeWorld:
    """Redemptions, one returned in part, an exchange, a partner's sale of which a part is refunded,
    a settled window."""
    world, grocery, fuel, alice, account = await pair(fee_basis_points=150)
    try:
        first = await alice.buy()
        await alice.buy()
        await fuel.net.desk.reverse_redemption(
            TILL,
            merchant_pb2.ReverseRedemptionRequest(
                id="back-1",
                redemption_id=first.redemption_id,
                cumulative_points=30,
                reason_code="returned",
            ),
        )
        destination = await fuel.enrol("alice-at-fuel")
        quoted = await fuel.net.desk.get_quote(
            GUEST, member_pb2.GetQuoteRequest(issuer="grocery", acceptor_points=200)
        )
        await alice.redeem(alice.request(quoted, reward_id="", destination=destination))
        await fuel.net.desk.record_partner_purchase(
            TILL,
            merchant_pb2.RecordPartnerPurchaseRequest(
                purchase_id="sale-1",
                issuer="grocery",
                account=account,
                amount=common_pb2.Money(currency="EUR", minor=250),
            ),
        )
        await fuel.net.desk.refund_partner_purchase(
            TILL,
            merchant_pb2.RefundPartnerPurchaseRequest(
                id="refund-1",
                purchase_id="sale-1",
                cumulative=common_pb2.Money(currency="EUR", minor=90),
            ),
        )
        await world.until(lambda: grocery.balance(account) == (790, 0))
        await world.settled()
        for one in (grocery, fuel):
            await one.net.peers.pulse()
        operator = world.clearing_world.operator
        await operator.CloseWindow(operator_pb2.CloseWindowRequest(id="close-1", window=1))
        await operator.SettleWindow(operator_pb2.SettleWindowRequest(id="settle-1", window=1))
        for one in (grocery, fuel):
            await world.until(partial(answered, one))
        await alice.buy()
        await grocery.do(
            DeclareProgramme(version="2", digest=sha256(b"file").digest(), file=b"file")
        )
        await fuel.net.desk.terminate_agreement(
            MANAGER,
            merchant_pb2.TerminateAgreementRequest(
                id="end-1", agreement_id="agr_grocery-fuel", version=1
            ),
        )
        await world.settled()
    finally:
        await world.close()
    return world


@pytest.fixture(scope="module")
def engines() -> Iterator[dict[str, Engine]]:
    world = asyncio.run(lived())
    yield {
        "clearing": world.clearing_world.engine,
        **{name: one.engine for name, one in world.nodes.items()},
    }
    for one in (world.clearing_world.engine, *(one.engine for one in world.nodes.values())):
        one.dispose()


def other(value: Any) -> Any:
    """Another value of the same kind."""
    match value:
        case bool() | None:
            return 1
        case int():
            return value + 1_000
        case str():
            return value[:-1] + chr(ord(value[-1]) ^ 1) if value else "x"
        case _:
            data = bytearray(value or b"\0")
            data[len(data) // 2] ^= 1
            return bytes(data)


def change(connection: Connection, table: Table, column: str) -> bool:
    """Change one value of one row; False if there is no row."""
    key = [one.name for one in table.primary_key.columns]
    rows = connection.execute(select(table).order_by(*(table.c[one] for one in key))).mappings()
    found = [dict(row) for row in rows]
    if not found:
        return False
    row = next((one for one in found if one[column]), found[0])
    at = [table.c[one] == row[one] for one in key]
    connection.execute(update(table).where(*at).values({column: other(row[column])}))
    return True


def blamed(engine: Engine, table: Table, column: str) -> set[str] | None:
    """The checks that fail once the value is changed; None if there is none to change."""
    with writer(engine).connect() as connection:
        connection.execute(text("PRAGMA ignore_check_constraints = ON"))
        try:
            if not change(connection, table, column):
                return None
            return set(failed(snapshot(connection).checks))
        finally:
            connection.rollback()
            connection.execute(text("PRAGMA ignore_check_constraints = OFF"))
            connection.rollback()


def test_an_honest_network_has_nothing_to_blame(engines: dict[str, Engine]) -> None:
    for name, engine in engines.items():
        with engine.connect() as connection:
            assert failed(snapshot(connection).checks) == {}, name


@pytest.mark.parametrize(("name", "column"), columns(node.tables.metadata, BRAND))
def test_a_changed_value_of_a_brand_names_its_table(
    engines: dict[str, Engine], name: str, column: str
) -> None:
    table = node.tables.metadata.tables[name]
    found = {brand: blamed(engines[brand], table, column) for brand in ("grocery", "fuel")}
    seen = {brand: checks for brand, checks in found.items() if checks is not None}
    assert seen, f"no brand has a row of {name}"
    for brand, checks in seen.items():
        assert checks & ({name} | BLAMED.get(name, set())), (brand, checks)


@pytest.mark.parametrize(("name", "column"), columns(clearing.tables.metadata, CLEARING))
def test_a_changed_value_of_clearing_names_its_table(
    engines: dict[str, Engine], name: str, column: str
) -> None:
    found = blamed(engines["clearing"], clearing.tables.metadata.tables[name], column)
    assert found is not None, f"clearing has no row of {name}"
    assert name in found
